"""Showing a plan and its forecast, and asking whether to go on."""

import sys
from pathlib import Path
from typing import TextIO

from core.errors import UsageError
from engine.views.types import View


def check_can_ask(stdin: TextIO | None, plan: Path) -> None:
    """Raises UsageError when the question of --approve could not be answered; `plan` is where the
    run's plan is, if it has one."""
    if stdin is None or not stdin.isatty():
        remedy = "Write the plan with `plan -o plan.json`, review it and run it with --plan."
        if plan.exists():
            remedy = f"Go on in a terminal, or review {plan} and start a run of it with --plan."
        raise UsageError("--approve needs a terminal, and standard input is not one.", remedy)


def is_approved(
    view: View, text: str, stdin: TextIO | None = None, screen: TextIO | None = None
) -> bool:
    """Show `text` and ask, by default on standard input and the stream that `view` leaves free;
    only y or yes is a yes."""
    stdin, screen = stdin or sys.stdin, screen or view.question_stream()
    with view.suspended():
        screen.write(f"{text}\nCarry out this plan? [y/N] ")
        screen.flush()
        return stdin.readline().strip().lower() in ("y", "yes")
