"""Files for which a repository asks for Git LFS, whose filter is never run here."""

import os
import tempfile
from collections.abc import Collection
from pathlib import Path

from engine.repository.base import BaseRecord
from engine.repository.git import Git


def paths_for_lfs(base: BaseRecord, commit: str, paths: Collection[str]) -> list[str]:
    """Those of `paths`, relative to the base's directory, that the attributes of `commit` name."""
    if not paths:
        return []
    git, asked = Git(Path(base.git_dir)), "\0".join(f"{base.prefix}{p}" for p in sorted(paths))
    with tempfile.TemporaryDirectory(prefix="orchestrator-") as made:
        index = Path(made, "index")
        git.run("read-tree", commit, index=index)
        command = ("check-attr", "--cached", "-z", "--stdin", "filter")
        told = git.run(*command, stdin=os.fsencode(asked), index=index)
    fields = os.fsdecode(told).split("\0")
    named = zip(fields[::3], fields[2::3], strict=False)
    return [path.removeprefix(base.prefix) for path, value in named if value == "lfs"]
