"""Job definitions: what one has to say for workers to run, and the one that `doctor` registers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from backends.batch.jobs import LEAST_TIMEOUT_S, RETRIES, Wanted, wanted_of
from backends.batch.settings import SECRETS, BatchSettings
from backends.docker.container import CODE, LABEL
from core.errors import Problem, UsageError

FARGATE, EC2 = "FARGATE", "EC2"
DEFAULT_VCPUS, DEFAULT_MEMORY_MIB = 1.0, 2048
_SERVES = {
    "anthropic": ({"ANTHROPIC_API_KEY"}, {"ANTHROPIC_AUTH_TOKEN"}),
    "bedrock": (
        {"AWS_BEARER_TOKEN_BEDROCK"},
        {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"},
    ),
}
"""Sets of variables, any one of which is enough for a provider."""

# MiB that Fargate gives to so many vCPUs: (least, most, step) or the list itself.
# https://docs.aws.amazon.com/batch/latest/userguide/fargate.html
_FARGATE_MEMORY: Mapping[float, tuple[int, ...]] = {
    0.25: (512, 1024, 2048),
    0.5: tuple(range(1024, 4096 + 1, 1024)),
    1: tuple(range(2048, 8192 + 1, 1024)),
    2: tuple(range(4096, 16_384 + 1, 1024)),
    4: tuple(range(8192, 30_720 + 1, 1024)),
    8: tuple(range(16_384, 61_440 + 1, 4096)),
    16: tuple(range(32_768, 122_880 + 1, 8192)),
}


def is_on_fargate(environment: Mapping[str, Any]) -> bool:
    """Whether a compute environment is."""
    kind = str((environment.get("computeResources") or {}).get("type") or "")
    return kind.startswith(FARGATE)


def credential_problems(
    name: str, container: Mapping[str, Any], settings: BatchSettings
) -> Iterator[Problem]:
    """Where a real run's workers would find no credentials for Claude, or show them to others."""
    shown = {str(v.get("name")) for v in container.get("environment") or ()} & set(SECRETS)
    for variable in sorted(shown - {"AWS_ACCESS_KEY_ID"}):
        yield Problem(
            f"The job definition {name!r} has {variable} in the clear, where many can see it.",
            "Keep it in Secrets Manager, and name that in the job definition: --batch-secret.",
        )
    if not settings.real:
        return
    provider = settings.provider
    secret = {str(s.get("name")) for s in container.get("secrets") or ()}
    if any(wanted <= secret for wanted in _SERVES[provider]):
        return
    if provider == "bedrock" and container.get("jobRoleArn"):
        return
    fix = (
        "Register one with --batch-secret ANTHROPIC_API_KEY=ARN of a secret."
        if provider == "anthropic"
        else "Register one with --batch-job-role ARN of a role that may use Bedrock."
    )
    yield Problem(f"The job definition {name!r} gives its workers no way to sign in.", fix)


def fargate_problem(container: Mapping[str, Any], wanted: Wanted) -> Problem | None:
    """What Fargate will not give."""
    vcpus, memory = resources_of(container, wanted)
    if (sizes := _FARGATE_MEMORY.get(vcpus)) is None:
        given = ", ".join(f"{count:g}" for count in _FARGATE_MEMORY)
        return Problem(f"Fargate has no {vcpus:g} vCPUs.", f"Give --batch-vcpus one of {given}.")
    if memory in sizes:
        return None
    near = min(sizes, key=lambda size: (abs(size - memory), -size))
    return Problem(
        f"Fargate gives no {memory:,} MiB to {vcpus:g} vCPU(s).", f"Say --batch-memory {near}m."
    )


def resources_of(container: Mapping[str, Any], wanted: Wanted) -> tuple[float, int]:
    """vCPUs and MiB of a job: what is wanted, else the definition's."""
    own = {str(r["type"]): str(r["value"]) for r in container.get("resourceRequirements") or ()}
    vcpus = wanted.vcpus or float(own.get("VCPU") or container.get("vcpus") or 1)
    return vcpus, wanted.memory_mib or int(own.get("MEMORY") or container.get("memory") or 0)


def build_definition(settings: BatchSettings, platform: str) -> dict[str, Any]:
    """The request of RegisterJobDefinition, named by the digest of all else in it.

    Raises UsageError for what cannot be one.
    """
    if not settings.batch_image:
        raise UsageError("A job definition needs an image.", "Give --batch-image.")
    if not settings.batch_job_role:
        raise UsageError(
            "A job definition needs a role with which its workers reach the bucket.",
            "Give --batch-job-role; docs/aws-batch.md has its policy.",
        )
    wanted = wanted_of(settings)
    container = _container(settings, wanted)
    if platform == FARGATE:
        if (problem := fargate_problem(container, wanted)) is not None:
            raise UsageError(problem.what, problem.fix)
        container |= {
            "fargatePlatformConfiguration": {"platformVersion": "LATEST"},
            "networkConfiguration": {"assignPublicIp": "ENABLED"},
        }
    else:
        container["privileged"] = False
    definition = {
        "type": "container",
        "platformCapabilities": [platform],
        "containerProperties": container,
        "retryStrategy": RETRIES,
        "timeout": {"attemptDurationSeconds": max(LEAST_TIMEOUT_S, 3600)},
        "propagateTags": True,
        "tags": {LABEL: "executor"},
    }
    return {"jobDefinitionName": definition_name(definition), **definition}


def definition_name(definition: Mapping[str, Any]) -> str:
    """The same for the same content."""
    content = json.dumps(definition, sort_keys=True, separators=(",", ":"))
    return f"{LABEL}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"


def _container(settings: BatchSettings, wanted: Wanted) -> dict[str, Any]:
    role = settings.batch_job_role
    secrets = [text.partition("=") for text in settings.batch_secret]
    container: dict[str, Any] = {
        "image": settings.batch_image,
        # never run as it is: each job comes with a command of its own
        "command": ["python", f"{CODE}/batch_executor.py", "--help"],
        "jobRoleArn": role,
        "executionRoleArn": settings.batch_execution_role or role,
        "resourceRequirements": Wanted(
            "", "", wanted.vcpus or DEFAULT_VCPUS, wanted.memory_mib or DEFAULT_MEMORY_MIB
        ).resources,
        "environment": [{"name": "AWS_DEFAULT_REGION", "value": settings.batch_region}],
        "linuxParameters": {"initProcessEnabled": True},
        "logConfiguration": {"logDriver": "awslogs"},
    }
    if secrets:
        container["secrets"] = [{"name": name, "valueFrom": arn} for name, _, arn in secrets]
    return container
