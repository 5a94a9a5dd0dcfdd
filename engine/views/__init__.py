"""What a person or a program sees of a run; `make_view` chooses how it is shown while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from core.clock import Clock
    from engine.money.ledger import Price
    from engine.views.types import View, ViewSettings


def make_view(
    settings: ViewSettings,
    stdout: TextIO | None,
    environ: Mapping[str, str],
    price: Price,
    clock: Clock,
) -> View:
    """The first that fits: JSON lines, nothing, plain lines, or a live view on a terminal. Use it
    in a `with`."""
    from engine.views.console import SafeStream
    from engine.views.plain import JsonLines, PlainLines, Quiet

    if settings.json_lines:
        return JsonLines(stdout)
    if settings.quiet:
        return Quiet()
    terminal = SafeStream(stdout).isatty() and environ.get("TERM", "") not in ("", "dumb")
    if not terminal or settings.verbose:
        return PlainLines(stdout, price, clock, verbose=settings.verbose)
    from engine.views.live import LiveView, live_console  # rich, only where it is used

    console = live_console(SafeStream(stdout), color=not settings.no_color)
    return LiveView(console, price, clock)
