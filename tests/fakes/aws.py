"""AWS in this process, below boto3's own client: S3 in memory, Batch whose jobs are run at once.

The real client builds and signs each request and reads each answer; only the network is left out.
"""

from __future__ import annotations

import functools
import io
import json
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import boto3
from botocore.awsrequest import AWSResponse
from botocore.config import Config

from core.aws.bucket import S3Bucket
from core.aws.bundles import PackUri
from core.aws.calls import AwsService
from core.aws.job import S3Job, Work
from core.bundle import AttemptDir, read_request
from core.clock import Clock, SystemClock
from core.errors import OrchestratorError, WorkerOutdated
from core.worker.exit_codes import CLAIMED, OUTDATED
from core.worker.source import SOURCE_ROOT, source_digest
from tests.fakes.aws_calls import (
    BUCKET,
    ENCRYPTION_HEADERS,
    Call,
    Encryption,
    RecordedAws,
    body_of,
    check_encryption,
    default_encryption,
    log_page,
    read_call,
    refused,
    told_encryption,
)
from tests.fakes.aws_policies import (
    Need,
    Statement,
    allows,
    instance_profile,
    needs,
    simulated,
    worker_policy,
)
from tests.fakes.aws_server import Answer
from tests.fakes.results import hand_in
from tests.fakes.strict_batch import (
    NativeJob,
    Ran,
    Refusal,
    StrictBatch,
    check_definition,
)

QUEUE, DEFINITION, REGION = "a-queue", "a-definition", "eu-central-1"
ROLE = "arn:aws:iam::123456789012:role/workers"


class Wire(io.BytesIO):
    """A body as botocore reads it off the network."""

    def stream(self, amt: int = 65_536, decode_content: bool = False) -> Iterator[bytes]:
        while piece := self.read(amt):
            yield piece


