"""Which files travel into images and jobs, and the digest that names them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.worker.source import SOURCE_ROOT, main, source_digest, worker_files

SCRIPT = SOURCE_ROOT / "core" / "worker" / "source.py"


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text.encode())
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    files = {
        "orchestrator.py": "host",
        "config.py": "host",
        "executor_agent.py": "agent",
        "docker_executor.py": "entry",
        "core/__init__.py": "",
        "core/job.py": "job",
        "claude/prompts/planner.md": "prompt",
        "claude/simulation/samples/todo/plan.json": "{}",
        "engine/scheduling/scheduler.py": "host",
        "docker/Dockerfile": "host",
    }
    return write(tmp_path / "root", files)


WORKER = (
    "claude/prompts/planner.md",
    "claude/simulation/samples/todo/plan.json",
    "core/__init__.py",
    "core/job.py",
    "docker_executor.py",
    "executor_agent.py",
)
CACHES = {
    "core/__pycache__/job.cpython-311.pyc": "x",
    "core/job.pyc": "x",
    "claude/.DS_Store": "x",
    "core/.job.py.swp": "x",
    "claude/.hidden/deep.py": "x",
}


def test_entries_that_exist_and_all_of_both_rooms_travel(root: Path) -> None:
    assert worker_files(root) == WORKER


def test_caches_and_hidden_files_stay(root: Path) -> None:
    before = source_digest(root)
    write(root, CACHES)
    assert worker_files(root) == WORKER
    assert source_digest(root) == before


def test_a_hidden_directory_above_changes_nothing(tmp_path: Path, root: Path) -> None:
    hidden = tmp_path / ".venv" / "__pycache__" / "_app"
    shutil.copytree(root, hidden)
    assert worker_files(hidden) == WORKER


def test_links_are_followed_as_some_installers_make_them(tmp_path: Path, root: Path) -> None:
    store = write(tmp_path / "store", {"job.py": "job"})
    before = source_digest(root)
    (root / "core/job.py").unlink()
    (root / "core/job.py").symlink_to(store / "job.py")
    (root / "core/dangling.py").symlink_to(store / "absent.py")
    assert source_digest(root) == before


def test_a_root_without_rooms_has_no_files(tmp_path: Path) -> None:
    assert worker_files(tmp_path) == ()


@pytest.mark.parametrize(
    ("name", "text"),
    [("core/job.py", "jobs"), ("core/new.py", ""), ("batch_executor.py", "entry")],
)
def test_the_digest_changes_with_what_a_worker_runs(root: Path, name: str, text: str) -> None:
    before = source_digest(root)
    assert source_digest(write(root, {name: text})) != before


@pytest.mark.parametrize(
    "name", ["orchestrator.py", "engine/scheduling/scheduler.py", "docker/Dockerfile"]
)
def test_the_digest_stays_whatever_the_host_runs(root: Path, name: str) -> None:
    before = source_digest(root)
    assert source_digest(write(root, {name: "changed"})) == before


def test_modes_and_times_do_not_count(root: Path) -> None:
    before = source_digest(root)
    (root / "core/job.py").chmod(0o755)
    os.utime(root / "core/job.py", (0, 0))
    assert source_digest(root) == before


names = st.text("abcz \n\0é", min_size=1, max_size=6).map(lambda t: t.replace("\0", "_"))
trees = st.dictionaries(names.map(lambda n: f"core/{n}"), st.text(max_size=20), max_size=4)


@given(trees, trees)
def test_two_trees_have_one_digest_only_when_they_are_the_same(
    tmp_path_factory: pytest.TempPathFactory, one: dict[str, str], other: dict[str, str]
) -> None:
    made = [write(tmp_path_factory.mktemp("tree"), files) for files in (one, other)]
    assert (source_digest(made[0]) == source_digest(made[1])) == (one == other)
    assert all(len(source_digest(root)) == 16 for root in made)


def test_the_command_prints_the_digest_or_the_files(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([], root) == 0
    assert capsys.readouterr().out == f"{source_digest(root)}\n"
    assert main(["--files"], root) == 0
    assert capsys.readouterr().out.splitlines() == list(WORKER)


def test_the_command_refuses_what_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--no-such"], SOURCE_ROOT) == 2
    assert "usage" in capsys.readouterr().err


def test_the_script_runs_alone_without_any_package(tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-S", str(SCRIPT)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"{source_digest(SOURCE_ROOT)}\n")


def test_what_git_tracks_of_both_rooms_is_what_travels() -> None:
    if shutil.which("git") is None or not (SOURCE_ROOT / ".git").exists():
        pytest.skip("needs git and a git checkout to tell the project's files from others")
    command = ["git", "ls-files", "-co", "--exclude-standard", "-z", "core", "claude"]
    listed = subprocess.run(command, cwd=SOURCE_ROOT, capture_output=True, text=True, check=True)
    tracked = {p for p in listed.stdout.split("\0") if p and (SOURCE_ROOT / p).is_file()}
    travels = {p for p in worker_files(SOURCE_ROOT) if "/" in p}
    assert travels == tracked
