"""Blobs and commits of a repository, made by git byte for byte."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from core.errors import GitFailed
from core.workspace.confined import remove_tree
from engine.repository.git import Git

_AT_ONCE = 1000
_IDENTITY = re.compile(r"(.*) <(.*)> \d+ [+-]\d{4}")
_NO_IDENTITY = 128


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is a commit's author and committer."""

    name: str
    email: str


PROGRAM = Identity("Parallel Task Orchestrator", "orchestrator@localhost")


def author_of(git: Git) -> Identity:
    """As git is configured for the user there; git does not guess one from the machine's name."""
    try:
        told = git.run("var", "GIT_AUTHOR_IDENT", as_user=True).decode(errors="replace")
    except GitFailed as exc:
        if exc.code != _NO_IDENTITY:
            raise
        return PROGRAM
    found = _IDENTITY.fullmatch(told.strip())
    return Identity(found[1], found[2]) if found else PROGRAM


def store_blobs(git: Git, contents: Iterable[bytes], scratch: Path) -> list[str]:
    """Store each as a blob, by way of the directory `scratch`; their ids in the same order."""
    left = iter(contents)
    ids: list[str] = []
    while stored := _store_some(git, islice(left, _AT_ONCE), scratch):
        ids += stored
    return ids


def _store_some(git: Git, contents: Iterable[bytes], scratch: Path) -> list[str]:
    """Out of files that nobody else changes: those that are handed in may be, meanwhile."""
    names: list[str] = []
    made = scratch / ".blobs"
    remove_tree(made)  # of a process that was killed
    made.mkdir()
    try:
        for number, data in enumerate(contents):
            path = made / str(number)
            path.write_bytes(data)
            names.append(f"{path}\n")
        if not names:
            return []
        listed = "".join(names).encode()
        command = ("hash-object", "-w", "--no-filters", "--stdin-paths")
        return git.text(*command, stdin=listed).split("\n")
    finally:
        remove_tree(made)


def store_commit(git: Git, tree: str, parent: str, message: str, who: Identity, when: float) -> str:
    """Its id, which depends on the arguments alone. `parent` is empty for a first commit, `when`
    Unix time in seconds."""
    date = f"@{int(when)} +0000"
    values = (("NAME", who.name), ("EMAIL", who.email), ("DATE", date))
    roles = ("AUTHOR", "COMMITTER")
    env = {f"GIT_{role}_{part}": value for role in roles for part, value in values}
    above = ("-p", parent) if parent else ()
    text = message.encode("utf-8", "replace")
    return git.text("commit-tree", *above, tree, stdin=text, env=env)
