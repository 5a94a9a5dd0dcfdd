"""Whether one more request may start: pure, with neither clock nor thread in it.

Four brakes, and a request starts when all let it: a pause after a refusal; a ramp, so that few are
unanswered at first and twice as many with each round of answers; a ceiling of requests in flight,
halved by a refusal and raised by successes; and the rates that were reported or learned.
"""

from collections.abc import Mapping

from claude.limits.rate_limits import REQUESTS, LearnedPace, ReportedLimits, TokenBucket, cost_of
from claude.limits.retry import Backoff
from core.job import Usage

UNLIMITED = 1e9

FIRST_AT_ONCE = 4
"""How many unanswered requests a run begins with."""
SILENCE_S = 5.0
"""A refusal comes fast: a request unanswered for so long counts as let in."""
# Rounds (successes for each that is safe) until one more is tried again; twice as many when it is
# refused there again, but for an overload, which passes.
_PATIENCE = 8.0
_MOST_PATIENCE = 128.0
_REMEMBERED = 0.8  # share of the old in a mean that moves
_NO_TIME_S = 1e-6  # the rest that rounding leaves, for which a clock might not move
_JITTER = 0.1  # on top of what the server asked for, as a share of it


class Admission:
    """Follows the requests of one process by number; all times are monotonic seconds."""

    def __init__(self) -> None:
        self._next = 0
        self._flying: dict[int, float] = {}
        self._beside: dict[int, int] = {}  # how many were in flight when it started
        self._open: set[int] = set()
        self._paused_until = float("-inf")
        self._ramp = FIRST_AT_ONCE
        self._ceiling = UNLIMITED
        self._safe = UNLIMITED  # how many at once are known, or not yet known not, to be let in
        self._wall = UNLIMITED  # beside so many, one more was refused while they were let in
        self._patience = 1.0
        self._refused_before = 0  # requests from this number on were sent after the last refusal
        self._episode_ends = 0
        self._counting = False  # each refusal of the episode means one less that is let in
        self._in_a_row = 0
        self._pace = LearnedPace()
        self._buckets: dict[str, TokenBucket] = {}
        self._costs: dict[str, float] = {REQUESTS: 1.0}

    @property
    def in_flight(self) -> int:
        return len(self._flying)

    @property
    def ceiling(self) -> int:
        """Most requests in flight; UNLIMITED before the first refusal."""
        return int(self._ceiling)

    def may_start(self, now: float) -> bool:
        return (
            self.held_s(now) <= 0
            and self.in_flight < self.ceiling
            and self._unanswered(now) < self._ramp
        )

    def held_s(self, now: float) -> float:
        """Seconds for which a pause or a rate holds all requests back."""
        waits = [bucket.wait_s(self._cost(kind), now) for kind, bucket in self._buckets.items()]
        held_s = max(self._paused_until - now, self._pace.wait_s(now), *waits)
        return held_s if held_s > _NO_TIME_S else 0.0

    def _unanswered(self, now: float) -> int:
        return sum(now < at + SILENCE_S for n, at in self._flying.items() if n not in self._open)

    def start(self, now: float) -> int:
        """Count a request as started; its number."""
        number, self._next = self._next, self._next + 1
        self._beside[number] = self.in_flight
        self._flying[number] = now
        self._pace.started(now)
        for kind, bucket in self._buckets.items():
            bucket.take(self._cost(kind), now)
        return number

    def accepted(self, number: int) -> None:
        """The server took the request; its answer is on the way."""
        self._open.add(number)
        if len(self._open) > self._safe:  # so many are let in after all
            self._safe = float(len(self._open))
        if len(self._open) > self._wall:
            self._wall, self._patience = UNLIMITED, 1.0
        self._pace.accepted()
        if number >= self._refused_before:  # else it says nothing about the time after the refusal
            self._ramp += 1
        if number < self._episode_ends:
            return
        self._in_a_row = 0
        if self.in_flight >= self.ceiling and self._ceiling < self._safe:
            self._ceiling += 1

    def report_limits(self, number: int, limits: Mapping[str, ReportedLimits], now: float) -> None:
        """The response to this request reported these limits."""
        later = self._next - number - 1
        for kind, reported in limits.items():
            bucket = self._buckets.setdefault(kind, TokenBucket(reported))
            bucket.update(reported, self._cost(kind), self._flying[number], later, now)

    def spent(self, usage: Usage) -> None:
        """What a request took, for the limits that count tokens."""
        for kind in self._buckets.keys() - {REQUESTS}:
            cost, before = cost_of(kind, usage), self._costs.get(kind)
            mean = cost if before is None else _REMEMBERED * before + (1 - _REMEMBERED) * cost
            self._costs[kind] = mean

    def refused(self, number: int, now: float, *, overload: bool, full: bool) -> None:
        """The server refused the request: for its own `overload`, or for a limit on requests,
        where `full` says that the response reported which limit is used up.

        Requests of one episode, those in flight at its first refusal, lower the ceiling once: to
        half, and to those of them that are not refused. One that was tried beside as many as are
        safe says nothing about these: they stay, and the next try has to wait.
        """
        self._ramp, self._refused_before = 1, self._next
        self._open.discard(number)
        if number < self._episode_ends:
            self._count_out()
            return
        self._episode_ends = self._next
        self._in_a_row += 1
        tried = self._beside[number] >= self._safe and not full
        self._counting = not tried and not full
        if tried:
            self._retreat(overload)
            return
        self._ceiling = max(1.0, float(self.in_flight // 2))
        if full:
            return
        self._safe = max(len(self._open), self._ceiling)
        if not overload and REQUESTS not in self._buckets:
            self._pace.refused(now)

    def _count_out(self) -> None:
        if self._counting and self._open:  # if none are let in, it is no limit on how many
            let_in = float(max(len(self._open), self.in_flight - 1))
            self._ceiling, self._safe = min(self._ceiling, let_in), min(self._safe, let_in)

    def _retreat(self, overload: bool) -> None:
        """One more than is safe was too many: try that again less and less often."""
        again = self._safe == self._wall and not overload
        self._ceiling = self._wall = self._safe
        self._patience = min(_MOST_PATIENCE, 2 * self._patience) if again else _PATIENCE

    def pause(self, asked_s: float | None, backoff: Backoff, drawn: float, now: float) -> None:
        """After a refusal, hold all requests back for what the server asked, and at least for the
        back-off once refusals follow each other; `drawn` from [0, 1) spreads processes."""
        own_s = backoff.most(max(0, self._in_a_row - 1)) * (0.5 + drawn / 2)
        if asked_s is None or asked_s <= 0:
            pause_s = own_s
        else:
            pause_s = asked_s + drawn * min(backoff.first_s, _JITTER * asked_s)
            pause_s = max(pause_s, own_s) if self._in_a_row > 1 else pause_s
        self._paused_until = max(self._paused_until, now + pause_s)

    def ended(self, number: int, *, succeeded: bool) -> None:
        """The request is over; a success raises the ceiling a little, if that was in the way."""
        if succeeded and self.in_flight >= self.ceiling:
            rounds = self._patience if self.ceiling >= self._wall else 1.0
            self._ceiling += 1 / (self.ceiling * rounds)
        del self._flying[number], self._beside[number]
        self._open.discard(number)

    def _cost(self, kind: str) -> float:
        return self._costs.get(kind, 0.0)
