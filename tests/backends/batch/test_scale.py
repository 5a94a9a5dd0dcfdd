"""What AWS is asked for many jobs: how often, and how much of it grows with them."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest

from backends.aws_batch_backend import AwsBatchBackend
from core.bundle import SimulationSettings
from core.events import Event, Kind
from core.job import JobState, TaskState
from core.plan import Plan, Task
from parallel_task_orchestrator.conformance.live_run import build_plan
from tests.conformance.scheduled_run import schedule
from tests.fakes.aws import FakeAws
from tests.fakes.batch_run import batch_run
from tests.fakes.strict_batch import Ran

MANY = 250  # more than one description holds


def wide_plan(tasks: int) -> Plan:
    """So many tasks, all ready at once."""
    usual = build_plan()
    made = tuple(
        Task(
            id=f"task-{n}",
            title=f"Write {n}",
            instructions="Write it.",
            owns=(f"parts/{n}.md",),
            estimate=100,
        )
        for n in range(tasks)
    )
    criteria = tuple(
        c.model_copy(update={"served_by": ("task-0",)}) for c in usual.acceptance_criteria
    )
    return usual.model_copy(update={"tasks": made, "acceptance_criteria": criteria})


class Rounds:
    """Counts the rounds of the scheduler in which jobs were handed over, by their intents."""

    def __init__(self) -> None:
        self.intended = 0

    def emit(self, event: Event) -> None:
        self.intended += event.kind is Kind.JOB_INTENDED


@pytest.fixture
def aws() -> FakeAws:
    return FakeAws(lazy=True)


@pytest.mark.slow
def test_many_tasks_for_as_many_executors_take_few_calls(tmp_path: Path, aws: FakeAws) -> None:
    rounds = Rounds()
    with batch_run(tmp_path, aws, plan=wide_plan(MANY)) as live:
        outcome, history = schedule(
            live, SimulationSettings(speed=0), max_executors=MANY, listeners=[rounds]
        )
    assert set(outcome.states.values()) == {TaskState.SUCCEEDED}, outcome.messages
    assert rounds.intended == MANY
    counts = Counter(call.action for call in aws.calls)
    submitted = [kind for kind, _ in history if kind is Kind.JOB_SUBMITTED]
    assert len(submitted) == MANY
    assert counts["submitjob"] <= 3, counts
    polls = polls_of(aws)
    assert all(len(asked) <= math.ceil(sum(asked) / 100) for asked in polls), polls
    of_s3 = aws.count(service="s3")
    assert of_s3 / MANY <= 6, f"{of_s3 / MANY} requests a task: {counts}"
    told = f"{MANY} tasks: {dict(counts)}; {of_s3 / MANY:.3f} S3 requests a task"
    print(told)  # noqa: T201 - shown with -s


def polls_of(aws: FakeAws) -> list[list[int]]:
    """The sizes of descriptions, by poll: a poll describes no job twice."""
    polls: list[list[int]] = []
    seen: set[str] = set()
    for call in aws.calls:
        if call.action != "describejobs":
            continue
        ids = set(call.params["jobs"])
        if not polls or ids & seen:
            polls.append([])
            seen = set()
        polls[-1].append(len(ids))
        seen |= ids
    return polls


def test_a_single_job_takes_five_requests_to_s3_and_a_run_two(tmp_path: Path, aws: FakeAws) -> None:
    with batch_run(tmp_path, aws) as live:
        for task in ("fast-01", "fast-02", "fast-03"):
            [handle] = live.submit(task)
            live.wait_ended(handle)
            live.result(handle)
        counts = Counter(c.action for c in aws.calls if c.service == "s3")
    once = {"ListObjectsV2": 1, "GetBucketEncryption": 1}
    assert counts == once | {"PutObject": 9, "GetObject": 6}


def test_a_submission_is_one_array_whatever_its_size(tmp_path: Path, aws: FakeAws) -> None:
    with batch_run(tmp_path, aws) as live:
        live.submit("fast-01")
        live.submit("fast-02", "fast-03")
        live.submit(*(f"fast-{n:02}" for n in range(4, 20)))
    sizes = [
        (call.params.get("arrayProperties") or {}).get("size")
        for call in aws.calls
        if call.action == "submitjob"
    ]
    assert sizes == [None, 2, 16]


def test_requests_that_are_too_large_for_one_object_go_as_several_arrays(
    tmp_path: Path, aws: FakeAws
) -> None:
    with batch_run(tmp_path, aws) as live:
        assert isinstance(live.backend, AwsBatchBackend)
        live.backend.pack_bytes = 10
        handles = live.submit(*(f"fast-{n:02}" for n in range(9)))
        assert aws.count("submitjob") == 9
        assert {s.state for s in live.poll(*handles)} == {JobState.SUCCEEDED}


def test_failures_of_many_jobs_are_told_with_one_look_each(tmp_path: Path, aws: FakeAws) -> None:
    aws.runner.next_ends = [Ran("FAILED", 3)] * 20
    with batch_run(tmp_path, aws) as live:
        handles = live.submit(*(f"fast-{n:02}" for n in range(20)))
        first = live.poll(*handles)
        assert {s.state for s in first} == {JobState.FAILED}
        assert aws.count("GetLogEvents") == 20
        described = aws.count("describejobs")
        assert live.poll(*handles) == first
        assert aws.count("GetLogEvents") == 20, "an end is looked at once"
        assert aws.count("describejobs") == described


def test_jobs_are_named_and_tagged_so_that_they_are_found(tmp_path: Path, aws: FakeAws) -> None:
    with batch_run(tmp_path, aws) as live:
        live.submit("fast-01")
        live.submit("fast-02", "fast-03")
        [single, array] = [c.params for c in aws.calls if c.action == "submitjob"]
        run = live.run.run_id
    assert single["propagateTags"]
    assert array["propagateTags"]
    assert single["tags"]["parallel-orchestrator.run"] == run
    assert single["tags"]["parallel-orchestrator.task"] == "fast-01"
    assert single["tags"]["parallel-orchestrator.attempt"] == "1"
    assert array["tags"]["parallel-orchestrator.jobs"] == "2"
    assert single["jobName"] != array["jobName"]
    assert run in single["jobName"]
    overrides = single["containerOverrides"]
    assert set(overrides) == {"command"}, "nothing else is overridden, least of all variables"
    assert single["retryStrategy"]["evaluateOnExit"][-1] == {"onReason": "*", "action": "EXIT"}
    assert single["timeout"]["attemptDurationSeconds"] == 1200 + 300


def test_the_wish_for_more_is_passed_on(tmp_path: Path, aws: FakeAws) -> None:
    with batch_run(tmp_path, aws, batch_vcpus=0.5, batch_memory="4g") as live:
        live.submit("fast-01")
    [asked] = [c.params for c in aws.calls if c.action == "submitjob"]
    assert asked["containerOverrides"]["resourceRequirements"] == [
        {"type": "VCPU", "value": "0.5"},
        {"type": "MEMORY", "value": "4096"},
    ]
