"""What the prefix that executors share costs, by the model's own prices."""

from __future__ import annotations

from dataclasses import replace

import pytest

from claude.prices import pricing
from core.bundle import ModelSettings, SimulationSettings
from core.plan import Plan
from engine.planning.requests import BYTES_A_TOKEN, SYSTEM_BYTES
from engine.planning.warm_up import ASSUMED_INPUT_USD, price_prefix
from engine.scheduling.warm_up import SharedPrefix
from tests.fakes.plans import make_plan

SONNET = ModelSettings("anthropic", "claude-sonnet-5-5")
HAIKU = ModelSettings("anthropic", "claude-haiku-4-5")
CONTRACTS = {"names.py": "x" * 40_000}


def prefix_of(
    model: ModelSettings, contracts: dict[str, str] | None = None, **more: float
) -> SharedPrefix:
    plan: Plan = make_plan({"a": (), "b": ()}, contracts=contracts)
    return price_prefix(plan, "é" * 100, pricing(model), model, more.get("first_line_s", 0.0))


def test_the_prefix_holds_system_tools_request_plan_and_contracts() -> None:
    bare, large = prefix_of(SONNET), prefix_of(SONNET, CONTRACTS)
    assert bare.tokens > (SYSTEM_BYTES["api"] + 200) // BYTES_A_TOKEN
    assert 10_000 <= large.tokens - bare.tokens <= 10_100
    cli = prefix_of(replace(SONNET, engine="claude-code"))
    more = SYSTEM_BYTES["claude-code"] - SYSTEM_BYTES["api"]
    assert cli.tokens - bare.tokens == more // BYTES_A_TOKEN


@pytest.mark.parametrize("model", [SONNET, HAIKU, replace(SONNET, provider="bedrock")])
def test_it_is_priced_by_the_model_on_its_provider(model: ModelSettings) -> None:
    prefix = prefix_of(model)
    assert 0 < prefix.read_usd < prefix.write_usd / 10
    dear = replace(model, price_input_usd=1_000.0, price_output_usd=1.0)
    assert prefix_of(dear).write_usd == pytest.approx(prefix.tokens * 1_250 / 1e6)


def test_an_unknown_price_is_taken_for_a_middle_one() -> None:
    unknown = replace(SONNET, model="our-own-gateway")
    prefix = prefix_of(unknown)
    assert prefix.write_usd == pytest.approx(prefix.tokens * 1.25 * ASSUMED_INPUT_USD / 1e6)
    assert prefix.read_usd == pytest.approx(prefix.tokens * 0.1 * ASSUMED_INPUT_USD / 1e6)


def test_a_small_project_is_cached_by_one_model_and_not_by_another() -> None:
    assert prefix_of(SONNET).worth_waiting_s(4) > 0
    assert prefix_of(HAIKU).worth_waiting_s(4) == 0
    assert prefix_of(HAIKU, CONTRACTS).worth_waiting_s(4) > 0


def test_a_simulation_at_any_speed_decides_as_the_real_run_would() -> None:
    simulated = replace(SONNET, simulation=SimulationSettings(speed=20.0))
    assert prefix_of(simulated) == prefix_of(SONNET)


def test_a_long_prefix_and_a_slow_backend_let_the_first_answer_begin_later() -> None:
    assert prefix_of(SONNET, CONTRACTS).begins_s > prefix_of(SONNET).begins_s
    slow = prefix_of(SONNET, first_line_s=9.0)
    assert slow.begins_s == pytest.approx(prefix_of(SONNET).begins_s + 9.0)
    assert prefix_of(SONNET, CONTRACTS, first_line_s=60.0).worth_waiting_s(1_000) == 0
