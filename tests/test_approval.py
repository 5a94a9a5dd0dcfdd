from __future__ import annotations

import io

import pytest

from core.bundle import ModelSettings, SimulationSettings
from core.errors import UsageError
from engine.approval import approved, check_can_ask, show_plan
from engine.forecast import Speed
from engine.ui import Quiet
from tests.plans import chain


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("answer", ["y\n", "Y\n", "yes\n", " YES \n"])
def test_yes_is_a_yes(answer: str) -> None:
    screen = io.StringIO()
    assert approved(Quiet(), "the plan", Terminal(answer), screen)
    assert screen.getvalue() == "the plan\nCarry out this plan? [y/N] "


@pytest.mark.parametrize("answer", ["", "\n", "n\n", "yep\n", "yes please\n"])
def test_anything_else_is_a_no(answer: str) -> None:
    assert not approved(Quiet(), "the plan", Terminal(answer), io.StringIO())


@pytest.mark.parametrize("stdin", [None, io.StringIO("y\n")])
def test_without_a_terminal_there_is_nobody_to_ask(stdin: io.StringIO | None) -> None:
    with pytest.raises(UsageError, match="nobody to ask") as caught:
        check_can_ask(stdin)
    assert "--plan" in caught.value.remedy


def test_a_terminal_can_be_asked() -> None:
    check_can_ask(Terminal())


def test_a_plan_is_shown_with_its_forecast() -> None:
    model = ModelSettings(simulation=SimulationSettings())
    text = show_plan(chain(3), 2, model, Speed(1.0, 50.0), lambda _: 0.5)
    assert "Forecast with 2 executors (simulated)" in text
    assert "$1.50" in text
