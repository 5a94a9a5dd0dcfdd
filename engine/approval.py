"""Showing a plan and its forecast, and asking whether to go on."""

from __future__ import annotations

import sys
from typing import TextIO

from core.errors import UsageError
from engine.ui import View


def check_can_ask(stdin: TextIO | None) -> None:
    """Raises UsageError when there is nobody to ask."""
    if stdin is None or not stdin.isatty():
        raise UsageError(
            "--approve has nobody to ask: standard input is no terminal.",
            "Look at the plan with the plan command, then run it with --plan.",
        )


def approved(view: View, text: str, screen: TextIO, stdin: TextIO | None = None) -> bool:
    """Show `text` on `screen` and ask, on standard input by default; only y or yes is a yes."""
    with view.suspended():
        screen.write(f"{text}\nCarry out this plan? [y/N] ")
        screen.flush()
        return (stdin or sys.stdin).readline().strip().lower() in ("y", "yes")
