"""A run that dies after any line of its journal, while its plan is written, corrected or carried
out, is finished by `resume` as a run would be that waits for its plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.bundle import build_manifest
from core.plan import Contract, Plan
from tests.fakes.dying_runs import DyingRuns
from tests.fakes.plan_parts import contract, plan, task
from tests.fakes.staged_planner import Stage, staged_planner
from tests.fakes.surroundings import journal

pytestmark = pytest.mark.slow

LONG = "The names that all tasks agree on. " * 20
LAST = Contract(path="last.py", purpose=LONG, content="x = 1\n")
PLAN = plan(
    task("a", uses=("api.py",)),
    task("b"),
    task("c"),
    task("d", "a", uses=("api.py", "last.py")),
    contracts=(contract("api.py"), LAST),
)
CLASH = PLAN.model_copy(
    update={"contracts": (*PLAN.contracts[:1], LAST.model_copy(update={"path": "b.py"}))}
)
OTHER = PLAN.model_copy(
    update={
        "tasks": tuple(
            t.model_copy(update={"instructions": "Otherwise."}) if t.id == "a" else t
            for t in PLAN.tasks
        )
    }
)
PROMPT = ("Build it", "--real", "--parallel", "always", "--output-dir", "out")
MOST_LINES = 60
SHARES = 6
"""Each test has every sixth line, so that none takes long."""
CASES = [(CLASH, n) for n in range(1, SHARES + 1)] + [(PLAN, 2), (PLAN, 5)]
"""After its head, a plan that needs no repair is written and carried out as the repaired one is."""


def stages(first: Plan, *rest: Plan) -> list[Stage]:
    return [Stage(first, f'"path": "{first.contracts[-1].path}"', tasks=3), *map(Stage, rest)]


@pytest.fixture(scope="module")
def expected(program: DyingRuns, tmp_path_factory: pytest.TempPathFactory) -> Any:
    place = tmp_path_factory.mktemp("expected")
    with staged_planner(Stage(PLAN)) as planner:
        assert program(place, planner.url, *PROMPT, "--no-early-start") == 0
    return build_manifest(place / "out")


@pytest.mark.parametrize(
    ("first", "share"), CASES, ids=[f"{'repair' if p is CLASH else 'plan'}-{n}" for p, n in CASES]
)
def test_it_can_be_finished_after_any_line(
    first: Plan, share: int, program: DyingRuns, expected: Any, tmp_path: Path
) -> None:
    again = OTHER if first is CLASH else PLAN
    place = tmp_path / "run"
    place.mkdir()
    with staged_planner(*stages(first, OTHER)) as planner:
        for lines in program.deaths(range(share, MOST_LINES, SHARES), place, planner.url, *PROMPT):
            before = journal(place)  # its last lines may not be on the disk yet
            assert len(before) <= lines
            with staged_planner(Stage(again)) as now:
                assert program(place, now.url, "resume", "last") == 0, lines
            assert build_manifest(place / "out") == expected, lines
            check(before, journal(place))
    assert lines + SHARES > 20


def check(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> None:
    """No job runs twice, none counts twice, and what was done and is the same is kept."""
    ended = [(e["task"], e["attempt"]) for e in after if e["kind"] == "job_ended"]
    assert len(ended) == len(set(ended))
    done = {e["task"] for e in before if e["kind"] == "task_ended"} - {"a", "d"}
    begun = [e["task"] for e in after[len(before) :] if e["kind"] == "job_intended"]
    assert not done & set(begun)
