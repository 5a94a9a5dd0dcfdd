"""What the workers' role has to be allowed: the least with which a worker does all it may have to.

The same as JobRole of docs/aws-batch.yaml. A policy may hold for conditions only, so each need says
what is known of the request. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from backends.batch.jobs import RunPlace
from core.aws.bundles import DIGEST_CHARS, PackName, claim_name, result_name
from core.job import JobKey

_KEY = JobKey("run", "task", 1)
_PLACE = RunPlace(_KEY.run, "0" * 12)


@dataclass(frozen=True, slots=True)
class Permission:
    """An action on one resource; `context` is what IAM's condition keys are in such a request."""

    action: str
    on: str
    context: Mapping[str, str] = field(default_factory=dict)


def worker_needs(bucket: str, prefix: str, partition: str) -> Iterator[Permission]:
    """In the bucket, with the names that objects of a run have."""
    where, root = f"arn:{partition}:s3:::{bucket}", _PLACE.objects(prefix)
    request = f"{root}{PackName('0' * DIGEST_CHARS, 1)}"
    claim, result = f"{root}{claim_name(_KEY)}", f"{root}{result_name(_KEY)}"
    for name in (request, claim):
        yield Permission("s3:GetObject", f"{where}/{name}")
    for name in (claim, result):
        yield Permission("s3:PutObject", f"{where}/{name}", {"s3:if-none-match": "*"})
    yield Permission("s3:ListBucket", where, {"s3:prefix": result})


def model_need(role: str, region: str, model: str) -> Permission:
    """Of asking for `model`: a policy that names models does not allow it on everything. An
    inference profile is of the account, which is the role's."""
    _, partition, _, _, account, *_ = role.split(":")
    on = f"arn:{partition}:bedrock:{region}:{account}:inference-profile/{model}"
    if model.startswith("anthropic."):
        on = f"arn:{partition}:bedrock:{region}::foundation-model/{model}"
    return Permission("bedrock:InvokeModelWithResponseStream", on)
