from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from config import Settings
from core.bundle import build_manifest
from core.clock import SystemClock
from core.events import Event, Kind
from core.job import JobKey, TaskResult, TaskState
from core.plan import Contract, Plan
from engine.delivery.deliver import deliver, last_delivery
from engine.execution import PROGRESS_S, deliverable, pacing_of
from engine.pipeline import exit_code, make_plan
from engine.run.attempt_store import verify_results
from engine.run.rundir import RunDir, RunFacts, create_run
from engine.run.session import Session, open_session
from engine.scheduling.types import Pacing, RunOutcome, Stop, StopCause
from engine.scheduling.warm_up import SharedPrefix
from tests.fakes.events import data_of
from tests.fakes.plans import fan
from tests.fakes.results import hand_in

RUN = "20260101-000000-aaaa"
DONE = TaskState.SUCCEEDED


class Seen:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: Kind) -> list[Event]:
        return [event for event in self.events if event.kind is kind]


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def session(tmp_path: Path, seen: Seen) -> Iterator[Session]:
    facts = RunFacts(RUN, "Build it", str(tmp_path / "out"), 0.0, {}, True)
    run = create_run(tmp_path / "work", facts)
    with open_session(facts, run, [seen], SystemClock()) as opened:
        yield opened


def two_tasks(**changed: object) -> Plan:
    contract = Contract(path="shared/types.py", purpose="p", content="X = 1\n")
    return fan(2).model_copy(update={"contracts": (contract,), **changed})


def leave_result(run: RunDir, task: str, files: dict[str, str]) -> None:
    key = JobKey(RUN, task, 1)
    hand_in(run.attempt(key), key, files)


def results(session: Session, succeeded: Mapping[str, int]) -> Mapping[str, TaskResult]:
    found = verify_results(session.run, succeeded)
    assert not found.damaged
    return found.results


def tree_of(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def outcome(plan: Plan, succeeded: dict[str, int], stop: Stop | None = None) -> RunOutcome:
    states = {t.id: DONE if t.id in succeeded else TaskState.FAILED for t in plan.tasks}
    return RunOutcome(states, succeeded, {}, stop)


def test_a_conflict_keeps_both_sides_is_named_and_gives_exit_code_1(
    session: Session, seen: Seen, tmp_path: Path
) -> None:
    plan = make_plan(session, two_tasks)
    first, second = (t.id for t in plan.tasks)
    leave_result(session.run, first, {"app.py": "one"})
    leave_result(session.run, second, {"app.py": "two"})
    found = outcome(plan, {first: 1, second: 1})
    delivery = deliver(session, plan, results(session, deliverable(found)))
    assert (tmp_path / "out/app.py").read_text() == "one"
    assert {file.source for file in delivery.files} == set(tree_of(tmp_path / "out"))
    assert (tmp_path / f"out/app.conflict-{second}.py").read_text() == "two"
    assert (tmp_path / "out/shared/types.py").read_text() == "X = 1\n"
    (event,) = seen.of(Kind.DELIVERED)
    assert [c["path"] for c in data_of(event)["conflicts"]] == ["app.py"]
    assert exit_code(found, delivery) == 1


def test_what_succeeded_is_delivered_when_something_failed(
    session: Session, tmp_path: Path
) -> None:
    plan = make_plan(session, two_tasks)
    first = plan.tasks[0].id
    leave_result(session.run, first, {"app.py": "one"})
    found = outcome(plan, {first: 1})
    delivery = deliver(session, plan, results(session, deliverable(found)))
    assert build_manifest(tmp_path / "out").paths == ("app.py", "shared/types.py")
    assert exit_code(found, delivery) == 1


@pytest.mark.parametrize(
    ("cause", "code", "files"),
    [(StopCause.INTERRUPTED, 130, 0), (StopCause.AUTH, 4, 2), (StopCause.BILLING, 4, 2)],
)
def test_a_limit_delivers_what_is_done_and_an_interruption_nothing_yet(
    session: Session, tmp_path: Path, cause: StopCause, code: int, files: int
) -> None:
    plan = make_plan(session, two_tasks)
    first = plan.tasks[0].id
    leave_result(session.run, first, {"app.py": "one"})
    found = outcome(plan, {first: 1}, Stop(cause, "why"))
    delivery = deliver(session, plan, results(session, deliverable(found)))
    assert len(delivery.files) == files
    assert (tmp_path / "out").exists() == bool(files)
    assert exit_code(found, delivery) == code


def test_nothing_is_delivered_when_nothing_succeeded(session: Session, tmp_path: Path) -> None:
    plan = make_plan(session, two_tasks)
    delivery = deliver(session, plan, {})
    assert delivery.files == ()
    assert not (tmp_path / "out").exists()


def test_a_later_delivery_replaces_the_earlier_one(session: Session, tmp_path: Path) -> None:
    plan = make_plan(session, two_tasks)
    first, second = (t.id for t in plan.tasks)
    leave_result(session.run, first, {"a.py": "one"})
    deliver(session, plan, results(session, {first: 1}))
    assert last_delivery(session.run, session.facts) == build_manifest(tmp_path / "out")
    leave_result(session.run, second, {"b.py": "two"})
    deliver(session, plan, results(session, {first: 1, second: 1}))
    assert build_manifest(tmp_path / "out").paths == ("a.py", "b.py", "shared/types.py")


def test_the_intent_to_replace_the_target_is_on_disk_first(
    session: Session, seen: Seen, tmp_path: Path
) -> None:
    plan = make_plan(session, two_tasks)
    leave_result(session.run, plan.tasks[0].id, {"a.py": "one"})
    deliver(session, plan, results(session, {plan.tasks[0].id: 1}))
    kinds = [json.loads(line)["kind"] for line in session.run.journal.read_text().splitlines()]
    assert "merge_intended" in kinds
    assert len(seen.of(Kind.MERGE_INTENDED)) == 1


def test_the_limits_of_the_loop_are_those_of_the_settings() -> None:
    asked = Settings(max_executors=7, task_timeout=11.0, queue_timeout=13.0)
    prefix = SharedPrefix(5_000, 1_024, write_usd=0.1, read_usd=0.01, begins_s=1.0)
    expected = Pacing(7, 11.0, queue_timeout_s=13.0, progress_s=PROGRESS_S, cold_prefix=prefix)
    assert pacing_of(asked, prefix) == expected
    assert pacing_of(Settings(quiet=True)) == Pacing()
    slow = pacing_of(Settings(quiet=True), cancel_lag_s=60.0)
    assert slow == Pacing(cancel_grace_s=90.0)


def test_a_plan_is_made_once(session: Session) -> None:
    made = make_plan(session, two_tasks)

    def never() -> Plan:
        raise AssertionError("the plan is there already")

    assert make_plan(session, never) == made
