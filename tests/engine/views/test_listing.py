from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from core.events import Event, Kind
from core.job import Usage
from core.wire import plain
from engine.money.usage import Price
from engine.run.journal import Journal
from engine.run.rundir import RunDir, RunFacts, create_run, locked
from engine.views.listing import list_runs, render_json, render_runs
from tests.fakes.events import event_of

FACTS = RunFacts("20260101-000000-aaaa", "Build it", "/out", 1767225600.0, {}, True)


def free(usage: Usage) -> float | None:
    return 0.25


def by_list(settings: Mapping[str, object]) -> Price:
    return free


def make(tmp_path: Path, *events: Event, facts: RunFacts = FACTS) -> RunDir:
    run = create_run(tmp_path, facts)
    journal = Journal(run.journal)
    for event in events:
        journal.emit(event)
    journal.close()
    return run


def test_a_run_without_an_end_was_interrupted(tmp_path: Path) -> None:
    (row,) = list_runs([make(tmp_path)], by_list)
    assert (row.state, row.done, row.tasks, row.tokens) == ("interrupted", 0, 0, 0)


def test_a_locked_run_is_running(tmp_path: Path) -> None:
    run = make(tmp_path)
    with locked(run):
        (row,) = list_runs([run], by_list)
    assert row.state == "running"


def test_planning_that_failed_cost_money_all_the_same(tmp_path: Path) -> None:
    usage = plain(Usage("anthropic", "m", 100, 50))
    run = make(
        tmp_path,
        event_of(Kind.RUN_STARTED, 1.0, data={"run": FACTS.run}),
        event_of(Kind.PROGRESS, 2.0, data={"text": "not kept"}),
        event_of(Kind.PROGRESS, 2.0, data={"usage": usage}),
        event_of(Kind.RUN_ENDED, 3.0, data={"outcome": "failed", "exit_code": 1}),
    )
    (row,) = list_runs([run], by_list)
    assert (row.state, row.tokens) == ("failed", 150)
    assert "$0.25" in row.cost
    assert "not kept" not in run.journal.read_text()


def test_a_damaged_run_is_listed_and_hides_no_other(tmp_path: Path) -> None:
    run = make(tmp_path)
    run.facts.write_text("{")
    (row,) = list_runs([run], by_list)
    assert row.state == "damaged"
    assert "run.json" in row.prompt


def test_a_journal_with_an_unknown_state_is_damage_too(tmp_path: Path) -> None:
    run = make(tmp_path, event_of(Kind.TASK_ENDED, 2.0, "a", 1, {"state": "FAILED"}))
    run.journal.write_text(run.journal.read_text().replace("FAILED", "WEIRD"))
    (row,) = list_runs([run], lambda _: free)
    assert row.state == "damaged"


@pytest.mark.parametrize(
    ("width", "names"),
    [
        (60, "run state age cost title"),
        (80, "run state age tasks cost title"),
        (120, "run state age tasks cost title target"),
        (200, "run state age tasks cost title target"),
    ],
)
def test_a_table_fits_its_columns_and_names_each_run(
    tmp_path: Path, width: int, names: str
) -> None:
    facts = replace(FACTS, prompt="Build it " * 40, target="/very/long" * 30)
    planned = event_of(Kind.PLAN_READY, 1.0, data={"title": "A long title " * 30, "tasks": []})
    rows = list_runs([make(tmp_path, planned, facts=facts)], by_list)
    head, row = render_runs(rows, now=FACTS.created + 90.0, width=width).splitlines()
    assert head.split() == names.split()
    assert len(row) <= width
    name = row.split()[0]
    assert FACTS.run.endswith(name)  # which is enough for every command
    assert "90 s" in row
    assert "$0.00 sim" in row
    assert "A long" in row
    assert row.endswith("…")


def test_the_newest_run_comes_first_and_what_is_left_out_is_counted(tmp_path: Path) -> None:
    old, new = make(tmp_path), make(tmp_path, facts=replace(FACTS, run="20260102-000000-bbbb"))
    rows = list_runs([old, new], by_list)
    lines = render_runs(rows, now=FACTS.created, width=80, older=3).splitlines()
    assert [line.split()[0] for line in lines[1:3]] == [new.run_id, old.run_id]
    assert lines[3] == "and 3 older; --limit 5 shows all"


def test_a_prompt_stands_for_the_title_until_there_is_a_plan(tmp_path: Path) -> None:
    rows = list_runs([make(tmp_path)], by_list)
    assert "  Build it" in render_runs(rows, now=FACTS.created, width=80)


def test_a_target_below_the_current_directory_is_told_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    facts = replace(FACTS, target=str(tmp_path / "outputs" / "todo"))
    rows = list_runs([make(tmp_path, facts=facts)], by_list)
    assert render_runs(rows, now=FACTS.created, width=120).endswith("  outputs/todo\n")


def test_json_has_one_object_a_line(tmp_path: Path) -> None:
    (line,) = render_json(list_runs([make(tmp_path)], by_list)).splitlines()
    assert json.loads(line)["run"] == FACTS.run
    assert render_runs([], now=0.0, width=80) == "No runs.\n"
    assert render_json([]) == ""


def test_no_control_character_of_a_title_reaches_the_terminal(tmp_path: Path) -> None:
    planned = event_of(Kind.PLAN_READY, 1.0, data={"title": "\x1b[2Jevil\r\n", "tasks": []})
    rows = list_runs([make(tmp_path, planned)], by_list)
    text = render_runs(rows, now=FACTS.created, width=80)
    assert "evil" in text
    assert all(char.isprintable() or char == "\n" for char in text)


def test_each_run_is_priced_by_its_own_settings(tmp_path: Path) -> None:
    event = event_of(Kind.PROGRESS, 2.0, data={"usage": plain(Usage("anthropic", "m", 1_000_000))})
    runs = []
    for name, price in (("a", 2.0), ("b", 7.0)):
        facts = replace(FACTS, run=f"{FACTS.run[:-4]}{name * 4}", settings={"price_input": price})
        run = create_run(tmp_path, facts)
        journal = Journal(run.journal)
        journal.emit(event)
        journal.close()
        runs.append(run)
    rows = list_runs(runs, lambda kept: lambda _: float(kept["price_input"]))
    assert [row.cost.split()[0] for row in rows] == ["$2.00", "$7.00"]


def test_transcripts_are_pointed_to_where_there_are_any(tmp_path: Path) -> None:
    plan = [["a", "A", [], 1], ["b", "B", [], 1]]
    run = make(
        tmp_path,
        event_of(Kind.PLAN_READY, 1.0, data={"title": "T", "tasks": plan}),
        event_of(Kind.JOB_INTENDED, 2.0, "a", 2),
    )
    path = run.tasks / "a/2/result/transcript.jsonl"
    path.parent.mkdir(parents=True)
    path.touch()
    rows = list_runs([run], by_list)
    (line,) = render_json(rows).splitlines()
    assert json.loads(line)["transcripts"] == {"a": str(path)}


def test_both_models_are_told_in_json(tmp_path: Path) -> None:
    begun = event_of(Kind.RUN_STARTED, 1.0, data={"model": "small", "planner_model": "large"})
    found = json.loads(render_json(list_runs([make(tmp_path, begun)], by_list)))
    assert (found["model"], found["planner_model"]) == ("small", "large")
