"""Existing code in the forecast: what executors are shown of it, and write again."""

from __future__ import annotations

import pytest

from claude.simulation.latency import Pace
from core.bundle import Models, ModelSettings, SimulationSettings
from core.job import Manifest, ManifestEntry, Usage
from core.plan import Task
from engine.planning.code_sizes import (
    MOST_SHOWN_BYTES,
    NO_CODE,
    OTHERS_BYTES,
    SHOWN,
    WRITTEN,
    CodeSizes,
)
from engine.planning.expectations import Expectations
from engine.planning.forecast import expected_needs
from engine.planning.requests import SYSTEM_BYTES, Terms, task_requests, task_s
from tests.fakes.plans import make_plan

MODEL = ModelSettings("anthropic", "m")
CODE = CodeSizes({"app/a.py": 40_000, "app/b.py": 4_000, "docs/x.md": 100_000, "setup.py": 400})


def uncached(usage: Usage) -> float:
    """The price of all input in full, as it was counted for what was measured."""
    sent = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens
    return (3 * sent + 15 * usage.output_tokens) / 1e6


@pytest.mark.parametrize(
    ("owned", "there", "usd"),
    [(115_078, 135_936, 0.834), (114_198, 172_158, 0.567)],
    ids=["ledger", "job_queue"],
)
def test_a_change_costs_what_was_measured_within_a_factor(
    owned: int, there: int, usd: float
) -> None:
    """The executors of bench/outcome whose whole runs came to $1.15 and $0.85; both tasks were
    estimated as 3,500 tokens."""
    task = Task(id="a", instructions="x" * 1_500, owns=("own.py",), estimate=3_500)
    code = CodeSizes({"own.py": owned, "other.py": there - owned})
    given = SYSTEM_BYTES["api"] + 3_000

    def cost(sizes: CodeSizes) -> float:
        return sum(map(uncached, task_requests(task, given, MODEL, sizes)))

    assert usd / 1.4 < cost(code) < usd * 1.4
    assert cost(NO_CODE) < usd / 3


@pytest.mark.parametrize(
    ("owns", "read"),
    [
        (("app/a.py",), 40_000 + OTHERS_BYTES),
        (("app/",), 44_000 + OTHERS_BYTES),
        (("app/new.py", "./"), 144_400),
        (("app/new.py",), OTHERS_BYTES),
    ],
)
def test_an_executor_is_shown_its_own_files_and_a_share_of_others(
    owns: tuple[str, ...], read: int
) -> None:
    assert CODE.shown_bytes(owns) == int(SHOWN * read)


def test_nobody_reads_all_of_a_large_project() -> None:
    assert CodeSizes({f"{n}.py": 10_000 for n in range(1_000)}).shown_bytes(["./"]) == (
        MOST_SHOWN_BYTES
    )


@pytest.mark.parametrize(("owned", "factor"), [("setup.py", WRITTEN), ("new.py", 1.0)])
def test_who_edits_writes_more_than_is_new(owned: str, factor: float) -> None:
    task = Task(id="a", instructions="Do it.", owns=(owned,), estimate=1_000)
    assert CODE.written_tokens(task) == 1_000 * factor
    assert task_s(task, Terms(MODEL, Pace(0.0, 1.0), uncached, code=CODE)) == 1_000 * factor


def test_both_ways_and_what_is_reserved_count_it() -> None:
    plan = make_plan({"a": [], "b": []}, {"a": 1_000, "b": 1_000})
    code = CodeSizes({f"{entry}x.py": 20_000 for task in plan.tasks for entry in task.owns})
    bare, full = (
        Expectations(Models(MODEL, MODEL), 2, uncached, code=sizes) for sizes in (NO_CODE, code)
    )
    assert full.forecast(plan).tokens.likely > bare.forecast(plan).tokens.likely + 40_000
    assert full.forecast(plan).work_s > bare.forecast(plan).work_s
    assert full.compare(plan).alone.tokens > bare.compare(plan).alone.tokens + 20_000
    needs = [expected_needs(plan, "Do it.", uncached, MODEL, sizes) for sizes in (NO_CODE, code)]
    for task in plan.tasks:
        assert needs[1][task.id].likely.tokens > needs[0][task.id].likely.tokens + 20_000


def test_a_simulated_executor_reads_a_line_of_each_file() -> None:
    manifest = Manifest((ManifestEntry("a.py", 9, "0" * 64, 0o644),))
    assert CodeSizes.read(manifest, MODEL) == CodeSizes({"a.py": 9})
    simulated = ModelSettings("anthropic", "m", simulation=SimulationSettings())
    assert CodeSizes.read(manifest, simulated) == NO_CODE
