"""A loopback proxy in front of moto that is as strict as AWS, and does what moto leaves out.

S3, IAM, Logs and Secrets Manager go through to moto. Jobs are those of tests.fakes.strict_batch;
each of their containers is a job of moto's Batch, and so a real container of the Docker Engine
here, with AWS_BATCH_JOB_ARRAY_INDEX, the secrets of its job definition, and a log that can be
read meanwhile.
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

from backends.docker.client import DockerHost
from tests.fakes.aws_calls import (
    Call,
    Encryption,
    RecordedAws,
    check_encryption,
    log_page,
    read_call,
    unframed,
)
from tests.fakes.aws_policies import Statement, simulated, worker_policy
from tests.fakes.aws_server import Answer, served
from tests.fakes.strict_batch import NativeJob, Ran, Refusal, StrictBatch, check_definition

MOTO = Path(__file__).parents[1] / "services" / "moto.sh"
REGION = "eu-central-1"
KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
STOP_TIMEOUT_S = 5.0
"""How long a container is left after SIGTERM; the stopTimeout of ECS."""
_DROPPED = ("transfer-encoding", "connection", "content-length", "host")


def moto_url() -> str:
    done = subprocess.run([MOTO, "ready"], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


def client_of(url: str, service: str) -> Any:
    return boto3.Session("testing", "testing", region_name=REGION).client(
        service, endpoint_url=url, config=Config(retries={"total_max_attempts": 3})
    )


class StrictAws(RecordedAws):
    """`url` is where it listens."""

    def __init__(self, moto: str, environ: Mapping[str, str]) -> None:
        super().__init__()
        self.moto = moto
        self.runner = MotoRunner(moto, environ)
        self.batch = StrictBatch(self.runner)
        self.roles: dict[str, list[Statement]] = {}
        """What each role may do."""
        self.demanded: dict[str, Encryption] = {}
        """What the policies of buckets demand to be told with each object, by bucket."""
        self._stack = ExitStack()
        self.url = self._stack.enter_context(served(self.answer))
        self.runner.endpoint = self.url

    def client(self, service: str) -> Any:
        return client_of(self.url, service)

    def stop(self) -> None:
        self._stack.close()
        self.runner.close()

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        framed = "aws-chunked" in {n.lower(): v for n, v in headers.items()}.get(
            "content-encoding", ""
        )
        plain = unframed(body) if framed else body
        call = read_call(method, f"{self.url}{path}", headers, plain)

        def answered(call: Call) -> Answer:
            if call.action == "SimulatePrincipalPolicy":  # moto has none
                return Answer(200, simulated(call.params, self.roles, set()))
            if (found := self._own(call)) is not None:
                return Answer(200, json.dumps(found).encode())
            return self._through(method, path, headers, body)

        return self.take(call, answered)

    def _own(self, call: Call) -> Mapping[str, Any] | None:
        """What moto is not asked."""
        match call.action:
            case "submitjob" | "describejobs" | "listjobs" | "terminatejob":
                return self.batch.answer(call.action, call.params)
            case "GetLogEvents":
                lines = self.runner.log(call.params["logStreamName"])
                if lines is None:
                    raise Refusal("There is no such stream.", "ResourceNotFoundException")
                return log_page(lines, call.params)
            case "registerjobdefinition":
                check_definition(call.params)
            case "PutObject":
                check_encryption(call, self.demanded.get(call.path.split("/")[1]))
        return None

    def _through(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        connection = HTTPConnection(urlsplit(self.moto).netloc, timeout=60)
        try:
            # without this host moto would look for a bucket in the name of its own
            connection.request(method, path, body, dict(headers))
            got = connection.getresponse()
            data = got.read()
            kept = {n: v for n, v in got.getheaders() if n.lower() not in _DROPPED}
            if method == "HEAD":
                kept["Content-Length"] = got.getheader("Content-Length") or "0"
            return Answer(got.status, data, kept)
        finally:
            connection.close()


class MotoRunner:
    """Containers by moto's Batch; a token is the id of a job of moto."""

    endpoint = ""

    def __init__(self, moto: str, environ: Mapping[str, str]) -> None:
        self._batch = client_of(moto, "batch")
        self._secrets = client_of(moto, "secretsmanager")
        self._logs = client_of(moto, "logs")
        self._docker = DockerHost(environ)
        self._queues: dict[str, str] = {}
        self._lines: dict[str, list[str]] = {}
        self._exits: dict[str, int] = {}
        self._lock = threading.Lock()
        self.started: list[str] = []

    def start(self, job: NativeJob) -> str:
        asked = job.submission
        name = str(asked["jobDefinition"])
        found = self._batch.describe_job_definitions(jobDefinitionName=name, status="ACTIVE")
        container = found["jobDefinitions"][-1]["containerProperties"]
        # as ECS sets them; moto's own AWS_BATCH_JOB_ID comes last among variables, so env beats it
        told = {"AWS_BATCH_JOB_ID": job.id, "AWS_BATCH_JOB_ATTEMPT": str(len(job.tokens) + 1)}
        if job.index is not None:
            told["AWS_BATCH_JOB_ARRAY_INDEX"] = str(job.index)
        command = ["env", *(f"{n}={v}" for n, v in told.items())]
        variables = {"AWS_ENDPOINT_URL": self.endpoint, **self._injected(container)}
        made = self._batch.submit_job(
            jobName=asked["jobName"],
            jobQueue=asked["jobQueue"],
            jobDefinition=name,
            containerOverrides={
                "command": [*command, *asked["containerOverrides"]["command"]],
                "environment": [{"name": n, "value": v} for n, v in variables.items()],
            },
        )
        token = str(made["jobId"])
        self._queues[token] = asked["jobQueue"]
        self.started.append(job.id)
        return token

    def _injected(self, container: Mapping[str, Any]) -> dict[str, str]:
        """A role's keys, and the secrets of the job definition."""
        found = dict(KEYS) if container.get("jobRoleArn") else {}
        for secret in container.get("secrets") or ():
            value = self._secrets.get_secret_value(SecretId=secret["valueFrom"])
            found[secret["name"]] = value["SecretString"]
        return found

    def states(self, tokens: Sequence[str]) -> dict[str, Ran]:
        if not tokens:
            return {}
        jobs = {j["jobId"]: j for j in self._batch.describe_jobs(jobs=list(tokens))["jobs"]}
        return {token: self._ran(token, jobs[token]) for token in tokens}

    def _ran(self, token: str, job: Mapping[str, Any]) -> Ran:
        status = str(job["status"])
        stream = f"executor/default/{token}" if status in ("RUNNING", "SUCCEEDED", "FAILED") else ""
        if status in ("SUCCEEDED", "FAILED"):
            return Ran(status, self._exit_code(token, job), stream=stream)
        return Ran(status, stream=stream)

    def _exit_code(self, token: str, job: Mapping[str, Any]) -> int | None:
        if token not in self._exits:  # descriptions have none, lists do
            named = [{"name": "JOB_NAME", "values": [job["jobName"]]}]
            found = self._batch.list_jobs(jobQueue=self._queues[token], filters=named)
            for other in found["jobSummaryList"]:
                if "exitCode" in other.get("container", {}):
                    self._exits[other["jobId"]] = other["container"]["exitCode"]
        return self._exits.get(token)

    def stop(self, token: str, *, kill: bool = False) -> None:
        """SIGTERM, and SIGKILL where that does not help in time, as ECS does it."""
        container = self._container(token)
        if container is None:
            self._batch.terminate_job(jobId=token, reason="stopped")
            return
        self._docker.kill(container, "SIGKILL" if kill else "SIGTERM")
        timer = threading.Timer(STOP_TIMEOUT_S, self._docker.kill, (container, "SIGKILL"))
        timer.daemon = True
        timer.start()

    def _container(self, token: str) -> str | None:
        found = self._docker.containers({"name": [token], "status": ["running"]})
        return str(found[0]["Id"]) if found else None

    def log(self, stream: str) -> list[str] | None:
        """What a container has said so far, as the awslogs driver would have sent it."""
        token = stream.rpartition("/")[2]
        with self._lock:
            if (container := self._container(token)) is not None:
                with suppress(Exception):  # it may be gone by now
                    said = self._docker.log(container).decode(errors="replace")
                    lines = said.split("\n")[:-1]
                    if len(lines) >= len(self._lines.get(token, ())):
                        self._lines[token] = lines
            elif (whole := self._kept_log(token)) is not None:
                self._lines[token] = whole
            return self._lines.get(token)

    def _kept_log(self, token: str) -> list[str] | None:
        [job] = self._batch.describe_jobs(jobs=[token])["jobs"]
        if not (stream := job.get("container", {}).get("logStreamName")):
            return None
        named = {"logGroupName": "/aws/batch/job", "logStreamName": stream}
        answer = self._logs.get_log_events(**named, startFromHead=True)
        return [event["message"] for event in answer["events"]]

    def close(self) -> None:
        for token in self._queues:
            with suppress(Exception):  # the end of a test
                if self.states([token])[token].status not in ("SUCCEEDED", "FAILED"):
                    self.stop(token, kill=True)
        self._docker.close()


