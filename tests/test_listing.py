from __future__ import annotations

import json
from pathlib import Path

from core.events import Event, Kind
from core.job import Usage
from core.wire import plain
from engine.journal import Journal
from engine.listing import list_runs, render_runs
from engine.rundir import RunDir, RunFacts, create_run, locked

FACTS = RunFacts("20260101-000000-aaaa", "Build it", "/out", 1767225600.0, {}, True)


def free(usage: Usage) -> float | None:
    return 0.25


def make(tmp_path: Path, *events: Event) -> RunDir:
    run = create_run(tmp_path, FACTS)
    journal = Journal(run.journal)
    for event in events:
        journal.emit(event)
    journal.close()
    return run


def test_a_run_that_never_said_how_it_ended_was_interrupted(tmp_path: Path) -> None:
    (row,) = list_runs([make(tmp_path)], free)
    assert (row.state, row.done, row.tasks, row.tokens) == ("interrupted", 0, 0, 0)


def test_a_run_that_somebody_works_on_is_running(tmp_path: Path) -> None:
    run = make(tmp_path)
    with locked(run):
        (row,) = list_runs([run], free)
    assert row.state == "running"


def test_planning_that_failed_cost_money_all_the_same(tmp_path: Path) -> None:
    usage = plain(Usage("anthropic", "m", 100, 50))
    run = make(
        tmp_path,
        Event(Kind.RUN_STARTED, 1.0, data={"run": FACTS.run}),
        Event(Kind.PROGRESS, 2.0, data={"text": "not kept"}),
        Event(Kind.PROGRESS, 2.0, data={"usage": usage}),
        Event(Kind.RUN_ENDED, 3.0, data={"outcome": "failed", "exit_code": 1}),
    )
    (row,) = list_runs([run], free)
    assert (row.state, row.tokens) == ("failed", 150)
    assert "$0.25" in row.cost
    assert "not kept" not in run.journal.read_text()


def test_a_damaged_run_is_listed_and_hides_no_other(tmp_path: Path) -> None:
    run = make(tmp_path)
    run.facts.write_text("{")
    (row,) = list_runs([run], free)
    assert row.state == "damaged"
    assert "run.json" in row.prompt


def test_rows_fit_80_columns_and_json_has_one_object_a_line(tmp_path: Path) -> None:
    rows = list_runs([make(tmp_path)], free)
    assert all(len(line) <= 80 for line in render_runs(rows, as_json=False).splitlines())
    (line,) = render_runs(rows, as_json=True).splitlines()
    assert json.loads(line)["run"] == FACTS.run
    assert render_runs([], as_json=False) == "No runs.\n"
    assert render_runs([], as_json=True) == ""
