"""A cluster behind SSH, as a ClusterSite: its commands run on the head node, its files lie there.

A run has a directory of its own below the shared one; requests go there and results come from there
in one compressed stream. What running jobs write into events.jsonl is kept in the run's directory
on this machine too, and brought up to date by each look.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from backends.parallelcluster.download import take_results
from backends.parallelcluster.progress import Transfers
from backends.parallelcluster.rpc import HeadNodeClient, Heard, ignore
from backends.parallelcluster.rpc_responses import (
    Greeting,
    read_finished,
    read_greeting,
    read_seen,
    read_texts,
)
from backends.parallelcluster.s3_transfer import TransferBucket
from backends.parallelcluster.upload import packed
from backends.shared.results import attempt_of
from backends.shared.work_dir_id import is_moved_away, work_dir_id
from backends.slurm.arrays import FOLDER
from backends.slurm.host import KEPT_VARIABLES, LOG_TAIL_BYTES, AttemptTrace, CommandResult, Upload
from core.clock import Clock
from core.errors import BackendError, CollectError
from core.job import JobKey
from core.wire import write_atomic
from core.worker.job_index import INDEX_NAME
from core.worker.source import SOURCE_ROOT, source_digest

COMMANDS = ("sbatch", "squeue", "scancel", "scontrol", "sinfo")
CLI = "aws"
"""Which fetches from a bucket there."""
OPTIONAL = ("sacct", CLI)
PACKAGES = ("anthropic", "genai_prices", "pydantic")
"""Without them no worker starts."""
FRESH_S = 2.0
"""A look that is older than that is not taken for how things are."""
_LONGEST_SECRET_BYTES = 8 * 1024
"""So much more of a log is read, so that a secret at its cut is whole, and known as that."""
_NAME_FILE = f"{FOLDER}/remote-name"


class RemoteHost:
    """`root` is the run's directory on this machine; `mask` takes secrets out of logs."""

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
        self._fresh_name = _fresh_name(root)
        self._is_over = False
        self._has_code = False
        self._goes_on = False
        """Whether this process has handed jobs over or brought results home."""
        self._traces: dict[JobKey, AttemptTrace] = {}
        self._followed: Sequence[JobKey] = ()
        self._looked_at = -FRESH_S
        self._mirror = threading.Lock()

    # -- where things are

    @cached_property
    def greeting(self) -> Greeting:
        """What the head node says of itself; asked once."""
        answer = self._head.ask(
            "greet",
            root=self._head.root,
            code=self._code,
            commands=(*COMMANDS, *OPTIONAL),
            packages=PACKAGES,
            run=self.name,
        )
        found = read_greeting(answer)
        self._has_code = found.has_code
        if found.cleaned_up:  # by an earlier process: this one goes on in another directory
            self._take_new_name()
        return found

    @property
    def name(self) -> str:
        """Of the run's directory there: kept here once it is in use, so that it is found again."""
        try:
            return (self.root / _NAME_FILE).read_text(encoding="ascii").strip()
        except OSError:
            return self._fresh_name

    def _take_new_name(self) -> None:
        self._fresh_name = _fresh_name(self.root)
        (self.root / _NAME_FILE).unlink(missing_ok=True)

    @property
    def is_used(self) -> bool:
        return (self.root / _NAME_FILE).exists()

    @property
    def run_dir(self) -> str:
        return f"{self.greeting.root}/runs/{self.name}"

    def worker_code(self) -> str:
        return f"{self.greeting.root}/{self._code}"

    # -- commands

    def run(
        self,
        command: Sequence[str],
        parcel: Upload = Upload(),  # noqa: B008 - a frozen value
        stdin: str = "",
    ) -> CommandResult:
        request: dict[str, Any] = {"once": parcel.once, "command": list(command), "stdin": stdin}
        if not (parcel.files or parcel.keys):
            return read_finished(self._call("run", packed=False, url="", **request))
        self._refuse_if_over()
        self._keep(parcel)
        answer = self._send(parcel, request)
        if "wanted" in answer:  # somebody has removed the code meanwhile
            answer = self._send(parcel, request)
        if "wanted" in answer:
            raise BackendError(
                "The worker's code does not stay on the cluster.",
                "See that --aws-shared-dir is whole.",
            )
        return read_finished(answer)

    def _refuse_if_over(self) -> None:
        if self._is_over:
            raise BackendError("The run was cleaned up.", "Resume it to go on with it.")

    def _send(self, parcel: Upload, request: Mapping[str, Any]) -> dict[str, Any]:
        place = self.run_dir  # whose greeting tells whether the code is there
        self._refuse_if_over()  # after that, which may be a new place since then
        code = None if self._has_code else SOURCE_ROOT
        with self._packed(parcel, code) as (stream, url, heard):
            payload = self.transfers.sending(stream)
            told = {"packed": True, "run_dir": place, "url": url}
            answer = self._call("run", payload, heard, **told, **request)
        self._has_code = "wanted" not in answer
        return answer

    @contextmanager
    def _packed(self, parcel: Upload, code: Path | None) -> Iterator[tuple[IO[bytes], str, Heard]]:
        """What goes over SSH, the URL of all else, and what to tell how far that has come from
        there: through a bucket goes what is not for its owner alone."""
        root, origin = self.root, self._origin
        if (bucket := self._bucket) is None:
            with packed(root, parcel.files, parcel.keys, origin, code) as whole:
                yield whole, "", ignore
            return
        with ExitStack() as stack:
            secret = [placed for placed in parcel.files if not placed.mode & 0o077]
            rest = [placed for placed in parcel.files if placed.mode & 0o077]
            url = stack.enter_context(bucket.object())
            total = bucket.put(
                url, stack.enter_context(packed(root, rest, parcel.keys, origin, code))
            )
            alone = stack.enter_context(packed(root, secret, (), origin, None))
            heard = self.transfers.following("sent", "on to the head node", total)
            yield alone, url, stack.enter_context(heard)

    def _keep(self, parcel: Upload) -> None:
        """What a later process needs to find these jobs again, before they are handed over."""
        kept = [f for f in parcel.files if Path(f.path).name == INDEX_NAME]
        self._goes_on |= bool(kept)
        for placed in kept:
            path = self.root / placed.path
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, placed.data)
        if kept and not self.is_used:
            write_atomic(self.root / _NAME_FILE, self._fresh_name, durable=True)

    def _call(
        self, op: str, payload: Iterable[bytes] = (), heard: Heard = ignore, **request: Any
    ) -> dict[str, Any]:
        place = {"root": self.greeting.root, "code": self._code, "run_dir": self.run_dir}
        return self._head.ask(
            op, payload, heard, **{**place, "variables": KEPT_VARIABLES, **request}
        )

    # -- what jobs have left

    def look(self, command: Sequence[str], keys: Sequence[JobKey]) -> CommandResult:
        self._followed = list(keys)
        return read_finished(self._look(command, keys))

    def freshen(self, key: JobKey) -> None:
        """Look, unless that was done a moment ago: for one who follows what jobs say."""
        if self._clock.monotonic() - self._looked_at >= FRESH_S and self.is_used:
            self._look([], list(dict.fromkeys([*self._followed, key])))

    def _look(self, command: Sequence[str], keys: Sequence[JobKey]) -> dict[str, Any]:
        places = {self._attempt(key): key for key in keys}
        sizes = {place: _size(self._events(key)) for place, key in places.items()}
        answer = self._call("look", command=list(command), attempts=sizes)
        self._looked_at = self._clock.monotonic()
        for place, seen in read_seen(answer, places).items():
            self._traces[places[place]] = AttemptTrace(seen.claimed, seen.has_result)
            if seen.lines:
                self._append(self._events(places[place]), sizes[place], seen.lines)
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
        attempts, place = [self._attempt(key) for key in keys], self.run_dir
        self._goes_on = True
        if (bucket := self._bucket) is not None:
            with bucket.object() as url:
                with self.transfers.following("received", "by the bucket") as heard:
                    self._call("store", heard=heard, attempts=attempts, url=url)
                return take_results(bucket.get(url), self.root, keys, self._mirror)
        with self._head.stream("fetch", run_dir=place, attempts=attempts) as (_, chunks):
            received = self.transfers.receiving(chunks)
            refused = take_results(received, self.root, keys, self._mirror)
            chunks.drain()
            return refused

    def tails(self, paths: Sequence[str]) -> Mapping[str, str]:
        """Kept here too, since what lies there goes with the run; with secrets masked."""
        if not paths:
            return {}
        told = read_texts(
            self._call("tails", paths=list(paths), most=LOG_TAIL_BYTES + _LONGEST_SECRET_BYTES),
            "tails",
        )
        found = {path: self._mask(told.get(path, ""))[-LOG_TAIL_BYTES:] for path in paths}
        for path, text in found.items():
            if text and self.is_used:
                (self.root / path).parent.mkdir(parents=True, exist_ok=True)
                write_atomic(self.root / path, text.encode(errors="replace"))
        return found

    # -- what there is, and its end

    def remove(self, paths: Sequence[str]) -> None:
        self._call("remove", paths=list(paths))

    def runs(self) -> dict[str, str]:
        """Names of all runs' directories there, each with the work directory it belongs to."""
        return read_texts(self._call("runs"), "runs")

    def runs_here(self, work_dir: Path) -> list[str]:
        """Runs of a work directory of this machine that have directories there."""
        origin = work_dir_id(work_dir)
        return sorted({_run_of(name) for name, told in self.runs().items() if told == origin})

    def names_of(self, run_id: str) -> list[str]:
        """Directories of one run that are ours to remove: those of this work directory, and the
        one that the run's directory here names. That may be a copy, whose original is still used
        elsewhere: then only if this process has gone on with the run, or it was moved here."""
        there = self.runs()
        names = [n for n, told in there.items() if told == self._origin and _run_of(n) == run_id]
        if run_id == self.root.name and self.is_used and (kept := self.name) not in names:
            told, here = there.get(kept), self.root.parent.parent
            if self._goes_on or told is None or is_moved_away(told, here, run_id):
                names.append(kept)
        return names

    def end(self) -> None:
        """Submit nothing of this run any more; what is being submitted has its name by now."""
        self._is_over = True

    def seal(self, names: Sequence[str]) -> None:
        """See to it that nothing is submitted there any more for runs of these names, not even by
        a call that was cut off from its process; what is being submitted is waited for."""
        if names:
            self._call("seal", names=list(names))

    def forget(self, names: Sequence[str]) -> None:
        """Remove runs' directories with all that is in them, and what earlier removals left."""
        own = self.name
        self._call("forget", names=list(names))
        if own in names:
            self._take_new_name()

    def missing_commands(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if name in self.greeting.missing]

    def close(self) -> None:
        self._head.close()

    def _attempt(self, key: JobKey) -> str:
        return attempt_of(self.root, key).root.relative_to(self.root).as_posix()

    def _events(self, key: JobKey) -> Path:
        return attempt_of(self.root, key).events


def _run_of(name: str) -> str:
    """The run whose directory there has that name."""
    return name.rpartition("-")[0]


def _fresh_name(root: Path) -> str:
    return f"{root.name}-{secrets.token_hex(4)}"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
