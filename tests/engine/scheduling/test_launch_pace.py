from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.scheduling.launch_pace import EPISODE_S, LaunchPace

reports = st.lists(st.tuples(st.integers(0, 5), st.floats(0, 100)), max_size=200)


def test_at_first_all_may_run() -> None:
    assert LaunchPace(16).ceiling == 16


@pytest.mark.parametrize("most", [0, -3, 1])
def test_one_may_always_run(most: int) -> None:
    pace = LaunchPace(most)
    pace.ended(9, 0.0)
    assert pace.ceiling == 1


def test_a_throttled_job_halves_the_launches() -> None:
    pace = LaunchPace(16)
    pace.ended(1, 0.0)
    assert pace.ceiling == 8


def test_jobs_of_the_same_episode_halve_once() -> None:
    pace = LaunchPace(16)
    for second in range(16):
        pace.ended(3, float(second))
    assert pace.ceiling == 8
    pace.ended(3, EPISODE_S)
    assert pace.ceiling == 4


def test_clean_jobs_bring_the_launches_back_one_by_one() -> None:
    pace = LaunchPace(4)
    pace.ended(1, 0.0)
    seen = []
    for _ in range(8):
        pace.ended(0, 1.0)
        seen.append(pace.ceiling)
    assert seen == [2, 3, 3, 3, 4, 4, 4, 4]  # two clean ones for 3, three more for 4


@given(st.integers(1, 1_000), reports)
def test_launches_stay_between_one_and_the_most(most: int, told: list[tuple[int, float]]) -> None:
    pace, now = LaunchPace(most), 0.0
    for throttled, passed_s in told:
        now, before = now + passed_s, pace.ceiling
        pace.ended(throttled, now)
        assert 1 <= pace.ceiling <= most
        assert before // 2 <= pace.ceiling <= before + 1


@given(st.integers(1, 200), reports)
def test_whatever_was_met_the_launches_recover(most: int, told: list[tuple[int, float]]) -> None:
    pace = LaunchPace(most)
    for throttled, now in told:
        pace.ended(throttled, now)
    for _ in range(most * (most + 1)):
        pace.ended(0, 1e6)
    assert pace.ceiling == most
