"""The commands that prove a project whose plan names none."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.job import ManifestEntry
from core.plan import Plan
from engine.delivery.merge import MergedFile, MergePlan
from engine.verification.commands import find_commands
from tests.fakes.plan_parts import plan, task

ALONE = plan(task("build", owns=("./",)))
DISCOVER = "python3 -m unittest discover"
UNITTEST = "import unittest\n"


def merged(root: Path, files: dict[str, str]) -> MergePlan:
    found = []
    for path, text in files.items():
        source = root / path
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_text(text)
        found.append(MergedFile(path, "build", source, ManifestEntry(path, 0, "", False)))
    return MergePlan(tuple(found))


def found_for(root: Path, files: dict[str, str], made: Plan = ALONE) -> list[str]:
    return [*find_commands(made, merged(root, files))]


@pytest.mark.parametrize(
    ("files", "commands"),
    [
        ({"app.py": "", "README.md": ""}, []),
        ({"test_app.py": UNITTEST}, [DISCOVER]),
        ({"tests/test_app.py": UNITTEST}, [f"{DISCOVER} -s tests"]),
        (
            {"tests/__init__.py": "", "tests/unit/test_app.py": UNITTEST},
            [f"{DISCOVER} -s tests -t ."],
        ),
        (
            {"test_app.py": UNITTEST, "tests/test_more.py": UNITTEST},
            [DISCOVER, f"{DISCOVER} -s tests"],
        ),
        ({"test_app.py": "import pytest\n"}, []),
        ({"src/test_app.py": UNITTEST}, []),
        ({"test/app.js": ""}, ["node --test"]),
        ({"lib/app.test.mjs": "", "app.js": ""}, ["node --test"]),
        ({"contest.js": "", "test/data.json": ""}, []),
        ({"package.json": '{"scripts": {"test": "node --test"}}', "a.test.js": ""}, ["npm test"]),
        ({"package.json": "{}", "a.test.js": ""}, []),
    ],
)
def test_its_own_tests_as_far_as_they_need_no_installation(
    tmp_path: Path, files: dict[str, str], commands: list[str]
) -> None:
    assert found_for(tmp_path, files) == commands


def test_what_the_plan_names_comes_before_what_is_found(tmp_path: Path) -> None:
    named = plan(task("build", owns=("./",), checks=("make test",)))
    assert found_for(tmp_path, {"test_app.py": UNITTEST}, named) == ["make test"]
