from __future__ import annotations

import io
from pathlib import Path

import pytest

from core.errors import UsageError
from engine.views.approval import check_can_ask, is_approved
from engine.views.plain import Quiet


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("answer", ["y\n", "Y\n", "yes\n", " YES \n"])
def test_yes_is_a_yes(answer: str) -> None:
    screen = io.StringIO()
    assert is_approved(Quiet(), "the plan", Terminal(answer), screen)
    assert screen.getvalue() == "the plan\nCarry out this plan? [y/N] "


@pytest.mark.parametrize("answer", ["", "\n", "n\n", "yep\n", "yes please\n"])
def test_anything_else_is_a_no(answer: str) -> None:
    assert not is_approved(Quiet(), "the plan", Terminal(answer), io.StringIO())


@pytest.mark.parametrize("stdin", [None, io.StringIO("y\n")])
def test_approve_needs_a_terminal(stdin: io.StringIO | None, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--approve needs a terminal") as caught:
        check_can_ask(stdin, tmp_path / "plan.json")
    assert "`plan -o plan.json`" in caught.value.remedy


def test_a_terminal_can_be_asked(tmp_path: Path) -> None:
    check_can_ask(Terminal(), tmp_path / "plan.json")
