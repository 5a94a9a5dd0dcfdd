"""The decision who may start, in virtual time: single steps, and whole histories of answers."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude.limits.admission import FIRST_AT_ONCE, SILENCE_S, UNLIMITED, Admission
from claude.limits.rate_limits import ReportedLimits
from claude.limits.retry import Backoff
from core.job import Usage

BACKOFF = Backoff(first_s=1.0, most_s=60.0)


def start_all(admission: Admission, most: int, now: float = 0.0) -> list[int]:
    """Start what may start, at most so many."""
    started: list[int] = []
    while len(started) < most and admission.may_start(now):
        started.append(admission.start(now))
    return started


def refuse(
    admission: Admission, number: int, now: float, asked_s: float | None = 1.0, **more: bool
) -> None:
    kinds = {"overload": False, "full": False} | more
    admission.refused(number, now, **kinds)
    admission.pause(asked_s, BACKOFF, 0.0, now)
    admission.ended(number, succeeded=False)


def serve(admission: Admission, rounds: int, now: float) -> None:
    """So many requests after each other, all of them well."""
    for _ in range(rounds):
        for number in start_all(admission, 1_000, now):
            admission.accepted(number)
            admission.ended(number, succeeded=True)


def open_up(admission: Admission, count: int, now: float = 0.0) -> list[int]:
    """So many requests in flight, all of them accepted."""
    started: list[int] = []
    while len(started) < count:
        for number in start_all(admission, count - len(started), now):
            admission.accepted(number)
            started.append(number)
    return started


def test_a_run_begins_with_a_few_and_doubles_with_each_round_of_answers() -> None:
    admission = Admission()
    first = start_all(admission, 100)
    assert len(first) == FIRST_AT_ONCE
    for number in first:
        admission.accepted(number)
    assert len(start_all(admission, 100)) == 2 * FIRST_AT_ONCE
    assert admission.ceiling == UNLIMITED


def test_a_server_that_is_silent_is_not_waited_for_for_ever() -> None:
    admission = Admission()
    start_all(admission, 100)
    assert not admission.may_start(SILENCE_S - 0.1)
    assert admission.may_start(SILENCE_S)


def test_a_refusal_pauses_all_requests_for_what_the_server_asked() -> None:
    admission = Admission()
    [number] = start_all(admission, 1)
    refuse(admission, number, 0.0, asked_s=12.0)
    assert admission.held_s(0.0) == 12.0
    assert not admission.may_start(11.9)
    assert admission.may_start(12.0)


def test_a_shorter_pause_does_not_end_a_longer_one() -> None:
    admission = Admission()
    first, second = start_all(admission, 2)
    refuse(admission, first, 0.0, asked_s=9.0)
    refuse(admission, second, 0.0, asked_s=1.0)
    assert admission.held_s(0.0) == 9.0


def test_after_a_pause_one_goes_first_and_the_others_follow_its_answer() -> None:
    admission = Admission()
    *others, last = open_up(admission, 8)
    refuse(admission, last, 0.0)
    for number in others:
        admission.ended(number, succeeded=True)
    [probe] = start_all(admission, 100, 1.0)
    admission.accepted(probe)
    assert len(start_all(admission, 100, 1.0)) == 2


def test_an_answer_to_an_older_request_does_not_open_the_gate() -> None:
    admission = Admission()
    first, second = start_all(admission, 2)
    refuse(admission, first, 0.0)
    admission.accepted(second)
    assert len(start_all(admission, 100, 1.0)) <= 1


def test_an_episode_halves_what_is_in_flight_once() -> None:
    admission = Admission()
    flying = open_up(admission, 16)
    for number in flying[:6]:
        refuse(admission, number, 0.0)
    assert admission.ceiling == 8
    for number in flying[6:]:
        admission.ended(number, succeeded=True)
    [probe] = start_all(admission, 100, 5.0)
    refuse(admission, probe, 5.0)
    assert admission.ceiling == 1


def test_what_the_server_let_in_is_where_the_ceiling_comes_back_to_quickly() -> None:
    admission = Admission()
    let_in = open_up(admission, 4)
    refused = start_all(admission, 4)
    for number in refused:
        refuse(admission, number, 0.0)
    assert admission.ceiling == 4
    for number in let_in:
        admission.ended(number, succeeded=True)
    serve(admission, 3, 1.0)
    assert admission.ceiling in (4, 5)


def test_one_more_than_is_safe_is_tried_less_and_less_often() -> None:
    admission, gaps, served = Admission(), list[int](), 0
    for now in range(0, 20_000, 10):
        let_in = list[int]()
        while admission.may_start(now):
            number = admission.start(now)
            admission.report_limits(number, {"requests": ReportedLimits(1e6, 1e6, 0.0)}, now)
            if len(let_in) == 4:
                refuse(admission, number, now)
                gaps.append(served)
                served = 0
                break
            admission.accepted(number)
            let_in.append(number)
        for number in let_in:
            admission.ended(number, succeeded=True)
        served += len(let_in)
    assert gaps[1:] == sorted(gaps[1:])
    assert 4 < gaps[1] < gaps[-1]
    assert 512 <= gaps[-1] <= 4 * 514  # one of the four that end together finds the ceiling reached


def test_the_ceiling_rises_again_after_an_overload() -> None:
    admission, now = Admission(), 0.0
    for _ in range(6):
        [probe] = start_all(admission, 1, now)
        refuse(admission, probe, now, None, overload=True)
        now += 100.0
    assert admission.ceiling == 1
    for _ in range(200):
        flying = open_up(admission, min(16, admission.ceiling), now)
        for number in flying:
            admission.ended(number, succeeded=True)
    assert admission.ceiling >= 16


def test_a_ceiling_that_is_not_reached_does_not_rise() -> None:
    admission = Admission()
    for number in [admission.start(0.0) for _ in range(16)]:
        refuse(admission, number, 0.0)
    for _ in range(1_000):
        number = admission.start(100.0)
        admission.accepted(number)
        admission.ended(number, succeeded=True)
    assert admission.ceiling == 8


def test_a_limit_reported_as_used_up_says_nothing_about_how_many_at_once() -> None:
    admission = Admission()
    *others, last = open_up(admission, 10)
    refuse(admission, last, 0.0, full=True)
    assert admission.ceiling == 5
    for number in others:
        admission.ended(number, succeeded=True)
    for _ in range(10):
        flying = open_up(admission, min(20, admission.ceiling), 100.0)
        for number in flying:
            admission.ended(number, succeeded=True)
    assert admission.ceiling >= 15


def test_without_a_wish_the_pause_doubles_while_refusals_follow_each_other() -> None:
    admission, now, pauses = Admission(), 0.0, []
    for _ in range(9):
        [probe] = start_all(admission, 1, now)
        refuse(admission, probe, now, None)
        pauses.append(admission.held_s(now))
        now += pauses[-1]
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


def test_a_server_that_asks_for_no_time_at_all_gets_some_all_the_same() -> None:
    admission, now = Admission(), 0.0
    for _ in range(9):
        [probe] = start_all(admission, 1, now)
        refuse(admission, probe, now, 0.0)
        now += admission.held_s(now)
    assert now > 100


def test_an_accepted_request_ends_the_doubling() -> None:
    admission, now = Admission(), 0.0
    for _ in range(5):
        [probe] = start_all(admission, 1, now)
        refuse(admission, probe, now, None)
        now += 100.0
    serve(admission, 1, now)
    [probe] = start_all(admission, 1, now)
    refuse(admission, probe, now, None)
    assert admission.held_s(now) == 0.5


def test_jitter_comes_on_top_of_what_the_server_asked_for() -> None:
    admission = Admission()
    [number] = start_all(admission, 1)
    admission.refused(number, 0.0, overload=False, full=False)
    admission.pause(5.0, BACKOFF, 0.5, 0.0)
    assert admission.held_s(0.0) == pytest.approx(5.25)


def test_what_the_headers_tell_is_kept_to_before_the_server_refuses() -> None:
    admission = Admission()
    [number] = start_all(admission, 1)
    admission.report_limits(number, {"requests": ReportedLimits(40, 2, 57.0)}, 0.0)
    admission.accepted(number)
    assert len(start_all(admission, 100)) == 2
    assert admission.held_s(0.0) == pytest.approx(1.5)


def test_a_limit_on_tokens_is_kept_to_by_what_requests_took_so_far() -> None:
    admission = Admission()
    [number] = start_all(admission, 1)
    admission.report_limits(number, {"output-tokens": ReportedLimits(8_000, 7_000, 7.5)}, 0.0)
    admission.accepted(number)
    admission.spent(Usage("anthropic", "m", output_tokens=1_000))
    admission.spent(Usage("anthropic", "m", output_tokens=6_000))
    admission.ended(number, succeeded=True)  # a mean of 2,000 each
    for _ in range(3):
        admission.accepted(admission.start(0.0))
    assert admission.held_s(0.0) == pytest.approx(1_000 / (8_000 / 60))


def test_a_rate_limit_without_headers_is_learned_and_an_overload_is_not() -> None:
    for overload in (False, True):
        admission, now = Admission(), 0.0
        for _ in range(3):
            for _ in range(10):
                number = admission.start(now)
                admission.accepted(number)
                admission.ended(number, succeeded=True)
                now += 2.0
            refuse(admission, admission.start(now), now, 0.1, overload=overload)
        number = admission.start(now + 1.0)
        admission.accepted(number)
        admission.ended(number, succeeded=True)
        assert (admission.held_s(now + 1.0) > 1.0) is not overload


@dataclass(order=True)
class Due:
    at: float
    number: int
    what: str = field(compare=False)


@dataclass(frozen=True)
class Answer:
    """What a server does with one request: after `first_s` 200, 429, 529 or 500, and for a 200 the
    stream's length."""

    status: int
    first_s: float
    length_s: float
    asked_s: float | None
    reported: ReportedLimits | None


