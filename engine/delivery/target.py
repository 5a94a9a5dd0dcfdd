"""Delivery: a merge plan becomes the target directory, all of it or nothing.

Everything is copied and proven in a hidden directory beside the target (the same file system),
then renamed into place. What this run delivered before steps aside first and is removed last, so
that at every moment the old tree, the new one, or both are there; `recover_target` settles what
an interruption left. Nothing is deleted that this run did not write.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.bundle import build_manifest
from core.errors import BundleError, MergeError, TargetRefused
from core.job import Manifest
from engine.delivery.merge import MergedFile, MergePlan, merged_manifest

_CHUNK_BYTES = 1024 * 1024
_ELSEWHERE = "Choose another --output-dir."
_REMEDIES = {
    errno.ENOSPC: "Free some space on its file system and resume the run.",
    errno.EDQUOT: "Free some of your quota on its file system and resume the run.",
    errno.EFBIG: "Raise the file size limit (ulimit -f) and resume the run.",
    errno.EROFS: "The file system is read-only; resume with another --output-dir.",
    errno.EACCES: "Allow writing there, or resume with another --output-dir.",
    errno.EPERM: "Allow writing there, or resume with another --output-dir.",
}
_RESUME = "Mend that and resume the run; its results are kept."


class Disk:
    """The steps by which a delivery changes the disk, in the order they are taken."""

    def make_directory(self, path: Path) -> None:
        path.mkdir()
        path.chmod(0o755)

    def copy(self, file: MergedFile, destination: Path) -> None:
        """Copy one file durably, proving its content on the way. Raises MergeError, OSError."""
        digest, size = hashlib.sha256(), 0
        with open(_open_source(file), "rb") as source, destination.open("xb") as copy:
            while chunk := source.read(_CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
                copy.write(chunk)
            copy.flush()
            os.fchmod(copy.fileno(), file.entry.mode)
            os.fsync(copy.fileno())
        if (digest.hexdigest(), size) != (file.entry.sha256, file.entry.size):
            raise _changed(file, "its content is not what the manifest says")

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
    """The target and the two hidden names beside it that belong to one run."""

    target: Path
    staging: Path
    aside: Path


def check_target(target: Path, delivered: Manifest | None, work_dir: Path) -> None:
    """Raises TargetRefused unless `target` may be delivered to; leaves nothing behind.

    It may be absent, an empty directory, or hold exactly `delivered`, what this run put there.
    """
    try:
        if b"\0" in os.fsencode(target):
            raise ValueError("it holds a NUL character")
        found = _refusal(_absolute(target), delivered) or _misplaced(_absolute(target), work_dir)
    except (OSError, ValueError) as exc:  # ValueError: no encodable path
        found = (f"{str(target)!r} cannot be used as a directory ({exc})", _ELSEWHERE)
    if found is not None:
        raise TargetRefused(f"The output directory is refused: {found[0]}.", found[1])


def which_delivered(target: Path, candidates: Sequence[Manifest]) -> Manifest | None:
    """The one of `candidates` that `target` holds untouched.

    A run killed right after its delivery knows only what it intended: offer both, intended and
    delivered, and pass what comes back as `delivered` to the other functions.
    """
    if not candidates:
        return None  # without a look at what may be somebody's home directory
    found = _manifest(_absolute(target))
    return next((c for c in candidates if c == found), None)


def apply_merge(
    plan: MergePlan, target: Path, run_id: str, delivered: Manifest | None, disk: Disk | None = None
) -> Manifest:
    """Deliver `plan` to `target` and return the manifest of what is there now.

    All or nothing: on an error or interruption `target` is as it was, or can be settled by
    `recover_target`. Delivering what is there already changes nothing. Raises MergeError.
    """
    disk = disk or Disk()
    places = _places(target, run_id)
    expected = merged_manifest(plan)
    if not expected.entries:
        raise MergeError("There are no files to deliver.", "See which tasks failed and resume.")
    recover_target(target, run_id, disk)
    try:
        if _manifest(places.target) == expected:
            return expected
        _refuse(places.target, delivered)
        _stage(plan, places, disk)
        _replace(places, delivered, disk)
    except OSError as exc:
        _abandon(places, disk)
        raise _failed(places.target, exc) from exc
    except BaseException:  # also Ctrl-C: what was staged is of no use to anybody
        _abandon(places, disk)
        raise
    return expected


def recover_target(target: Path, run_id: str, disk: Disk | None = None) -> None:
    """Settle a delivery of the run that was cut off: finish the replacement, or undo it.

    Does nothing when there is nothing to settle. Raises MergeError when somebody else has put
    something at the target meanwhile; both trees are then kept.
    """
    disk = disk or Disk()
    places = _places(target, run_id)
    try:
        _settle(places, disk)
    except OSError as exc:
        raise _failed(places.target, exc) from exc


def _settle(places: _Places, disk: Disk) -> None:
    staged, aside = _is_tree(places.staging), _is_tree(places.aside)
    if not aside:
        if staged:
            disk.remove_tree(places.staging)
        return
    if not _is_vacant(places.target):
        if staged:
            raise MergeError(
                f"{places.target} was written by somebody else while it was being replaced.",
                f"The tree before is {places.aside}, the new one {places.staging}: "
                "move away what you want to keep and resume the run.",
            )
        disk.remove_tree(places.aside)
    elif staged:  # the old tree steps aside only once the staged one is complete and durable
        disk.rename(places.staging, places.target)
        disk.sync(places.target.parent)
        disk.remove_tree(places.aside)
    else:
        disk.rename(places.aside, places.target)


def _stage(plan: MergePlan, places: _Places, disk: Disk) -> None:
    places.target.parent.mkdir(parents=True, exist_ok=True)
    disk.make_directory(places.staging)
    made = {places.staging: None}  # a dict keeps the order
    for file in plan.files:
        destination = places.staging / file.path
        above = [p for p in destination.parents if p.is_relative_to(places.staging)]
        for directory in reversed([p for p in above if p not in made]):
            disk.make_directory(directory)
            made[directory] = None
        if _is_linked(file):
            raise _changed(file, "it is reached through a symbolic link")
        disk.copy(file, destination)
    for directory in reversed(made):
        disk.sync(directory)


def _replace(places: _Places, delivered: Manifest | None, disk: Disk) -> None:
    _refuse(places.target, delivered)  # copying takes a while, in which anybody may write
    if _is_vacant(places.target):
        disk.rename(places.staging, places.target)
        disk.sync(places.target.parent)
        return
    disk.rename(places.target, places.aside)
    if _manifest(places.aside) != delivered:
        raise MergeError(
            f"{places.target} was changed while it was being replaced.",
            "It is kept as it is; resume with another --output-dir.",
        )
    disk.rename(places.staging, places.target)
    disk.sync(places.target.parent)
    disk.remove_tree(places.aside)


def _abandon(places: _Places, disk: Disk) -> None:
    """Best effort: the first error is the one to tell, and recover_target does what is left."""
    try:
        if _is_tree(places.aside) and _is_vacant(places.target):
            disk.rename(places.aside, places.target)
        if _is_tree(places.staging):
            disk.remove_tree(places.staging)
    except OSError:
        return


def _refuse(target: Path, delivered: Manifest | None) -> None:
    if (found := _refusal(target, delivered)) is not None:
        raise MergeError(
            f"Nothing was delivered: {found[0]}.", "Resume the run with another --output-dir."
        )


def _refusal(target: Path, delivered: Manifest | None) -> tuple[str, str] | None:
    """Why `target` itself may not be written, and what to do; None when it may."""
    if target.is_symlink():
        return f"{target} is a symbolic link", "Name the directory it points to, or another one."
    if target.exists() and not target.is_dir():
        return f"{target} is a file", _ELSEWHERE
    if target.is_dir():
        if os.path.ismount(target):
            return f"{target} is a mount point", "Name a directory below it."
        if _contains(target, Path.cwd()):
            return f"{target} is, or holds, the current directory", "Name a directory below it."
        if not _is_vacant(target) and (found := _foreign(target, delivered)) is not None:
            return found
    return _unwritable(target)


def _foreign(target: Path, delivered: Manifest | None) -> tuple[str, str] | None:
    if delivered is None:
        return f"{target} is not empty", "Empty it, or choose another --output-dir."
    keep = "Choose another --output-dir, so that the changes are kept."
    try:
        found = build_manifest(target)
    except BundleError as exc:
        return f"{target} was changed after its delivery ({exc.message.rstrip('.')})", keep
    changed = sorted({e.path for e in set(found.entries) ^ set(delivered.entries)})
    if not changed:
        return None
    what = f"{len(changed)} file(s) differ, first {changed[0]!r}"
    return f"{target} was changed after its delivery ({what})", keep


def _unwritable(target: Path) -> tuple[str, str] | None:
    """Whether the nearest directory above `target` lets us make it, or its staging directory."""
    above = next(p for p in target.parents if os.path.lexists(p))
    if not above.is_dir():
        return f"{above} is not a directory", _ELSEWHERE
    effective = os.access in os.supports_effective_ids
    if not os.access(above, os.W_OK | os.X_OK, effective_ids=effective):
        return f"{above} may not be written to", "Allow it, or choose another --output-dir."
    try:  # some file systems say yes and mean no
        os.rmdir(tempfile.mkdtemp(prefix=".probe-", dir=above))
    except OSError as exc:
        return f"no directory can be made in {above} ({exc.strerror})", _ELSEWHERE
    return None


def _misplaced(target: Path, work_dir: Path) -> tuple[str, str] | None:
    if _contains(work_dir, target):
        return f"{target} lies in the work directory {work_dir}", _ELSEWHERE
    if _contains(target, work_dir):
        return f"the work directory {work_dir} lies in {target}", _ELSEWHERE
    return None


def _places(target: Path, run_id: str) -> _Places:
    target = _absolute(target)
    name = os.fsencode(target.name)[:150].decode(errors="ignore")  # room for the rest of the name
    staging = target.with_name(f".{name}.staging-{run_id}")
    return _Places(target, staging, target.with_name(f".{name}.replaced-{run_id}"))


def _absolute(target: Path) -> Path:
    return Path(os.path.abspath(target))


def _contains(outer: Path, inner: Path) -> bool:
    return inner.resolve().is_relative_to(outer.resolve())


def _is_vacant(target: Path) -> bool:
    """Whether `target` can be taken by one rename: absent, or a directory without entries."""
    if not os.path.lexists(target):
        return True
    return _is_tree(target) and not os.listdir(target)


def _is_tree(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _manifest(target: Path) -> Manifest | None:
    """What `target` holds; None when it is no plain tree."""
    try:
        return build_manifest(target) if _is_tree(target) else None
    except BundleError:
        return None


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
        raise _changed(file, "it is no regular file")
    return fd


def _changed(file: MergedFile, why: str) -> MergeError:
    return MergeError(
        f"{file.path} of {file.owner} has changed after its task ended: {why} ({file.source}).",
        "Restore it, or remove its attempt and resume, so that the task is run again.",
    )


def _failed(target: Path, exc: OSError) -> MergeError:
    what = exc.strerror or str(exc)
    where = exc.filename or target.parent
    remedy = _REMEDIES.get(exc.errno or 0, _RESUME)
    return MergeError(f"{target} could not be delivered: {where}: {what}.", remedy)
