"""Whether the Batch of these tests tells one truth about a job, however its container moves on."""

from __future__ import annotations

from collections.abc import Sequence

from backends.batch.jobs import RETRIES, parse_status
from core.job import JobState, Reason
from tests.fakes.strict_batch import NativeJob, Ran, StrictBatch


class Moving:
    """A runner whose containers are elsewhere at every look; they stay at the last."""

    def __init__(self, *course: Ran) -> None:
        self.course = list(course)
        self.started: list[str] = []

    def start(self, job: NativeJob) -> str:
        self.started.append(f"{job.id}#{len(job.tokens) + 1}")
        return self.started[-1]

    def states(self, tokens: Sequence[str]) -> dict[str, Ran]:
        ran = self.course.pop(0) if len(self.course) > 1 else self.course[0]
        return dict.fromkeys(tokens, ran)

    def stop(self, token: str, *, kill: bool = False) -> None:
        pass


def test_a_container_that_ends_while_its_job_is_described_is_told_whole_or_not_yet() -> None:
    never_started = Ran("FAILED", None)
    for looks in range(4):
        batch = StrictBatch(Moving(*[Ran("STARTING")] * looks, never_started))
        made = batch.submit({"jobName": "a", "jobQueue": "q", "jobDefinition": "d"})
        for _ in range(looks + 1):
            [detail] = batch.describe({"jobs": [made["jobId"]]})["jobs"]
            status = parse_status(detail)
            if status.state is not JobState.QUEUED:
                assert (status.state, status.reason) == (JobState.FAILED, Reason.LAUNCH)
        assert status.state is JobState.FAILED
        named = [{"name": "JOB_NAME", "values": ["a"]}]
        [listed] = batch.list({"jobQueue": "q", "filters": named})["jobSummaryList"]
        assert listed["status"] == "FAILED"


def test_an_attempt_that_is_tried_again_has_not_ended_the_job() -> None:
    lost = Ran("FAILED", 137, stream="first")
    runner = Moving(lost, Ran("RUNNING", stream="second"))
    batch = StrictBatch(runner)
    asked = {"jobName": "a", "jobQueue": "q", "jobDefinition": "d", "retryStrategy": RETRIES}
    made = batch.submit(asked)
    batch.lose_host(made["jobId"])
    [detail] = batch.describe({"jobs": [made["jobId"]]})["jobs"]
    assert detail["status"] == "RUNNING"
    assert detail["container"]["logStreamName"] == "second"
    assert [a["container"]["logStreamName"] for a in detail["attempts"]] == ["first"]
    assert len(runner.started) == 2
