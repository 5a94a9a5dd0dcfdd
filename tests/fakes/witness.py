"""An Admission that watches itself: what it sees is ordered by the governor's lock, so that what it
counts is exact, however long a busy machine takes over anything."""

from __future__ import annotations

from claude.limits.admission import SILENCE_S, Admission
from claude.limits.retry import Backoff

_ROUNDING_S = 1e-5


class Witness(Admission):
    """`in_pause` counts requests that started in a pause the server had asked for, and `bursts`
    those after a refusal that did not wait for the first one's answer."""

    def __init__(self) -> None:
        super().__init__()
        self.started_s: list[float] = []
        self.refusals = self.in_pause = self.bursts = 0
        self._silent_until = float("-inf")
        self._fresh: dict[int, float] = {}  # sent after the last refusal
        self._one_first = False

    def start(self, now: float) -> int:
        young = any(now < at + SILENCE_S for at in self._fresh.values())
        self.in_pause += now < self._silent_until - _ROUNDING_S
        self.bursts += self._one_first and young
        number = super().start(now)
        self._fresh[number] = now
        self.started_s.append(now)
        return number

    def accepted(self, number: int) -> None:
        self._answered(number)
        super().accepted(number)

    def refused(self, number: int, now: float, *, overload: bool, full: bool) -> None:
        self.refusals += 1
        self._fresh, self._one_first = {}, True
        super().refused(number, now, overload=overload, full=full)

    def pause(self, asked_s: float | None, backoff: Backoff, drawn: float, now: float) -> None:
        self._silent_until = max(self._silent_until, now + (asked_s or 0.0))
        super().pause(asked_s, backoff, drawn, now)

    def ended(self, number: int, *, succeeded: bool) -> None:
        self._answered(number)
        super().ended(number, succeeded=succeeded)

    def _answered(self, number: int) -> None:
        if self._fresh.pop(number, None) is not None:
            self._one_first = False