@dataclass(frozen=True)
class Cloud:
    """What a run needs there, made for one test module."""

    aws: StrictAws
    bucket: str
    queue: str
    definition: str

    @property
    def options(self) -> dict[str, Any]:
        return {
            "batch_job_queue": self.queue,
            "batch_job_definition": self.definition,
            "batch_s3_bucket": self.bucket,
            "batch_region": REGION,
        }

    @property
    def environ(self) -> dict[str, str]:
        return {"AWS_ENDPOINT_URL": self.aws.url, **KEYS}

    def define(self, name: str, image: str, **more: Any) -> str:
        role = f"arn:aws:iam::123456789012:role/{name}"
        container = {
            "image": image,
            "command": ["true"],
            "jobRoleArn": role,
            "executionRoleArn": role,
            "resourceRequirements": [
                {"type": "VCPU", "value": "1"},
                {"type": "MEMORY", "value": "512"},
            ],
            **more,
        }
        self.aws.roles[role] = worker_policy(self.bucket)
        self.aws.client("batch").register_job_definition(
            jobDefinitionName=name, type="container", containerProperties=container
        )
        return name


@contextmanager
def cloud(name: str, image: str, environ: Mapping[str, str], **definition: Any) -> Iterator[Cloud]:
    """A bucket, queue and job definition called `name`, behind a proxy of its own."""
    aws = StrictAws(moto_url(), environ)
    made = Cloud(aws, name, name, name)
    try:
        aws.client("s3").create_bucket(
            Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        _make_queue(aws, name)
        made.define(name, image, **definition)
        yield made
    finally:
        aws.stop()


def _make_queue(aws: StrictAws, name: str) -> None:
    trust = {"Version": "2012-10-17", "Statement": []}
    role = aws.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))
    batch = aws.client("batch")
    batch.create_compute_environment(
        computeEnvironmentName=name,
        type="UNMANAGED",
        state="ENABLED",
        serviceRole=role["Role"]["Arn"],
    )
    order = [{"order": 1, "computeEnvironment": name}]
    batch.create_job_queue(
        jobQueueName=name, state="ENABLED", priority=1, computeEnvironmentOrder=order
    )
