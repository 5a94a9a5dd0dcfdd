from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude.engines.tools import build_tools
from claude.prompts import load_executor_prompt
from claude.simulation.latency import Pace
from core.bundle import ModelSettings
from core.job import Usage
from engine.planning.requests import (
    BYTES_A_TOKEN,
    LOOKING_TURNS,
    MOST_TURNS,
    SYSTEM_BYTES,
    USUAL_CONTRACT_BYTES,
    PlannerInput,
    Terms,
    byte_count,
    expected_planning,
    expected_requests,
    expected_s,
    part_of,
    plan_tokens,
    task_requests,
    unwritten_tokens,
)
from tests.fakes.plans import fan, make_plan

MODEL = ModelSettings("anthropic", "m")


def priced(usage: Usage) -> float | None:
    return usage.total_tokens / 1e6


def test_more_work_takes_more_turns_and_more_time() -> None:
    pace = Pace(2.0, 0.01)
    assert expected_s(100, pace) == 2.0 * 3 + 1.0
    assert expected_s(9_000, pace) == 2.0 * 9 + 90.0


@given(
    st.integers(0, 50_000),
    st.integers(0, 100_000),
    st.integers(0, 1_000),
    st.booleans(),
    st.integers(0, 60_000),
)
def test_requests_write_the_estimate_and_read_what_was_said_and_shown_before(
    output: int, known: int, own: int, cached: bool, shown: int
) -> None:
    requests = expected_requests(output, known, own, MODEL, cached=cached, shown=shown)
    assert sum(r.output_tokens for r in requests) == output
    assert requests[0].cache_read_tokens == (known if cached else 0)
    assert requests[0].cache_write_tokens == own + (0 if cached else known)
    for before, after in pairwise(requests):
        sent = before.cache_read_tokens + before.cache_write_tokens
        assert after.cache_read_tokens == sent
        new = after.cache_write_tokens - before.output_tokens
        assert new == shown // (len(requests) - 1)


def test_only_the_first_task_pays_for_writing_the_shared_part() -> None:
    written = [
        sum(u.cache_write_tokens for u in task_requests(t, 40_000, MODEL, cached=30_000 * (n > 0)))
        for n, t in enumerate(fan(3).tasks)
    ]
    assert written[1] == written[2] == written[0] - 7_500


@pytest.mark.parametrize("commands", [False, True])
def test_system_prompt_and_tools_are_no_longer_than_is_counted_for_them(commands: bool) -> None:
    schemas = [tool.schema() for tool in build_tools(32_000, commands=commands).values()]
    size = byte_count(json.dumps(schemas) + load_executor_prompt(commands=commands))
    assert SYSTEM_BYTES["api"] * 0.7 < size < SYSTEM_BYTES["api"]


def test_an_estimate_beyond_all_measure_takes_no_time_to_reckon_with() -> None:
    assert len(expected_requests(10**15, 0, 0, MODEL, cached=False)) == MOST_TURNS


def test_a_plan_is_one_request_that_writes_it() -> None:
    terms = Terms(MODEL, Pace(3.0, 0.01), priced)
    short, long = (expected_planning(1_000, prompt, terms) for prompt in ("", "x" * 4_000))
    assert short.seconds == long.seconds == 3.0 + 10.0
    assert long.tokens - short.tokens == 1_000
    assert short.tokens > 2_000, "the planner's instructions are read too"
    assert short.cost_usd == short.tokens / 1e6


def test_a_plan_for_existing_code_is_made_after_requests_that_look() -> None:
    terms = Terms(MODEL, Pace(3.0, 0.01), priced)
    plain = expected_planning(1_000, "p", terms)
    mapped = expected_planning(1_000, "p", terms, PlannerInput(24_000))
    looking = expected_planning(1_000, "p", terms, PlannerInput(24_000, looks=True))
    assert mapped.tokens - plain.tokens == 6_000
    assert looking.seconds == mapped.seconds + 3.0 * LOOKING_TURNS
    assert looking.tokens > mapped.tokens * LOOKING_TURNS, "each is sent all before it"


def test_the_length_of_a_plan_is_that_of_what_the_model_wrote() -> None:
    plan = make_plan({"a": []})
    longer = make_plan({"a": []}, contracts={"x.py": "y" * 4_000})
    assert plan_tokens(longer) - plan_tokens(plan) in range(1_000, 1_100)
    prompted = plan.model_copy(update={"prompt": "x" * 4_000})
    assert plan_tokens(prompted) == plan_tokens(plan)
    assert BYTES_A_TOKEN == 4


def test_contracts_that_are_used_and_not_there_are_still_to_be_written() -> None:
    plan = make_plan({"a": [], "b": []}, contracts={"x.py": "X = 1\n"})
    assert unwritten_tokens(plan) == 0
    uses = [task.model_copy(update={"uses": ("x.py", "y.py")}) for task in plan.tasks]
    begun = plan.model_copy(update={"tasks": tuple(uses)})
    assert unwritten_tokens(begun) == USUAL_CONTRACT_BYTES // BYTES_A_TOKEN


def test_one_unknown_price_makes_the_sum_unknown() -> None:
    usages = [Usage("p", "m", 5), Usage("p", "odd", 5)]
    assert part_of(1.0, usages, priced).cost_usd == 1e-5
    assert part_of(1.0, usages, lambda u: 1.0 if u.model == "m" else None).cost_usd is None
    assert part_of(1.0, [], priced).cost_usd == 0
