"""The part of a large base that executors get: what the plan needs, the most needed first."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from core.bundle import build_manifest
from core.plan import Contract, Plan
from engine.repository.part import BasePart, SendLimit, choose_part
from tests.engine.repository.repos import write_files
from tests.fakes.plan_parts import plan, task

FILES = {
    "pyproject.toml": "[project]\n",
    "LICENSE": "words\n",
    "app/__init__.py": "",
    "app/core/setup.cfg": "[x]\n",
    "app/core/store.py": "from app.far.clock import SystemClock\n\n\nclass TodoStore: ...\n",
    "app/core/beside.py": "x = 1\n",
    "app/core/deep/below.py": "x = 1\n",
    "app/far/clock.py": "class SystemClock: ...\n",
    "app/far/other.py": "x = 1\n",
    "app/web/page.py": "from app.core.store import TodoStore\n",
    "app/web/setup.cfg": "[x]\n",
    "tests/test_store.py": "x = 1\n",
    "tests/unit/test_a.py": "x = 1\n",
    "tests/unit/test_b.py": "x = 1\n",
    "docs/api.md": "x\n",
    "docs/guide.md": "x\n",
}
OWNS = ("app/core/store.py", "app/core/new.py")
EVEN_SO = {"app/core/store.py", "app/core/beside.py", "app/core/setup.cfg", "app/__init__.py"} | {
    *("pyproject.toml", "app/far/clock.py", "app/web/page.py")
}
"""What is sent to change the store, whatever else is named."""


def choose(
    root: Path,
    plan: Plan,
    limit: SendLimit = SendLimit(100, 10_000),  # noqa: B008 - a frozen value
    prompt: str = "",
    files: Mapping[str, str] = FILES,
) -> BasePart:
    write_files(root, files)
    return choose_part(build_manifest(root), root, plan, prompt, limit)


@pytest.mark.parametrize(
    ("change", "prompt", "more"),
    [
        ({}, "", set()),
        ({"checks": ("pytest -q tests/test_store.py::test_x",)}, "", {"tests/test_store.py"}),
        ({"checks": ("cd x && pytest tests",)}, "", {p for p in FILES if p.startswith("tests/")}),
        ({"checks": ("python -m unittest tests.unit.test_a.T",)}, "", {"tests/unit/test_a.py"}),
        ({"instructions": "See ./docs/guide.md."}, "", {"docs/guide.md"}),
        ({"instructions": "See guide.md and tests/unit/."}, "", {"docs/guide.md"} | {
            *("tests/unit/test_a.py", "tests/unit/test_b.py")
        }),
        ({"instructions": "The docs and tests stay."}, "", set()),
        ({}, "`pytest tests/unit/test_b.py` fails", {"tests/unit/test_b.py"}),
    ],
)  # fmt: skip
def test_it_is_what_the_plan_needs(
    tmp_path: Path, change: dict[str, Any], prompt: str, more: set[str]
) -> None:
    part = choose(tmp_path, plan(task("t", owns=OWNS, **change)), prompt=prompt)
    assert set(part.sent.paths) == EVEN_SO | more
    assert set(part.unsent.paths) == FILES.keys() - set(part.sent.paths)
    assert part.sent.paths == tuple(sorted(part.sent.paths))
    assert part.dropped == ()


def test_the_limit_is_told_where_it_is_one(tmp_path: Path) -> None:
    write_files(tmp_path, FILES)
    manifest = build_manifest(tmp_path)
    assert SendLimit().told_for(manifest) == ""
    assert SendLimit(files=15).told_for(manifest) == "15 files and 64 MiB"
    assert SendLimit(size=2**18 - 1).told_for(manifest) == ""
    assert SendLimit(size=manifest.size - 1).told_for(manifest)


def test_what_the_planner_wants_read_comes_with_it(tmp_path: Path) -> None:
    part = choose(tmp_path, plan(task("t", owns=OWNS), reads=("docs/", "app/far/other.py")))
    assert set(part.sent.paths) == EVEN_SO | {"docs/api.md", "docs/guide.md", "app/far/other.py"}


def test_contracts_are_sent_and_what_they_name(tmp_path: Path) -> None:
    contract = Contract(path="app/far/other.py", content="# as docs/api.md says\n")
    part = choose(tmp_path, plan(task("t", owns=("new.py",)), contracts=(contract,)))
    assert {"app/far/other.py", "docs/api.md"} <= set(part.sent.paths)


def test_over_the_limit_the_order_decides_and_what_the_plan_named_is_told(tmp_path: Path) -> None:
    wish = plan(
        task("t", owns=(*OWNS, "tests/unit/"), instructions="See docs/guide.md."),
        reads=("app/web/", "docs/api.md"),
    )
    parts = [choose(tmp_path, wish, SendLimit(files, 10_000)) for files in range(1, 9)]
    new = [set(b.sent.paths) - set(a.sent.paths) for a, b in pairwise(parts)]
    assert parts[0].sent.paths == ("app/core/store.py",)
    order = ["tests/unit/test_a.py", "tests/unit/test_b.py", "docs/guide.md"]
    order += ["pyproject.toml", "app/__init__.py", "app/core/setup.cfg", "app/web/page.py"]
    assert new == [{path} for path in order]
    assert parts[-1].dropped == ("app/web/setup.cfg", "docs/api.md")


def test_what_a_task_owns_exactly_is_sent_in_any_case(tmp_path: Path) -> None:
    part = choose(tmp_path, plan(task("t", owns=OWNS), task("u", owns=("docs/",))), SendLimit(0, 0))
    assert part.sent.paths == ("app/core/store.py",)
    assert part.dropped == ("docs/api.md", "docs/guide.md")


def test_a_file_for_which_there_is_no_room_keeps_no_other_out(tmp_path: Path) -> None:
    files = {"own.py": "", "big.py": "x" * 900, "small.py": "x"}
    wish = plan(task("t", owns=("own.py",)), reads=("big.py", "small.py"))
    part = choose(tmp_path, wish, SendLimit(9, 100), files=files)
    assert (part.sent.paths, part.dropped) == (("own.py", "small.py"), ("big.py",))


def test_who_owns_everything_gets_sources_first_until_it_is_full(tmp_path: Path) -> None:
    part = choose(tmp_path, plan(task("t", owns=("./",))), SendLimit(6, 10_000))
    assert set(part.sent.paths) == {"pyproject.toml", "LICENSE", "app/__init__.py"} | {
        *("app/core/beside.py", "app/core/setup.cfg", "app/core/store.py")
    }
    assert part.dropped == ()
