"""Serves the simulated API on this machine's loopback, for other programs and for real HTTP."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from claude.http.loopback import LoopbackServer
from claude.http.plain_http import HOST, Api
from claude.simulation.api import SimulatedApi
from core.bundle import SimulationSettings
from core.clock import Clock
from core.errors import SettingsError, UsageError


def serve(
    port: int, settings: SimulationSettings, clock: Clock, *, api: Api | None = None
) -> SimulatedServer:
    """Serve on `port` (0: any free one) until closed.

    Raises SettingsError when the port cannot be had or the faults cannot be read.
    """
    try:
        return SimulatedServer(port, api or SimulatedApi(settings, clock))
    except (OSError, OverflowError) as exc:
        raise SettingsError(
            f"Port {port} of {HOST} cannot be used: {exc}.", "Choose another --port, or 0 for any."
        ) from exc


def serve_until_stopped(
    port: int, settings: SimulationSettings | None, clock: Clock, report: Callable[[str], None]
) -> int:
    """The command: serve, report the address, and go on until Ctrl-C."""
    if settings is None:
        raise UsageError("simulated-api does not take --real.", "Leave out --real.")
    with contextlib.suppress(KeyboardInterrupt), serve(port, settings, clock) as server:
        report(f"The simulated Claude listens on {server.base_url}; stop it with Ctrl-C.\n")
        while True:
            clock.sleep(3600)
    return 0


class SimulatedServer(LoopbackServer):
    """A running server; a context manager that closes it."""

    def __init__(self, port: int, api: Api) -> None:
        super().__init__(port, api, "simulated-api")