class FakeAws(RecordedAws):
    """`work` is what a job's worker does; `lazy` runs it when the job is first asked about."""

    def __init__(self, work: Work | None = None, *, lazy: bool = False) -> None:
        super().__init__()
        self.objects: dict[str, bytes] = {}
        self.logs: dict[str, list[str]] = {}
        self.encryption: Encryption = ("AES256", "")
        """What the bucket has by default."""
        self.demanded: Encryption | None = None
        """What its policy demands to be told with each object."""
        self._encrypted: dict[str, Encryption] = {}
        self.log_gaps = 0
        """How many empty pages of a log come before each that is not."""
        self.runner = InlineRunner(self, work or leave_result, lazy=lazy)
        self.batch = StrictBatch(self.runner)
        self.queues: dict[str, dict[str, Any]] = {QUEUE: usable_queue()}
        self.environments: dict[str, dict[str, Any]] = {"an-environment": usable_environment()}
        self.definitions: dict[str, dict[str, Any]] = {DEFINITION: usable_definition()}
        self.revisions: list[dict[str, Any]] = []
        """Earlier ones of each job definition."""
        self.roles = {ROLE: worker_policy(BUCKET)}
        """What each role may do."""
        self.denied: set[str] = set()
        """What no role may do."""
        self.caller: list[Statement] | None = None
        """What who calls may do, and workers then what their role may; None: everything."""
        self.groups = ["/aws/batch/job"]
        self.page = 1000
        self._clients: dict[str, Any] = {}
        self._lock = threading.RLock()
        self._in_worker = threading.local()

    def client(self, service: str) -> Any:
        """A real client of boto3, whose requests end up here."""
        with self._lock:
            if service not in self._clients:
                made = _session().client(service, config=Config(retries={"total_max_attempts": 1}))
                made.meta.events.register("before-send", self._send)
                self._clients[service] = made
            return self._clients[service]

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """For programs that reach it by tests.fakes.aws_server."""
        host = next(value for name, value in headers.items() if name.lower() == "host")
        return self._taken(read_call(method, f"http://{host}{path}", headers, body), body)

    def _send(self, request: Any, **_: Any) -> AWSResponse:
        body = body_of(request)
        answer = self._taken(
            read_call(request.method, request.url, dict(request.headers), body), body
        )
        headers = {"content-length": str(len(answer.body)), **answer.headers}
        return AWSResponse(request.url, answer.status, headers, Wire(answer.body))

    def _taken(self, call: Call, body: bytes) -> Answer:
        call = replace(call, by_worker=getattr(self._in_worker, "yes", False))
        return self.take(call, lambda call: self._forbidden(call, body) or self._answer(call, body))

    def _forbidden(self, call: Call, body: bytes) -> Answer | None:
        if self.caller is None:
            return None
        policy = self.roles[ROLE] if call.by_worker else self.caller
        tags = self.batch.tags_of(str(call.params.get("jobId", "")))
        wanted = list(needs(call.action, call.path, {**call.params, **tags}, body))
        if call.action == "GetObject" and call.path.removeprefix(f"/{BUCKET}/") not in self.objects:
            # who may not list is not told that it is absent
            wanted.append(Need("s3:ListBucket", f"arn:aws:s3:::{BUCKET}"))
        for need in wanted:
            if not allows(policy, need):
                return refused(Refusal(f"No {need}", "AccessDenied", 403), call.service)
        return None

    def _answer(self, call: Call, body: bytes) -> Answer:
        if call.service == "s3":
            return self._s3(call, body)
        if call.service == "iam" and call.action == "GetInstanceProfile":
            return Answer(200, instance_profile(call.params["InstanceProfileName"], ROLE))
        if call.service == "iam":
            return Answer(200, simulated(call.params, self.roles, self.denied))
        return Answer(200, json.dumps(self._json(call)).encode())

    def _json(self, call: Call) -> Mapping[str, Any]:
        asked = call.params
        match call.action:
            case "submitjob" | "describejobs" | "listjobs" | "terminatejob":
                if (queue := asked.get("jobQueue")) is not None and queue not in self.queues:
                    raise Refusal(f"Job queue {queue} does not exist")
                fair = {n for n, q in self.queues.items() if q.get("schedulingPolicyArn")}
                self.batch.fair = fair
                return self.batch.answer(call.action, asked)
            case "describejobqueues":
                return {"jobQueues": _named(self.queues, asked.get("jobQueues", list(self.queues)))}
            case "describecomputeenvironments":
                names = asked["computeEnvironments"]
                return {"computeEnvironments": _named(self.environments, names)}
            case "describejobdefinitions":
                return self._described(asked)
            case "registerjobdefinition":
                return self._register(asked)
            case "GetLogEvents":
                return self._log_events(asked)
            case "DescribeLogGroups":
                return {"logGroups": [{"logGroupName": name} for name in self.groups]}
        raise Refusal(f"{call.service} has no {call.action} here")

    def _described(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        """One a page: the earlier revisions, then the one that is known here."""
        names = asked.get("jobDefinitions") or [asked["jobDefinitionName"]]
        known = [*self.revisions, *_named(self.definitions, names)]
        at = int(asked.get("nextToken") or 0)
        more = {"nextToken": str(at + 1)} if at + 1 < len(known) else {}
        return {"jobDefinitions": known[at : at + 1], **more}

    def _register(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        check_definition(asked)
        name = asked["jobDefinitionName"]
        self.definitions[name] = {**asked, "status": "ACTIVE", "revision": 1}
        arn = f"arn:aws:batch:{REGION}:123456789012:job-definition/{name}:1"
        return {"jobDefinitionName": name, "jobDefinitionArn": arn, "revision": 1}

    def _log_events(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        lines = self.logs.get(asked["logStreamName"])
        if lines is None:
            raise Refusal("There is no such stream.", "ResourceNotFoundException")
        return log_page(lines, asked, self.log_gaps)

    # -- S3

    def _s3(self, call: Call, body: bytes) -> Answer:
        bucket, _, key = call.path.removeprefix("/").partition("/")
        if bucket != BUCKET:
            raise Refusal("The specified bucket does not exist", "NoSuchBucket", 404)
        with self._lock:
            match call.action:
                case "PutObject":
                    check_encryption(call, self.demanded)
                    return self._put(key, body, call.params)
                case "GetObject" | "HeadObject":
                    return self._get(key, call)
                case "ListObjectsV2":
                    return self._list(call.params)
                case "GetBucketEncryption":
                    return Answer(200, default_encryption(self.encryption))
                case "DeleteObjects":
                    for name in ElementTree.fromstring(body).findall(".//{*}Key"):
                        self.objects.pop(name.text or "", None)
                    return Answer(200, b"<DeleteResult/>")
        raise Refusal(f"no {call.action} here")

    def _put(self, key: str, body: bytes, asked: Mapping[str, Any]) -> Answer:
        if asked.get("if-none-match") == "*" and key in self.objects:
            raise Refusal("At least one condition did not hold", "PreconditionFailed", 412)
        self.objects[key] = body
        told = told_encryption(asked)
        self._encrypted[key] = told if told[0] else self.encryption
        return Answer(200, b"", {"ETag": '"x"'})

    def _get(self, key: str, call: Call) -> Answer:
        if key not in self.objects:
            raise Refusal("The specified key does not exist.", "NoSuchKey", 404)
        data, status = self.objects[key], 200
        kept = zip(ENCRYPTION_HEADERS, self._encrypted.get(key, self.encryption), strict=True)
        encryption = {name: value for name, value in kept if value}
        headers = {"x-amz-checksum-crc32": _crc32(data)}
        if wanted := call.params.get("range"):
            first, last = map(int, str(wanted).removeprefix("bytes=").split("-"))
            data, status, headers = data[first : last + 1], 206, {}
        return Answer(status, b"" if call.action == "HeadObject" else data, headers | encryption)

    def _list(self, asked: Mapping[str, Any]) -> Answer:
        prefix, start = asked.get("prefix", ""), asked.get("continuation-token", "")
        names = sorted(name for name in self.objects if name.startswith(prefix) and name > start)
        page, more = names[: self.page], len(names) > self.page
        if delimiter := asked.get("delimiter"):
            folders = sorted({n[len(prefix) :].partition(delimiter)[0] for n in page})
            found = "".join(
                f"<CommonPrefixes><Prefix>{escape(prefix + f)}/</Prefix></CommonPrefixes>"
                for f in folders
            )
        else:
            found = "".join(f"<Contents><Key>{escape(name)}</Key></Contents>" for name in page)
        token = f"<NextContinuationToken>{page[-1]}</NextContinuationToken>" if more else ""
        truncated = f"<IsTruncated>{str(more).lower()}</IsTruncated>"
        return Answer(
            200, f"<ListBucketResult>{truncated}{token}{found}</ListBucketResult>".encode()
        )


class InlineRunner:
    """Runs the worker's own code in this process: at once, or when a job is first asked about."""

    def __init__(self, aws: FakeAws, work: Work, *, lazy: bool) -> None:
        self._aws = aws
        self.work = work
        self._lazy = lazy
        self._waiting: dict[str, NativeJob] = {}
        self._ended: dict[str, Ran] = {}
        self.started: list[str] = []
        self.source = source_digest(SOURCE_ROOT)
        """Of the code in the workers' image."""
        self.next_ends: list[Ran] = []
        """How the next containers end, in place of running a worker."""
        self.never_ends = False

    def start(self, job: NativeJob) -> str:
        token = f"{job.id}#{len(job.tokens) + 1}"
        self.started.append(token)
        self._waiting[token] = job
        if not self._lazy:
            self._run(token)
        return token

    def states(self, tokens: Sequence[str]) -> dict[str, Ran]:
        for token in tokens:
            if token in self._waiting:
                self._run(token)
        return {t: self._ended.get(t) or Ran("RUNNING", stream=_stream(t)) for t in tokens}

    def stop(self, token: str, *, kill: bool = False) -> None:
        self._waiting.pop(token, None)
        code = 137 if kill else 143
        self._ended.setdefault(token, Ran("FAILED", code, stream=_stream(token)))

    def _run(self, token: str) -> None:
        if self.never_ends:
            return
        job, stream = self._waiting.pop(token), _stream(token)
        if self.next_ends:
            end = self.next_ends.pop(0)
            self._ended[token] = Ran(end.status, end.exit_code, end.reason, stream)
            return
        code = self._execute(job, token)
        self._ended[token] = Ran("SUCCEEDED" if code == 0 else "FAILED", code, stream=stream)

    def _execute(self, job: NativeJob, token: str) -> int:
        log = self._aws.logs.setdefault(_stream(token), [])
        uri = PackUri.parse(job.submission["containerOverrides"]["command"][-1])
        environ = {"AWS_BATCH_JOB_ID": job.id, "AWS_BATCH_JOB_ATTEMPT": token.partition("#")[2]}
        if job.index is not None:
            environ["AWS_BATCH_JOB_ARRAY_INDEX"] = str(job.index)
        s3 = AwsService("s3", self._aws.client, SystemClock())
        bucket = S3Bucket(uri.bucket, s3)
        before = getattr(self._aws._in_worker, "yes", False)
        self._aws._in_worker.yes = True
        try:
            ours = S3Job(bucket, uri, environ, self.source).run(self.work, SystemClock())
        except OrchestratorError as exc:
            log.append(f"error: {exc}")
            return OUTDATED if isinstance(exc, WorkerOutdated) else 1
        finally:
            self._aws._in_worker.yes = before
        return 0 if ours else CLAIMED


def leave_result(attempt: AttemptDir, claimant: str, clock: Clock) -> None:
    """A worker that writes what its task owns, and that is all."""
    request = read_request(attempt)
    owned = (f"{path}file" if path.endswith("/") else path for path in request.task.owns)
    hand_in(attempt, request.key, dict.fromkeys(owned, f"{request.key.task}\n"), turns=1)


def usable_queue() -> dict[str, Any]:
    place = {"order": 1, "computeEnvironment": "an-environment"}
    return {
        "jobQueueName": QUEUE,
        "jobQueueArn": QUEUE,
        "priority": 1,
        "state": "ENABLED",
        "status": "VALID",
        "computeEnvironmentOrder": [place],
    }


def usable_environment(kind: str = "EC2") -> dict[str, Any]:
    return {
        "computeEnvironmentName": "an-environment",
        "computeEnvironmentArn": "an-environment",
        "state": "ENABLED",
        "status": "VALID",
        "computeResources": {"type": kind, "maxvCpus": 16, "subnets": []},
    }


def usable_definition(**container: Any) -> dict[str, Any]:
    return {
        "jobDefinitionName": DEFINITION,
        "jobDefinitionArn": DEFINITION,
        "revision": 3,
        "status": "ACTIVE",
        "type": "container",
        "platformCapabilities": ["EC2"],
        "containerProperties": {"image": "image", "jobRoleArn": ROLE, **container},
    }


@functools.cache
def _session() -> Any:
    """One for all tests, since reading the descriptions of services takes long."""
    return boto3.Session("test", "test", region_name=REGION)


def _named(known: Mapping[str, dict[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    return [known[name] for name in names if name in known]


def _stream(token: str) -> str:
    return f"{DEFINITION}/default/{token}"


def _crc32(data: bytes) -> str:
    import base64

    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
