"""The warm-up: who waits for the prompt cache, for how long, and what that is worth."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.scheduling.warm_up import MOST_WAIT_S, USD_A_SECOND, SharedPrefix, WarmUp

# each executor that reads it saves a cent and a half
PREFIX = SharedPrefix(5_000, 1_024, write_usd=0.016, read_usd=0.001, begins_s=1.0)
prefixes = st.builds(
    SharedPrefix,
    st.integers(0, 10**6),
    st.sampled_from([512, 1_024, 4_096]),
    st.floats(0, 10),
    st.floats(0, 10),
    st.floats(0, 100),
)


# -- what waiting is worth


def test_a_wait_is_worth_what_it_saves() -> None:
    assert PREFIX.worth_waiting_s(4) == pytest.approx(4 * 0.015 / USD_A_SECOND)
    assert PREFIX.worth_waiting_s(1) == pytest.approx(1.5)


def test_nobody_waits_where_nobody_else_would_start() -> None:
    assert PREFIX.worth_waiting_s(0) == 0
    assert PREFIX.worth_waiting_s(-1) == 0


def test_nobody_waits_for_a_prefix_that_is_too_short_to_be_cached() -> None:
    assert replace(PREFIX, tokens=4_095, least_tokens=4_096).worth_waiting_s(15) == 0
    assert replace(PREFIX, tokens=4_096, least_tokens=4_096).worth_waiting_s(15) > 0


def test_nobody_waits_longer_than_that_is_worth() -> None:
    assert replace(PREFIX, begins_s=2.0).worth_waiting_s(1) == 0
    assert replace(PREFIX, begins_s=2.0).worth_waiting_s(2) == pytest.approx(3.0)


def test_nobody_waits_where_workers_start_too_slowly() -> None:
    assert replace(PREFIX, begins_s=29.0).worth_waiting_s(1_000) == MOST_WAIT_S
    assert replace(PREFIX, begins_s=31.0).worth_waiting_s(1_000) == 0


def test_a_cache_that_saves_nothing_is_not_waited_for() -> None:
    assert replace(PREFIX, read_usd=0.016).worth_waiting_s(15) == 0
    assert replace(PREFIX, read_usd=0.016, begins_s=0.0).worth_waiting_s(15) == 0
    assert replace(PREFIX, read_usd=0.5).worth_waiting_s(15) == 0


@given(prefixes, st.integers(-1, 10_000))
def test_the_wait_is_bounded_pays_and_grows_with_those_who_save(
    prefix: SharedPrefix, others: int
) -> None:
    wait_s = prefix.worth_waiting_s(others)
    assert 0 <= wait_s <= MOST_WAIT_S
    assert prefix.worth_waiting_s(others + 1) >= wait_s
    if wait_s:
        saved_usd = others * (prefix.write_usd - prefix.read_usd)
        assert wait_s >= prefix.begins_s
        assert wait_s * USD_A_SECOND <= saved_usd or math.isclose(wait_s * USD_A_SECOND, saved_usd)


# -- who waits


def test_one_goes_first_and_the_others_when_an_answer_begins() -> None:
    warm_up = WarmUp(PREFIX)
    assert warm_up.room(5, 9, 0.0) == 1
    warm_up.begun(0.0)
    assert warm_up.room(4, 8, 1.0) == 0
    assert warm_up.waits(1.0)
    assert warm_up.due == pytest.approx(6.0)
    warm_up.is_over()
    assert warm_up.room(4, 8, 1.0) == 4
    assert not warm_up.waits(1.0)
    assert warm_up.due is None


def test_a_task_that_is_alone_neither_waits_nor_is_waited_for() -> None:
    warm_up = WarmUp(PREFIX)
    assert warm_up.room(5, 1, 0.0) == 5
    warm_up.begun(0.0)
    assert warm_up.room(4, 0, 0.0) == 4
    assert not warm_up.waits(0.0)


def test_those_that_become_ready_before_an_answer_began_wait_for_it() -> None:
    warm_up = WarmUp(PREFIX)
    warm_up.room(5, 1, 0.0)
    warm_up.begun(0.0)
    assert warm_up.room(4, 3, 2.0) == 0
    assert warm_up.due == pytest.approx(4.5)
    assert warm_up.room(4, 3, 4.6) == 4


def test_a_single_executor_at_a_time_waits_for_nobody() -> None:
    warm_up = WarmUp(PREFIX)
    assert warm_up.room(1, 9, 0.0) == 1
    warm_up.begun(0.0)
    assert warm_up.room(0, 8, 0.5) == 0
    assert not warm_up.waits(0.5)  # for want of a slot, not of a cache


def test_the_wait_ends_when_it_is_not_worth_more() -> None:
    warm_up = WarmUp(PREFIX)
    warm_up.begun(5.0)
    warm_up.begun(9.0)
    assert warm_up.room(2, 2, 7.9) == 0
    assert warm_up.room(2, 2, 8.1) == 2
    assert not warm_up.waits(8.1)


def test_all_start_at_once_where_waiting_does_not_pay() -> None:
    assert WarmUp(replace(PREFIX, begins_s=60.0)).room(4, 9, 0.0) == 4
    assert WarmUp(None).room(4, 9, 0.0) == 4
    assert WarmUp(PREFIX).room(0, 9, 0.0) == 0
