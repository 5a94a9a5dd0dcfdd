"""Delivery: a merge plan becomes the target directory, all of it or nothing. Everything is copied
and verified in a hidden directory beside it (the same file system), then renamed into place. The
previous delivery is moved aside first and removed last, so that at every moment the old tree, the
new one, or both exist. Only files that this run wrote are ever deleted."""

import errno
import hashlib
import os
import shlex
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from core.bundle import build_manifest
from core.errors import MergeError
from core.job import Manifest
from core.paths import give_to_owner
from engine.delivery.merge import MergedFile, MergePlan, merged_manifest
from engine.delivery.target_check import absolute, is_tree, is_vacant, manifest_of, refusal
from engine.repository.history import HISTORY, with_history

_REMEDIES = {
    errno.ENOSPC: "Free space on its file system and resume the run.",
    errno.EDQUOT: "Free part of your quota on its file system and resume the run.",
    errno.EFBIG: "Raise the file size limit (ulimit -f) and resume the run.",
    errno.EROFS: "Resume with another --output-dir; this file system is read-only.",
    errno.EACCES: "Make it writable, or resume with another --output-dir.",
    errno.EPERM: "Make it writable, or resume with another --output-dir.",
}
_RESUME = "Fix the cause and resume the run; its results are kept."


class Disk:
    """The steps by which a delivery changes the disk, in the order they are taken."""

    def make_directory(self, path: Path) -> None:
        path.mkdir(0o755)
        give_to_owner(path, 0o755)

    def copy(self, file: MergedFile, destination: Path) -> None:
        """Copy one file durably and verify its content. Raises MergeError, OSError."""
        digest, size, mode = hashlib.sha256(), 0, file.entry.mode
        made = os.open(destination, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
        with open(made, "wb") as copy, open(_open_source(file), "rb") as source:
            while chunk := source.read(1024 * 1024):
                digest.update(chunk)
                size += len(chunk)
                copy.write(chunk)
            copy.flush()
            give_to_owner(copy.fileno(), mode)
            os.fsync(copy.fileno())
        if (digest.hexdigest(), size) != (file.entry.sha256, file.entry.size):
            raise _changed(file, "its content differs from its manifest")

    def sync(self, directory: Path) -> None:
        """Make the names in `directory` durable; without it a rename may outrun its content."""
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def rename(self, old: Path, new: Path) -> None:
        """Atomic. Replaces an empty directory, fails on anything else that is in the way."""
        os.rename(old, new)

    def remove_tree(self, path: Path) -> None:
        shutil.rmtree(path)


@dataclass(frozen=True, slots=True)
class _Places:
    """The target, and the two hidden names beside it that belong to the run."""

    target: Path
    staging: Path
    aside: Path


def apply_merge(
    plan: MergePlan,
    target: Path,
    run_id: str,
    delivered: Manifest | None,
    disk: Disk | None = None,
    history: Path | None = None,
) -> Manifest:
    """Deliver `plan` to `target`, with the repository `history` if there is one, and return the
    manifest of what is there now.

    All or nothing: on an error or interruption `target` is as it was, or can be settled by
    `recover_target`. Delivering what is there already changes nothing. Raises MergeError.
    """
    disk = disk or Disk()
    places = _places(target, run_id)
    expected = expected_manifest(plan, history)
    if not expected.entries:
        raise MergeError(
            "There are no files to deliver.", "Find out which tasks failed, and resume."
        )
    recover_target(target, run_id, disk)
    try:
        if manifest_of(places.target) == expected:
            return expected
        refuse_target(places.target, run_id, delivered)
        _stage([*plan.files, *_files_of(history)], places, disk)
        _replace(places, run_id, delivered, disk)
    except OSError as exc:
        _abandon(places, disk)
        raise _failed(places.target, exc) from exc
    except BaseException:  # also Ctrl-C: what was staged is of no use
        _abandon(places, disk)
        raise
    return expected


def expected_manifest(plan: MergePlan, history: Path | None) -> Manifest:
    """Of the target once `plan` is delivered with `history`."""
    files = merged_manifest(plan)
    return with_history(files, history) if history else files


def _files_of(history: Path | None) -> Iterator[MergedFile]:
    if history is None:
        return
    for entry in build_manifest(history).entries:
        yield MergedFile(f"{HISTORY}/{entry.path}", HISTORY, history / entry.path, entry)


def recover_target(target: Path, run_id: str, disk: Disk | None = None) -> None:
    """Finish or undo a delivery of the run that was cut off; does nothing when there is none.

    Raises MergeError when another process has written to the target meanwhile; both trees are then
    kept.
    """
    places = _places(target, run_id)
    try:
        _settle(places, disk or Disk())
    except OSError as exc:
        raise _failed(places.target, exc) from exc


def _settle(places: _Places, disk: Disk) -> None:
    staged, aside = is_tree(places.staging), is_tree(places.aside)
    if not aside:
        if staged:
            disk.remove_tree(places.staging)
        return
    if not is_vacant(places.target):
        if staged:
            raise MergeError(
                f"Another process wrote to {places.target} while it was being replaced.",
                f"Move away what you want to keep and resume the run. The previous tree is"
                f" {places.aside}, the new one {places.staging}.",
            )
        disk.remove_tree(places.aside)
    elif staged:  # complete: the old tree is moved aside only after that
        disk.rename(places.staging, places.target)
        disk.sync(places.target.parent)
        disk.remove_tree(places.aside)
    else:
        disk.rename(places.aside, places.target)


def _stage(files: Iterable[MergedFile], places: _Places, disk: Disk) -> None:
    places.target.parent.mkdir(parents=True, exist_ok=True)
    disk.make_directory(places.staging)
    made = {places.staging: None}  # a dict keeps the order
    for file in files:
        destination = places.staging / file.path
        above = [p for p in destination.parents if p.is_relative_to(places.staging)]
        for directory in reversed([p for p in above if p not in made]):
            disk.make_directory(directory)
            made[directory] = None
        if _is_linked(file):
            raise _changed(file, "its path has a symbolic link")
        disk.copy(file, destination)
    for directory in reversed(made):
        disk.sync(directory)


def _replace(places: _Places, run_id: str, delivered: Manifest | None, disk: Disk) -> None:
    refuse_target(places.target, run_id, delivered)  # again: copying takes a while
    replaces = not is_vacant(places.target)
    if replaces:
        disk.rename(places.target, places.aside)
        if manifest_of(places.aside) != delivered:
            raise _elsewhere(
                f"{places.target} was changed while it was being replaced", places.target, run_id
            )
    disk.rename(places.staging, places.target)
    disk.sync(places.target.parent)
    if replaces:
        disk.remove_tree(places.aside)


def _abandon(places: _Places, disk: Disk) -> None:
    """Best effort: the first error is the one to report, and recover_target does the rest."""
    with suppress(OSError):
        if is_tree(places.aside) and is_vacant(places.target):
            disk.rename(places.aside, places.target)
        if is_tree(places.staging):
            disk.remove_tree(places.staging)


def refuse_target(target: Path, run_id: str, delivered: Manifest | None) -> None:
    """Raises MergeError when `target` cannot be written."""
    if (found := refusal(target, delivered)) is not None:
        raise _elsewhere(f"Nothing was delivered: {found[0]}", target, run_id)


def _elsewhere(why: str, target: Path, run_id: str) -> MergeError:
    error = MergeError(f"{why}.", "Resume the run with another --output-dir.")
    error.resume_with = shlex.join(("--output-dir", f"{target}-{run_id}"))
    return error


def _places(target: Path, run_id: str) -> _Places:
    target = absolute(target)
    name = os.fsencode(target.name)[:150].decode(errors="ignore")  # room for the rest of the name
    staging = target.with_name(f".{name}.staging-{run_id}")
    return _Places(target, staging, target.with_name(f".{name}.replaced-{run_id}"))


def _is_linked(file: MergedFile) -> bool:
    root = file.source.parents[file.entry.path.count("/")]
    return file.source.resolve() != root.resolve() / file.entry.path


def _open_source(file: MergedFile) -> int:
    """A descriptor of a regular file; never follows a link, never waits for a FIFO."""
    try:
        fd = os.open(file.source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as exc:
        raise _changed(file, f"it cannot be read ({exc.strerror})") from exc
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise _changed(file, "it is not a regular file")
    return fd


def _changed(file: MergedFile, why: str) -> MergeError:
    return MergeError(
        f"{file.path} of {file.owner} changed after its task ended: {why} ({file.source}).",
        "Find out what changes files of the run, then resume it: the task runs again.",
    )


def _failed(target: Path, exc: OSError) -> MergeError:
    cause = f"{exc.filename or target.parent}: {exc.strerror or exc}"
    remedy = _REMEDIES.get(exc.errno or 0, _RESUME)
    return MergeError(f"{target} could not be delivered: {cause}.", remedy)
