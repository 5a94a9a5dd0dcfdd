"""AWS Batch as AWS has it, for tests: what it refuses, arrays, retries, and how jobs are described.

Something else runs the containers (`Runner`): moto on a real Docker Engine
(tests.fakes.strict_aws), or the worker's own code in this process (tests.fakes.aws).
"""

from __future__ import annotations

import fnmatch
import json
import re
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

Params = Mapping[str, Any]
PAGE = 100
_TAG = re.compile(r"[\w\s+=.:/@-]*")
_ENDED = ("SUCCEEDED", "FAILED")


class Refusal(Exception):
    """What AWS answers in place of a result."""

    def __init__(self, message: str, code: str = "ClientException", status: int = 400) -> None:
        super().__init__(message)
        self.message, self.code, self.status = message, code, status


@dataclass(frozen=True)
class Ran:
    """Where one container stands: STARTING, RUNNING, SUCCEEDED or FAILED."""

    status: str
    exit_code: int | None = None
    reason: str = ""
    stream: str = ""


class Runner(Protocol):
    """Runs one container a call; tokens are its own."""

    def start(self, job: NativeJob) -> str: ...

    def states(self, tokens: Sequence[str]) -> dict[str, Ran]: ...

    def stop(self, token: str, *, kill: bool = False) -> None: ...


@dataclass
class NativeJob:
    """A job that one container runs, perhaps several times."""

    id: str
    submission: Params
    index: int | None = None
    tokens: list[str] = field(default_factory=list)
    ran: dict[str, Ran] = field(default_factory=dict)
    """Where its containers stood at the latest look, which all that is told of it rests on."""
    lost: list[str] = field(default_factory=list)
    """Why attempts before this one ended, each a statusReason."""
    terminated: str = ""
    end: dict[str, Any] | None = None
    hidden: int = 0
    """How many descriptions still leave it out."""
    stuck: str = ""
    created_at: int = field(default_factory=lambda: time.time_ns() // 1_000_000)

    @property
    def status(self) -> str:
        if self.end is not None:
            return str(self.end["status"])
        return self.ran_of(self.tokens[-1]).status if self.tokens else "RUNNABLE"

    def ran_of(self, token: str) -> Ran:
        return self.ran.get(token, Ran("STARTING"))


def check_submission(asked: Params) -> None:
    """https://docs.aws.amazon.com/batch/latest/APIReference/API_SubmitJob.html"""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}", str(asked.get("jobName"))):
        raise Refusal("Job name should match valid pattern")
    size = (asked.get("arrayProperties") or {}).get("size")
    if size is not None and not 2 <= size <= 10_000:
        raise Refusal(f"Invalid array size {size}: it must be between 2 and 10000")
    if len(json.dumps(asked.get("containerOverrides") or {})) > 8192:
        raise Refusal("Container Overrides length must be at most 8192")
    check_timeout(asked)
    check_retries(asked.get("retryStrategy") or {})
    check_tags(asked.get("tags") or {})


def check_share(asked: Params, *, is_fair: bool) -> None:
    """`is_fair` where the queue has a scheduling policy."""
    share = asked.get("shareIdentifier")
    if is_fair and not re.fullmatch(r"[A-Za-z0-9]{1,255}\*?", str(share or "")):
        raise Refusal("shareIdentifier is required for a queue with a scheduling policy")
    if share and not is_fair:
        raise Refusal("shareIdentifier is for queues with a scheduling policy only")


def check_timeout(asked: Params) -> None:
    if (asked.get("timeout") or {}).get("attemptDurationSeconds", 60) < 60:
        raise Refusal("attemptDurationSeconds must be at least 60")


def check_retries(strategy: Params) -> None:
    if not 1 <= strategy.get("attempts", 1) <= 10:
        raise Refusal("Retry attempts must be between 1 and 10")
    rules = strategy.get("evaluateOnExit") or ()
    if len(rules) > 5 or any(len(rule) < 2 for rule in rules):
        raise Refusal("evaluateOnExit takes at most 5 rules, each with a condition")


def check_tags(tags: Params) -> None:
    if len(tags) > 50:
        raise Refusal("At most 50 tags")
    for name, value in tags.items():
        if not (_TAG.fullmatch(name) and _TAG.fullmatch(value)):
            raise Refusal(f"Tag {name}={value} holds a character that tags cannot have")
        if len(name) > 128 or len(value) > 256 or name.startswith("aws:"):
            raise Refusal(f"Tag {name} is too long or reserved")


