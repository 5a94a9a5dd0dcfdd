"""Reads along what a container prints, until it has ended."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from backends.docker.client import DockerHost
from backends.docker.container import has_ended
from backends.docker.logs import Cursor, parse_log
from core.clock import Clock
from core.errors import BackendError

LOOK_EVERY_S = 0.25
PATIENCE_S = 120.0
"""How long the engine may be out of reach meanwhile."""


def follow(
    host: DockerHost,
    container: str,
    clock: Clock,
    take: Callable[[str], None],
    limit_s: float = math.inf,
) -> Mapping[str, Any] | None:
    """Pass each line of standard output to `take`; the container's last state, None when it was
    removed by another program.

    Raises BackendError when the engine stays out of reach, or the container runs longer than
    `limit_s`, and what the clock raises.
    """
    until, cursor, unreachable_since = clock.monotonic() + limit_s, Cursor(), None
    while True:
        try:
            found = host.inspect(container)
            data = host.log(container, stderr=False, times=True, since_s=cursor.since_s)
            unreachable_since = None
        except BackendError:
            now = clock.monotonic()
            unreachable_since = now if unreachable_since is None else unreachable_since
            if now - unreachable_since >= PATIENCE_S:
                raise
        else:
            chunk = parse_log(data, cursor)
            cursor = Cursor.parse(chunk.cursor)
            for line in chunk.lines:
                take(line)
            if found is None or has_ended(found["State"]["Status"]):
                return found and dict(found["State"])
        if clock.monotonic() >= until:
            raise BackendError(f"The container had not ended after {limit_s / 60:,.0f} minutes.")
        clock.sleep(LOOK_EVERY_S)
