"""Executors and a server that enforces limits, in virtual time: a minute takes milliseconds.

The server's rules are those of tests/fakes/limited_api.py and its headers are read as the client
reads them; in between are claude.limits.admission and a queue, as in the governor, but no
threads. So figures are exact, the same each time, and do not depend on the machine.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count

from claude.limits.admission import SILENCE_S
from claude.limits.rate_limits import read_limits
from claude.limits.retry import Backoff
from tests.fakes.limited_api import Entry, Gate, Rules
from tests.fakes.witness import Witness

LATENCY_S = 0.03  # one way
UNIX_S = 1_800_000_000.4


@dataclass(frozen=True, slots=True)
class Load:
    """Answers take `first_s` of the rules and up to `spread` more or less than `length_s`."""

    executors: int = 16
    requests: int = 160
    length_s: float = 5.0
    spread: float = 0.4
    retries: int = 8
    seed: int = 0


class LimitedWorld:
    """Run it once. `failed` counts requests without retries left, and `witness` what else was
    wrong."""

    def __init__(self, rules: Rules, load: Load) -> None:
        self._rules, self._load = rules, load
        self._random = random.Random(load.seed)
        self._gate, self.witness = Gate(rules, 0.0), Witness()
        self._order, self._due = count(), list[tuple[float, int, Callable[[], None]]]()
        self._tries = deque([0] * min(load.executors, load.requests))
        self._unasked = load.requests - len(self._tries)
        self._flying_since: dict[int, float] = {}
        self.now, self.failed = 0.0, 0
        self.log: list[Entry] = []

    def change(self, at_s: float, rules: Rules) -> None:
        """From then on the server has other limits; to be called before run."""
        self._later(at_s, lambda: setattr(self._gate, "rules", rules))

    def run(self) -> LimitedWorld:
        while True:
            while self._tries and self.witness.may_start(self.now):
                self._start(self._tries.popleft())
            if not self._due and not self._tries:
                return self
            self.now = min(self._moments())
            while self._due and self._due[0][0] <= self.now:
                heapq.heappop(self._due)[2]()

    @property
    def served(self) -> list[Entry]:
        return [entry for entry in self.log if entry.status == 200]

    @property
    def refusals(self) -> list[Entry]:
        return [entry for entry in self.log if entry.status != 200]

    @property
    def took_s(self) -> float:
        return max(entry.ended_s for entry in self.served) - self.log[0].came_s

    @property
    def over(self) -> float:
        """The share by which it took longer than the limits allow."""
        lengths = [entry.ended_s - entry.came_s for entry in self.served]
        return self.took_s / optimum_s(self._rules, lengths) - 1

    def _moments(self) -> Iterator[float]:
        """When something may change."""
        if (held_s := self.witness.held_s(self.now)) > 0:
            yield self.now + held_s
        yield from (at for at, _, _ in self._due[:1])
        silent = (at + SILENCE_S for at in self._flying_since.values())
        yield from (at for at in silent if at > self.now)

    def _later(self, delay_s: float, then: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self.now + delay_s, next(self._order), then))

    def _start(self, tried: int) -> None:
        number = self.witness.start(self.now)
        self._flying_since[number] = self.now
        self._later(LATENCY_S, lambda: self._come(number, tried))

    def _come(self, number: int, tried: int) -> None:
        others = self._gate.open
        status, headers = self._gate.judge(self.now)
        headers |= self._gate.tell(UNIX_S + self.now)
        asked_s = float(headers["retry-after"]) if "retry-after" in headers else None
        entry = Entry(self.now, status, others, asked_s or 0.0)
        if status != 200:
            self.log.append(entry)
            self._later(LATENCY_S, lambda: self._refused(number, tried, status, headers, asked_s))
            return
        spread = self._load.spread * (2 * self._random.random() - 1)
        length_s = max(self._rules.first_s, self._load.length_s * (1 + spread))
        entry = replace(entry, began_s=self.now + self._rules.first_s)
        self.log.append(replace(entry, ended_s=self.now + length_s))
        self._later(self._rules.first_s + LATENCY_S, lambda: self._accepted(number, headers))
        self._later(length_s, self._leave)
        self._later(length_s + LATENCY_S, lambda: self._ended(number))

    def _leave(self) -> None:
        self._gate.open -= 1

    def _heard(self, number: int, headers: dict[str, str]) -> bool:
        """Take a response's headers; whether they tell of a limit that is used up."""
        reported = read_limits(headers, UNIX_S + self.now)
        self.witness.report_limits(number, reported, self.now)
        return any(limit.remaining < 1 for limit in reported.values())

    def _accepted(self, number: int, headers: dict[str, str]) -> None:
        self._heard(number, headers)
        self.witness.accepted(number)

    def _ended(self, number: int) -> None:
        del self._flying_since[number]
        self.witness.ended(number, succeeded=True)
        self._ask_next()

    def _refused(
        self, number: int, tried: int, status: int, headers: dict[str, str], asked_s: float | None
    ) -> None:
        del self._flying_since[number]
        overload = status == 529
        full = self._heard(number, headers) and not overload
        self.witness.refused(number, self.now, overload=overload, full=full)
        self.witness.pause(asked_s, Backoff(), self._random.random(), self.now)
        self.witness.ended(number, succeeded=False)
        if tried < self._load.retries:
            self._tries.append(tried + 1)
        else:
            self.failed += 1
            self._ask_next()

    def _ask_next(self) -> None:
        if self._unasked:
            self._unasked -= 1
            self._tries.append(0)


def optimum_s(rules: Rules, lengths: list[float]) -> float:
    """The least time in which requests of these lengths can be had under the rules."""
    by_rate = (len(lengths) - rules.in_window) * rules.window_s / rules.in_window
    return max(by_rate + min(lengths), sum(lengths) / rules.at_once)