def check_definition(asked: Params) -> None:
    """https://docs.aws.amazon.com/batch/latest/APIReference/API_RegisterJobDefinition.html"""
    check_timeout(asked)
    check_retries(asked.get("retryStrategy") or {})
    check_tags(asked.get("tags") or {})
    container = asked.get("containerProperties") or {}
    if container.get("secrets") and not container.get("executionRoleArn"):
        raise Refusal("Secrets need an execution role")
    if "FARGATE" in (asked.get("platformCapabilities") or ()):
        if not container.get("executionRoleArn"):
            raise Refusal("EXECUTION_ROLE is required for Fargate jobs")
        if container.get("privileged"):
            raise Refusal("privileged is not supported on Fargate")
        kinds = {r["type"] for r in container.get("resourceRequirements") or ()}
        if kinds != {"VCPU", "MEMORY"}:
            raise Refusal("Fargate jobs need VCPU and MEMORY")


class StrictBatch:
    """The operations on jobs, by the names of the API. From many threads."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._lock = threading.RLock()
        self.jobs: dict[str, NativeJob] = {}
        self.parents: dict[str, Params] = {}
        self._list_order: list[str] = []
        self.hide_next = 0
        """How many descriptions leave out the jobs that are submitted from now on."""
        self.fair: set[str] = set()
        """Queues with a scheduling policy."""
        self.stuck = ""
        """Why jobs that are submitted from now on never start; RUNNABLE for ever."""

    def answer(self, action: str, asked: Params) -> dict[str, Any]:
        """To an operation, by its name in the path of a request."""
        operations = {
            "submitjob": self.submit,
            "describejobs": self.describe,
            "listjobs": self.list,
            "terminatejob": self.terminate,
        }
        return operations[action](asked)

    def submit(self, asked: Params) -> dict[str, Any]:
        check_submission(asked)
        check_share(asked, is_fair=asked["jobQueue"] in self.fair)
        size = (asked.get("arrayProperties") or {}).get("size")
        job_id = str(uuid.uuid4())
        with self._lock:
            self._list_order.append(job_id)
            if size is None:
                made = [self._made(job_id, asked, None)]
            else:
                self.parents[job_id] = asked
                made = [self._made(f"{job_id}:{n}", asked, n) for n in range(size)]
        for job in made:
            if not job.stuck:
                job.tokens.append(self._runner.start(job))
        return {"jobId": job_id, "jobName": asked["jobName"], "jobArn": f"arn:aws:batch:::{job_id}"}

    def _made(self, job_id: str, asked: Params, index: int | None) -> NativeJob:
        job = NativeJob(job_id, asked, index, hidden=self.hide_next, stuck=self.stuck)
        self.jobs[job_id] = job
        return job

    def describe(self, asked: Params) -> dict[str, Any]:
        ids = asked["jobs"]
        if not 1 <= len(ids) <= PAGE:
            raise Refusal(f"Describes take 1 to {PAGE} ids, not {len(ids)}")
        with self._lock:
            known = [self.jobs[i] for i in ids if i in self.jobs]
            shown = [job for job in known if job.hidden <= 0]
            for job in known:
                job.hidden -= 1
            self._settle(shown)
            found = [self._detail(job) for job in shown]
            found += [self._parent(i) for i in ids if i in self.parents]
        return {"jobs": found}

    def list(self, asked: Params) -> dict[str, Any]:
        [rule] = asked["filters"]
        [pattern] = rule["values"]
        start = int(asked.get("nextToken") or 0)
        with self._lock:
            self._settle(list(self.jobs.values()))
            every = [self._summary(i) for i in self._list_order]
        found = [
            job
            for job in every
            if job["jobQueue"] == asked["jobQueue"]
            and fnmatch.fnmatchcase(job["jobName"].lower(), pattern.lower())
        ]
        page = found[start : start + PAGE]
        more = {"nextToken": str(start + PAGE)} if start + PAGE < len(found) else {}
        return {"jobSummaryList": page, **more}

    def terminate(self, asked: Params) -> dict[str, Any]:
        job_id, reason = asked["jobId"], asked["reason"]
        with self._lock:
            ours = [j for i, j in self.jobs.items() if job_id in (i, i.partition(":")[0])]
            if not ours:
                raise Refusal(f"Job {job_id} does not exist")
            self._settle(ours)
            ending = [job for job in ours if job.end is None]
            for job in ending:
                job.terminated = reason
                if not job.tokens:
                    job.end = {"status": "FAILED", "statusReason": reason}
        for job in ending:
            if job.tokens:
                self._runner.stop(job.tokens[-1])
        return {}

    def tags_of(self, job_id: str) -> Params:
        """Of a job that has some; those in an array cannot."""
        asked = self.parents.get(job_id)
        if asked is None and (job := self.jobs.get(job_id)) is not None and job.index is None:
            asked = job.submission
        return {"tags": asked.get("tags") or {}} if asked else {}

    # -- what tests do to jobs

    def lose_host(self, job_id: str, why: str = "Host EC2 (instance i-0a1b2c) terminated.") -> None:
        """The machine of a running job is gone."""
        with self._lock:  # nobody is to see the container's end before its reason is known
            job = self.jobs[job_id]
            token = job.tokens[-1]
            self._runner.stop(token, kill=True)
            while (ran := self._runner.states([token])[token]).status not in _ENDED:
                time.sleep(0.05)
            self._end_attempt(job, Ran("FAILED", None, "", ran.stream), why)

    def forget(self, *ids: str) -> None:
        """As a day or a week later."""
        for job_id in ids:
            self.jobs.pop(job_id, None)
            self.parents.pop(job_id.partition(":")[0], None)
            if (parent := job_id.partition(":")[0]) in self._list_order:
                self._list_order.remove(parent)

    # -- inside

    def _settle(self, jobs: Sequence[NativeJob]) -> None:
        """Take in what became of containers, by one look at each."""
        waiting = [job for job in jobs if job.end is None and job.tokens]
        if not waiting:
            return
        states = self._runner.states([job.tokens[-1] for job in waiting])
        for job in waiting:
            ran = states[job.tokens[-1]]
            if ran.status in _ENDED:
                why = job.terminated or ("" if ran.status == "SUCCEEDED" else _ended_by_itself(ran))
                self._end_attempt(job, ran, why)
            else:
                job.ran[job.tokens[-1]] = ran
        self._settle([job for job in waiting if job.end is None and job.tokens[-1] not in states])

    def _end_attempt(self, job: NativeJob, ran: Ran, why: str) -> None:
        job.ran[job.tokens[-1]] = ran
        strategy = job.submission.get("retryStrategy") or {}
        if ran.status == "FAILED" and not job.terminated and self._retries(job, strategy, ran, why):
            job.lost.append(why)
            job.tokens.append(self._runner.start(job))
            return
        container = {"exitCode": ran.exit_code} if ran.exit_code is not None else {}
        if ran.reason:
            container["reason"] = ran.reason  # type: ignore[assignment]  # a mixed dict
        job.end = {"status": ran.status, "statusReason": why, "container": container}

    def _retries(self, job: NativeJob, strategy: Params, ran: Ran, why: str) -> bool:
        if len(job.tokens) >= strategy.get("attempts", 1):
            return False
        told = {
            "onStatusReason": why,
            "onReason": ran.reason,
            "onExitCode": "" if ran.exit_code is None else str(ran.exit_code),
        }
        for rule in strategy.get("evaluateOnExit") or ():
            conditions = {name: text for name, text in rule.items() if name != "action"}
            if all(fnmatch.fnmatchcase(told[name], text) for name, text in conditions.items()):
                return str(rule["action"]).upper() == "RETRY"
        return True  # what no rule matches is retried

    def _detail(self, job: NativeJob) -> dict[str, Any]:
        overrides = job.submission.get("containerOverrides") or {}
        streams = [job.ran_of(token).stream for token in job.tokens]
        container = {"command": overrides.get("command", [])}
        if streams and streams[-1]:
            container["logStreamName"] = streams[-1]
        attempts = [
            {"container": {"logStreamName": stream}, "statusReason": why}
            for stream, why in zip(streams, [*job.lost, ""], strict=False)
        ]
        if job.end is None:
            attempts = attempts[:-1]
        detail = {
            **self._common(job.id, job.submission, job.created_at),
            "status": job.status,
            "attempts": attempts,
            "container": container,
            "tags": dict(job.submission.get("tags") or {}),
        }
        if job.stuck:
            detail["statusReason"] = job.stuck
        if job.index is not None:
            detail["arrayProperties"] = {"index": job.index}
        if job.end is not None:
            detail |= {name: value for name, value in job.end.items() if name != "container"}
            container |= job.end.get("container", {})
            detail["isTerminated"] = bool(job.terminated)
        return detail

    def _common(self, job_id: str, asked: Params, created_at: int) -> dict[str, Any]:
        return {
            "jobId": job_id,
            "jobName": asked["jobName"],
            "jobQueue": asked["jobQueue"],
            "jobDefinition": asked["jobDefinition"],
            "createdAt": created_at,
        }

    def _summary(self, job_id: str) -> dict[str, Any]:
        if job_id in self.parents:
            return self._parent(job_id)
        job = self.jobs[job_id]
        found = self._common(job_id, job.submission, job.created_at)
        return found | {"status": job.status}

    def _parent(self, job_id: str) -> dict[str, Any]:
        asked = self.parents[job_id]
        children = [j for i, j in self.jobs.items() if i.startswith(f"{job_id}:")]
        self._settle(children)
        ends = [str(job.end["status"]) if job.end else "" for job in children]
        status = "PENDING" if "" in ends else "FAILED" if "FAILED" in ends else "SUCCEEDED"
        found = self._common(job_id, asked, children[0].created_at if children else 0)
        return found | {"status": status, "arrayProperties": {"size": len(children)}}


def _ended_by_itself(ran: Ran) -> str:
    return "Task failed to start" if ran.exit_code is None else "Essential container in task exited"
