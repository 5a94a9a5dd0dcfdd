"""The summary of a run: what is left to do, what it used, and the resume command."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from core.events import AnswerProgress, Kind
from core.job import Usage
from core.program import program_line
from core.simulation_notice import limitation_notice, simulation_notice
from engine.run.run_view import RunView
from engine.run.task_view import TaskPhase
from engine.views.summary import (
    LISTED,
    is_resumable,
    render_end,
    render_outcome,
    render_summary,
    resume_command,
    silence_reporter,
)
from tests.engine.run.test_run_view import Story, usage
from tests.engine.views.test_views import CONTROL, HOSTILE, tell_forecast
from tests.fakes.events import event_of


def started(**header: Any) -> Story:
    facts = {"run": "r1", "run_dir": "/w/runs/r1", "target": "/out", **header}
    return Story().start(**facts).plan(("a", [], 1), ("b", ["a"], 1), ("c", ["b"], 1))


def done(story: Story, *tasks: str, seconds: float = 10.0) -> Story:
    for task in tasks:
        story.begin(task).end(task, duration_s=seconds, usage=[usage(1000, 100)]).finish(task)
    return story


def ended(story: Story, exit_code: int, outcome: str, message: str = "") -> Story:
    return story.tell(Kind.RUN_ENDED, exit_code=exit_code, outcome=outcome, message=message)


def fields(text: str) -> dict[str, str]:
    """The labelled paragraphs, each joined to one line; repeated labels are joined, too."""
    found: dict[str, str] = {}
    label = ""
    for line in text.splitlines()[1:]:
        label = line[:12].strip() or label
        found[label] = f"{found.get(label, '')} {line[12:].strip()}".strip()
    return found


def test_a_run_that_went_well_has_nothing_left_to_do() -> None:
    story = done(started(), "a", "b", "c")
    story.at += 15
    story.tell(Kind.DELIVERED, target="/out", files=7, conflicts=[], refused=[])
    text = render_summary(ended(story, 0, "done").run_view)
    assert text.splitlines()[0] == "Run r1: done, 3 of 3 tasks"
    assert render_outcome(story.run_view) == "Run r1: done, 3 of 3 tasks, in /out"
    assert fields(text) == {
        "target": "/out (7 files)",
        "tasks": "3 done",
        "time": "0:15; 0:30 of task time (2.0 times as fast as one task at"
        " a time), critical path 0:30",
        "tokens": "3,000 in, 300 out, in 3 requests",
        "cost": "$3.30",
        "checks": "not run",
        "run dir": "/w/runs/r1",
    }


def test_what_failed_is_named_with_its_reason_and_the_resume_command() -> None:
    story = done(started(), "a").finish("b", "FAILED", "It took longer than 1800 s.")
    story.finish("c", "BLOCKED", "It depends on 'b', which failed.")
    found = fields(render_summary(ended(story, 1, "finished with failures").run_view))
    assert found["tasks"] == "1 done, 1 failed, 1 blocked"
    assert found["failed"] == "b: It took longer than 1800 s."
    assert found["blocked"] == "c: It depends on 'b', which failed."
    assert found["continue"] == program_line("resume", "r1", "--work-dir", "/w")


def test_a_failed_task_points_to_its_last_transcript_where_there_is_one() -> None:
    story = started().begin("a").end("a", usage=[usage(1, 2)]).begin("a", 2)
    story.end("a", 2, usage=[usage(1, 2)]).finish("a", "FAILED", "No.")
    story.begin("b").end("b").finish("b", "FAILED", "It never started.")
    lines = render_summary(story.run_view).splitlines()
    at = lines.index("  failed    a: No.")
    assert lines[at + 1] == f"{'':12}transcript /w/runs/r1/tasks/a/2/result/transcript.jsonl"
    assert sum("transcript" in line for line in lines) == 1


def test_a_failure_without_a_reason_says_so() -> None:
    found = fields(render_summary(started().finish("a", "FAILED").run_view))
    assert found["failed"] == "a: no reason given"


def test_a_simulation_is_labelled() -> None:
    story = done(started(simulated=True, prompt="why?"), "a")
    story.tell(Kind.PLAN_READY, title="Todo List", tasks=[])
    text = render_summary(story.run_view)
    assert text.startswith("Simulated run r1")
    assert "nothing is billed" in fields(text)["cost"]
    shown = " ".join(text.split())
    assert simulation_notice("Todo List") in shown
    assert limitation_notice("why?") in shown


@pytest.mark.parametrize(
    ("speed", "wall"),
    [
        (20, "0:15 (simulated at 20x; real: about 5:00); 0:30 of task time"),
        (0.5, "0:15 (simulated at 0.5x; real: about 0:08); 0:30 of task time"),
        (0, "0:15 (simulated without waits); 0:30 of task time"),
        (None, "0:15; 0:30 of task time"),
    ],
)
def test_the_times_of_a_simulation_say_how_they_compare_to_life(
    speed: float | None, wall: str
) -> None:
    story = done(started(simulated=speed is not None, speed=speed), "a", "b", "c")
    story.at += 15
    story.tell(Kind.NOTICE, text="x")
    assert fields(render_summary(story.run_view))["time"].startswith(wall)


def test_the_pace_of_life_is_that_of_the_forecast_where_there_is_one() -> None:
    story = done(started(simulated=True, speed=20), "a", "b", "c")
    tell_forecast(story)
    assert "real: about 1:04)" in fields(render_summary(story.run_view))["time"]


def test_what_this_program_does_itself_takes_no_longer_in_life() -> None:
    story = started(simulated=True, speed=20)
    span = {"low": 1.0, "likely": 2.0, "high": 3.0}
    story.tell(Kind.FORECAST, executors=1, work_s=2.0, cost_usd=None, seconds=span, tokens=span)
    story.at += 15
    story = done(story, "a", "b", "c")
    assert fields(render_summary(story.run_view))["time"].startswith(
        "0:15 (simulated at 20x; real: about 0:40); "
    )


def test_checks_take_the_same_time_in_life_and_are_told_apart() -> None:
    story = done(started(simulated=True, speed=20), "a", "b", "c")
    tell_forecast(story)
    story.tell(Kind.CHECK_ENDED, phase="check", command="t", tasks=[], state="passed", seconds=6)
    found = fields(render_summary(story.run_view))
    assert "real: about 1:10; 0:06 of it checks)" in found["time"]
    assert "actual 0:00 without checks" in found["forecast"]


def test_planning_alone_tells_of_a_silence_and_of_nothing_else() -> None:
    told: list[str] = []
    for progress in (AnswerProgress(5), AnswerProgress(5, silent_s=10.2)):
        silence_reporter(told.append)(progress)
    assert told == ["no answer from Claude for 10 s"]


def test_a_narrow_terminal_gets_narrow_lines() -> None:
    story = started(run_dir="/w/r").finish("a", "FAILED", "It did not end in time. " * 5)
    lines = render_summary(story.run_view, 60).splitlines()
    assert 50 < max(len(line) for line in lines[1:-1]) <= 60, "a command stays whole"


def test_a_brief_end_says_what_went_wrong_and_how_to_go_on() -> None:
    story = done(started(), "a").finish("b", "FAILED", "No.").finish("c", "BLOCKED", "It waits.")
    text = render_end(ended(story, 1, "finished with problems").run_view, quiet=True)
    assert text.splitlines() == [
        "Run r1: finished with problems, 1 of 3 tasks",
        "  failed    b: No.",
        f"  explain   {program_line('show', 'r1', '--work-dir', '/w', 'b')}",
        f"  continue  {resume_command(story.run_view)}",
    ]
    story = done(started(), "a", "b", "c").tell(Kind.DELIVERED, target="/out", files=1)
    text = render_end(ended(story, 0, "succeeded").run_view, quiet=True)
    assert text == "Run r1: succeeded, 3 of 3 tasks, in /out\n"


def test_the_usual_end_is_short_with_the_next_step_and_the_rest_behind_verbose() -> None:
    story = Story().start(run="r1", run_dir="/w/runs/r1", target="/out")
    tasks = [["a", "A", [], 1]]
    story.tell(Kind.PLAN_READY, title="T", tasks=tasks, start="make", assumptions=["One.", "Two."])
    done(story, "a").tell(Kind.DELIVERED, target="/out", files=7)
    run_view = ended(story, 0, "succeeded").run_view
    short, whole = (
        render_end(run_view, quiet=False),
        render_end(run_view, quiet=False, verbose=True),
    )
    assert len(short.splitlines()) <= 9
    assert [*fields(short.lstrip())] == [
        *("target", "checks", "assumed", "time", "cost", "details", "start"),
    ]
    assert fields(short.lstrip())["details"] == program_line("show", "r1", "--work-dir", "/w")
    assert whole == f"\n{render_summary(run_view)}"
    assert "One." in whole
    assert "One." not in short


def test_a_short_end_names_what_failed_and_points_to_its_explanation() -> None:
    story = started().begin("a").end("a", usage=[usage(1, 2)]).finish("a", "FAILED", "No.")
    short = render_end(ended(story, 1, "finished with problems").run_view, quiet=False)
    assert "  failed    a: No.\n" in short
    assert "transcript" not in short
    assert fields(short.lstrip())["explain"].endswith("a")
    assert fields(short.lstrip())["continue"]


def test_an_unknown_price_is_named() -> None:
    story = started().begin("a").end("a", usage=[usage(model="unknown")])
    assert "unknown price for 1 request" in fields(render_summary(story.run_view))["cost"]


def test_the_cache_is_reported_only_where_it_was_used() -> None:
    story = started().begin("a").end("a", usage=[usage(1, 2, cache_read_tokens=3000)])
    tokens = fields(render_summary(story.run_view))["tokens"]
    assert tokens == "1 in, 2 out, 3,000 read from the cache, 0 written to it, in 1 request"
    assert "cache" not in fields(render_summary(done(started(), "a").run_view))


@pytest.mark.parametrize(
    ("read", "written", "text"),
    [
        (3_000, 0, "75% of the input was read from the prompt cache, which saved $2.70"),
        (
            0,
            1_000,
            "0% of the input was read from the prompt cache, which cost $0.2500 more than it saved",
        ),
    ],
)
def test_the_savings_of_the_cache_are_reported(read: int, written: int, text: str) -> None:
    def price(usage: Usage) -> float:
        cached = usage.cache_read_tokens * 0.1 + usage.cache_write_tokens * 1.25
        return (usage.input_tokens + cached) / 1000

    run_view = RunView(price)
    plain_tokens = 1_000
    used = usage(plain_tokens, 1, cache_read_tokens=read, cache_write_tokens=written)
    run_view.apply(event_of(Kind.RUN_STARTED, 1.0, data={"run": "r1"}))
    run_view.apply(event_of(Kind.PROGRESS, 2.0, data={"usage": used}))
    assert fields(render_summary(run_view))["cache"] == text


def test_without_a_price_only_the_cached_share_is_reported() -> None:
    used = usage(1_000, 1, cache_read_tokens=1_000, model="unknown")
    story = started().begin("a").end("a", usage=[used])
    found = fields(render_summary(story.run_view))
    assert found["cache"] == "50% of the input was read from the prompt cache"


def test_conflicts_and_refusals_are_named() -> None:
    conflict = {
        "path": "app.py",
        "owners": ["a", "b"],
        "kept_as": "app.py.from-b",
        "why": "both wrote it",
    }
    refused = {"path": "../x", "owner": "c", "why": "leaves the tree"}
    story = done(started(), "a", "b", "c").tell(
        Kind.DELIVERED, files=3, conflicts=[conflict], refused=[refused]
    )
    found = fields(render_summary(ended(story, 1, "finished").run_view))
    assert found["conflict"] == "app.py of a and b: both wrote it; kept as app.py.from-b"
    assert found["left out"] == "../x of c: leaves the tree"
    assert "continue" not in found


def test_of_many_the_first_are_named_and_the_rest_counted() -> None:
    story = Story().start().plan(*[(f"t{n}", [], 1) for n in range(1000)])
    for n in range(1000):
        story.finish(f"t{n}", "FAILED", f"why {n}")
    many = [{"path": f"p{n}", "owners": ["a", "b"], "kept_as": "k", "why": "w"} for n in range(30)]
    refused = [{"path": f"p{n}", "owner": "a", "why": "w"} for n in range(30)]
    story.tell(Kind.DELIVERED, files=1, conflicts=many, refused=refused)
    lines = render_summary(story.run_view).splitlines()
    assert sum(line.startswith("  failed") for line in lines) == LISTED + 1
    assert any(line.endswith("and 990 more") for line in lines)
    assert sum(line.endswith("and 20 more") for line in lines) == 2
    assert len(lines) < 50


@pytest.mark.parametrize(
    ("exit_code", "finished", "resumable"),
    [(0, True, False), (1, True, False), (1, False, True), (4, False, True), (130, True, True)],
)
def test_a_run_can_be_resumed_while_something_is_left(
    exit_code: int, finished: bool, resumable: bool
) -> None:
    story = done(started(), "a", "b", *(["c"] if finished else []))
    story.tell(Kind.DELIVERED, target="/out", files=7, conflicts=[], refused=[])
    assert is_resumable(ended(story, exit_code, "x").run_view) is resumable


def test_a_delivery_that_failed_can_be_resumed() -> None:
    story = done(started(), "a", "b", "c")
    assert is_resumable(ended(story, 1, "failed").run_view)


def test_the_resume_command_can_be_pasted_whatever_it_names() -> None:
    work_dir = "/a place/with 'quotes'/" + "x" * 100
    story = started(run_dir=f"{work_dir}/runs/r1")
    (line,) = [x for x in render_summary(story.run_view).splitlines() if "continue" in x]
    assert shlex.split(line)[-4:] == ["resume", "r1", "--work-dir", work_dir]


def test_the_usual_work_directory_need_not_be_named() -> None:
    story = started(run_dir=str(Path.cwd() / ".orchestrator/runs/r1"))
    assert resume_command(story.run_view) == program_line("resume", "r1")


def test_a_run_that_never_ended_can_be_resumed_and_says_so() -> None:
    story = started()
    assert is_resumable(story.run_view)
    assert render_outcome(story.run_view) == "Run r1: not ended, 0 of 3 tasks"


def test_a_run_that_failed_before_it_had_a_plan_still_has_a_summary() -> None:
    story = Story().start(run="r1", run_dir="/w/runs/r1")
    story.tell(Kind.RUN_ENDED, exit_code=1, outcome="failed", message="M")
    found = fields(render_summary(story.run_view))
    assert found["tasks"] == "none"
    assert "reason" not in found  # the error is printed where it is caught
    assert found["continue"].endswith("resume r1 --work-dir /w")


def test_without_a_run_there_is_nothing_to_resume() -> None:
    assert "continue" not in fields(render_summary(Story().run_view))


def test_hostile_text_stays_within_eighty_columns_and_harmless() -> None:
    story = started(target="/out/" + "x" * 50, run_dir=HOSTILE)
    story.finish("a", "FAILED", HOSTILE + " many words" * 100)
    conflict = {"path": HOSTILE, "owners": [HOSTILE, "b"], "kept_as": HOSTILE, "why": HOSTILE}
    story.tell(Kind.DELIVERED, files=1, conflicts=[conflict], refused=[])
    text = render_summary(ended(story, 4, HOSTILE, HOSTILE * 10).run_view)
    assert not CONTROL.search(text)
    assert max(map(len, text.splitlines()[1:-1])) <= 80  # what can be pasted stays one line


def test_tasks_that_failed_alike_are_one_paragraph() -> None:
    story = Story().start().plan(*[(f"t{n}", [], 1) for n in range(9)])
    for n in range(9):
        story.finish(f"t{n}", "FAILED", "why")
    assert fields(render_summary(story.run_view))["failed"] == "t0, t1, t2 and 6 more: why"


def test_an_interrupted_run_says_what_is_done_what_is_left_and_how_to_go_on() -> None:
    story = done(started(), "a").finish("b", "CANCELLED").finish("c", "CANCELLED")
    found = fields(render_end(ended(story, 130, "interrupted", "It was.").run_view, quiet=False))
    assert found["tasks"] == "1 done, 2 left"
    assert found["target"] == "nothing was delivered yet; what is done is kept"
    assert found["continue"] == program_line("resume", "r1", "--work-dir", "/w")
    assert "reason" not in found


def test_a_run_with_a_repair_points_to_what_it_did() -> None:
    story = done(started(), "a", "b", "c")
    story.tell(Kind.TASK_ADDED, "repair-1", title="Repair")
    done(story, "repair-1")
    found = fields(render_end(ended(story, 0, "succeeded").run_view, quiet=False))
    assert found["explain"].endswith("show r1 --work-dir /w repair-1")


def test_every_phase_is_counted() -> None:
    story = Story().start().plan(*[(p.name.lower(), [], 1) for p in TaskPhase])
    for phase in TaskPhase:
        story.run_view.tasks.counts[TaskPhase.WAITING] -= 1
        story.run_view.tasks.counts[phase] += 1
    tasks = fields(render_summary(story.run_view))["tasks"]
    words = {*map(str, TaskPhase), "left"} - {"cancelled"}
    assert all(f"1 {word}" in tasks for word in words)


def test_the_forecast_stands_beside_the_actual_figures() -> None:
    story = started()
    story.at += 5
    figures: dict[str, Any] = {
        name: {"low": 1.0, "likely": 2.0, "high": 3.0} for name in ("seconds", "tokens")
    }
    story.tell(Kind.FORECAST, executors=1, work_s=2.0, cost_usd=None, **figures)
    text = render_summary(ended(done(story, "a", "b"), 0, "done").run_view)
    assert fields(text)["forecast"] == (
        "for the tasks 0:02 (0:01 to 0:03), unknown price, 2 (1 to 3) tokens;"
        " actual 0:00, $2.20, 2.2k tokens"
    )


def test_with_planning_the_forecast_is_of_the_whole_run() -> None:
    story = Story().start()
    story.tell(Kind.PROGRESS, usage=usage(100, 0))
    story.at += 60
    story.plan(("a", [], 1))
    story.at += 600  # somebody was asked
    figures: dict[str, Any] = {
        name: {"low": 1.0, "likely": 2.0, "high": 3.0} for name in ("seconds", "tokens")
    }
    planning = {"seconds": 60.0, "tokens": 100, "cost_usd": 0.1}
    story.tell(Kind.FORECAST, executors=1, work_s=2.0, cost_usd=None, planning=planning, **figures)
    done(story, "a")
    story.at += 5
    assert fields(render_summary(ended(story, 0, "done").run_view))["forecast"] == (
        "1:02 (1:01 to 1:03), unknown price, 102 (101 to 103) tokens;"
        " actual 1:05, $1.20, 1.2k tokens"
    )


def test_the_resume_command_after_a_spent_budget_raises_the_cap() -> None:
    story = done(started(), "a").tell(
        Kind.RUN_ENDED, exit_code=4, outcome="stopped", resume_with="--max-cost 2.50"
    )
    assert fields(render_summary(story.run_view))["continue"] == (
        program_line("resume", "r1", "--work-dir", "/w", "--max-cost", "2.50")
    )


def test_two_models_are_named_with_what_each_cost() -> None:
    story = Story().start(model="small", effort="low", planner_model="large")
    story.tell(Kind.PROGRESS, usage=usage(100, 0))
    done(story.plan(("a", [], 1)), "a")
    assert fields(render_summary(story.run_view))["models"] == (
        "large plans, small (effort low) executes; planning $0.1000, tasks $1.10"
    )
    for header in ({"model": "one"}, {"model": "one", "planner_model": ""}):
        assert "models" not in fields(render_summary(Story().start(**header).run_view))
    same = {"model": "one", "effort": "low", "planner_effort": "low"}
    text = fields(render_summary(Story().start(**same).run_view))["models"]
    assert text.startswith("one (effort low); planning")


def test_checks_are_no_part_of_what_was_forecast() -> None:
    story = done(started(), "a", "b", "c")
    before = story.run_view.executing_s()
    story.at += 50
    check: dict[str, Any] = {"phase": "check", "command": "true", "tasks": [], "state": "passed"}
    story.tell(Kind.CHECK_ENDED, seconds=50.0, **check)
    assert story.run_view.executing_s() == before


def test_why_a_check_is_not_proven_is_told_once_for_each_reason() -> None:
    story = done(started(), "a", "b", "c")
    for command, reason in (("go vet", "no go"), ("go test", "no go"), ("make", "flaky")):
        check: dict[str, Any] = {"phase": "check", "command": command, "state": "not proven"}
        story.tell(Kind.CHECK_ENDED, tasks=["a"], seconds=1.0, reason=reason, **check)
    story.tell(Kind.VERIFIED, sandbox="a box", criteria=[])
    text = render_summary(ended(story, 0, "done").run_view)
    assert "  unproven  no go: 2 checks\n  unproven  flaky: make (a)\n" in text


def test_the_command_that_starts_what_was_built_stays_whole() -> None:
    start = "python3 -m app serve " + "--option value " * 9 + "end"
    story = Story().start(run="r1", run_dir="/w/runs/r1", target="/a place")
    story.tell(Kind.PLAN_READY, title="T", tasks=[["a", "A", [], 1]], start=start)
    story = done(story, "a").tell(Kind.DELIVERED, target="/a place", files=1)
    text = render_summary(ended(story, 0, "done").run_view)
    assert f"  start     cd '/a place' && {start}\n" in text
