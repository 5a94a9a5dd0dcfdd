"""What is told of existing code before and while it is changed."""

from __future__ import annotations

from pathlib import Path

from core.job import Manifest, ManifestEntry
from engine.repository.base import prepare_base
from engine.repository.part import BasePart, SendLimit
from engine.run.rundir import RunDir
from engine.views.existing import describe_base, describe_part
from tests.engine.repository.repos import git, make_repository


def test_a_repository_whose_commit_is_empty_is_told_of_as_such(tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "repo", {"a.txt": "a"})
    git(repo, "rm", "-q", "a.txt")
    git(repo, "commit", "-q", "-m", "Empty")
    (tmp_path / "run").mkdir()
    [line] = describe_base(prepare_base(repo, "", RunDir(tmp_path / "run")))
    assert line.endswith(": no files yet.")


def test_what_is_not_sent_of_a_large_project_is_counted_and_what_the_plan_lacks_named() -> None:
    sent, *unsent = (ManifestEntry(f"{name}.py", 10**6, "", 0o644) for name in "abcdef")
    part = BasePart(Manifest((sent,)), Manifest(tuple(unsent)), tuple("bcdef"), SendLimit(1, 2**20))
    told, lacking = describe_part(part)
    assert told.endswith("1 file of it that the plan needs, 1.0 MB; of 5 only the names.")
    assert "limit of 1 files and 1 MiB" in lacking
    assert "b, c, d and 2 more. Narrow" in lacking
