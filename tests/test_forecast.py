from __future__ import annotations

import pytest

from core.job import Usage
from core.plan import Task
from engine.forecast import HIGH, LOW, Speed, forecast, schedule
from tests.plans import chain, fan


def seconds(task: Task) -> float:
    return 10.0


def test_a_chain_takes_as_long_as_its_tasks_together() -> None:
    found = schedule(chain(4), 3, seconds)
    assert (found.wall_s, found.work_s, found.critical_path_s) == (40, 40, 40)


@pytest.mark.parametrize(("executors", "wall_s"), [(1, 60), (2, 30), (6, 10), (99, 10)])
def test_tasks_beside_each_other_share_the_executors(executors: int, wall_s: float) -> None:
    found = schedule(fan(6), executors, seconds)
    assert (found.wall_s, found.work_s, found.critical_path_s) == (wall_s, 60, 10)


def test_figures_are_a_range_around_what_is_likely() -> None:
    figures = forecast(
        chain(2), 1, speed=Speed(1.0, 100.0), price=priced, provider="anthropic", model="m"
    )
    assert figures.cost_usd is not None
    for found in (figures.seconds, figures.tokens, figures.cost_usd):
        assert found.low == pytest.approx(found.likely * LOW)
        assert found.high == pytest.approx(found.likely * HIGH)
    assert figures.cost_usd.likely == pytest.approx(figures.tokens.likely / 1e6)


def priced(usage: Usage) -> float | None:
    assert (usage.provider, usage.model) == ("anthropic", "m")
    return usage.total_tokens / 1e6


def test_one_unknown_price_makes_the_cost_unknown() -> None:
    figures = forecast(
        chain(2), 1, speed=Speed(1.0, 100.0), price=lambda _: None, provider="p", model="m"
    )
    assert figures.cost_usd is None


def test_a_longer_task_takes_more_turns_and_more_time() -> None:
    short, long = (
        chain(1).tasks[0].model_copy(update={"estimate": estimate}) for estimate in (100, 9_000)
    )
    speed = Speed(2.0, 100.0)
    assert speed.seconds(short) == 2.0 * 3 + 1.0
    assert speed.seconds(long) == 2.0 * 9 + 90.0
