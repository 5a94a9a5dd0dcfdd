from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from claude.simulation.mistakes import texts
from claude.simulation.mistakes.texts import CHEATS, cheat

TESTS = """import unittest


class FirstTest(unittest.TestCase):
    def setUp(self):
        self.x = 1

    def test_one(self):
        self.assertEqual(self.x, 2)

    def test_two(self):
        with self.assertRaises(ValueError):
            pass


class SecondTest(unittest.TestCase):
    maxDiff = None

    def test_three(self):
        self.assertIn("a", "b")
"""


@pytest.mark.parametrize(
    ("name", "expected"),
    [("get_all", "other_get_all"), ("NotFound", "OtherNotFound"), ("MAX_SIZE", "OTHER_MAX_SIZE")],
)
def test_a_whole_name_is_renamed_everywhere(name: str, expected: str) -> None:
    text = f"{name}(1)  # {name}s\nx.{name} = my_{name}\n"
    assert texts.rename(text, name) == f"{expected}(1)  # {name}s\nx.{expected} = my_{name}\n"


@pytest.mark.parametrize(("way", "left"), [(CHEATS[0], 2), (CHEATS[1], 3), (CHEATS[2], 3)])
@pytest.mark.parametrize("test", ["test_one", "test_two", "test_three"])
def test_a_cheat_hides_one_test_and_leaves_the_others(way: str, left: int, test: str) -> None:
    made = cheat(TESTS, test, way)
    compile(made, "tests", "exec")
    assert len(texts.test_names(made)) == left
    result = run_tests(made)
    assert f"FAIL: {test} " not in result
    for other in {"test_one", "test_two", "test_three"} - {test}:
        assert f"FAIL: {other} " in result


def run_tests(source: str) -> str:
    command = [sys.executable, "-c", f"{source}\nunittest.main()"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr


def test_a_text_without_a_place_for_it_stays_as_it_is() -> None:
    plain = "plain = 1\n"
    assert texts.break_behaviour(plain) == texts.import_missing(plain) == plain
    assert cheat(plain, "test_one", "delete") == plain


def test_a_flaky_check_fails_every_second_time_in_the_same_place(tmp_path: Path) -> None:
    def runs(command: str, times: int) -> list[bool]:
        done = [subprocess.run(["sh", "-c", command], cwd=tmp_path) for _ in range(times)]
        return [each.returncode == 0 for each in done]

    assert runs(texts.flaky("echo ran"), 4) == [False, True, False, True]
    assert runs(texts.flaky("false"), 2) == [False, False]
    assert runs(texts.hear_nothing("false"), 1) == [True]
