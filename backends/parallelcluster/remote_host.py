"""A cluster behind SSH as a ClusterHost: commands run on the head node, and files lie there.

A run has a directory of its own below the shared one, to which requests are sent and from which
results come in one compressed stream. The events of running jobs are copied to the run's directory
on this machine too, and updated by each poll.
"""

import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from backends.parallelcluster import rpc
from backends.parallelcluster.download import unpack_results
from backends.parallelcluster.progress import Transfers
from backends.parallelcluster.rpc import HeadNodeClient, OnProgress, ignore
from backends.parallelcluster.s3_transfer import TransferBucket
from backends.parallelcluster.upload import packed_upload
from backends.shared.results import attempt_of
from backends.shared.work_dir_id import is_moved_away, work_dir_id
from backends.slurm.arrays import FOLDER
from backends.slurm.host import KEPT_VARIABLES, LOG_TAIL_BYTES, AttemptTrace, CommandResult, Upload
from backends.slurm.preflight import COMMANDS
from core.bundle import BASE_NAMES
from core.clock import Clock
from core.errors import BackendError, CollectError
from core.job import JobKey
from core.wire import write_atomic
from core.worker.job_index import INDEX_NAME
from core.worker.source import SOURCE_ROOT, source_digest

AWS_CLI = "aws"
PACKAGES = ("anthropic", "genai_prices", "pydantic")  # without them no worker starts
WAIT_S = 600.0
"""How long one command waits on the head node for news."""
ENDING_S = 1.0
"""The same while a job has its result and has not ended."""
FRESH_S = 2.0
"""How old a poll may be to count as current."""
FOLLOWED_S = 30.0
"""For how long somebody who has asked for a job's events counts as following all of them."""
_MAX_SECRET_BYTES = 8 * 1024
"""So much more of a log is read, so that a secret at its cut is complete and can be masked."""
_NAME_FILE = f"{FOLDER}/remote-name"


