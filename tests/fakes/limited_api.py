"""A loopback server that enforces limits as a provider does, around the simulated API.

Only so many requests at once, and so many in a window, which refills continuously. What it refuses
costs nothing of the limit. Everything it did is in its log, with monotonic times.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from claude.http.plain_http import Incoming, Outgoing
from claude.simulation.api import SimulatedApi
from claude.simulation.dialects import AnthropicDialect, BedrockDialect
from claude.simulation.server import SimulatedServer
from core.clock import SystemClock
from tests.fakes.simulated import build_api


@dataclass(frozen=True)
class Rules:
    """`at_once` requests, and `in_window` in `window_s` seconds (and as many to begin with).

    `told` sends the anthropic-ratelimit headers, `retry_after` the header of that name: the time
    until the next one fits, or `busy_s` where there are too many at once. `whole_seconds` rounds
    both as the real API does. `overload` answers 529 to what is too many at once. An answer begins
    `first_s` after its request came; a refusal comes at once.
    """

    at_once: int = 4
    in_window: int = 40
    window_s: float = 60.0
    busy_s: float = 1.0
    told: bool = True
    retry_after: bool = True
    whole_seconds: bool = False
    overload: bool = False
    first_s: float = 0.0


@dataclass(frozen=True)
class Entry:
    """One request as the server saw it, when `open_then` others were being answered.

    An answer, `status` 200, began at `began_s` and was complete at `ended_s`."""

    came_s: float
    status: int
    open_then: int
    retry_after_s: float = 0.0
    began_s: float = 0.0
    ended_s: float = 0.0


class Gate:
    """Who is let in under the rules: pure, times are given to it. `open` are being answered, and
    `rules` may change."""

    def __init__(self, rules: Rules, now: float) -> None:
        self.rules = rules
        self._left, self._at = float(rules.in_window), now
        self.open = 0

    def judge(self, now: float) -> tuple[int, dict[str, str]]:
        """The status for a request that comes now, and its retry-after; 200 lets it in."""
        rules = self.rules
        self._refill(now)
        if self.open >= rules.at_once:
            return (529 if rules.overload else 429), self._retry_after(rules.busy_s)
        if self._left < 1:
            seconds = (1 - self._left) * rules.window_s / rules.in_window
            return 429, self._retry_after(seconds)
        self.open += 1
        self._left -= 1
        return 200, {}

    def tell(self, unix_s: float) -> dict[str, str]:
        """The headers about what was left after the last judgement, at Unix time `unix_s`."""
        if not self.rules.told:
            return {}
        rules = self.rules
        full_s = (rules.in_window - self._left) * rules.window_s / rules.in_window
        full = datetime.fromtimestamp(unix_s + full_s, UTC)
        precision = "seconds" if rules.whole_seconds else "microseconds"
        prefix = "anthropic-ratelimit-requests"
        return {
            f"{prefix}-limit": str(rules.in_window),
            f"{prefix}-remaining": str(int(max(0.0, self._left))),
            f"{prefix}-reset": full.isoformat(timespec=precision).replace("+00:00", "Z"),
        }

    def _refill(self, now: float) -> None:
        rate = self.rules.in_window / self.rules.window_s
        self._left = min(self.rules.in_window, self._left + (now - self._at) * rate)
        self._at = now

    def _retry_after(self, seconds: float) -> dict[str, str]:
        if not self.rules.retry_after:
            return {}
        whole = self.rules.whole_seconds
        return {"retry-after": str(math.ceil(seconds)) if whole else f"{seconds:.4f}"}


Refusal = Callable[[Incoming, int], tuple[int, Mapping[str, str]] | None]


class LimitedApi:
    """`also_refuse` may refuse the request of that number (from 0) for a reason of its own."""

    def __init__(
        self, api: SimulatedApi, rules: Rules, also_refuse: Refusal = lambda _, __: None
    ) -> None:
        self._api, self._rules, self._also_refuse = api, rules, also_refuse
        self._lock = threading.Lock()
        self._gate = Gate(rules, time.monotonic())
        self.log: list[Entry] = []

    def handle(self, incoming: Incoming) -> Outgoing:
        with self._lock:
            number, now, others = len(self.log), time.monotonic(), self._gate.open
            refusal = self._also_refuse(incoming, number)
            status, headers = refusal if refusal is not None else self._gate.judge(now)
            self.log.append(Entry(now, status, others, float(headers.get("retry-after", 0))))
            headers = {**headers, **self._gate.tell(time.time())}
        if status != 200:
            return self._refuse(incoming, status, headers)
        time.sleep(self._rules.first_s)
        answer = self._api.handle(incoming)
        self._note(number, lambda entry: replace(entry, began_s=time.monotonic()))
        body = self._until_ended(answer.body, number)
        return replace(answer, headers={**answer.headers, **headers}, body=body)

    def _refuse(self, incoming: Incoming, status: int, headers: Mapping[str, str]) -> Outgoing:
        bedrock = incoming.target.startswith("/model/")
        dialect = BedrockDialect() if bedrock else AnthropicDialect()
        kinds = {429: "rate_limit", 529: "overloaded", 401: "credentials", 500: "server_error"}
        refusal = dialect.refuse(kinds[status], "The limited server refuses.", "req_limited")
        return replace(refusal, headers={**refusal.headers, **headers})

    def _until_ended(self, body: Any, number: int) -> Iterator[bytes]:
        try:
            yield from body
        finally:
            with self._lock:
                self._gate.open -= 1
            self._note(number, lambda entry: replace(entry, ended_s=time.monotonic()))

    def _note(self, number: int, change: Callable[[Entry], Entry]) -> None:
        with self._lock:
            self.log[number] = change(self.log[number])

    @property
    def refusals(self) -> list[Entry]:
        return [entry for entry in self.log if entry.status != 200]

    @property
    def served(self) -> list[Entry]:
        return [entry for entry in self.log if entry.status == 200]


def limited_server(
    rules: Rules, *, speed: float, also_refuse: Refusal = lambda _, __: None, faults: str = ""
) -> tuple[SimulatedServer, LimitedApi]:
    """A running server (close it) and its API; answers take as long as `speed` makes them."""
    api = LimitedApi(build_api(SystemClock(), speed=speed, faults=faults), rules, also_refuse)
    return SimulatedServer(0, api), api
