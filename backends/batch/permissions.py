"""What workers have to be allowed, on objects and models like those of a run. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from backends.batch.jobs import RunLocation
from core.aws.bundles import DIGEST_CHARS, PackName, claim_name, result_name
from core.job import JobKey

_KEY = JobKey("run", "task", 1)
_LOCATION = RunLocation(_KEY.run, "0" * 12)


@dataclass(frozen=True, slots=True)
class Permission:
    """An action on one resource; `context` has the values of a policy's condition keys."""

    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)


def bucket_permissions(bucket: str, prefix: str, partition: str) -> Iterator[Permission]:
    """What workers need on objects of a run, as in JobRole of docs/aws-batch.yaml."""
    arn, root = f"arn:{partition}:s3:::{bucket}", _LOCATION.objects(prefix)
    request = f"{root}{PackName('0' * DIGEST_CHARS, 1)}"
    claim, result = f"{root}{claim_name(_KEY)}", f"{root}{result_name(_KEY)}"
    for name in (request, claim):
        yield Permission("s3:GetObject", f"{arn}/{name}")
    for name in (claim, result):
        yield Permission("s3:PutObject", f"{arn}/{name}", {"s3:if-none-match": "*"})
    yield Permission("s3:ListBucket", arn, {"s3:prefix": result})


def model_permission(role: str, region: str, model: str) -> Permission:
    """On `model` itself, since a policy may name models. An inference profile belongs to an
    account, here the role's."""
    _, partition, _, _, account, *_ = role.split(":")
    resource = f"arn:{partition}:bedrock:{region}:{account}:inference-profile/{model}"
    if model.startswith("anthropic."):
        resource = f"arn:{partition}:bedrock:{region}::foundation-model/{model}"
    return Permission("bedrock:InvokeModelWithResponseStream", resource)
