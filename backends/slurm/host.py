"""Where a cluster's commands run and where its nodes find a run's files.

On a login node both are on this machine (`LocalHost`), from a laptop both are behind SSH. The calls
are coarse, so that each is one round trip to a remote host.
"""

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath
from typing import Protocol

from backends.shared.results import attempt_of
from backends.slurm.commands import error_summary
from core.errors import BackendError, CollectError
from core.job import JobKey
from core.wire import write_atomic
from core.worker.job_index import is_visible
from core.worker.source import SOURCE_ROOT, source_digest, worker_files

COMMAND_TIMEOUT_S = 120.0  # sbatch itself retries for a minute when its controller is busy
LOG_TAIL_BYTES = 64 * 1024
_CACHE_TAG = sys.implementation.cache_tag


@dataclass(frozen=True, slots=True)
class CommandResult:
    """Both texts may be long."""

    exit_code: int
    stdout: str = ""
    stderr: str = ""

    @property
    def error(self) -> str:
        return error_summary(self.stderr)


@dataclass(frozen=True, slots=True)
class UploadFile:
    """`path` is relative to the run's directory."""

    path: str
    data: bytes
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Upload:
    """Files and the requests of attempts that must be in place before a command runs.

    `once` is a folder below the run's directory. Where an answer can get lost on its way, the
    command's success is stored there and returned again, instead of running it twice.
    """

    files: Sequence[UploadFile] = ()
    keys: Sequence[JobKey] = ()
    once: str = ""


@dataclass(frozen=True, slots=True)
class AttemptTrace:
    """What a job has left in its attempt's directory so far."""

    claimed: bool = False
    has_result: bool = False

    @property
    def has_begun(self) -> bool:
        return self.claimed or self.has_result


class ClusterHost(Protocol):
    """All calls raise BackendError when the cluster cannot be reached."""

    shares_disk: bool
    """Whether this machine sees at once, and at little cost, what jobs write."""
    python: str
    """The interpreter of workers without a setup and a container."""
    shared_option: str
    """The option that says where the nodes find the run's directory."""

    @property
    def run_dir(self) -> str:
        """The run's directory as the nodes see it."""

    def worker_code(self) -> str:
        """The worker's code as the nodes see it; it is there once an upload has been made."""

    def run(
        self, command: Sequence[str], upload: Upload = Upload(), stdin: str = ""
    ) -> CommandResult:
        """Write the upload, then run the command. A failure of the command is in its result."""

    def poll(self, command: Sequence[str], keys: Sequence[JobKey]) -> CommandResult:
        """Run the command, and update the traces of the jobs `keys`."""

    def trace(self, key: JobKey) -> AttemptTrace:
        """What a job has left, as of the last `poll` or later."""

    def await_news(self, keys: Sequence[JobKey]) -> list[JobKey]:
        """Those of the jobs of which a poll would find changes; may wait for that, until `close`
        or until more jobs are submitted."""

    def fetch(self, keys: Sequence[JobKey]) -> Mapping[JobKey, CollectError]:
        """Copy what these jobs have left to the run's directory on this machine. Returns an error
        for each job of which nothing was copied."""

    def tails(self, paths: Sequence[str]) -> Mapping[str, str]:
        """The ends of files below the run's directory; empty for a file that does not exist."""

    def remove(self, paths: Sequence[str]) -> None:
        """Remove files and directories below the run's directory as the nodes see it."""

    def missing_commands(self, names: Sequence[str]) -> list[str]:
        """Those of `names` that are not installed."""

    def close(self) -> None: ...


CommandRunner = Callable[[Sequence[str], Mapping[str, str], str], CommandResult]


def run_command(
    command: Sequence[str],
    environ: Mapping[str, str],
    stdin: str = "",
    *,
    timeout_s: float = COMMAND_TIMEOUT_S,
) -> CommandResult:
    """Run a command in a session of its own, so that Ctrl-C does not interrupt it.

    Raises BackendError when it cannot be started or does not end in time.
    """
    try:
        done = subprocess.run(  # noqa: S603 - no shell, and a list that we made
            list(command),
            input=stdin,
            env=dict(environ),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            start_new_session=True,
        )
    except OSError as exc:
        raise BackendError(
            f"{command[0]} could not be started: {exc.strerror}.",
            "Run the orchestrator on a login node of the cluster, with Slurm's commands on PATH.",
        ) from exc
    except subprocess.TimeoutExpired as exc:
        remedy = "Check the cluster: scontrol ping."
        raise BackendError(f"{command[0]} did not answer within {timeout_s:g} s.", remedy) from exc
    return CommandResult(done.returncode, done.stdout, done.stderr)


