"""Where a cluster's commands run and where its nodes find a run's files: the seam under Slurm.

On a login node both are this machine's (`LocalHost`); from a laptop both are behind SSH. What is
asked for together is done in one go, so that a site far away needs one call for it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from backends.shared.results import attempt_of
from core.errors import BackendError, CollectError
from core.job import JobKey
from core.wire import write_atomic
from core.worker.job_index import is_visible
from core.worker.source import SOURCE_ROOT, source_digest, worker_files

ANSWER_S = 120.0
"""sbatch itself tries for a minute when its controller is busy."""
LOG_TAIL_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a command came to. Both texts may be long."""

    exit_code: int
    stdout: str = ""
    stderr: str = ""


@dataclass(frozen=True, slots=True)
class UploadFile:
    """A file to lay down; `path` is relative to the run's directory."""

    path: str
    data: bytes
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Upload:
    """What has to be there before a command runs: files, and the requests of attempts.

    `once` is a folder below the run's directory; where an answer can get lost on its way, the
    command's success is kept there and given again instead of running it again.
    """

    files: Sequence[UploadFile] = ()
    keys: Sequence[JobKey] = ()
    once: str = ""


@dataclass(frozen=True, slots=True)
class AttemptTrace:
    """What a job has left in its attempt's directory so far."""

    claimed: bool = False
    has_result: bool = False


class ClusterHost(Protocol):
    """All calls raise BackendError when the cluster cannot be reached."""

    @property
    def run_dir(self) -> str:
        """The run's directory as the nodes see it."""

    @property
    def shares_disk(self) -> bool:
        """Whether this machine sees at once, and at little cost, what jobs write."""

    @property
    def python(self) -> str:
        """The interpreter that runs workers where neither a setup nor a container says."""

    @property
    def shared_option(self) -> str:
        """The option that says where the run's directory lies for the nodes."""

    def worker_code(self) -> str:
        """Where the nodes find the worker's code; it is there once the next command has run."""

    def run(
        self, command: Sequence[str], parcel: Upload = Upload(), stdin: str = ""
    ) -> CommandResult:
        """Lay down `parcel`, then run `command`. Whether it failed is in what it came to."""

    def look(self, command: Sequence[str], keys: Sequence[JobKey]) -> CommandResult:
        """Run `command`, and see what the jobs `keys` have left: `trace` tells then."""

    def trace(self, key: JobKey) -> AttemptTrace:
        """What is known of a job's directory, as of the last `look` at the latest."""

    def fetch(self, keys: Sequence[JobKey]) -> Mapping[JobKey, CollectError]:
        """Bring what these jobs have left to the run's directory on this machine; gives why not,
        for those of which nothing was taken."""

    def tails(self, paths: Sequence[str]) -> Mapping[str, str]:
        """The ends of files below the run's directory; empty where there is none."""

    def remove(self, paths: Sequence[str]) -> None:
        """Remove files and directories below the run's directory, where nodes see it."""

    def missing_commands(self, names: Sequence[str]) -> list[str]:
        """Those of `names` that there are not."""

    def close(self) -> None: ...


class Run(Protocol):
    """subprocess.run as it is needed here, or a stand-in."""

    def __call__(
        self, command: Sequence[str], *, environ: Mapping[str, str], stdin: str
    ) -> CommandResult: ...


def run_command(
    command: Sequence[str],
    *,
    environ: Mapping[str, str],
    stdin: str = "",
    timeout_s: float = ANSWER_S,
) -> CommandResult:
    """Run to the end, in a session of its own so that Ctrl-C does not cut it in the middle.

    Raises BackendError when there is no such command or it does not come to an end.
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
            f"{command[0]} cannot be run: {exc.strerror}.",
            "Run this on a login node of the cluster, with Slurm's commands on PATH.",
        ) from exc
    except subprocess.TimeoutExpired as exc:
        raise BackendError(
            f"{command[0]} gave no answer within {timeout_s:g} s.", "See how the cluster is."
        ) from exc
    return CommandResult(done.returncode, done.stdout, done.stderr)


# What Slurm's commands and their authentication need. Everything else could end up in the
# controller's state, or change what they do (SBATCH_..., SLURM_...) and how they print.
KEPT_VARIABLES = (
    *("PATH", "HOME", "USER", "LOGNAME", "TZ", "LD_LIBRARY_PATH", "KRB5CCNAME"),
    *("SLURM_CONF", "SLURM_CONF_SERVER"),
)


def slurm_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What of an environment Slurm's commands get."""
    kept = {name: environ[name] for name in KEPT_VARIABLES if name in environ}
    return {**kept, "LC_ALL": "C"}


class LocalHost:
    """This machine, on a file system that the nodes share."""

    def __init__(self, root: Path, environ: Mapping[str, str], execute: Run = run_command) -> None:
        self.root = root
        self._environ = environ
        self._execute = execute

    @cached_property
    def _code(self) -> Path:
        """The same for a whole session, even if the checkout changes meanwhile."""
        return self.root / "slurm" / f"code-{source_digest(SOURCE_ROOT)}"

    @property
    def run_dir(self) -> str:
        return str(self.root)

    @property
    def shares_disk(self) -> bool:
        return True

    @property
    def python(self) -> str:
        return sys.executable

    @property
    def shared_option(self) -> str:
        return "--work-dir"

    def worker_code(self) -> str:
        return str(self._code)

    def run(
        self, command: Sequence[str], parcel: Upload = Upload(), stdin: str = ""
    ) -> CommandResult:
        if parcel.files:
            lay_down_code(self._code)
        for placed in parcel.files:
            path = self.root / placed.path
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, placed.data, placed.mode)
        return self._execute(command, environ=slurm_environment(self._environ), stdin=stdin)

    def look(self, command: Sequence[str], keys: Sequence[JobKey]) -> CommandResult:
        return self.run(command)

    def trace(self, key: JobKey) -> AttemptTrace:
        attempt = attempt_of(self.root, key)
        return AttemptTrace(is_visible(attempt.claim), is_visible(attempt.result_json))

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


def lay_down_code(place: Path) -> None:
    """Copy what a worker needs to `place`, unless it is there: whole or not at all."""
    if place.exists():
        return
    fresh = place.with_name(f".{place.name}.{os.getpid()}")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        for name in worker_files(SOURCE_ROOT):
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            (fresh / name).write_bytes((SOURCE_ROOT / name).read_bytes())
        fresh.rename(place)
    except OSError as exc:
        if place.exists():  # another process was faster
            return
        raise OSError(exc.errno, exc.strerror, str(place)) from exc
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def read_tail(path: Path, most_bytes: int = LOG_TAIL_BYTES) -> str:
    """The end of a file; empty when it cannot be read."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - most_bytes))
            return stream.read().decode(errors="replace")
    except OSError:
        return ""


def remove_path(path: Path) -> None:
    """A file or a directory, or nothing when there is none. A link is removed, not followed.

    A directory loses its name first, so that none is ever found that is there in part.
    """
    if path.is_dir() and not path.is_symlink():
        aside = path.with_name(f".removing-{path.name}.{secrets.token_hex(4)}")
        path.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