class World:
    """Clients that ask again until they are served, and a server that goes by a script and serves
    all once that is over. Checks what must hold at each start."""

    def __init__(self, clients: int, script: Sequence[Answer]) -> None:
        self.admission, self.now = Admission(), 0.0
        self._waiting, self._script, self._due = clients, iter(script), list[Due]()
        self._answers: dict[int, Answer] = {}
        self._begun: dict[int, float] = {}
        self._silent_until, self._refused_at = 0.0, -1.0
        self._news: set[int] = set()  # started since the last refusal and not answered yet
        self._answered = True  # something of them was
        self.served = 0

    def run(self) -> None:
        for _ in range(5_000):
            self._start()
            if not self._due and not self._waiting:
                return
            self._pass_time()
        raise AssertionError(f"no end: {self._waiting} wait at {self.now}")

    def _start(self) -> None:
        while self._waiting and self.admission.may_start(self.now):
            assert self.now >= self._silent_until - 1e-5, "started in a pause"
            assert self.admission.in_flight < self.admission.ceiling
            number = self.admission.start(self.now)
            self._waiting -= 1
            young = [n for n in self._news if self.now < self._begun[n] + SILENCE_S]
            assert self._answered or not young, "a second one before the first was answered"
            self._begin(number)

    def _begin(self, number: int) -> None:
        answer = next(self._script, Answer(200, 0.1, 0.5, None, None))
        self._answers[number] = answer
        self._begun[number] = self.now
        self._news.add(number)
        heapq.heappush(self._due, Due(self.now + answer.first_s, number, "answer"))

    def _pass_time(self) -> None:
        moments = [self.now + held] if (held := self.admission.held_s(self.now)) > 0 else []
        moments += [at + SILENCE_S for at in self._begun.values() if at + SILENCE_S > self.now]
        self.now = min([due.at for due in self._due[:1]] + moments)
        while self._due and self._due[0].at <= self.now:
            due = heapq.heappop(self._due)
            getattr(self, f"_{due.what}")(due.number, self._answers[due.number])

    def _answer(self, number: int, answer: Answer) -> None:
        if answer.reported is not None:
            self.admission.report_limits(number, {"requests": answer.reported}, self.now)
        if number in self._news:
            self._news.discard(number)
            self._answered = True
        if answer.status == 200:
            self.admission.accepted(number)
            heapq.heappush(self._due, Due(self.now + answer.length_s, number, "end"))
            return
        if answer.status in (429, 529):
            self._refuse(number, answer)
        self.admission.ended(number, succeeded=False)
        del self._begun[number]
        self._waiting += 1

    def _refuse(self, number: int, answer: Answer) -> None:
        full = answer.reported is not None and answer.reported.remaining < 1
        overload = answer.status == 529
        self.admission.refused(number, self.now, overload=overload, full=full and not overload)
        self.admission.pause(answer.asked_s, BACKOFF, 0.0, self.now)
        self._silent_until = max(self._silent_until, self.now + (answer.asked_s or 0.5))
        self._news, self._answered = set(), False

    def _end(self, number: int, answer: Answer) -> None:
        self.admission.ended(number, succeeded=True)
        del self._begun[number]
        self.served += 1


seconds = st.floats(0.001, 30.0)
tolds = (
    st.builds(ReportedLimits, st.just(40.0), st.integers(0, 40).map(float), st.floats(0, 1e6))
    | st.none()
)
answers = st.builds(
    Answer,
    st.sampled_from([200, 200, 200, 429, 429, 529, 500]),
    seconds,
    seconds,
    st.none() | st.just(0.0) | st.floats(0.001, 100.0),
    tolds,
)


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 24), st.lists(answers, max_size=30))
def test_whatever_a_server_answers_limits_are_kept_and_all_are_served(
    clients: int, script: list[Answer]
) -> None:
    world = World(clients, script)
    world.run()
    assert world.served == clients
    assert world.admission.in_flight == 0


@pytest.mark.parametrize("clients", [2, 16])
def test_a_server_that_recovers_after_a_storm_serves_all(clients: int) -> None:
    storm = [Answer(529, 0.1, 0.0, None, None)] * 12
    world = World(clients, storm)
    world.run()
    assert world.served == clients
    assert world.now < 15 * 60
