"""The sample projects: valid plans whose files work, and the words that choose one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from claude.simulation.sample_projects import (
    KEYWORDS,
    choose_sample,
    find_sample_files,
    load_sample,
    plan_sample,
)
from core.paths import is_owned
from core.plan import plan_defects
from core.simulation_notice import SAMPLE_TITLES, simulation_notice

SAMPLES = Path(__file__).resolve().parents[3] / "claude" / "simulation" / "samples"


@pytest.mark.parametrize("name", KEYWORDS)
def test_the_plan_is_valid_and_its_tasks_write_exactly_the_files(name: str) -> None:
    sample = load_sample(name)
    assert plan_defects(sample.plan) == []
    assert all(task.estimate for task in sample.plan.tasks)
    on_disk = (SAMPLES / name / "files").rglob("*")
    paths = {p.relative_to(SAMPLES / name / "files").as_posix() for p in on_disk if p.is_file()}
    written = [path for files in sample.files.values() for path in files]
    assert sorted(written) == sorted(path for path in paths if not path.endswith(".pyc"))
    for task in sample.plan.tasks:
        assert sample.files[task.id]
        assert all(is_owned(task.owns, path) for path in sample.files[task.id])


@pytest.mark.parametrize("name", KEYWORDS)
def test_the_samples_own_tests_pass(name: str, tmp_path: Path) -> None:
    sample = load_sample(name)
    tree = {contract.path: contract.content for contract in sample.plan.contracts}
    for files in sample.files.values():
        tree |= files
    for path, content in tree.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content, encoding="utf-8")
    command = [sys.executable, "-B", "-m", "unittest", "discover", "-t", ".", "-s", "tests"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", KEYWORDS)
def test_the_readme_says_at_its_top_what_was_simulated(name: str) -> None:
    sample = load_sample(name)
    (readme,) = (files["README.md"] for files in sample.files.values() if "README.md" in files)
    assert readme.splitlines()[0] == simulation_notice(sample.plan.title)


def test_the_samples_are_those_whose_titles_are_known() -> None:
    assert {path.name for path in SAMPLES.iterdir()} == set(KEYWORDS)
    assert tuple(load_sample(name).plan.title for name in KEYWORDS) == SAMPLE_TITLES
    single = load_sample("word_count").plan
    assert (len(single.tasks), single.analysis.parallel_pays) == (1, False)


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("Build a todo list app with add/delete/complete", "todo"),
        ("A TODO-LIST!", "todo"),
        ("", "todo"),
        ("🐍 ünïcode", "todo"),
        ("fix the bug in my code", "todo"),
        ("Write a script that counts words in a file", "word_count"),
        ("a function that prints hello", "word_count"),
        ("Write a script for my todo notes and tasks", "todo"),
        ("Create a landing page for a coffee shop", "shop"),
        ("a library for books with a web page", "shop"),
    ],
)
def test_the_sample_is_the_one_whose_words_are_nearest_to_the_prompt(
    prompt: str, name: str
) -> None:
    assert choose_sample(prompt) == name
    assert plan_sample(prompt) is load_sample(name).plan


@pytest.mark.parametrize("title", ["", "Todo", "todo list", "Random plan of 3 tasks"])
def test_a_plan_of_another_title_has_no_sample(title: str) -> None:
    assert find_sample_files(title, ["tests/__init__.py"]) == {}
    assert find_sample_files("Todo List", []) == load_sample("todo").files


def test_a_plan_whose_title_was_edited_is_known_by_its_contracts() -> None:
    contracts = [contract.path for contract in load_sample("shop").plan.contracts]
    assert find_sample_files("Mine", ["more.py", *contracts]) == load_sample("shop").files
