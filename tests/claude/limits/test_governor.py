"""Threads at the governor: turns, pauses by the clock, stops, and the error that ends all."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial

import pytest

from claude.limits.admission import FIRST_AT_ONCE
from claude.limits.governor import STEP_S, Governor, Permit
from claude.limits.retry import Backoff
from core.clock import Clock, StoppableClock, SystemClock
from core.errors import (
    BillingRefused,
    CredentialsRefused,
    Interrupted,
    ModelError,
    ModelUnknown,
    Overloaded,
    RateLimited,
    RequestRejected,
    ServerFault,
)
from tests.fakes.simulated import RecordingClock
from tests.fakes.waiting import until


def calm() -> Governor:
    """One without jitter."""
    return Governor(draw=lambda: 0.0)


def fail(governor: Governor, clock: RecordingClock, error: Exception, **headers: str) -> None:
    def ask() -> None:
        with governor.admit(clock) as permit:
            permit.report(headers, accepted=False)
            raise error

    with pytest.raises(type(error)):
        ask()


def throttle(governor: Governor, clock: RecordingClock, asked_s: float | None) -> None:
    fail(governor, clock, RateLimited("no", retry_after_s=asked_s))


def test_without_a_refusal_no_request_waits() -> None:
    governor, clock = calm(), RecordingClock()
    for _ in range(50):
        with governor.admit(clock) as permit:
            permit.report({}, accepted=True)
    assert clock.slept == []


def test_a_pause_is_slept_by_the_clock_in_steps_that_a_stop_can_end() -> None:
    governor, clock = calm(), RecordingClock()
    throttle(governor, clock, 4.0)
    with governor.admit(clock):
        assert sum(clock.slept) == pytest.approx(4.0)
    assert max(clock.slept) <= STEP_S


def test_a_stopped_clock_ends_the_wait_and_gives_the_place_up() -> None:
    governor, clock = calm(), RecordingClock()
    throttle(governor, clock, 5.0)
    with pytest.raises(Interrupted), governor.admit(RecordingClock(stop_after=3)):
        raise AssertionError("it was let in")
    with governor.admit(clock):
        assert sum(clock.slept) == pytest.approx(5.0)


def test_people_are_notified_once_how_long_it_will_be() -> None:
    governor, clock, notices = calm(), RecordingClock(), list[str]()
    throttle(governor, clock, 11.5)
    with governor.admit(clock, notices.append):
        assert notices == ["waiting for the rate limit, 12 s"]


def test_a_long_wait_is_reported_again_and_a_short_one_never() -> None:
    governor, clock, notices = calm(), RecordingClock(), list[str]()
    throttle(governor, clock, 0.9)
    with governor.admit(clock, notices.append):
        assert notices == []
    throttle(governor, clock, 70.0)
    with governor.admit(clock, notices.append):
        assert [text.rpartition(", ")[2] for text in notices] == ["70 s", "40 s", "10 s"]


def test_retry_after_nothing_for_ever_is_not_answered_by_spinning() -> None:
    governor, clock = calm(), RecordingClock()
    for _ in range(12):
        throttle(governor, clock, 0.0)
    assert sum(clock.slept) > 120


def test_the_backoff_of_a_faster_world_is_shorter() -> None:
    governor, clock = calm(), RecordingClock()
    for _ in range(5):
        with (
            pytest.raises(Overloaded),
            governor.admit(clock, backoff=Backoff().scaled(20.0)),
        ):
            raise Overloaded("no")
    assert 0 < sum(clock.slept) < 1


def test_headers_of_a_refusal_are_used() -> None:
    governor, clock = calm(), RecordingClock()
    headers = {
        "anthropic-ratelimit-requests-limit": "40",
        "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-requests-reset": "1970-01-01T00:17:40Z",  # a minute from then
    }
    fail(governor, clock, ServerFault("no"), **headers)
    with governor.admit(clock):
        assert sum(clock.slept) == pytest.approx(1.5)


@pytest.mark.parametrize("error", [ServerFault("x"), RequestRejected("x"), ValueError("x")])
def test_other_failures_hold_no_request_back(error: Exception) -> None:
    governor, clock = calm(), RecordingClock()
    for _ in range(20):
        fail(governor, clock, error)
    with governor.admit(clock):
        assert clock.slept == []


@pytest.mark.parametrize("kind", [CredentialsRefused, BillingRefused, ModelUnknown])
def test_an_error_that_nothing_overcomes_is_that_of_all_later_requests(
    kind: type[ModelError],
) -> None:
    governor, clock = calm(), RecordingClock()
    first = kind("No credit.", "Add some.")
    fail(governor, clock, first)
    for _ in range(2):
        with pytest.raises(kind) as caught, governor.admit(clock):
            raise AssertionError("it was let in")
        assert str(caught.value) == "No credit. Add some."
        assert caught.value is not first  # each has a traceback of its own


def test_what_runs_may_finish_while_what_waits_fails_at_once() -> None:
    governor = calm()
    permits = hold_all(governor)
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(take_turn, governor) for _ in range(8)]
        until(lambda: len(governor._queue) == 8)
        permits[0].__exit__(BillingRefused, BillingRefused("No credit."), None)
        for future in waiting:
            assert isinstance(future.exception(timeout=30), BillingRefused)
    for permit in permits[1:]:
        permit.__exit__(None, None, None)
    assert governor._admission.in_flight == 0


def test_who_asked_first_goes_first() -> None:
    governor, order = calm(), list[int]()
    permits = hold_all(governor)
    with ThreadPoolExecutor(8) as pool:
        waiting = list[Future[int]]()
        for n in range(8):
            waiting.append(pool.submit(take_turn, governor))
            until(partial(lambda count: len(governor._queue) == count, n + 1))
        for permit in permits:
            permit.__exit__(None, None, None)
        order = [future.result(timeout=30) for future in waiting]
    assert order == sorted(order)


def hold_all(governor: Governor) -> list[AbstractContextManager[Permit]]:
    """Requests in flight, unanswered, so that nobody else may start."""
    permits: list[AbstractContextManager[Permit]] = []
    for _ in range(FIRST_AT_ONCE):
        permits.append(governor.admit(SystemClock()))
    for permit in permits:
        permit.__enter__()
    return permits


def take_turn(governor: Governor, clock: Clock | None = None) -> int:
    with governor.admit(clock or SystemClock()) as permit:
        return permit.number


def test_a_stop_ends_the_wait_of_its_own_thread_only() -> None:
    governor, stop = calm(), threading.Event()
    permits = hold_all(governor)
    with ThreadPoolExecutor(2) as pool:
        stopped = pool.submit(take_turn, governor, StoppableClock(stop))
        patient = pool.submit(take_turn, governor)
        stop.set()
        assert isinstance(stopped.exception(timeout=30), Interrupted)
        assert not patient.done()
        for permit in permits:
            permit.__exit__(None, None, None)
        assert patient.result(timeout=30) >= FIRST_AT_ONCE


def test_many_threads_keep_to_the_ceiling_after_a_refusal() -> None:
    governor, lock, flying, most = calm(), threading.Lock(), set[int](), list[int]()
    clock = RecordingClock()
    throttle(governor, clock, None)

    def work(number: int) -> None:
        for _ in range(5):
            with governor.admit(clock) as permit:
                permit.report({}, accepted=True)
                with lock:
                    flying.add(permit.number)
                    most.append(len(flying))
                    assert len(flying) <= governor._admission.ceiling
                with lock:
                    flying.discard(permit.number)

    with ThreadPoolExecutor(16) as pool:
        for future in [pool.submit(work, n) for n in range(16)]:
            future.result(timeout=60)
    assert len(most) == 80
    assert not flying
