"""Showing a plan and its forecast, and asking whether to go on."""

from __future__ import annotations

import sys
from typing import TextIO

from core.bundle import ModelSettings
from core.errors import UsageError
from core.plan import Plan
from engine.forecast import Price, Speed, forecast
from engine.forecast_view import render_plan_view
from engine.ui import View


def show_plan(
    plan: Plan, max_executors: int, model: ModelSettings, speed: Speed, price: Price
) -> str:
    """The plan and its forecast as text."""
    figures = forecast(
        plan,
        max_executors,
        speed=speed,
        price=price,
        provider=model.provider,
        model=model.model,
        simulated=model.simulation is not None,
    )
    return render_plan_view(plan, figures)


def check_can_ask(stdin: TextIO | None) -> None:
    """Raises UsageError when there is nobody to ask."""
    if stdin is None or not stdin.isatty():
        raise UsageError(
            "--approve has nobody to ask: standard input is no terminal.",
            "Look at the plan with the plan command, then run it with --plan.",
        )


def approved(
    view: View, text: str, stdin: TextIO | None = None, stdout: TextIO | None = None
) -> bool:
    """Show `text` and ask, on the standard streams by default; only y or yes is a yes."""
    stdin, stdout = stdin or sys.stdin, stdout or sys.stdout
    with view.suspended():
        stdout.write(f"{text}\nCarry out this plan? [y/N] ")
        stdout.flush()
        return stdin.readline().strip().lower() in ("y", "yes")
