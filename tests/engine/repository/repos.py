"""Real repositories for tests, and what must not change in them."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path

import pytest

from engine.repository.branch import ChangedFile, CommitStep
from engine.run.rundir import RunDir

_ENV = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_DATE": "@1700000000 +0000",
    "GIT_COMMITTER_DATE": "@1700000000 +0000",
}


def git(place: Path, *arguments: str, stdin: bytes = b"", check: bool = True) -> str:
    """As a person would call it there."""
    settings = ("user.name=Ada", "user.email=ada@example.org", "protocol.file.allow=always")
    options = [part for setting in settings for part in ("-c", setting)]
    command = ["git", *options, *arguments]
    done = subprocess.run(command, cwd=place, input=stdin, capture_output=True, env=_ENV)
    assert done.returncode == 0 or not check, os.fsdecode(done.stderr)
    return os.fsdecode(done.stdout).removesuffix("\n")


def make_repository(
    place: Path, files: Mapping[str, str | bytes] | None = None, *init: str
) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    git(place, "init", "--quiet", "-b", "main", *init)
    git(place, "config", "user.name", "Ada")
    git(place, "config", "user.email", "ada@example.org")
    commit_files(place, files or {"a.txt": "a\n", "src/main.py": "print(1)\n"})
    return place


def commit_files(place: Path, files: Mapping[str, str | bytes], subject: str = "files") -> str:
    write_files(place, files)
    git(place, "add", "--force", "--", *files)
    git(place, "commit", "--quiet", "--no-verify", "-m", subject)
    return git(place, "rev-parse", "HEAD")


def write_files(place: Path, files: Mapping[str, str | bytes]) -> None:
    for name, content in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def commit_entries(place: Path, entries: Mapping[bytes, tuple[str, bytes]]) -> str:
    """A commit, and HEAD on it, with entries of names that no file system needs to take: the mode
    and what is stored, of a submodule its commit's id."""
    lines = []
    for name, (mode, content) in entries.items():
        kind = {"160000": "commit", "40000": "tree"}.get(mode, "blob")
        if kind == "blob":
            oid = git(place, "hash-object", "-w", "--stdin", stdin=content)
        else:
            oid = content.decode()
        lines.append(f"{mode} {kind} {oid}\t".encode() + name + b"\0")
    tree = git(place, "mktree", "-z", "--missing", stdin=b"".join(lines))
    head = git(place, "rev-parse", "--quiet", "--verify", "HEAD", check=False)
    parents = ("-p", head) if head else ()
    commit = git(place, "commit-tree", *parents, "-m", "entries", tree)
    git(place, "update-ref", "HEAD", commit)
    return commit


def make_run(place: Path, name: str = "run-1") -> RunDir:
    run = RunDir(place / "work" / "runs" / name)
    run.tasks.mkdir(parents=True)
    return run


def put_git_on_path(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A git of our own before the real one, which is $GIT."""
    folder.mkdir()
    program = folder / "git"
    program.write_text(f"#!/bin/sh\nGIT={shutil.which('git')}\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def changed_file(folder: Path, path: str, content: str | bytes, mode: int = 0o644) -> ChangedFile:
    """As a task handed it in below `folder`."""
    write_files(folder, {path: content})
    data = content.encode() if isinstance(content, str) else content
    return ChangedFile(path, folder / path, sha256(data).hexdigest(), len(data), mode)


def make_step(
    folder: Path, files: Mapping[str, str | bytes], deleted: tuple[str, ...] = (), title: str = "T"
) -> CommitStep:
    changed = tuple(changed_file(folder, path, content) for path, content in files.items())
    return CommitStep(title, "", (("Task", title),), changed, deleted, 1_800_000_000.9)


class Killed(BaseException):
    """The process has no more to say."""


def dying(real: Callable[..., object], left: Iterator[int]) -> Callable[..., object]:
    def call(*given: object, **options: object) -> object:
        if next(left, None) is None:
            raise Killed
        return real(*given, **options)

    return call


def fingerprint(place: Path) -> dict[str, tuple[object, ...]]:
    """Everything below, to the byte and the nanosecond, but for objects and the branches that are
    ours; of directories that get such, all but the time."""
    found: dict[str, tuple[object, ...]] = {}
    for directory, names, files in os.walk(place):
        for name in (*names, *files):
            path = Path(directory, name)
            relative = path.relative_to(place).as_posix()
            if "/objects/" in f"/{relative}" or "heads/orchestrator" in relative:
                continue
            info = path.lstat()
            grows = name == "objects" or relative.endswith("refs/heads")
            content: object = ""
            if stat.S_ISREG(info.st_mode):
                content = path.read_bytes()
            elif path.is_symlink():
                content = os.readlink(path)
            found[relative] = (info.st_mode, 0 if grows else info.st_mtime_ns, content)
    return found
