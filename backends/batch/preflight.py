"""Whether jobs can run on AWS Batch: queue, compute environment, definition, role, log, bucket.

Nothing is started. The bucket is tested with one small object that is removed again; IAM is asked
for the permissions of the workers' role, where this identity may ask that.
"""

from __future__ import annotations

import io
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from backends.batch.client import BatchClient
from backends.batch.definition import FARGATE, credential_problems, fargate_problem, is_on_fargate
from backends.batch.logs import DEFAULT_GROUP, LogStreams
from backends.batch.permissions import Permission, bucket_permissions, model_permission
from backends.batch.settings import BatchSettings
from core.aws.bucket import S3Bucket
from core.aws.calls import AwsService
from core.errors import AwsRefused, BackendError, Problem

_PAGE, _POLICY = "docs/aws-batch.md", "docs/aws-batch.yaml"
_NO_BUCKET = "NoSuchBucket"
_REGISTER = "doctor --backend batch --register-job-definition"


@dataclass(frozen=True)
class Preflight:
    """Looks with the backend's own clients of AWS."""

    client: BatchClient
    bucket: S3Bucket
    streams: LogStreams
    iam: AwsService
    settings: BatchSettings

    def problems(self) -> list[Problem]:
        """What is missing, each with its fix."""
        if missing := list(self._missing_options()):
            return missing
        found: list[Problem] = []
        try:
            found += self._look(self._bucket())
            has_bucket = not found  # without it, nothing true can be said of the role
            return [*found, *self._look(self._queue_and_definition(has_bucket=has_bucket))]
        except BackendError as exc:
            return [*found, Problem(exc.message, exc.remedy)]

    def _look(self, look: Iterator[Problem]) -> Iterator[Problem]:
        """With what AWS refused as another one."""
        try:
            yield from look
        except AwsRefused as exc:
            yield self._explain(exc)

    def _explain(self, exc: AwsRefused) -> Problem:
        if exc.code != _NO_BUCKET:
            return Problem(exc.message, exc.remedy)
        fix = f"Correct --batch-s3-bucket, or create it: {_PAGE}."
        return Problem(f"The bucket {self.bucket.name} does not exist.", fix)

    def _missing_options(self) -> Iterator[Problem]:
        for value, noun, option in (
            (self.settings.batch_job_queue, "job queue", "--batch-job-queue"),
            (self.settings.batch_job_definition, "job definition", "--batch-job-definition"),
            (self.bucket.name, "bucket", "--batch-s3-bucket"),
        ):
            if not value:
                fix = f"Name one with {option}; {_PAGE} explains how to create it."
                yield Problem(f"No {noun} was named for AWS Batch.", fix)

    # -- queue and compute environments

    def _queue_and_definition(self, *, has_bucket: bool) -> Iterator[Problem]:
        name = self.settings.batch_job_queue
        environments: Sequence[Mapping[str, Any]] = ()
        if (queue := self.client.queue(name)) is None:
            known = ", ".join(self.client.queue_names()) or "none"
            fix = (
                f"Correct --batch-job-queue (those there: {known}) or --batch-region, or create it:"
                f" {_PAGE}."
            )
            yield Problem(f"AWS Batch has no job queue {name!r} in this region.", fix)
        else:
            yield from _state_problems(f"The job queue {name!r}", queue)
            environments = self.client.environments(queue)
            yield from self._environment_problems(environments)
        yield from self._definition(environments, has_bucket=has_bucket)

    def _environment_problems(self, environments: Sequence[Mapping[str, Any]]) -> Iterator[Problem]:
        found = [
            list(_state_problems(f"The compute environment {e['computeEnvironmentName']!r}", e))
            for e in environments
        ]
        if not found:
            fix = f"Add one to it: {_PAGE}."
            what = f"The job queue {self.settings.batch_job_queue!r} has no compute environment."
            yield Problem(what, fix)
        elif all(found):  # one without problems is enough
            yield from (problem for problems in found for problem in problems)

    # -- job definition, role, log

    def _definition(
        self, environments: Sequence[Mapping[str, Any]], *, has_bucket: bool
    ) -> Iterator[Problem]:
        name = self.settings.batch_job_definition
        if (definition := self.client.definition(name)) is None:
            fix = f"Register one: {_REGISTER}."
            yield Problem(f"AWS Batch has no active job definition {name!r} in this region.", fix)
            return
        if not (container := definition.get("containerProperties")):
            fix = f"Register another one: {_REGISTER}."
            yield Problem(f"The job definition {name!r} is not of a single container.", fix)
            return
        yield from self._platform_problems(definition, environments)
        yield from credential_problems(name, container, self.settings)
        own = str(container.get("jobRoleArn") or "")
        if has_bucket and (role := own or self._role_of_instances(environments)):
            uses_bedrock = bool(own) and not container.get("secrets")
            found = list(self._role_problems(role, uses_bedrock=uses_bedrock))
            if found and not own:
                what = f"The job definition {name!r} has no job role: its instances' counts."
                fix = f"Register one with a role: {_REGISTER} --batch-job-role ROLE."
                found = [Problem(f"{what} {found[0].what}", fix)]
            yield from found
        yield from self._log_problems(container)

    def _platform_problems(
        self, definition: Mapping[str, Any], environments: Sequence[Mapping[str, Any]]
    ) -> Iterator[Problem]:
        if not any(is_on_fargate(environment) for environment in environments):
            return
        definition_name = self.settings.batch_job_definition
        if FARGATE not in (definition.get("platformCapabilities") or ()):
            what = f"The job definition {definition_name!r} is not for Fargate, but the queue is."
            yield Problem(what, f"Register one for it: {_REGISTER}.")
        elif problem := fargate_problem(definition["containerProperties"], self.settings):
            yield problem
        if not definition["containerProperties"].get("jobRoleArn"):
            yield Problem(
                f"The job definition {definition_name!r} has no job role, without which"
                " workers on Fargate cannot use the bucket.",
                f"Register one with a role: {_REGISTER} --batch-job-role ROLE.",
            )

    def _role_of_instances(self, environments: Sequence[Mapping[str, Any]]) -> str:
        """Which workers have without a job role; empty on Fargate, and where it is not known."""
        resources = [environment.get("computeResources") or {} for environment in environments]
        profile = next((str(r["instanceRole"]) for r in resources if r.get("instanceRole")), "")
        if not profile:
            return ""
        request = {"InstanceProfileName": profile.rpartition("/")[2]}
        with suppress(AwsRefused):
            answer = self.iam("get_instance_profile", profile, **request)
            return next((str(r["Arn"]) for r in answer["InstanceProfile"]["Roles"]), "")
        return ""

    def _role_problems(self, role: str, *, uses_bedrock: bool) -> Iterator[Problem]:
        """Permissions that the workers' role lacks. None where this identity may not ask."""
        settings = self.settings
        partition = role.split(":")[1]
        bucket, prefix = self.bucket.name, settings.batch_s3_prefix
        try:
            needed = bucket_permissions(bucket, prefix, partition)
            lacked = [p.action for p in needed if not self._is_allowed(role, p)]
            if lacked:
                yield Problem(
                    f"The workers' role {role} may not use s3://{bucket}/{prefix.strip('/')}: it"
                    f" lacks {', '.join(dict.fromkeys(lacked))}.",
                    "Correct --batch-s3-bucket and --batch-s3-prefix where the role is for others,"
                    f" or add that to the role; {_POLICY} has the policy.",
                )
            if not (uses_bedrock and settings.real and settings.provider == "bedrock"):
                return
            permission = model_permission(role, settings.region, settings.executor_model)
            if not self._is_allowed(role, permission):
                what = f"{permission.action} on {permission.resource}"
                what = f"The workers' role {role} lacks the permission {what}."
                yield Problem(what, f"Add it to the role; {_POLICY} has the policy.")
        except AwsRefused as exc:
            if exc.code == "NoSuchEntity":
                fix = f"Create it, or register a job definition with another one: {_PAGE}."
                yield Problem(f"The workers' role {role} does not exist.", fix)

    def _is_allowed(self, role: str, permission: Permission) -> bool:
        context = [
            {"ContextKeyName": name, "ContextKeyValues": [value], "ContextKeyType": "string"}
            for name, value in permission.context.items()
        ]
        request = {"PolicySourceArn": role, "ContextEntries": context}
        wanted = {"ActionNames": [permission.action], "ResourceArns": [permission.resource]}
        answer = self.iam("simulate_principal_policy", role, **request, **wanted)
        return all(found["EvalDecision"] == "allowed" for found in answer["EvaluationResults"])

    def _log_problems(self, container: Mapping[str, Any]) -> Iterator[Problem]:
        options = (container.get("logConfiguration") or {}).get("options") or {}
        group = str(options.get("awslogs-group") or DEFAULT_GROUP)
        exists = self.streams.group_exists(group)
        # Batch creates the default one with the first job
        if group != DEFAULT_GROUP and not exists and options.get("awslogs-create-group") != "true":
            fix = f"Create it: aws logs create-log-group --log-group-name {group}."
            yield Problem(f"The log group {group} of the job definition does not exist.", fix)

    # -- bucket

    def _bucket(self) -> Iterator[Problem]:
        """Put, list, get and delete one object, as a run does."""
        prefix = self.settings.batch_s3_prefix.strip("/")
        key = f"{prefix}/probes/{secrets.token_hex(8)}".removeprefix("/")
        content = secrets.token_bytes(16)
        self.bucket.put_new(key, io.BytesIO(content))
        try:
            listed, got = list(self.bucket.list(key)), self.bucket.get(key)
        except BackendError:
            with suppress(BackendError):  # the first error is the one to report
                self.bucket.delete([key])
            raise
        self.bucket.delete([key])
        if listed != [key] or got != content:
            what = f"The bucket {self.bucket.name} did not return the object that was put there."
            yield Problem(what, "Check whether another program removes or changes objects in it.")


def _state_problems(name: str, found: Mapping[str, Any]) -> Iterator[Problem]:
    if found.get("state") != "ENABLED":
        yield Problem(f"{name} is disabled.", "Enable it in the console of AWS Batch.")
    if found.get("status") != "VALID":
        reason = str(found.get("statusReason") or "no reason is given").rstrip(".")
        message = f"{name} is {found.get('status')}: {reason}."
        yield Problem(message, "Correct it in the console of AWS Batch.")
