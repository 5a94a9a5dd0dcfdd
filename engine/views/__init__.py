"""What a person or a program sees of a run; `make_view` chooses how it is shown while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from core.clock import Clock
    from engine.money.usage import Price
    from engine.views.types import View


def make_view(
    stdout: TextIO | None,
    environ: Mapping[str, str],
    price: Price,
    clock: Clock,
    *,
    json_lines: bool = False,
    quiet: bool = False,
    verbose: bool = False,
    color: bool = True,
) -> View:
    """The first that fits: JSON lines, nothing, plain lines, or a live view on a terminal. Use it
    in a `with`."""
    from engine.views.console import SafeStream
    from engine.views.plain import JsonLines, PlainLines, Quiet

    if json_lines:
        return JsonLines(stdout)
    if quiet:
        return Quiet()
    terminal = SafeStream(stdout).isatty() and environ.get("TERM", "") not in ("", "dumb")
    if not terminal or verbose:
        return PlainLines(stdout, price, clock, verbose=verbose)
    from engine.views.live import LiveView  # rich, only where it is used

    return LiveView(stdout, price, clock, color=color)
