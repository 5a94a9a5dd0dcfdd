"""Sixteen executors against servers that enforce limits, in exact virtual time: what the decisions
of claude.limits.admission come to, without threads, HTTP or the machine's own delays."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.limited_api import Rules
from tests.fakes.limited_world import LimitedWorld, Load, optimum_s

FORTY = Rules(at_once=4, in_window=40, window_s=60.0, first_s=1.0, whole_seconds=True)
UNTOLD = replace(FORTY, told=False)
SERVERS = {
    "headers": FORTY,
    "retry-after only": UNTOLD,
    "no headers": replace(UNTOLD, retry_after=False),
    "overload": replace(FORTY, overload=True),
    "at once only": replace(FORTY, in_window=100_000),
    "rate only": replace(FORTY, at_once=100),
}


@pytest.mark.parametrize("length_s", [3.0, 4.0, 5.0, 8.0])
@pytest.mark.parametrize("name", SERVERS)
def test_the_time_is_within_a_tenth_of_what_the_limits_allow(name: str, length_s: float) -> None:
    for seed in range(3):
        world = LimitedWorld(SERVERS[name], Load(length_s=length_s, seed=seed)).run()
        assert len(world.served) == 160
        assert (world.failed, world.witness.in_pause, world.witness.bursts) == (0, 0, 0)
        assert 0 <= world.over <= 0.10
        assert len(world.refusals) <= 24


def test_after_the_first_episode_only_single_tries_are_refused() -> None:
    world = LimitedWorld(FORTY, Load()).run()
    first = [e for e in world.refusals if e.came_s < world.refusals[0].came_s + 1.0]
    later = world.refusals[len(first) :]
    assert len(first) <= 16
    assert 1 <= len(later) <= 4
    assert all(b.came_s - a.came_s > 5.0 for a, b in pairwise(later))


def test_a_refused_try_leaves_those_that_are_let_in_where_they_are() -> None:
    world = LimitedWorld(SERVERS["at once only"], Load()).run()
    first_tries_s = world.refusals[0].came_s + 10.0
    last_start_s = world.log[-1].came_s
    busy_s = sum(
        min(e.ended_s, last_start_s) - max(e.came_s, first_tries_s)
        for e in world.served
        if e.ended_s > first_tries_s and e.came_s < last_start_s
    )
    assert busy_s / (last_start_s - first_tries_s) > 0.95 * FORTY.at_once


@pytest.mark.parametrize("overload", [False, True])
def test_what_is_lowered_rises_again_when_the_server_allows_more(overload: bool) -> None:
    eight = replace(FORTY, in_window=100_000, at_once=8, overload=overload)
    world = LimitedWorld(eight, Load(requests=600, retries=30))
    world.change(120.0, replace(eight, at_once=2))
    world.change(240.0, eight)
    world.run()
    assert (world.failed, world.witness.in_pause, world.witness.bursts) == (0, 0, 0)
    scarce = [e for e in world.log if 120 + 20 < e.came_s < 240]
    assert sum(e.status != 200 for e in scarce) <= 6
    late = [e.open_then + 1 for e in world.served if 440 < e.came_s < 500]
    assert max(late) == 8
    assert len(late) > 0.8 * 60 / 5 * 8


@settings(max_examples=60, deadline=None)
@given(
    st.builds(
        Rules,
        at_once=st.integers(1, 8),
        in_window=st.integers(10, 200),
        busy_s=st.floats(0.1, 20.0),
        told=st.booleans(),
        retry_after=st.booleans(),
        whole_seconds=st.booleans(),
        overload=st.booleans(),
        first_s=st.floats(0.0, 3.0),
    ),
    st.builds(
        Load,
        executors=st.integers(1, 24),
        requests=st.integers(1, 80),
        length_s=st.floats(0.5, 30.0),
        retries=st.just(30),
        seed=st.integers(0, 1000),
    ),
)
def test_under_any_limits_all_are_served_and_none_starts_in_a_pause(
    rules: Rules, load: Load
) -> None:
    world = LimitedWorld(rules, load).run()
    assert (world.failed, world.witness.in_pause, world.witness.bursts) == (0, 0, 0)
    assert len(world.served) == load.requests
    assert max(entry.open_then for entry in world.served) < rules.at_once


def test_the_optimum_is_the_larger_of_what_the_rate_and_what_the_number_at_once_allow() -> None:
    assert optimum_s(FORTY, [1.0] * 160) == 181.0
    assert optimum_s(FORTY, [6.0] * 160) == 240.0