# What Slurm's commands and their authentication need. Everything else could end up in the
# controller's state, or change what they do (SBATCH_..., SLURM_...) and how they print.
KEPT_VARIABLES = (
    *("PATH", "HOME", "USER", "LOGNAME", "TZ", "LD_LIBRARY_PATH", "KRB5CCNAME"),
    *("SLURM_CONF", "SLURM_CONF_SERVER"),
)


def slurm_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The part of an environment that Slurm's commands get."""
    kept = {name: environ[name] for name in KEPT_VARIABLES if name in environ}
    return {**kept, "LC_ALL": "C"}


class LocalHost:
    """This machine, on a file system that the nodes share."""

    shares_disk = True
    python = sys.executable
    shared_option = "--work-dir"

    def __init__(
        self, root: Path, environ: Mapping[str, str], execute: CommandRunner = run_command
    ) -> None:
        self.root = root
        self.run_dir = str(root)
        self._environ = environ
        self._execute = execute

    @cached_property
    def _code(self) -> Path:
        """The same for a whole session, even if the checkout changes meanwhile."""
        return self.root / "slurm" / f"code-{source_digest(SOURCE_ROOT)}"

    def worker_code(self) -> str:
        return str(self._code)

    def run(
        self, command: Sequence[str], upload: Upload = Upload(), stdin: str = ""
    ) -> CommandResult:
        if upload.files:
            copy_code(self._code)
        for file in upload.files:
            path = self.root / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, file.data, file.mode)
        return self._execute(command, slurm_environment(self._environ), stdin)

    def poll(self, command: Sequence[str], keys: Sequence[JobKey]) -> CommandResult:
        return self.run(command)

    def trace(self, key: JobKey) -> AttemptTrace:
        attempt = attempt_of(self.root, key)
        return AttemptTrace(is_visible(attempt.claim), is_visible(attempt.result_json))

    def await_news(self, keys: Sequence[JobKey]) -> list[JobKey]:
        return [key for key in keys if is_visible(attempt_of(self.root, key).result_json)]

    def fetch(self, keys: Sequence[JobKey]) -> Mapping[JobKey, CollectError]:
        for key in keys:
            is_visible(attempt_of(self.root, key).result_json)
        return {}

    def tails(self, paths: Sequence[str]) -> Mapping[str, str]:
        return {path: read_tail(self.root / path) for path in paths}

    def remove(self, paths: Sequence[str]) -> None:
        for path in paths:
            remove_path(self.root / path)

    def missing_commands(self, names: Sequence[str]) -> list[str]:
        path = self._environ.get("PATH")
        return [name for name in names if shutil.which(name, path=path) is None]

    def close(self) -> None:
        pass


def copy_code(target: Path) -> None:
    """Copy what a worker needs to `target`, all or nothing, unless it exists. What is compiled here
    goes along, since each worker would compile it anew; by the time of its source it is known to be
    of that."""
    if target.exists():
        return
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        for name in worker_files(SOURCE_ROOT):
            _copy(SOURCE_ROOT / name, fresh / name)
            path = PurePath(name)
            compiled = path.parent / "__pycache__" / f"{path.stem}.{_CACHE_TAG}.pyc"
            if (SOURCE_ROOT / compiled).exists():
                _copy(SOURCE_ROOT / compiled, fresh / compiled)
        fresh.rename(target)
    except OSError as exc:
        if target.exists():  # another process was faster
            return
        raise OSError(exc.errno, exc.strerror, str(target)) from exc
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(source.read_bytes())
    found = source.stat()
    os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))


def read_tail(path: Path, max_bytes: int = LOG_TAIL_BYTES) -> str:
    """The end of a file; empty when it cannot be read."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - max_bytes))
            return stream.read().decode(errors="replace")
    except OSError:
        return ""


def remove_path(path: Path) -> None:
    """Remove a file or a directory if it exists. A link is removed, not followed.

    A directory is renamed first, so that it is never found in part.
    """
    if path.is_dir() and not path.is_symlink():
        aside = path.with_name(f".removing-{path.name}.{secrets.token_hex(4)}")
        path.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
