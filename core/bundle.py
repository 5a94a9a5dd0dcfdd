"""The bundle: the directory that travels to a worker and back, the same on every backend.

One AttemptDir names every file of an attempt; the functions write and read them.
"""

import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from core.check_request import CheckJob
from core.errors import BundleError
from core.job import JobKey, Manifest, ManifestEntry, TaskResult, Usage
from core.paths import Below
from core.plan import Task
from core.wire import decode, encode, write_atomic
from core.workspace.confined import read_regular, remove_tree
from core.workspace.protected_log import MAX_EARLIER_BYTES, make_directory

T = TypeVar("T")
WIRE_VERSION = 4
BASE_NAME = "base.tar.gz"
"""The archive of the existing code that a run changes, in its directory or with an attempt."""
BASE_FILES = "base"
"""The directory of these files as they are, in that of the run."""
BASE_NAMES = (BASE_NAME, "whole.tar.gz")
"""The second is there where the first holds a part: for checks that run as jobs."""
BASE_DIRECTORY = "base"
"""Where the archive is that all attempts on one machine share, beside each."""
_LONGEST_CLAIM_BYTES = 4 * 1024
_LONGEST_JSON_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class SimulationSettings:
    """How the simulated Claude behaves. `speed` is simulated seconds a second, 0 for no waiting;
    `faults` is the SPEC of --sim-faults. `tasks`, unless 0, asks for a random plan of that many."""

    seed: int = 0
    speed: float = 20.0
    faults: str = ""
    tasks: int = 0


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Which Claude to ask. `simulation` is None for the real one; never holds a secret."""

    provider: str = "anthropic"
    model: str = "claude-sonnet-5-5"
    region: str = "eu-central-1"
    base_url: str = ""
    engine: str = "api"
    max_output_tokens: int = 32_000
    simulation: SimulationSettings | None = None
    allow_commands: bool = False
    """Whether the model may run commands where nothing contains them."""
    price_input_usd: float | None = None
    """Per million tokens, in place of the price list; given with that of output or not at all."""
    price_output_usd: float | None = None
    effort: str = ""
    """How much the model spends on an answer, one of core.models.EFFORTS; empty: its default."""
    option: str = "--model"
    """The option that names it."""


@dataclass(frozen=True, slots=True)
class Models:
    """Which Claude plans and which executes; they may be the same."""

    planner: ModelSettings
    executor: ModelSettings

    @property
    def differ(self) -> bool:
        return self.planner.model != self.executor.model

    @property
    def each(self) -> tuple[ModelSettings, ...]:
        """Every one once."""
        return tuple(dict.fromkeys((self.planner, self.executor)))


@dataclass(frozen=True, slots=True)
class Limits:
    """What one attempt may use; sizes in bytes, `request_retries` a request. A stream without news
    for `stall_s` is cut and asked for again. `context_tokens` include the next answer's room."""

    timeout_s: float = 1800.0
    max_turns: int = 60
    max_corrections: int = 3
    request_retries: int = 8
    stall_s: float = 120.0
    context_tokens: int = 180_000
    max_files: int = 10_000
    max_bytes: int = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Allowance:
    """What all requests together may use at most; None where there is no cap."""

    max_tokens: int | None = None
    max_cost_usd: float | None = None


UNLIMITED = Allowance()


@dataclass(frozen=True, slots=True)
class ContractFile:
    """A contract as a worker sees it: its content lies in inputs/ and must keep this digest.

    The model is sent those that its task uses; `is_common` where all tasks of the plan do.
    """

    path: str
    sha256: str
    purpose: str = ""
    is_used: bool = True
    is_common: bool = False


