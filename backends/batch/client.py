"""The calls of AWS Batch that the backend makes, one request a page."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

from backends.base import BackendContext
from backends.batch.jobs import TERMINATED, chunks
from backends.batch.settings import BatchSettings
from core.aws.calls import DENIED, AwsService
from core.aws.session import build_client
from core.errors import AwsRefused, BackendError

ENDED = ("SUCCEEDED", "FAILED")
"""The final states of a job."""
SHARE = "orchestrator"
"""The share identifier of all jobs, in queues with a scheduling policy."""


def connector(context: BackendContext) -> Callable[[str], Any]:
    """Makes a client of boto3 for a service, in the region of the queue."""
    region, environ = BatchSettings.read(context.options).batch_region, context.environ
    return partial(build_client, credentials=context.credentials, region=region, environ=environ)


class BatchClient:
    """May be used from many threads."""

    def __init__(self, batch: AwsService) -> None:
        self._batch = batch
        self._shares: dict[str, dict[str, str]] = {}

    def submit(self, submission: Mapping[str, Any]) -> str:
        """The id of a new job or array.

        SubmitJob has no idempotency token: where an answer was lost, the job is looked up first by
        its name, which is a digest of its work. Raises AwsRefused where Batch refuses it.
        """
        name, queue = str(submission["jobName"]), str(submission["jobQueue"])
        request = {**submission, **self._share(queue)}
        tries = 0

        def call(client: Any) -> str:
            nonlocal tries
            tries += 1
            if tries > 1 and (found := _find(client, queue, name)):
                return str(found[-1]["jobId"])
            return str(client.submit_job(**request)["jobId"])

        try:
            return self._batch.retry("submit_job", f"queue {queue}", call)
        except AwsRefused as exc:
            if tries == 1:
                raise
            # an earlier try may have been accepted, so this does not mean that the job is refused
            raise BackendError(exc.message, exc.remedy) from exc

    def _share(self, queue: str) -> Mapping[str, str]:
        """A queue with a scheduling policy takes only jobs with a share identifier, any other only
        jobs without. Where the queue may not be described, it is taken as one without.

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

    def list(self, queue: str, prefix: str) -> list[dict[str, Any]]:
        """Every job and array whose name has this prefix, the oldest first; none for a queue that
        was deleted, since AWS ends its jobs. Raises BackendError.

        https://docs.aws.amazon.com/batch/latest/APIReference/API_DeleteJobQueue.html
        """
        try:
            return self._batch.retry(
                "list_jobs", f"queue {queue}", lambda client: _find(client, queue, f"{prefix}*")
            )
        except AwsRefused as exc:
            if exc.code != "ClientException" or self.queue(queue) is not None:
                raise
            return []

    def describe(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The JobDetail of each job that Batch knows, by id; a hundred a request."""
        found: dict[str, dict[str, Any]] = {}
        for some in chunks(ids):
            answer = self._batch("describe_jobs", f"{len(some)} job(s)", jobs=some)
            found |= {str(job["jobId"]): job for job in answer["jobs"]}
        return found

    def unended(self, ids: Collection[str]) -> set[str]:
        """Those of the jobs that Batch knows and that have not ended."""
        found = self.describe(list(ids)) if ids else {}
        return {job_id for job_id, job in found.items() if job["status"] not in ENDED}

    def terminate(self, job_id: str) -> None:
        """Ask a job to stop, in whatever state; no error for one that Batch does not know.

        A policy with conditions on a job's tags denies this for a job that does not exist.
        """
        try:
            self._batch("terminate_job", f"job {job_id}", jobId=job_id, reason=TERMINATED)
        except AwsRefused as exc:
            if exc.code == "ClientException":
                return
            if exc.code not in DENIED or self.describe([job_id]):
                raise

    def queue(self, name: str) -> dict[str, Any] | None:
        answer = self._batch("describe_job_queues", f"queue {name}", jobQueues=[name])
        return next(iter(answer["jobQueues"]), None)

    def queue_names(self) -> Sequence[str]:
        """Of the first page, which is enough to choose from."""
        answer = self._batch("describe_job_queues", "the queues")
        return sorted(queue["jobQueueName"] for queue in answer["jobQueues"])

    def environments(self, queue: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        """The compute environments of a queue; it has three at most."""
        order = queue.get("computeEnvironmentOrder") or ()
        if not (names := [entry["computeEnvironment"] for entry in order]):
            return ()  # no names would mean all of the account
        subject = ", ".join(names)
        answer = self._batch("describe_compute_environments", subject, computeEnvironments=names)
        return tuple(answer["computeEnvironments"])

    def definition(self, name: str) -> dict[str, Any] | None:
        """The active job definition that SubmitJob would use for `name`: the newest revision where
        it has none."""
        request: dict[str, Any] = {"jobDefinitions": [name]}
        if ":" not in name:
            request = {"jobDefinitionName": name, "status": "ACTIVE"}

        def call(client: Any) -> list[dict[str, Any]]:
            pages = client.get_paginator("describe_job_definitions").paginate(**request)
            return [found for page in pages for found in page["jobDefinitions"]]

        found = self._batch.retry("describe_job_definitions", f"definition {name}", call)
        active = [d for d in found if d.get("status") == "ACTIVE"]
        return max(active, key=lambda d: int(d["revision"]), default=None)

    def register(self, definition: Mapping[str, Any]) -> None:
        name = definition["jobDefinitionName"]
        self._batch("register_job_definition", f"definition {name}", **definition)


def _find(client: Any, queue: str, name: str) -> list[dict[str, Any]]:
    """All, also ended, of this name, which may end with a star; oldest first, no retries."""
    by_name = [{"name": "JOB_NAME", "values": [name]}]
    pages = client.get_paginator("list_jobs").paginate(jobQueue=queue, filters=by_name)
    jobs = [job for page in pages for job in page["jobSummaryList"] if ":" not in job["jobId"]]
    return sorted(jobs, key=lambda job: (job.get("createdAt", 0), job["jobId"]))
