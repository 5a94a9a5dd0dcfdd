"""New files for which .gitattributes asks for Git LFS: they are named, and no filter is run."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.repository.base import prepare_base
from engine.repository.lfs import paths_for_lfs
from engine.run.rundir import RunDir
from tests.engine.repository.repos import git, make_repository

FILES = {
    ".gitattributes": "*.bin filter=lfs diff=lfs -text\nart/*.svg filter=lfs\n*.x filter=x\n",
    "app/.gitattributes": "small.bin -filter\n",
    "app/main.py": "x = 1\n",
}


@pytest.mark.parametrize(
    ("below", "paths", "found"),
    [
        ("", ("a.bin", "app/b.bin", "app/small.bin", "art/l.svg", "l.svg", "y.x"),
         ["a.bin", "app/b.bin", "art/l.svg"]),
        ("app", ("b.bin", "small.bin", "d/a name.bin", "main.py"), ["b.bin", "d/a name.bin"]),
        ("", (), []),
    ],
)  # fmt: skip
def test_they_are_found_by_the_attributes_of_the_commit(
    tmp_path: Path, below: str, paths: tuple[str, ...], found: list[str]
) -> None:
    repo = make_repository(tmp_path / "repo", FILES)
    git(repo, "config", "filter.lfs.clean", "touch ran; cat")
    (tmp_path / "run").mkdir()
    base = prepare_base(repo / below, "", RunDir(tmp_path / "run"))
    (repo / ".gitattributes").unlink()
    assert paths_for_lfs(base, base.commit, paths) == found
    assert not [*tmp_path.rglob("ran")]
