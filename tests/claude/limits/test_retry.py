from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude.limits.retry import LONGEST_RETRY_AFTER_S, Backoff, quota_error, retry_delay_s
from core.errors import (
    BillingRefused,
    ConnectionLost,
    CredentialsRefused,
    Interrupted,
    ModelUnavailable,
    ModelUnknown,
    Overloaded,
    RateLimited,
    RequestRejected,
    ServerFault,
)

Transient = type[ModelUnavailable]
transient: st.SearchStrategy[Transient] = st.sampled_from(
    [RateLimited, Overloaded, ServerFault, ConnectionLost]
)
draws = st.floats(0, 1, exclude_max=True)
retries = st.integers(0, 10_000)


@given(transient, retries, draws)
def test_a_delay_lies_between_nothing_and_the_cap(
    kind: Transient, retry: int, drawn: float
) -> None:
    backoff = Backoff(first_s=0.5, most_s=20.0)
    delay_s = retry_delay_s(kind("x"), retry, lambda: drawn, backoff)
    assert delay_s is not None
    assert 0 <= delay_s <= min(20.0, 0.5 * 2 ** min(retry, 100))


def test_the_longest_delay_doubles_until_the_cap() -> None:
    most = [retry_delay_s(ServerFault("x"), n, lambda: 1.0, Backoff(1.0, 5.0)) for n in range(5)]
    assert most == [1.0, 2.0, 4.0, 5.0, 5.0]


@given(transient, retries, draws, st.floats(0, LONGEST_RETRY_AFTER_S))
def test_a_delay_is_never_shorter_than_what_the_server_asked_for(
    kind: Transient, retry: int, drawn: float, asked_s: float
) -> None:
    delay_s = retry_delay_s(kind("x", retry_after_s=asked_s), retry, lambda: drawn)
    assert delay_s is not None
    assert asked_s <= delay_s <= asked_s + Backoff().first_s


def test_a_server_that_asks_for_too_long_a_wait_is_not_asked_again() -> None:
    error = RateLimited("x", retry_after_s=LONGEST_RETRY_AFTER_S + 1)
    assert retry_delay_s(error, 0, lambda: 0.5) is None


def test_a_rate_limit_that_asks_for_too_long_a_wait_is_a_quota_used_up() -> None:
    quota = quota_error(RateLimited("It is too much.", retry_after_s=LONGEST_RETRY_AFTER_S + 60))
    assert quota is not None
    assert (
        quota.message
        == "It is too much. It asks for a wait of 11 minutes, longer than a run waits."
    )
    assert quota_error(RateLimited("x", retry_after_s=LONGEST_RETRY_AFTER_S)) is None
    assert quota_error(RateLimited("x")) is None


def test_an_overload_that_asks_for_too_long_a_wait_ends_the_run_instead_of_parking_it() -> None:
    stop = quota_error(Overloaded("It is full.", retry_after_s=3_600))
    assert stop is not None
    assert "It asks for a wait of 60 minutes" in stop.message
    assert stop.remedy == "Continue with resume after that time."
    assert quota_error(Overloaded("x", retry_after_s=LONGEST_RETRY_AFTER_S)) is None


def test_a_negative_wait_counts_as_none() -> None:
    assert retry_delay_s(RateLimited("x", retry_after_s=-9), 0, lambda: 0.0) == 0.0


@pytest.mark.parametrize(
    "kind",
    [CredentialsRefused, BillingRefused, ModelUnknown, RequestRejected, Interrupted, ValueError],
)
def test_what_would_fail_again_is_not_tried_again(kind: type[Exception]) -> None:
    assert retry_delay_s(kind("x"), 0, lambda: 0.5) is None


def test_a_faster_world_waits_less_and_speed_zero_not_at_all() -> None:
    assert Backoff(1.0, 60.0).scaled(20.0) == Backoff(0.05, 3.0)
    assert Backoff().scaled(0.0) == Backoff(0.0, 0.0)
