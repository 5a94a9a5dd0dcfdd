"""Whether jobs can run on AWS Batch: queue, compute environment, definition, role, log, bucket.

Nothing is started. The bucket is tried with one small object that is removed again; what the
workers' role may do is asked of IAM, where this identity may ask that.
"""

from __future__ import annotations

import io
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from backends.batch.client import BatchService
from backends.batch.definition import FARGATE, credential_problems, fargate_problem, is_on_fargate
from backends.batch.jobs import Wanted
from backends.batch.logs import DEFAULT_GROUP, LogStreams
from backends.batch.permissions import Permission, model_need, worker_needs
from backends.batch.settings import BatchSettings
from core.aws.bucket import S3Bucket
from core.aws.calls import AwsCalls
from core.errors import AwsRefused, BackendError, Problem

_PAGE = "docs/aws-batch.md"
_NEEDED = {
    "queue": ("job queue", "--batch-job-queue"),
    "definition": ("job definition", "--batch-job-definition"),
    "bucket": ("bucket", "--batch-s3-bucket"),
}


@dataclass(frozen=True)
class Preflight:
    """Looks with the backend's own ways to AWS."""

    service: BatchService
    bucket: S3Bucket
    streams: LogStreams
    clients: Callable[[str], Any]
    calls: AwsCalls
    wanted: Wanted
    settings: BatchSettings

    def problems(self) -> list[Problem]:
        """What is missing, each with its fix."""
        if missing := list(self._missing_options()):
            return missing
        found: list[Problem] = []
        for look in (self._queue_and_definition, self._bucket):
            try:
                found += look()
            except AwsRefused as exc:
                found.append(Problem(exc.message, exc.remedy))
            except BackendError as exc:
                return [*found, Problem(exc.message, exc.remedy)]
        return found

    def _missing_options(self) -> Iterator[Problem]:
        given = {
            "queue": self.wanted.queue,
            "definition": self.wanted.definition,
            "bucket": self.bucket.name,
        }
        for name, (what, option) in _NEEDED.items():
            if not given[name]:
                fix = f"Give {option}; {_PAGE} tells how to make one."
                yield Problem(f"No {what} was named for AWS Batch.", fix)

    # -- queue and compute environments

    def _queue_and_definition(self) -> Iterator[Problem]:
        name = self.wanted.queue
        environments: Sequence[Mapping[str, Any]] = ()
        if (queue := self.service.queue(name)) is None:
            yield Problem(
                f"AWS Batch has no job queue {name!r} in this region.",
                f"Correct --batch-job-queue or --batch-region, or make one: {_PAGE}.",
            )
        else:
            yield from _state_problems(f"The job queue {name!r}", queue)
            environments = list(self._environments(queue))
            yield from self._environment_problems(environments)
        yield from self._definition(environments)

    def _environments(self, queue: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        for place in queue.get("computeEnvironmentOrder") or ():
            if (found := self.service.environment(place["computeEnvironment"])) is not None:
                yield found

    def _environment_problems(self, environments: Sequence[Mapping[str, Any]]) -> Iterator[Problem]:
        found = [
            list(_state_problems(f"The compute environment {e['computeEnvironmentName']!r}", e))
            for e in environments
        ]
        if not found:
            fix = f"Give it one: {_PAGE}."
            yield Problem(f"The job queue {self.wanted.queue!r} has no compute environment.", fix)
        elif all(found):  # one that is well is enough
            yield from (problem for problems in found for problem in problems)

    # -- job definition, role, log

    def _definition(self, environments: Sequence[Mapping[str, Any]]) -> Iterator[Problem]:
        name = self.wanted.definition
        if (definition := self.service.definition(name)) is None:
            yield Problem(
                f"AWS Batch has no active job definition {name!r} in this region.",
                "Register one: doctor --backend batch --register-job-definition.",
            )
            return
        if not (container := definition.get("containerProperties")):
            fix = "Register one of ours: doctor --backend batch --register-job-definition."
            yield Problem(f"The job definition {name!r} is none of a single container.", fix)
            return
        yield from self._platform_problems(definition, environments)
        yield from credential_problems(name, container, self.settings)
        if role := str(container.get("jobRoleArn") or ""):
            by_role = not {secret.get("name") for secret in container.get("secrets") or ()}
            yield from self._role_problems(role, asks_bedrock=by_role)
        yield from self._log_problems(container)

    def _platform_problems(
        self, definition: Mapping[str, Any], environments: Sequence[Mapping[str, Any]]
    ) -> Iterator[Problem]:
        if not any(is_on_fargate(environment) for environment in environments):
            return
        if FARGATE not in (definition.get("platformCapabilities") or ()):
            yield Problem(
                f"The job definition {self.wanted.definition!r} is not for Fargate, the queue is.",
                "Register one for it: doctor --backend batch --register-job-definition.",
            )
        elif problem := fargate_problem(definition["containerProperties"], self.wanted):
            yield problem
        if not definition["containerProperties"].get("jobRoleArn"):
            yield Problem(
                f"The job definition {self.wanted.definition!r} has no job role, and Fargate gives"
                " workers no other way to the bucket.",
                "Register one with a role: doctor --backend batch --register-job-definition"
                " --batch-job-role ROLE.",
            )

    def _role_problems(self, role: str, *, asks_bedrock: bool) -> Iterator[Problem]:
        """What the workers' role may not do. Nothing where this identity may not ask."""
        prefix = self.settings.batch_s3_prefix
        needs = list(worker_needs(self.bucket.name, prefix, role.split(":")[1]))
        wanted = self.settings.real and self.settings.provider == "bedrock"
        if wanted and asks_bedrock:
            needs.append(model_need(role, self.settings.region, self.settings.model))
        try:
            for need in needs:
                if not self._is_allowed(role, need):
                    yield Problem(
                        f"The workers' role {role} may not do {need.action} on {need.on}.",
                        f"Allow it; the policy is in {_PAGE}.",
                    )
        except AwsRefused as exc:
            if exc.code == "NoSuchEntity":
                fix = f"Make it, or name another in the job definition: {_PAGE}."
                yield Problem(f"The workers' role {role} does not exist.", fix)

    def _is_allowed(self, role: str, need: Permission) -> bool:
        context = [
            {"ContextKeyName": name, "ContextKeyValues": [value], "ContextKeyType": "string"}
            for name, value in need.context.items()
        ]
        answer = self.calls(
            f"SimulatePrincipalPolicy of {role}",
            lambda: self.clients("iam").simulate_principal_policy(
                PolicySourceArn=role,
                ActionNames=[need.action],
                ResourceArns=[need.on],
                ContextEntries=context,
            ),
        )
        return all(found["EvalDecision"] == "allowed" for found in answer["EvaluationResults"])

    def _log_problems(self, container: Mapping[str, Any]) -> Iterator[Problem]:
        options = (container.get("logConfiguration") or {}).get("options") or {}
        group = str(options.get("awslogs-group") or DEFAULT_GROUP)
        exists = self.streams.group_exists(group)
        # the default one is made by Batch with the first job
        if group != DEFAULT_GROUP and not exists and options.get("awslogs-create-group") != "true":
            yield Problem(
                f"The log group {group} of the job definition does not exist.",
                f"Make it: aws logs create-log-group --log-group-name {group}.",
            )

    # -- bucket

    def _bucket(self) -> Iterator[Problem]:
        """Write, list, read and remove one object, as a run does."""
        prefix = self.settings.batch_s3_prefix.strip("/")
        key = f"{prefix}/probes/{secrets.token_hex(8)}".removeprefix("/")
        word = secrets.token_bytes(16)
        self.bucket.put_new(key, io.BytesIO(word))
        try:
            listed, got = list(self.bucket.list(key)), self.bucket.get(key)
        except BackendError:
            with suppress(BackendError):  # the first trouble is the one to tell
                self.bucket.delete([key])
            raise
        self.bucket.delete([key])
        if listed != [key] or got != word:
            fix = "See whether something removes or changes what is written there."
            yield Problem(f"The bucket {self.bucket.name} does not give back what it got.", fix)


def _state_problems(what: str, found: Mapping[str, Any]) -> Iterator[Problem]:
    if found.get("state") != "ENABLED":
        yield Problem(f"{what} is disabled.", "Enable it in the console of AWS Batch.")
    if found.get("status") != "VALID":
        reason = str(found.get("statusReason") or "no reason is given").rstrip(".")
        yield Problem(f"{what} is {found.get('status')}: {reason}.", "Mend what it complains of.")
