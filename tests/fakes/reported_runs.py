"""Run directories for the tests of reports: a run with a failure, and one of hostile words."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from core.bundle import build_manifest
from core.events import Event, Kind
from core.job import JobKey, JobState
from core.plan import Contract, Criterion, Plan, Task, render_plan
from core.wire import encode, write_atomic
from engine.run.journal import Journal
from engine.run.rundir import Deliveries, RunDir, RunFacts, create_run
from tests.fakes.events import event_of
from tests.fakes.results import hand_in

RUN = "20260101-000000-aaaa"
EVIL = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>&\u2028\u202e"
USAGE = {"provider": "anthropic", "model": "claude-sonnet-5-5", "input_tokens": 1000,
         "output_tokens": 500, "cache_read_tokens": 3000, "duration_s": 1.0}  # fmt: skip


def begun(prompt: str = "Build it", **more: Any) -> Event:
    data = {"run": RUN, "run_dir": "/r", "prompt": prompt, "target": "/out", "backend": "threading"}
    return event_of(Kind.RUN_STARTED, 0.0, data=data | more)


def planned(tasks: Iterable[tuple[str, list[str]]], title: str = "T") -> Event:
    listed = [[name, name.title(), after, 10] for name, after in tasks]
    return event_of(Kind.PLAN_READY, 2.0, data={"title": title, "tasks": listed})


def job(
    task: str, begin: float, end: float, *, attempt: int = 1, cause: str = "OK", ran_s: float = 0.0
) -> list[Event]:
    ended = {"cause": cause, "state": JobState.SUCCEEDED, "message": f"{task} {cause}",
             "usage": [USAGE], "files": 1, "duration_s": ran_s or end - begin}  # fmt: skip
    return [
        event_of(Kind.JOB_INTENDED, begin, task, attempt),
        event_of(Kind.JOB_ENDED, end, task, attempt, ended),
    ]


def done(task: str, at: float, state: str = "SUCCEEDED", message: str = "") -> Event:
    return event_of(Kind.TASK_ENDED, at, task, 1, {"state": state, "message": message})


def ended(at: float, code: int = 0, outcome: str = "succeeded", message: str = "") -> Event:
    data = {"exit_code": code, "outcome": outcome, "message": message}
    return event_of(Kind.RUN_ENDED, at, data=data)


def plan_of(tasks: Iterable[str], text: str = "Do it") -> Plan:
    made = [Task(id=name, title=name, instructions=text, owns=(f"{name}.py",)) for name in tasks]
    proof = Criterion(text=f"It works {text}", served_by=(made[0].id,), command="python3 a.py")
    contract = Contract(path="api.pyi", content="x: int\n")
    return Plan(
        title="T",
        summary="S",
        tasks=tuple(made),
        contracts=(contract,),
        acceptance_criteria=(proof,),
    )


def make_run(work_dir: Path, events: Iterable[Event], plan: Plan | None = None) -> RunDir:
    run = create_run(work_dir, RunFacts(RUN, "Build it", "/out", 1767225600.0, {}, False))
    journal = Journal(run.journal)
    for event in events:
        journal.emit(event)
    journal.close()
    if plan is not None:
        run.plan.write_text(render_plan(plan))
    return run


def leave_result(run: RunDir, task: str, files: dict[str, str], attempt: int = 1) -> None:
    """What an executor leaves of an attempt that succeeded, with a transcript of one turn."""
    key = JobKey(RUN, task, attempt)
    place = run.attempt(key)
    hand_in(place, key, files, text="")
    place.log.write_text(f"the log of {task}\n")
    calls = [
        {"type": "tool_use", "id": f"id-{path}", "name": "write_file",
         "input": {"path": path, "content": text}}
        for path, text in files.items()
    ]  # fmt: skip
    results = [
        {"type": "tool_result", "tool_use_id": call["id"], "content": f"wrote {call['id']}"}
        for call in calls
    ]
    lines: list[dict[str, Any]] = [
        {"attempt": str(key), "title": task},
        {"turn": 1, "duration_s": 1.0, "usage": USAGE, "stop_reason": "tool_use",
         "sent": [{"role": "user", "content": [{"type": "text", "text": "the request"}]}],
         "received": [{"type": "text", "text": "I write it."}, *calls]},
        {"ended": "OK", "sent": [{"role": "user", "content": results}]},
    ]  # fmt: skip
    place.transcript.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def deliver(run: RunDir, files: dict[str, str]) -> None:
    """Note as delivered what lies in `files`."""
    place = run.root / "for-manifest"
    for path, text in files.items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_text(text)
    write_atomic(run.delivered, encode(Deliveries((build_manifest(place),))))
