"""What a journal says has become of a run's jobs, and what it has spent and reserved."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from core.events import Event, Kind, RunEnded, encode_event
from core.job import Amount, JobHandle, JobKey, Usage
from core.wire import plain
from engine.run.jobs_view import JobsView
from engine.run.journal import Journal, read_journal
from engine.run.run_view import replay
from tests.fakes.events import event_of

RUN = "run-1"
KEY = JobKey(RUN, "a", 1)
HANDLE = JobHandle(KEY, "slurm", "4711", {"array": 3})
RECORDED = Path(__file__).with_name("recorded_journal.jsonl")


def event(kind: Kind, task: str = "a", attempt: int = 1, **data: Any) -> Event:
    return event_of(kind, 12.5, task, attempt, data)


def submitted() -> Event:
    return event(Kind.JOB_SUBMITTED, handle=plain(HANDLE))


def jobs(events: Iterable[Event]) -> JobsView:
    return replay(RUN, events).jobs


def test_nothing_has_become_of_a_run_without_events() -> None:
    assert jobs([]) == JobsView()


def test_an_intended_job_is_open_without_a_handle() -> None:
    history = jobs([event(Kind.JOB_INTENDED, "a", 2)])
    assert history.open == {JobKey(RUN, "a", 2): None}
    assert history.attempts == {"a": 2}


def test_a_submitted_job_is_open_with_its_handle() -> None:
    events = [event(Kind.JOB_INTENDED), event(Kind.JOB_SUBMITTED, handle=plain(HANDLE))]
    assert jobs(events).open == {KEY: HANDLE}


def test_an_intent_told_again_does_not_lose_the_handle() -> None:
    events = [event(Kind.JOB_INTENDED), submitted(), event(Kind.JOB_INTENDED)]
    assert jobs(events).open[KEY] is not None


def test_a_failed_job_is_closed_and_its_failure_kept_until_the_task_succeeds() -> None:
    failed = [event(Kind.JOB_INTENDED), event(Kind.JOB_ENDED, cause="DEFECT", message="why")]
    history = jobs(failed)
    assert history.open == {}
    assert history.failures == {"a": "why"}
    done = [
        event(Kind.JOB_INTENDED, attempt=2),
        event(Kind.JOB_ENDED, attempt=2, cause="OK", message="done"),
        event(Kind.TASK_ENDED, attempt=2, state="SUCCEEDED"),
    ]
    history = jobs(failed + done)
    assert history.failures == {}
    assert history.succeeded == {"a": 2}
    assert history.attempts == {"a": 2}
    assert history.unreported == {}


def test_a_job_that_ended_well_makes_its_task_done_even_if_that_was_not_told() -> None:
    events = [event(Kind.JOB_INTENDED), event(Kind.JOB_ENDED, cause="OK", message="done")]
    history = jobs(events)
    assert history.succeeded == {"a": 1}
    assert history.unreported == {"a": "done"}
    assert history.open == {}


@pytest.mark.parametrize("state", ["FAILED", "BLOCKED", "CANCELLED"])
def test_a_task_that_ended_otherwise_is_not_done(state: str) -> None:
    assert jobs([event(Kind.TASK_ENDED, state=state)]).succeeded == {}


def test_the_end_of_a_run_counts_until_it_is_started_again() -> None:
    ended = [event(Kind.RUN_STARTED, "", 0), event(Kind.RUN_ENDED, "", 0, exit_code=130)]
    assert replay(RUN, ended).ended == RunEnded(130)
    again = replay(RUN, [*ended, event(Kind.RUN_STARTED, "", 0)])
    assert (again.ended, again.state) == (None, "interrupted")


def test_handles_survive_the_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.emit(submitted())
    journal.close()
    assert jobs(read_journal(tmp_path / "journal.jsonl")).open == {KEY: HANDLE}


def test_a_journal_of_the_version_before_is_read() -> None:
    """Recorded before the data of events had types."""
    run = "20261129-092128-157cb83"
    run_view = replay(run, read_journal(RECORDED))
    jobs = run_view.jobs
    assert (jobs.attempts, jobs.succeeded) == ({"build": 1, "page": 2}, {"build": 1})
    assert jobs.failures == {"page": "The node that ran the job failed."}
    key, again = JobKey(run, "page", 1), JobKey(run, "page", 2)
    assert jobs.open == {again: JobHandle(again, "slurm", "472", {"array": 2})}
    assert jobs.reserved == {key: Amount(20_000, 0.05), again: Amount(20_000, 0.05)}
    assert [usage.request_id for usage in jobs.spent] == ["req_1", "req_2", "req_3"]
    assert run_view.ended is not None
    assert run_view.ended.resume_with == "--max-cost 9.00"
    assert [conflict.kept_as for conflict in run_view.conflicts] == ["app.py.from-page"]


def test_events_are_written_as_the_version_before_wrote_them() -> None:
    lines = RECORDED.read_text().splitlines()
    assert [encode_event(event) for event in read_journal(RECORDED)] == lines


# -- what was spent


USED = plain(Usage("anthropic", "m", 100, 50))
RESERVED = {"tokens": 900, "cost_usd": 0.5}


def test_planning_and_ended_jobs_are_what_was_spent() -> None:
    history = jobs(
        [
            event(Kind.PROGRESS, "", 0, usage=USED),
            event(Kind.PROGRESS, usage=USED),  # of a task: its end tells it again
            event(Kind.JOB_INTENDED, reservation=RESERVED),
            event(Kind.JOB_ENDED, cause="DEFECT", usage=[USED, USED]),
        ],
    )
    assert [u.total_tokens for u in history.spent] == [150] * 3
    assert [u.total_tokens for u in history.spent_by[KEY.task]] == [150] * 2
    assert history.reserved == {}
    assert history.spent_at == event(Kind.JOB_ENDED).at


def test_planning_does_not_warm_the_executors_cache() -> None:
    events = [event(Kind.PROGRESS, "", 0, usage=USED), event(Kind.JOB_ENDED, cause="EXIT")]
    assert jobs(events).spent_at == 0.0


def test_a_job_whose_end_or_use_is_unknown_keeps_its_reservation() -> None:
    begun = [event(Kind.JOB_INTENDED, reservation=RESERVED)]
    ended = [*begun, event(Kind.JOB_ENDED, cause="EXIT", usage=[], unaccounted=True)]
    assert jobs(begun).reserved == {KEY: Amount(900, 0.5)}
    assert jobs(ended).reserved == {KEY: Amount(900, 0.5)}
    assert jobs(ended).open == {}


# -- a plan that was corrected


def planned(*tasks: str, restarted: tuple[str, ...] = ()) -> Event:
    rows = [[name, name, [], 1] for name in tasks]
    return event(Kind.PLAN_READY, "", 0, title="P", tasks=rows, restarted=restarted)


def begun(attempt: int = 1) -> Event:
    return event(Kind.JOB_INTENDED, attempt=attempt, definition=f"d{attempt}")


def done(attempt: int = 1) -> list[Event]:
    ok = event(Kind.JOB_ENDED, attempt=attempt, cause="OK", usage=[USAGE])
    return [ok, event(Kind.TASK_ENDED, attempt=attempt, state="SUCCEEDED")]


USAGE = plain(Usage("p", "m", 7))


@pytest.mark.parametrize("plan", [planned("a", restarted=("a",)), planned("b")])
def test_what_was_done_for_another_plan_counts_no_longer_but_was_spent(plan: Event) -> None:
    found = jobs([planned("a"), begun(), *done(), plan])
    assert (found.succeeded, found.unreported, found.failures) == ({}, {}, {})
    assert [usage.input_tokens for usage in found.spent] == [7]
    assert found.is_void(JobKey(RUN, "a", 1))
    assert not found.is_void(JobKey(RUN, "a", 2))


def test_a_late_result_neither_counts_nor_replaces_the_one_that_does() -> None:
    before = [planned("a"), begun(), planned("a", restarted=("a",)), begun(2)]
    assert jobs([*before, *done()]).succeeded == {}
    found = jobs([*before, *done(2), *done()])
    assert found.succeeded == {"a": 2}
    assert len(found.spent) == 2
    assert found.open == {}
    late = event(Kind.JOB_ENDED, cause="INTERRUPTED", message="It was stopped.")
    assert jobs([*before, late]).failures == {}


def test_a_plan_that_is_announced_again_voids_nothing() -> None:
    assert jobs([planned("a"), begun(), *done(), planned("a")]).succeeded == {"a": 1}