@dataclass(frozen=True, slots=True)
class BaseRef:
    """The archive of the existing code that a run changes; `size` in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Request:
    """request/task.json. `brief` is the same for all tasks of a run; `previous_failure` is how
    the attempt before failed; `allowance` is what the run has reserved for this one. `checks` are
    run in place of a request to Claude. `is_whole`: the inputs are the whole project. They lie over
    the `base`, if there is one, without the files that were `deleted` from it."""

    key: JobKey
    prompt: str
    brief: str
    task: Task
    contracts: tuple[ContractFile, ...]
    model: ModelSettings
    limits: Limits
    previous_failure: str = ""
    allowance: Allowance = UNLIMITED
    checks: CheckJob | None = None
    is_whole: bool = False
    base: BaseRef | None = None
    deleted: tuple[str, ...] = ()
    version: int = WIRE_VERSION


@dataclass(frozen=True, slots=True)
class AttemptDir:
    """Names every file of one attempt below `root`."""

    root: Path

    request = Below("request")
    task_json = Below("request/task.json")
    inputs = Below("request/inputs")
    work = Below("work")
    """Where the executor works; scratch, never transported."""
    claim = Below("claim")
    result = Below("result")
    files = Below("result/files")
    events = Below("result/events.jsonl")
    transcript = Below("result/transcript.jsonl")
    log = Below("result/log.txt")
    result_json = Below("result/result.json")


def write_request(attempt: AttemptDir, request: Request) -> None:
    """Write request/task.json; the caller fills request/inputs first, if there are any."""
    text = encode(request)
    try:
        write_atomic(attempt.task_json, text)
    except FileNotFoundError:
        attempt.inputs.mkdir(parents=True)
        write_atomic(attempt.task_json, text)


def read_request(attempt: AttemptDir) -> Request:
    """Raises BundleError as read_versioned does."""
    return read_versioned(Request, attempt.task_json)


def read_versioned(kind: type[T], path: Path) -> T:
    """Raises BundleError when the file is absent, damaged, or of another wire version."""
    text = _read(path)
    version = decode(_Versioned, text, str(path)).version
    if version != WIRE_VERSION:
        raise BundleError(
            f"{path} has wire version {version}; this worker reads {WIRE_VERSION}.",
            "Run the same version on both sides; rebuild the worker's image if it runs in one.",
        )
    return decode(kind, text, str(path))


def write_result(attempt: AttemptDir, result: TaskResult) -> None:
    """Write result/result.json; call it last, since it means that all else is there."""
    make_directory(attempt.result)
    place, text = attempt.result_json, encode(result)
    try:
        write_atomic(place, text)
    except IsADirectoryError:  # the one thing that a rename does not replace
        remove_tree(place)
        write_atomic(place, text)


def read_result(attempt: AttemptDir, key: JobKey) -> TaskResult:
    """The result of `key`, its files checked against its manifest. Raises BundleError when it is
    absent, damaged, of another attempt, or does not match its files."""
    result = read_unchecked_result(attempt, key)
    check_files(attempt, result)
    return result


def read_unchecked_result(attempt: AttemptDir, key: JobKey) -> TaskResult:
    """The same without a look at its files."""
    path = attempt.result_json
    result = decode(TaskResult, _read(path), str(path))
    if result.key != key:
        raise BundleError(f"{path} belongs to {result.key}, not to {key}.")
    return result


def check_files(attempt: AttemptDir, result: TaskResult) -> None:
    """Raises BundleError where the attempt's files are not those of the result's manifest."""
    files = attempt.files
    found = build_manifest(files) if files.is_dir() else Manifest()
    if found != result.manifest:
        raise BundleError(f"{files} does not match the manifest: {_difference(result, found)}.")


MAX_TOKENS = 10**9
"""Of one kind in one request, far beyond any model; more could not even be priced."""


def read_spent(attempt: AttemptDir) -> Iterator[Usage]:
    """The usage in events.jsonl. Lines that were cut or that a command of the model may have
    written, such as those with impossible counts, are left out."""
    try:
        data = read_regular(attempt.events, MAX_EARLIER_BYTES)
    except OSError:
        return
    for line in data.decode(errors="replace").splitlines():
        try:
            found = decode(Usage, json.dumps(json.loads(line)["usage"]), str(attempt.events))
            if min(found.counts) >= 0 and max(found.counts) <= MAX_TOKENS:
                yield found
        except (ValueError, KeyError, TypeError, RecursionError, BundleError):
            continue


def claim(attempt: AttemptDir, claimant: str) -> bool:
    """Take the attempt for `claimant`, once; the same claimant may take it again.

    A claimant written as name#number is one start of a job that may be started again: a later start
    takes the attempt over. False when another has it, and the caller must leave without touching
    anything.
    """
    place = attempt.claim
    temporary = f"{place}.{secrets.token_hex(8)}"
    fd = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644)
    try:
        with open(fd, "wb", buffering=0) as stream:
            stream.write(claimant.encode())
        # a link appears whole or not at all, and only once; O_EXCL may leave an empty claim
        os.link(temporary, place)
    except FileExistsError:
        holder = _holder(place)
        if _is_later(claimant, holder):
            os.replace(temporary, place)
            return True
        return holder == claimant.encode()
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
    return True


def is_taken_over(attempt: AttemptDir, claimant: str) -> bool:
    """Whether a later start of the claimant's job has the attempt: a job may go on after its
    scheduler took the node for lost."""
    holder = _holder(attempt.claim)
    return holder is not None and _is_later(holder.decode(errors="replace"), claimant.encode())


def _is_later(claimant: str, holder: bytes | None) -> bool:
    """Whether `claimant` is a later start of the same job as `holder`."""
    name, _, start = claimant.rpartition("#")
    other, _, earlier = (holder or b"").decode(errors="replace").rpartition("#")
    both = start.isdecimal() and earlier.isdecimal()
    return both and name == other and int(start) > int(earlier)


def _holder(claim: Path) -> bytes | None:
    """The claimant in the file; None when that cannot be read."""
    with suppress(OSError):
        return read_regular(claim, _LONGEST_CLAIM_BYTES)
    return None


def build_manifest(root: Path) -> Manifest:
    """Every regular file below `root`. Raises BundleError on a symlink or special file, and on what
    cannot be read."""
    try:
        return Manifest(tuple(sorted(_entries(root), key=lambda entry: entry.path)))
    except OSError as exc:
        raise BundleError(f"{root} cannot be read: {exc}.") from exc


def _entries(root: Path) -> Iterator[ManifestEntry]:
    for directory, names, files in os.walk(root, onerror=_unreadable):
        for name in [*names, *files]:
            path = Path(directory, name)
            info = path.lstat()
            if stat.S_ISDIR(info.st_mode):
                continue
            if not stat.S_ISREG(info.st_mode):
                raise BundleError(
                    f"{path} is a symbolic link or special file; only regular files are allowed."
                )
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            relative = path.relative_to(root).as_posix()
            mode = 0o755 if info.st_mode & 0o100 else 0o644
            yield ManifestEntry(relative, info.st_size, digest, mode)


def _unreadable(exc: OSError) -> None:
    """os.walk would skip what it cannot list."""
    raise exc


def _difference(result: TaskResult, found: Manifest) -> str:
    names = sorted({e.path for e in {*found.entries} ^ {*result.manifest.entries}})
    if not names:
        return "its entries are out of order or repeated"
    return f"{len(names)} file(s) differ, first {names[0]!r}"


def _read(path: Path) -> str:
    try:
        return read_regular(path, _LONGEST_JSON_BYTES).decode()
    except FileNotFoundError:
        raise BundleError(f"{path} does not exist.") from None
    except (OSError, UnicodeDecodeError) as exc:
        raise BundleError(f"{path} cannot be read: {exc}.") from exc


@dataclass(frozen=True, slots=True)
class _Versioned:
    version: int = 0
