"""The checks of the samples see every mistake that they can have."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from claude.simulation.mistakes.places import (
    PLACES,
    all_commands,
    all_texts,
    commands_of,
    tree_of,
)
from claude.simulation.sample_projects import KEYWORDS, load_sample


def places(sample: str, fault: str) -> list[tuple[str, str, int]]:
    return [(sample, fault, n) for n in range(len(PLACES[fault](load_sample(sample))))]


# The shop has the rest of todo's modules too; its orders have a mistake of their own.
SEEN = [
    *(each for fault in PLACES for name in ("todo", "word_count") for each in places(name, fault)),
    *[("shop", "broken_code", 2), ("shop", "broken_code", 3)],
]


def passes(root: Path, tree: Mapping[str, str]) -> bool:
    for path, text in tree.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    tests = [path for path in tree if path.startswith("tests/test_")]
    tests.sort(key=lambda path: "test_app" in path)  # its tests start processes, others see most
    command = [sys.executable, "-m", "unittest", "-f", *tests]
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, check=False)
    return done.returncode == 0


@pytest.mark.slow  # starts many processes
@pytest.mark.parametrize(("name", "fault", "number"), SEEN)
def test_tests_fail_with_each_mistake_and_pass_once_it_is_mended(
    name: str, fault: str, number: int, tmp_path: Path
) -> None:
    sample = load_sample(name)
    mistake = PLACES[fault](sample)[number]
    for path, text in mistake.texts.items():
        if path.endswith(".py"):
            compile(text, path, "exec")  # or it would be found without any check
    spoiled = {**tree_of(sample), **mistake.texts}
    assert not passes(tmp_path / "spoiled", spoiled)
    mended = {**spoiled, **mistake.mended}
    assert mended == tree_of(sample) or passes(tmp_path / "mended", mended)


@pytest.mark.parametrize("name", KEYWORDS)
def test_every_mistake_is_one_of_the_texts_of_a_sample(name: str) -> None:
    sample = load_sample(name)
    known = all_texts(sample)
    assert known.keys() == tree_of(sample).keys()
    for fault, find in PLACES.items():
        for mistake in find(sample):
            assert mistake.texts
            for path, text in (*mistake.texts.items(), *mistake.mended.items()):
                assert text in known[path], fault
    assert all(len(known[p]) > 1 for p in known if p.endswith(".py"))


def test_there_is_a_place_for_every_fault_in_a_sample_of_several_tasks() -> None:
    for name in ("todo", "shop"):
        assert all(len(find(load_sample(name))) > 1 for find in PLACES.values())
    plan = load_sample("todo").plan
    assert len(all_commands(plan)) == 4 * len(commands_of(plan)) - (len(commands_of(plan)) - 1)
