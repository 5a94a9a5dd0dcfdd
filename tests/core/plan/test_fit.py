"""A plan beside the existing code that it changes: what cannot be written there is named."""

from __future__ import annotations

import pytest

from core.plan import ExistingCode
from tests.fakes.plan_parts import contract, plan, task

CODE = ExistingCode(["README.md", "app/calc.py", "app/deep/x.py"], [".env", "sm/"])


@pytest.mark.parametrize(
    ("owns", "why"),
    [
        ((".env",), "'.env' was left out"),
        (("sm/x.py",), "'sm' was left out"),
        (("readme.md",), "'readme.md' differs only in case from 'README.md'"),
        (("App/new.py",), "'App' differs only in case from 'app'"),
        (("README.md/x",), "'README.md' is a file"),
        (("README.md/",), "'README.md' is a file"),
        (("app",), "that is a directory"),
    ],
)
def test_what_cannot_be_written_is_named(owns: tuple[str, ...], why: str) -> None:
    [defect] = CODE.defects(plan(task("a", owns=owns)))
    assert defect.startswith(f"task 'a' owns {owns[0]!r}, but {why}")
    if not owns[0].endswith("/"):
        parts = plan(task("a", owns=("b",)), contracts=(contract(owns[0]),))
        assert why in next(CODE.defects(parts))


@pytest.mark.parametrize(
    "owns",
    [
        ("README.md", "new/file.py"),
        ("app/",),
        ("app/deep/",),
        ("./",),
        ("README.md", "README.md/x"),
        ("README.md", "readme.md"),
        ("app/deep", "app/deep/x.py"),
    ],
    ids=str,
)
def test_what_is_there_or_new_or_takes_the_place_of_what_goes(owns: tuple[str, ...]) -> None:
    assert not [*CODE.defects(plan(task("a", owns=owns)))]
