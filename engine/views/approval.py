"""Showing a plan and its forecast, and asking whether to go on."""

from __future__ import annotations

import sys
from typing import TextIO

from core.errors import UsageError
from engine.views.plain import View


def check_can_ask(stdin: TextIO | None) -> None:
    """Raises UsageError when there is nobody to ask."""
    if stdin is None or not stdin.isatty():
        raise UsageError(
            "--approve has nobody to ask: standard input is no terminal.",
            "Look at the plan with the plan command, then run it with --plan.",
        )


def approved(
    view: View, text: str, stdin: TextIO | None = None, screen: TextIO | None = None
) -> bool:
    """Show `text` and ask, on standard input and where `view` leaves room by default; only y or
    yes is a yes."""
    stdin, screen = stdin or sys.stdin, screen or view.free_stream()
    with view.suspended():
        screen.write(f"{text}\nCarry out this plan? [y/N] ")
        screen.flush()
        return stdin.readline().strip().lower() in ("y", "yes")
