"""The base of a run: a commit's files, laid out once for executors, and the record of it."""

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from core.errors import BundleError, GitFailed, TargetRefused, UsageError
from core.job import Manifest, ManifestEntry
from core.paths import give_to_owner
from core.wire import decode, encode, write_atomic
from core.workspace.confined import MAX_ENTRIES, remove_tree
from engine.repository.find import find_base
from engine.repository.git import MISSING_OBJECTS, Git
from engine.repository.left_out import LARGEST_BYTES, LeftOut, Selection, printable
from engine.repository.plain_base import import_directory
from engine.repository.uncommitted import uncommitted_names
from engine.run.rundir import RunDir

BASE_FORMAT = 1
_MOST_NAMED = 200
_LINE = re.compile(rb"(\d+) \w+ (\w+) +(-|\d+)\t(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class BaseRecord:
    """base.json. `git_dir` has the objects of `commit`: the user's repository, or the run's own of
    a plain directory. `prefix` is where `directory` is in the commit's tree; the paths of
    `manifest`, of what is laid out below RunDir.base, are relative to it. `branch` was checked out
    at the start, "" when HEAD was detached. Names are the first of as many as the counts tell."""

    directory: str
    git_dir: str
    prefix: str
    commit: str
    branch: str
    is_plain: bool
    manifest: Manifest
    left_out: tuple[LeftOut, ...]
    left_out_count: int
    uncommitted: tuple[str, ...]
    uncommitted_count: int
    version: int = BASE_FORMAT

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing yet: what is made there is a new project."""
        return not (self.manifest.entries or self.left_out_count)


def prepare_base(into: Path, ref: str, run: RunDir) -> BaseRecord:
    """Lay out the base of a run, once: called again it gives the same, and lays out again what is
    missing. Raises as find_base does, GitFailed, OSError."""
    if (record := read_base(run)) is not None:
        run.base.mkdir(exist_ok=True)
        if not _is_whole(run.base, record.manifest):
            _lay_out(Git(Path(record.git_dir)), record.commit, record.prefix, run.base)
        return record
    found = find_base(into, ref)
    git = Git(found.git_dir or run.repository)
    if found.top is None:
        commit, others = import_directory(found.directory, git)
        uncommitted: list[str] = []
    else:
        commit, others = found.commit, []
        uncommitted = uncommitted_names(git, found.top, found.prefix)
    if found.is_new:
        run.base.mkdir(exist_ok=True)
        manifest, more = Manifest(()), list[LeftOut]()
    else:
        manifest, more = _lay_out(git, commit, found.prefix, run.base)
    others += more
    record = BaseRecord(
        directory=str(found.directory),
        git_dir=str(git.git_dir),
        prefix=found.prefix,
        commit=commit,
        branch=found.branch,
        is_plain=found.top is None,
        manifest=manifest,
        left_out=tuple(others[:_MOST_NAMED]),
        left_out_count=len(others),
        uncommitted=tuple(printable(name) for name in uncommitted[:_MOST_NAMED]),
        uncommitted_count=len(uncommitted),
    )
    write_atomic(run.base_json, encode(record), durable=True)
    return record


def read_base(run: RunDir) -> BaseRecord | None:
    """None before there is one. Raises BundleError where it is damaged or of another version."""
    try:
        info = run.base_json.stat()
    except FileNotFoundError:
        return None
    return _read_record(run.base_json, info.st_ino, info.st_mtime_ns)


@lru_cache(maxsize=1)  # of a large base it takes a second, and is asked for at each step
def _read_record(path: Path, _inode: int, _changed_ns: int) -> BaseRecord:
    record = decode(BaseRecord, path.read_bytes(), str(path))
    if record.version != BASE_FORMAT:
        raise BundleError(
            f"{path} has format {record.version}; this version reads {BASE_FORMAT}.",
            "Use the version of the program that wrote it.",
        )
    return record


def check_there(base: BaseRecord) -> None:
    """That what a run changes is where it was. Raises TargetRefused."""
    needed = [base.git_dir, *([base.directory] if base.is_plain else [])]
    for place in (place for place in needed if not Path(place).is_dir()):
        raise TargetRefused(
            f"{place} is no longer there, and the run needs it.",
            "Move it back to that place, then resume the run.",
        )


def _lay_out(git: Git, commit: str, prefix: str, root: Path) -> tuple[Manifest, list[LeftOut]]:
    """The usable files below `prefix`, in place of what `root` has; what they are, and the rest."""
    remove_tree(root)
    root.mkdir()
    selection, entries, made = Selection(), list[ManifestEntry](), {str(root)}
    listed = [each for each in _listed(git, commit, prefix) if selection.takes(*each[:3])]
    with git.objects() as reader:
        contents = reader.read_all((oid for *_, oid in listed), LARGEST_BYTES)
        for (path, mode, _, _), data in zip(listed, contents, strict=True):
            if selection.takes_content(path, data):
                bits = 0o755 if mode & 0o100 else 0o644
                _write(root, path, data, bits, made)
                digest = hashlib.sha256(data).hexdigest()
                entries.append(ManifestEntry(path, len(data), digest, bits))
    entries.sort(key=lambda entry: entry.path)
    return Manifest(tuple(entries)), sorted(selection.others, key=lambda left: left.path)


def _listed(git: Git, commit: str, prefix: str) -> Iterator[tuple[str, int, int, str]]:
    """Path, mode, bytes and id of everything below `prefix`; no bytes of what is no blob."""
    tree = f"{commit}:{prefix.removesuffix('/')}"
    lines = git.run("ls-tree", "-r", "-z", "-l", "--full-tree", tree).split(b"\0")[:-1]
    if len(lines) > MAX_ENTRIES:
        raise UsageError(
            f"The base has {len(lines):,} files; at most {MAX_ENTRIES:,} are taken.",
            "Name a folder of it with --into.",
        )
    for line in lines:
        if (found := _LINE.fullmatch(line)) is None:
            why = f"The objects of the commit {commit[:12]} in {git.git_dir} cannot be read."
            raise GitFailed(why, MISSING_OBJECTS)
        mode, oid, size, path = found.groups()
        yield os.fsdecode(path), int(mode, 8), 0 if size == b"-" else int(size), oid.decode()


def _write(root: Path, path: str, data: bytes, mode: int, made: set[str]) -> None:
    place = f"{root}/{path}"
    above = os.path.dirname(place)
    if above not in made:
        os.makedirs(above, exist_ok=True)
        made.add(above)
    fd = os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, mode)
    with open(fd, "wb") as stream:
        stream.write(data)
        give_to_owner(fd, mode)


def _is_whole(root: Path, manifest: Manifest) -> bool:
    """Whether every file is there with its size, as after a power cut it may not be."""
    try:
        return all(os.lstat(f"{root}/{e.path}").st_size == e.size for e in manifest.entries)
    except OSError:
        return False
