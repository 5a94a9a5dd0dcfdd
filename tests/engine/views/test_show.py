"""`show`: a run and its tasks for reading."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.bundle import Limits, ModelSettings, Request, write_request
from core.errors import UsageError
from core.events import Event, Kind
from core.job import JobKey, JobState
from core.plan import Plan, Task, render_plan
from engine.run.journal import Journal
from engine.run.rundir import RunDir, RunFacts, create_run
from engine.views.show import ShownRun, render_run, render_task
from tests.fakes.events import event_of

RUN = "20260101-000000-aaaa"
FACTS = RunFacts(RUN, "Build it", "/out", 1767225600.0, {}, True)
EVIL = "\x1b]0;owned\x07\u202e"
TASKS = [["a", "The first", [], 10], ["b", "The second", ["a"], 10]]
EVENTS = (
    event_of(Kind.RUN_STARTED, 1.0, data={"run": RUN, "run_dir": "/r", "prompt": f"Build{EVIL}"}),
    event_of(Kind.PLAN_READY, 2.0, data={"title": "T", "tasks": TASKS}),
    event_of(Kind.JOB_INTENDED, 3.0, "a", 1),
    event_of(
        Kind.JOB_ENDED, 5.0, "a", 1,
        {"cause": "DEFECT", "state": JobState.FAILED, "message": f"no a.py{EVIL}",
         "duration_s": 2.0},
    ),
    event_of(Kind.TASK_RETRY, 5.0, "a", 1, {"message": "no a.py"}),
    event_of(Kind.JOB_INTENDED, 6.0, "a", 2),
    event_of(Kind.JOB_ENDED, 9.0, "a", 2, {"cause": "REFUSED", "message": f"declined{EVIL}"}),
    event_of(Kind.TASK_ENDED, 9.0, "a", 2, {"state": "FAILED", "message": "declined"}),
    event_of(Kind.TASK_ENDED, 9.0, "b", 0, {"state": "BLOCKED", "message": "a failed"}),
)  # fmt: skip


def task(name: str) -> Task:
    return Task(id=name, title=name, instructions=f"Do {name}{EVIL}", owns=(f"{name}.py",))


def made(tmp_path: Path, *events: Event) -> ShownRun:
    run = create_run(tmp_path, FACTS)
    journal = Journal(run.journal)
    for event in events or EVENTS:
        journal.emit(event)
    journal.close()
    plan = Plan(title="T", summary="All of it", tasks=(task("a"), task("b")), contracts=())
    run.plan.write_text(render_plan(plan))
    return ShownRun.read(run, lambda _: None)


def requested(run: RunDir, number: int) -> None:
    key = JobKey(RUN, "a", number)
    attempt = run.attempt(key)
    attempt.files.mkdir(parents=True)
    (attempt.files / "a.py").write_text("x")
    write_request(
        attempt,
        Request(key, "p", "b", task("a"), (), ModelSettings(), Limits(), f"was cut{EVIL}"),
    )


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_a_run_is_its_tasks_its_summary_and_the_way_to_the_failed_one(
    tmp_path: Path, width: int
) -> None:
    text = render_run(made(tmp_path), width)
    table, _, summary = text.partition("\n\n")[2].partition("\n\n")
    assert all(len(line) <= width for line in table.splitlines())
    rows = {line.split()[0]: line for line in table.splitlines()}
    assert "failed" in rows["a"]
    assert "declined" in rows["a"]
    assert "blocked" in rows["b"]
    assert "a failed" in rows["b"]
    assert f"show {RUN}" in summary.splitlines()[-1]
    assert summary.endswith(" a\n")


def test_the_plan_is_shown_where_more_is_asked_for(tmp_path: Path) -> None:
    shown = made(tmp_path)
    assert "All of it" in render_run(shown, 80, verbose=True)
    assert "All of it" not in render_run(shown, 80)


def test_a_task_tells_what_was_asked_how_each_attempt_ended_and_where_things_are(
    tmp_path: Path,
) -> None:
    shown = made(tmp_path)
    requested(shown.run, 2)
    text = render_task(shown, "a", 80)
    assert "attempt   1  DEFECT after 0:02: no a.py" in text
    assert "attempt   2  REFUSED: declined" in text
    assert "  Do a" in text
    assert "before    was cut" in text
    assert "1 bytes  a.py" in text
    assert "\nResult\n  REFUSED: declined" in text
    assert str(shown.run.attempt(JobKey(RUN, "a", 2)).task_json) in text


def test_an_earlier_attempt_can_be_named(tmp_path: Path) -> None:
    text = render_task(made(tmp_path), "a/1", 80)
    assert "attempt 1 of 2" in text
    assert "\nResult\n  DEFECT: no a.py" in text


def test_a_task_that_never_began_shows_its_plan(tmp_path: Path) -> None:
    text = render_task(made(tmp_path), "b", 80)
    assert "  Do b" in text
    assert "There is none" in text
    assert "  state     blocked\n  reason    a failed\n" in text


def test_a_task_that_waits_says_for_which_others(tmp_path: Path) -> None:
    text = render_task(made(tmp_path, *EVENTS[:3]), "b", 80)
    assert "  state     waiting\n  reason    waits for a (queued)\n" in text


def test_a_file_that_a_repair_changed_later_is_named_with_it(tmp_path: Path) -> None:
    rounds = (
        {"round": 1, "passed": 0, "total": 1, "rejected": "worse"},
        {"round": 2, "passed": 1, "total": 1, "changed": [["a.py", "a"], ["c.py", "c"]]},
    )
    ended = (event_of(Kind.REPAIR_ENDED, 10.0, data=data) for data in rounds)
    text = render_task(made(tmp_path, *EVENTS, *ended), "a", 200)
    assert "  changed   later, by repair-2: a.py\n  explain   " in text
    assert text.partition("  explain   ")[2].splitlines()[0].endswith(" repair-2")


@pytest.mark.parametrize(
    ("name", "words"),
    [("c", "Its tasks: a, b."), ("a/3", "Give 1 to 2."), ("a/x", "Give 1 to 2."), ("", "a, b")],
)
def test_what_there_is_not_is_refused_with_what_there_is(
    tmp_path: Path, name: str, words: str
) -> None:
    with pytest.raises(UsageError) as caught:
        render_task(made(tmp_path), name, 80)
    assert words in str(caught.value)


def test_a_run_that_has_only_begun_is_shown(tmp_path: Path) -> None:
    run = create_run(tmp_path, FACTS)
    text = render_run(ShownRun.read(run, lambda _: None), 80)
    assert "not ended, before there was a plan" in text


def test_nothing_of_a_model_reaches_the_terminal_as_a_control_character(tmp_path: Path) -> None:
    shown = made(tmp_path)
    requested(shown.run, 2)
    for text in (render_run(shown, 80, verbose=True), render_task(shown, "a", 80, verbose=True)):
        assert all(char.isprintable() or char == "\n" for char in text)
