from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude.simulation.latency import Pace
from core.bundle import ModelSettings, SimulationSettings
from core.job import Usage
from core.plan import Plan, Task, render_brief
from engine.planning.forecast import (
    BYTES_A_TOKEN,
    HIGH,
    LOW,
    SYSTEM_BYTES,
    expected_needs,
    expected_requests,
    expected_s,
    forecast,
    makespan_s,
)
from tests.fakes.plans import chain, fan, make_task, plans


def seconds(task: Task) -> float:
    return 10.0


def test_a_chain_takes_as_long_as_its_tasks_together() -> None:
    assert makespan_s(chain(4), 3, seconds) == 40


@pytest.mark.parametrize(("executors", "wall_s"), [(1, 60), (2, 30), (6, 10), (99, 10)])
def test_tasks_beside_each_other_share_the_executors(executors: int, wall_s: float) -> None:
    assert makespan_s(fan(6), executors, seconds) == wall_s


MODEL = ModelSettings("anthropic", "m")
PACE = Pace(1.0, 0.01)


def test_figures_are_a_range_around_what_is_likely() -> None:
    figures = forecast(chain(2), 1, speed=PACE, price=priced, model=MODEL)
    assert figures.cost_usd is not None
    for found in (figures.seconds, figures.tokens, figures.cost_usd):
        assert found.low == pytest.approx(found.likely * LOW)
        assert found.high == pytest.approx(found.likely * HIGH)
    assert figures.cost_usd.likely == pytest.approx(figures.tokens.likely / 1e6)
    assert figures.seconds.likely == figures.work_s  # a chain takes as long as its tasks together
    assert not figures.simulated


def priced(usage: Usage) -> float | None:
    assert (usage.provider, usage.model) == ("anthropic", "m")
    return usage.total_tokens / 1e6


def test_one_unknown_price_makes_the_cost_unknown() -> None:
    model = ModelSettings("p", "m", simulation=SimulationSettings())
    figures = forecast(chain(2), 1, speed=PACE, price=lambda _: None, model=model)
    assert figures.cost_usd is None
    assert figures.simulated


def test_a_longer_task_takes_more_turns_and_more_time() -> None:
    short, long = (make_task("a", estimate=estimate) for estimate in (100, 9_000))
    speed = Pace(2.0, 0.01)
    assert expected_s(short, speed) == 2.0 * 3 + 1.0
    assert expected_s(long, speed) == 2.0 * 9 + 90.0


@given(st.integers(0, 50_000), st.integers(0, 500_000), st.booleans())
def test_requests_write_the_estimate_and_read_what_was_said_before(
    estimate: int, shared_bytes: int, cached: bool
) -> None:
    task = make_task("a", estimate=estimate)
    requests = expected_requests(task, shared_bytes, MODEL, cached=cached)
    assert sum(r.output_tokens for r in requests) == estimate
    assert requests[0].cache_read_tokens == (shared_bytes // BYTES_A_TOKEN if cached else 0)
    for before, after in pairwise(requests):
        sent = before.cache_read_tokens + before.cache_write_tokens
        assert after.cache_read_tokens == sent
        assert after.cache_write_tokens == before.output_tokens


def test_only_the_first_task_pays_for_writing_the_shared_part() -> None:
    written = [
        sum(u.cache_write_tokens for u in expected_requests(t, 40_000, MODEL, cached=n > 0))
        for n, t in enumerate(fan(3).tasks)
    ]
    assert written[1] == written[2] == written[0] - 10_000


@given(plans(max_estimate=20_000), st.sampled_from(["api", "claude-code"]))
def test_a_need_leaves_room_for_the_worst_first_request(plan: Plan, engine: str) -> None:
    model = ModelSettings("anthropic", "m", engine=engine)
    needs = expected_needs(plan, "Build it.", priced, model)
    for task in plan.tasks:
        need = needs[task.id]
        text = (
            render_brief(plan) + task.model_dump_json() + "".join(c.content for c in plan.contracts)
        )
        assert need.low.tokens > len(text) + SYSTEM_BYTES[engine]
        assert need.high.tokens >= need.low.tokens
        assert need.high.cost_usd >= need.low.cost_usd > 0