class RemoteHost:
    """`root` is the run's directory on this machine; `mask` removes secrets from logs."""

    python = "python3"
    shared_option = "--aws-shared-dir"
    shares_disk = False

    def __init__(
        self,
        root: Path,
        head: HeadNodeClient,
        clock: Clock,
        bucket: TransferBucket | None = None,
        transfers: Transfers | None = None,
        mask: Callable[[str], str] = str,
    ) -> None:
        self.root = root
        self.transfers = transfers or Transfers()
        self._bucket, self._mask = bucket, mask
        self._head = head
        self._clock = clock
        self._origin = work_dir_id(root.parent.parent)
        self._code = f"code-{source_digest(SOURCE_ROOT)}"
        self._new_name = _make_name(root)
        self._is_over = False
        self._has_code = False
        self._bases: frozenset[str] = frozenset()
        self._is_active = False  # whether this process has submitted jobs or fetched results
        self._traces: dict[JobKey, AttemptTrace] = {}
        self._followed_at = -FOLLOWED_S
        self._polled_at = -FRESH_S
        self._mirror = threading.Lock()

    # -- names and paths

    @cached_property
    def info(self) -> rpc.HeadNodeInfo:
        """What is installed on the head node, asked once."""
        request = {"root": self._head.root, "code": self._code, "run": self.name}
        commands = (*COMMANDS, "sacct", AWS_CLI)
        call = self._head.call("info", (), ignore, commands=commands, packages=PACKAGES, **request)
        with call as (answer, _):
            found = rpc.read_info(answer)
        self._has_code = found.has_code
        if found.cleaned_up:  # by an earlier process: this one continues in another directory
            self._rename()
        return found

    @property
    def name(self) -> str:
        """The name of the run's directory there, stored here once it is in use."""
        try:
            return (self.root / _NAME_FILE).read_text(encoding="ascii").strip()
        except OSError:
            return self._new_name

    def _rename(self) -> None:
        self._new_name = _make_name(self.root)
        (self.root / _NAME_FILE).unlink(missing_ok=True)

    @property
    def is_used(self) -> bool:
        return (self.root / _NAME_FILE).exists()

    @property
    def run_dir(self) -> str:
        return f"{self.info.root}/runs/{self.name}"

    def worker_code(self) -> str:
        return f"{self.info.root}/{self._code}"

    # -- commands

    def run(
        self,
        command: Sequence[str],
        upload: Upload = Upload(),  # noqa: B008 - a frozen value
        stdin: str = "",
    ) -> CommandResult:
        request: dict[str, Any] = {"once": upload.once, "command": list(command), "stdin": stdin}
        if not (upload.files or upload.keys):
            return rpc.read_command_result(self._call("run", has_upload=False, url="", **request))
        self._refuse_if_over()
        self._register(upload)
        for _ in range(2):  # somebody may have removed the code meanwhile
            answer = self._send(upload, request)
            if self._has_code:
                return rpc.read_command_result(answer)
        remedy = "Check that nothing removes files from --aws-shared-dir."
        raise BackendError("The worker's code disappears from the cluster.", remedy)

    def _refuse_if_over(self) -> None:
        if self._is_over:
            remedy = "Resume the run."
            raise BackendError("The run was cleaned up.", remedy)

    def _send(self, upload: Upload, request: Mapping[str, Any]) -> dict[str, Any]:
        run_dir = self.run_dir  # whose look-up tells whether the code is there
        self._refuse_if_over()  # the directory may be a new one by now
        code = None if self._has_code else SOURCE_ROOT
        bases = frozenset(n for n in BASE_NAMES if (self.root / n).exists()) - self._bases
        with self._packed(upload, code, bases) as (stream, url, on_progress):
            payload = self.transfers.sending(stream)
            fields = {"has_upload": True, "run_dir": run_dir, "url": url, **request}
            answer = self._call("run", payload, on_progress, **fields)
        self._has_code = "missing_code" not in answer
        self._bases |= bases if self._has_code else frozenset()
        return answer

    @contextmanager
    def _packed(
        self, upload: Upload, code: Path | None, bases: Set[str]
    ) -> Iterator[tuple[IO[bytes], str, OnProgress]]:
        """What is sent over SSH, the URL of everything else, and a function to be told how far that
        has come. Files that only their owner may read never go through a bucket."""
        root, origin, bucket = self.root, self._origin, self._bucket
        if bucket is None:
            packed = packed_upload(root, upload.files, upload.keys, origin, code, bases)
            with packed as stream:
                yield stream, "", ignore
            return
        with ExitStack() as stack:
            private = [file for file in upload.files if not file.mode & 0o077]
            others = [file for file in upload.files if file.mode & 0o077]
            url = stack.enter_context(bucket.object())
            packed = packed_upload(root, others, upload.keys, origin, code, bases)
            total = bucket.put(url, stack.enter_context(packed))
            stream = stack.enter_context(packed_upload(root, private, (), origin, None))
            track = self.transfers.track("sent", total, "on to the head node")
            yield stream, url, stack.enter_context(track)

    def _register(self, upload: Upload) -> None:
        """Store what a later process needs to find these jobs, before they are submitted."""
        indexes = [file for file in upload.files if Path(file.path).name == INDEX_NAME]
        self._is_active |= bool(indexes)
        for file in indexes:
            self._store(file.path, file.data)
        if indexes and not self.is_used:
            write_atomic(self.root / _NAME_FILE, self._new_name, durable=True)

    def _store(self, name: str, data: bytes) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, data)

    def _call(
        self,
        op: str,
        payload: Iterable[bytes] = (),
        on_progress: OnProgress = ignore,
        **request: Any,
    ) -> dict[str, Any]:
        common = {"root": self.info.root, "code": self._code, "run_dir": self.run_dir}
        fields = {**common, "variables": KEPT_VARIABLES, **request}
        with self._head.call(op, payload, on_progress, **fields) as (answer, _):
            return answer

    # -- what jobs have left

    def poll(self, command: Sequence[str], keys: Sequence[JobKey]) -> CommandResult:
        return rpc.read_command_result(self._poll(keys, command=list(command)))

    def follow(self) -> None:
        """Somebody reads the events of jobs: what comes between polls is brought as well."""
        self._followed_at = self._clock.monotonic()

    def refresh(self, key: JobKey) -> None:
        """Bring the job's events now, unless that was done a moment ago."""
        if self._clock.monotonic() - self._polled_at >= FRESH_S and self.is_used:
            self._poll([key], command=[])

    def await_news(self, keys: Sequence[JobKey]) -> list[JobKey]:
        if not self.is_used:
            return []  # nothing has been sent yet
        arrays = [path.name for path in (self.root / FOLDER).iterdir() if path.is_dir()]
        before = {key: self.trace(key) for key in keys}
        is_ending = any(trace.has_result for trace in before.values())
        is_followed = self._clock.monotonic() < self._followed_at + FOLLOWED_S
        known = {self._attempt(k): [t.claimed, t.has_result] for k, t in before.items()}
        wish = {
            "known": known,
            "folder": FOLDER,
            "arrays": arrays,
            "wait_s": ENDING_S if is_ending else WAIT_S,
            "is_followed": is_followed,
        }
        self._poll(keys, command=[], await_news=wish)
        return [k for k in keys if self.trace(k) != before[k] or self.trace(k).has_result]

    def _poll(self, keys: Sequence[JobKey], **request: Any) -> dict[str, Any]:
        attempts = {self._attempt(key): key for key in keys}
        sizes = {name: _size(self._events(key)) for name, key in attempts.items()}
        answer = self._call("poll", attempts=sizes, **request)
        self._polled_at = self._clock.monotonic()
        for name, (trace, lines) in rpc.read_traces(answer, attempts).items():
            self._traces[attempts[name]] = trace
            if lines:
                self._append(self._events(attempts[name]), sizes[name], lines)
        return answer

    def _append(self, path: Path, size: int, lines: bytes) -> None:
        """New lines, unless a result has come in between."""
        with self._mirror, suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            if _size(path) == size:
                with path.open("ab") as stream:
                    stream.write(lines)

    def trace(self, key: JobKey) -> AttemptTrace:
        return self._traces.get(key, AttemptTrace())

    def fetch(self, keys: Sequence[JobKey]) -> Mapping[JobKey, CollectError]:
        attempts, run_dir = [self._attempt(key) for key in keys], self.run_dir
        self._is_active = True
        if (bucket := self._bucket) is not None:
            with bucket.object() as url:
                with self.transfers.track("received", route="by the bucket") as on_progress:
                    self._call("store", (), on_progress, attempts=attempts, url=url)
                return unpack_results(bucket.get(url), self.root, keys, self._mirror)
        with self._head.call("fetch", run_dir=run_dir, attempts=attempts) as (_, chunks):
            received = self.transfers.receiving(chunks)
            refused = unpack_results(received, self.root, keys, self._mirror)
            chunks.drain()
            return refused

    def tails(self, paths: Sequence[str]) -> Mapping[str, str]:
        """Stored here too, since the files there go with the run; secrets are masked."""
        if not paths:
            return {}
        max_bytes = LOG_TAIL_BYTES + _MAX_SECRET_BYTES
        answer = self._call("tails", paths=list(paths), max_bytes=max_bytes)
        texts = rpc.read_texts(answer, "tails")
        found = {path: self._mask(texts.get(path, ""))[-LOG_TAIL_BYTES:] for path in paths}
        for path, text in found.items():
            if text and self.is_used:
                self._store(path, text.encode(errors="replace"))
        return found

    # -- directories of runs, and their end

    def remove(self, paths: Sequence[str]) -> None:
        self._call("remove", paths=list(paths))

    def runs(self) -> dict[str, str]:
        """The names of all runs' directories there, each with the work directory it belongs to."""
        return rpc.read_texts(self._call("runs"), "runs")

    def runs_of(self, work_dir: Path) -> list[str]:
        """Runs of a work directory of this machine that have directories there."""
        wanted = work_dir_id(work_dir)
        return sorted({_run_of(name) for name, origin in self.runs().items() if origin == wanted})

    def names_of(self, run_id: str) -> list[str]:
        """Directories of one run that we may remove: those of this work directory, and the one that
        the run's directory here names. This may be a copy whose original is still in use, so the
        latter counts only if this process has continued the run, or it was moved here."""
        runs = self.runs()
        names = [n for n, origin in runs.items() if origin == self._origin and _run_of(n) == run_id]
        if run_id == self.root.name and self.is_used and (used := self.name) not in names:
            origin, work_dir = runs.get(used), self.root.parent.parent
            if self._is_active or origin is None or is_moved_away(origin, work_dir, run_id):
                names.append(used)
        return names

    def end(self) -> None:
        """Submit nothing more of this run; what is being submitted has its name by now."""
        self._is_over = True

    def mark_cleaned_up(self, names: Sequence[str]) -> None:
        """Make sure that nothing more is submitted there for runs of these names, not even by a
        call that has lost its process; waits for what is being submitted."""
        if names:
            self._call("mark_cleaned_up", names=list(names))

    def remove_runs(self, names: Sequence[str]) -> None:
        """Remove runs' directories with all their files, and what earlier removals have left."""
        own = self.name
        self._call("remove_runs", names=list(names))
        if own in names:
            self._rename()

    def missing_commands(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if name in self.info.missing_commands]

    def close(self) -> None:
        self._head.close()

    def _attempt(self, key: JobKey) -> str:
        return attempt_of(self.root, key).root.relative_to(self.root).as_posix()

    def _events(self, key: JobKey) -> Path:
        return attempt_of(self.root, key).events


def _run_of(name: str) -> str:
    """The run that a directory there belongs to."""
    return name.rpartition("-")[0]


def _make_name(root: Path) -> str:
    return f"{root.name}-{secrets.token_hex(4)}"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
