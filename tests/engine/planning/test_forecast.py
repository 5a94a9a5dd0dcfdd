from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude.simulation.latency import Pace
from core.bundle import ModelSettings, SimulationSettings
from core.events import Part
from core.job import Usage
from core.plan import Plan, render_brief
from engine.planning.comparison import Comparison
from engine.planning.forecast import HIGH, LOW, expected_needs, forecast
from engine.planning.requests import SYSTEM_BYTES, Terms
from tests.fakes.plans import chain, plans

MODEL = ModelSettings("anthropic", "m")
PACE = Pace(1.0, 0.01)


def priced(usage: Usage) -> float | None:
    assert (usage.provider, usage.model) == ("anthropic", "m")
    return usage.total_tokens / 1e6


TERMS = Terms(MODEL, PACE, priced)


def test_figures_are_a_range_around_what_is_likely() -> None:
    figures = forecast(chain(2), 1, TERMS)
    assert figures.cost_usd is not None
    for found in (figures.seconds, figures.tokens, figures.cost_usd):
        assert found.low == pytest.approx(found.likely * LOW)
        assert found.high == pytest.approx(found.likely * HIGH)
    assert figures.cost_usd.likely == pytest.approx(figures.tokens.likely / 1e6)
    assert figures.seconds.likely == figures.work_s  # a chain takes as long as its tasks together
    assert not figures.simulated
    assert figures.whole() == figures


def test_planning_is_counted_in_and_has_no_range() -> None:
    figures = forecast(chain(2), 1, TERMS, planning=Part(60.0, 5_000, 0.5))
    whole, tasks = figures.whole(), forecast(chain(2), 1, TERMS)
    assert figures.seconds == tasks.seconds
    assert whole.seconds == tasks.seconds.plus(60.0)
    assert whole.tokens == tasks.tokens.plus(5_000)
    assert whole.cost_usd is not None
    assert tasks.cost_usd is not None
    assert whole.cost_usd.low == tasks.cost_usd.low + 0.5
    assert forecast(chain(2), 1, TERMS, planning=Part(1.0, 1, None)).whole().cost_usd is None


def test_both_ways_are_in_it_where_they_were_compared() -> None:
    compared = Comparison(Part(9.0, 9, 9.0), Part(1.0, 1, 1.0), Part(4.0, 4, 4.0))
    figures = forecast(chain(2), 3, TERMS, comparison=compared)
    assert (figures.alone, figures.parallel) == (compared.alone, Part(5.0, 5, 5.0))
    assert forecast(chain(2), 3, TERMS).alone is None


def test_one_unknown_price_makes_the_cost_unknown() -> None:
    model = ModelSettings("p", "m", simulation=SimulationSettings())
    figures = forecast(chain(2), 1, Terms(model, PACE, lambda _: None))
    assert figures.cost_usd is None
    assert figures.simulated


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
