"""What a planner is told of a file's commits."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import WorkspaceError
from engine.repository.base import prepare_base
from engine.repository.file_log import MOST_COMMITS, log_of
from tests.engine.repository.repos import (
    commit_files,
    git,
    make_repository,
    make_run,
    put_git_on_path,
    write_files,
)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    repo = make_repository(tmp_path / "repo", {"app/a.py": "1", "--all": "x", "b.txt": "b"})
    commit_files(repo, {"app/a.py": "2"}, "Mend the \x1bparser")
    commit_files(repo, {"app/c.py": "3"}, f"Long {'word ' * 100}")
    return repo


def log(into: Path, path: str, ref: str = "") -> list[str]:
    """Without the ids."""
    run = make_run(into.parent, f"run-{len(list(into.parent.glob('work/runs/*')))}")
    tell = log_of(prepare_base(into, ref, run))
    assert tell is not None
    lines = tell(path).splitlines()
    return [line.partition(" ")[2] if line[0] not in "[N" else line for line in lines]


def test_it_tells_id_date_and_subject_and_nobodys_address(repo: Path, tmp_path: Path) -> None:
    tell = log_of(prepare_base(repo, "", make_run(tmp_path)))
    assert tell is not None
    first, second = tell("app/a.py").splitlines()
    commit, date, subject = first.split(" ", 2)
    assert git(repo, "rev-parse", "HEAD~1").startswith(commit)
    assert (date, subject) == ("2023-11-14", "Mend the \\x1bparser")
    assert second.endswith(" files")
    assert "ada@" not in tell("")


@pytest.mark.parametrize(
    ("path", "count"),
    [("app", 3), ("app/", 3), ("./app/a.py", 2), ("--all", 1), ("", 3), (".", 3), ("*.py", 0)],
)
def test_a_path_is_a_path_and_nothing_else(path: str, count: int, repo: Path) -> None:
    told = log(repo, path)
    assert told == [f"No commit has changed {path!r}."] if count == 0 else len(told) == count


@pytest.mark.parametrize("path", ["..", "../x", "/etc/passwd", "app/../../x", "a\0b"])
def test_a_path_outside_is_refused(path: str, repo: Path) -> None:
    with pytest.raises(WorkspaceError, match="not inside the project"):
        log(repo, path)


def test_a_subfolder_and_another_base_are_heeded(repo: Path) -> None:
    assert len(log(repo / "app", "c.py")) == 1
    assert log(repo / "app", "b.txt") == ["No commit has changed 'b.txt'."]
    assert log(repo, "app/c.py", "HEAD~1") == ["No commit has changed 'app/c.py'."]


def test_it_is_bounded(repo: Path) -> None:
    assert len(log(repo, "app/c.py")[0]) < 140
    for n in range(MOST_COMMITS):
        commit_files(repo, {"b.txt": str(n)}, f"step {n}")
    told = log(repo, "b.txt")
    assert len(told) == MOST_COMMITS + 1
    assert told[-1] == "[the last 20; older ones are not shown]"


def test_a_shallow_clone_and_a_failing_git_are_told(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{repo}", "shallow")
    told = log(tmp_path / "shallow", "b.txt")
    assert told[-1] == "[the clone is shallow: what came before is not here]"
    fails = 'case " $* " in *" rev-list "*) exit 3;; esac; exec "$GIT" "$@"'
    put_git_on_path(tmp_path / "bin", fails, monkeypatch)
    with pytest.raises(WorkspaceError, match="git rev-list failed"):
        log(repo, "b.txt")


def test_a_plain_directory_has_none(tmp_path: Path) -> None:
    write_files(tmp_path / "plain", {"a.txt": "a"})
    assert log_of(prepare_base(tmp_path / "plain", "", make_run(tmp_path))) is None
