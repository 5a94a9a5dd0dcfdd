"""Job definitions: what workers need of one, and the one that `doctor` registers."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from backends.base import BackendContext
from backends.batch.client import BatchClient, connector
from backends.batch.jobs import LEAST_TIMEOUT_S, RETRIES, build_resources
from backends.batch.settings import SECRETS, BatchSettings
from backends.shared.worker_image import LABEL, worker_command
from core.aws.calls import AwsService
from core.errors import Problem, UsageError

FARGATE, EC2 = "FARGATE", "EC2"
DEFAULT_VCPUS, DEFAULT_MEMORY_MIB = 1.0, 2048
_SIGN_IN_VARIABLES = {
    "anthropic": ({"ANTHROPIC_API_KEY"}, {"ANTHROPIC_AUTH_TOKEN"}),
    "bedrock": ({"AWS_BEARER_TOKEN_BEDROCK"}, {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}),
}
"""Sets of variables, each of which is enough for the provider."""

# The sizes in MiB that Fargate has for a number of vCPUs.
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
    """Where workers of a real run would have no credentials for Claude, or visible ones."""
    shown = {str(v.get("name")) for v in container.get("environment") or ()} & set(SECRETS)
    for variable in sorted(shown - {"AWS_ACCESS_KEY_ID"}):
        yield Problem(
            f"The job definition {name!r} has {variable} in the clear, where many can see it.",
            "Move it to Secrets Manager, and register a job definition with --batch-secret.",
        )
    if not settings.real:
        return
    provider = settings.provider
    secret = {str(s.get("name")) for s in container.get("secrets") or ()}
    if any(variables <= secret for variables in _SIGN_IN_VARIABLES[provider]):
        return
    if provider == "bedrock" and container.get("jobRoleArn"):
        return
    option = "--batch-job-role <ARN of a role that may use Bedrock>"
    if provider == "anthropic":
        option = "--batch-secret ANTHROPIC_API_KEY=<ARN of a secret>"
    fix = f"Register another one with {option}."
    yield Problem(f"The job definition {name!r} gives its workers no credentials for Claude.", fix)


def fargate_problem(container: Mapping[str, Any], settings: BatchSettings) -> Problem | None:
    """A size that Fargate does not have."""
    vcpus, memory = resources_of(container, settings)
    if (sizes := _FARGATE_MEMORY.get(vcpus)) is None:
        known = ", ".join(f"{count:g}" for count in _FARGATE_MEMORY)
        fix = f"Set --batch-vcpus to one of {known}."
        return Problem(f"Fargate has no containers with {vcpus:g} vCPUs.", fix)
    if memory in sizes:
        return None
    near = min(sizes, key=lambda size: (abs(size - memory), -size))
    fix = f"Set --batch-memory to {near}m."
    return Problem(f"Fargate has no containers with {memory:,} MiB and {vcpus:g} vCPU(s).", fix)


def resources_of(container: Mapping[str, Any], settings: BatchSettings) -> tuple[float, int]:
    """vCPUs and MiB of a job: those of the settings, else the definition's."""
    own = {str(r["type"]): str(r["value"]) for r in container.get("resourceRequirements") or ()}
    vcpus = settings.batch_vcpus or float(own.get("VCPU") or container.get("vcpus") or 1)
    memory = settings.batch_memory_mib or own.get("MEMORY") or container.get("memory")
    return vcpus, int(memory or 0)


def build_definition(settings: BatchSettings, platform: str) -> dict[str, Any]:
    """The request of RegisterJobDefinition, named by the digest of its content.

    Raises UsageError when the settings are not enough for one.
    """
    if not settings.batch_image:
        raise UsageError("A job definition needs an image.", "Name one with --batch-image.")
    if not settings.batch_job_role:
        raise UsageError(
            "A job definition needs a role with which its workers reach the bucket.",
            "Name one with --batch-job-role; docs/aws-batch.yaml has its policy.",
        )
    container = _container(settings)
    if platform == FARGATE:
        if (problem := fargate_problem(container, settings)) is not None:
            raise UsageError(problem.what, problem.fix)
        container["fargatePlatformConfiguration"] = {"platformVersion": "LATEST"}
        container["networkConfiguration"] = {"assignPublicIp": "ENABLED"}
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
    content = json.dumps(definition, sort_keys=True, separators=(",", ":"))
    name = f"{LABEL}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"
    return {"jobDefinitionName": name, **definition}


def _container(settings: BatchSettings) -> dict[str, Any]:
    role = settings.batch_job_role
    secrets = [text.partition("=") for text in settings.batch_secret]
    container: dict[str, Any] = {
        "image": settings.batch_image,
        "command": worker_command("batch_executor.py", "--help"),  # each job overrides it
        "jobRoleArn": role,
        "executionRoleArn": settings.batch_execution_role or role,
        "resourceRequirements": build_resources(
            settings.batch_vcpus or DEFAULT_VCPUS, settings.batch_memory_mib or DEFAULT_MEMORY_MIB
        ),
        "environment": [{"name": "AWS_DEFAULT_REGION", "value": settings.batch_region}],
        "linuxParameters": {"initProcessEnabled": True},
        "logConfiguration": {"logDriver": "awslogs"},
    }
    if secrets:
        container["secrets"] = [{"name": name, "valueFrom": arn} for name, _, arn in secrets]
    return container


@dataclass(frozen=True, slots=True)
class Registration:
    """`is_new` is False where the same definition was registered before."""

    name: str
    is_new: bool


def register(context: BackendContext, connect: Callable[[str], Any] | None = None) -> Registration:
    """Register the job definition that the settings `batch_*` describe, once for the same content.

    Raises UsageError when they are not enough for one, BackendError where AWS refuses.
    """
    settings = BatchSettings.read(context.options)
    with closing(AwsService("batch", connect or connector(context), context.clock)) as batch:
        client = BatchClient(batch)
        definition = build_definition(settings, _platform(client, settings.batch_job_queue))
        name = str(definition["jobDefinitionName"])
        if is_new := client.definition(name) is None:
            client.register(definition)
    return Registration(name, is_new)


def _platform(client: BatchClient, queue: str) -> str:
    """That of the queue's compute environments; Fargate where no queue was named."""
    found = client.queue(queue) if queue else None
    environments = client.environments(found) if found else ()
    return FARGATE if not environments or any(map(is_on_fargate, environments)) else EC2
