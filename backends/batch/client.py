"""AWS Batch as the backend needs it: few calls, each with one meaning and one request a page."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from backends.batch.jobs import TERMINATED, chunks
from core.aws.calls import DENIED, AwsCalls
from core.errors import AwsRefused, BackendError

ENDED = ("SUCCEEDED", "FAILED")
"""The states in which a job stays."""
SHARE = "orchestrator"
"""The share identifier of all jobs, in queues with a scheduling policy."""


class BatchService:
    """May be used from many threads."""

    def __init__(self, clients: Callable[[str], Any], calls: AwsCalls) -> None:
        self._clients = clients
        self._calls = calls
        self._shares: dict[str, dict[str, str]] = {}

    def submit(self, submission: Mapping[str, Any]) -> str:
        """The id of a new job or array.

        SubmitJob has no token that would make it safe to ask twice: where an answer was lost, the
        job is looked up by its name first, which is made of what it is to do.
        Raises AwsRefused where Batch will not have it.
        """
        name, queue = str(submission["jobName"]), str(submission["jobQueue"])
        asked = {**submission, **self._share(queue)}
        tries = 0

        def call() -> str:
            nonlocal tries
            tries += 1
            if tries > 1 and (found := self.find(queue, name)):
                return str(found[-1]["jobId"])
            return str(self._client.submit_job(**asked)["jobId"])

        try:
            return self._calls(f"SubmitJob on queue {queue}", call)
        except AwsRefused as exc:
            if tries == 1:
                raise
            # an earlier try may have been taken, so this says nothing of the job
            raise BackendError(exc.message, exc.remedy) from exc

    def _share(self, queue: str) -> Mapping[str, str]:
        """A queue with a scheduling policy takes no job without a share identifier, and any other
        none with one. Who may not ask submits as to one without.

        https://docs.aws.amazon.com/batch/latest/APIReference/API_SubmitJob.html
        """
        if queue not in self._shares:
            try:
                found = self.queue(queue)
            except AwsRefused:
                return {}
            policy = (found or {}).get("schedulingPolicyArn")
            self._shares[queue] = {"shareIdentifier": SHARE} if policy else {}
        return self._shares[queue]

    def find(self, queue: str, name: str) -> list[dict[str, Any]]:
        """Every job and array, running or ended, whose name is `name`, or begins so where it ends
        with a star; the oldest first."""
        found = list(self._pages(queue, name))
        return sorted(found, key=lambda job: (job.get("createdAt", 0), job["jobId"]))

    def _pages(self, queue: str, name: str) -> Iterator[dict[str, Any]]:
        asked = {"jobQueue": queue, "filters": [{"name": "JOB_NAME", "values": [name]}]}
        while True:
            # no retries of its own inside a retried call of ours
            page = self._client.list_jobs(**asked)
            yield from (job for job in page["jobSummaryList"] if ":" not in job["jobId"])
            if not page.get("nextToken"):
                return
            asked["nextToken"] = page["nextToken"]

    def list(self, queue: str, prefix: str) -> list[dict[str, Any]]:
        """As `find`, for names that begin with `prefix`; none on a queue that was deleted, whose
        jobs AWS ends. Raises BackendError.

        https://docs.aws.amazon.com/batch/latest/APIReference/API_DeleteJobQueue.html
        """
        try:
            return self._calls(f"ListJobs on queue {queue}", lambda: self.find(queue, f"{prefix}*"))
        except AwsRefused as exc:
            if exc.code != "ClientException" or self.queue(queue) is not None:
                raise
            return []

    def describe(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """What Batch tells of each job that it knows, by id; a hundred a request."""
        found: dict[str, dict[str, Any]] = {}
        for some in chunks(ids):
            what = f"DescribeJobs of {len(some)} job(s)"
            answer = self._calls(what, lambda some=some: self._client.describe_jobs(jobs=some))  # type: ignore[misc]  # a lambda with a default
            found |= {str(job["jobId"]): job for job in answer["jobs"]}
        return found

    def unended(self, ids: Collection[str]) -> set[str]:
        """Those that Batch knows and that have not ended."""
        found = self.describe(list(ids)) if ids else {}
        return {job_id for job_id, job in found.items() if job["status"] not in ENDED}

    def terminate(self, job_id: str) -> None:
        """Ask a job to stop, wherever it stands; nothing to do for one that is not known.

        A policy that goes by the tags of jobs allows nothing on one that is not there.
        """
        try:
            self._calls(
                f"TerminateJob of {job_id}",
                lambda: self._client.terminate_job(jobId=job_id, reason=TERMINATED),
            )
        except AwsRefused as exc:
            if exc.code == "ClientException":
                return
            if exc.code not in DENIED or self.describe([job_id]):
                raise

    def queue(self, name: str) -> dict[str, Any] | None:
        return self._one("DescribeJobQueues", "jobQueues", jobQueues=[name])

    def environment(self, name: str) -> dict[str, Any] | None:
        return self._one(
            "DescribeComputeEnvironments", "computeEnvironments", computeEnvironments=[name]
        )

    def definition(self, name: str) -> dict[str, Any] | None:
        """The active job definition that SubmitJob would take for `name`; the newest revision
        where none is told."""
        asked: dict[str, Any] = {"jobDefinitions": [name]}
        if ":" not in name:
            asked = {"jobDefinitionName": name, "status": "ACTIVE"}
        what = f"DescribeJobDefinitions of {name}"
        found: list[dict[str, Any]] = []
        while True:
            page = self._calls(what, lambda: self._client.describe_job_definitions(**asked))
            found += page["jobDefinitions"]
            if not page.get("nextToken"):
                break
            asked["nextToken"] = page["nextToken"]
        known = [d for d in found if d.get("status") == "ACTIVE"]
        return max(known, key=lambda d: int(d["revision"]), default=None)

    def register(self, definition: Mapping[str, Any]) -> str:
        """The ARN of a new job definition."""
        what = f"RegisterJobDefinition of {definition['jobDefinitionName']}"
        made = self._calls(what, lambda: self._client.register_job_definition(**definition))
        return str(made["jobDefinitionArn"])

    def _one(self, action: str, kind: str, **asked: Any) -> dict[str, Any] | None:
        method = {
            "DescribeJobQueues": "describe_job_queues",
            "DescribeComputeEnvironments": "describe_compute_environments",
        }[action]
        answer = self._calls(action, lambda: getattr(self._client, method)(**asked))
        found: list[dict[str, Any]] = answer[kind]
        return found[0] if found else None

    @property
    def _client(self) -> Any:
        return self._clients("batch")
