"""The settings of jobs on AWS Batch, and of the job definition that `doctor` can register."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from pydantic import AfterValidator, BaseModel, StringConstraints

from core.settings.options import RUN_COMMANDS, Group, Option
from core.settings.types import Cpus, Name, Region, Size

SECRETS = (
    *("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"),
    *("AWS_BEARER_TOKEN_BEDROCK", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
)
"""Variables that a job definition may give its workers from Secrets Manager."""

_batch = partial(Option, Group.BATCH, commands=RUN_COMMANDS | {"doctor"})
_place = partial(Option, Group.BATCH, commands=RUN_COMMANDS | {"doctor", "cancel"})
_definition = partial(Option, Group.BATCH, commands=frozenset({"doctor"}), kept=False)

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html, the safe characters
_Bucket = Annotated[str, StringConstraints(pattern=r"^([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])?$")]
_Prefix = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9!_.*'()/-]{0,400}$")]
_Role = Annotated[str, StringConstraints(pattern=r"^(arn:[a-z-]+:iam::\d{12}:role/\S+)?$")]


def check_secret(text: str) -> str:
    """`text`, NAME=ARN. Raises ValueError with what it must be."""
    name, _, value = text.partition("=")
    if name not in SECRETS:
        raise ValueError(f"it must begin with one of {', '.join(SECRETS)}, and an equals sign")
    if not value.startswith("arn:"):
        raise ValueError("behind the name goes the ARN of a secret, never the secret itself")
    return text


class BatchSettings(BaseModel):
    """An empty text means that there is none."""

    batch: Annotated[bool, _batch("same as --backend batch", sets="backend", sets_to="batch")] = (
        False
    )
    batch_job_queue: Annotated[str, _place("job queue, by name or ARN", "NAME")] = ""
    batch_job_definition: Annotated[
        str, _batch("job definition, by name, name:revision or ARN", "NAME")
    ] = ""
    batch_region: Annotated[
        Region,
        _place(
            "region of queue and bucket",
            "REGION",
            standard_env={"AWS_REGION": None, "AWS_DEFAULT_REGION": None},
        ),
    ] = "eu-central-1"
    batch_s3_bucket: Annotated[_Bucket, _place("bucket for requests and results", "NAME")] = ""
    batch_s3_prefix: Annotated[_Prefix, _place("where in the bucket", "PREFIX")] = (
        "parallel-orchestrator"
    )
    batch_vcpus: Annotated[
        Cpus | None, _batch("vCPUs of each job", "N", default_text="the job definition's")
    ] = None
    batch_memory: Annotated[
        Size | None, _batch("memory of each job", "SIZE", default_text="the job definition's")
    ] = None
    batch_image: Annotated[Name | None, _definition("image for a new job definition", "IMAGE")] = (
        None
    )
    batch_job_role: Annotated[_Role, _definition("role of its workers", "ARN")] = ""
    batch_execution_role: Annotated[
        _Role,
        _definition("role that starts them", "ARN", default_text="the same as its workers'"),
    ] = ""
    batch_secret: Annotated[
        tuple[Annotated[str, AfterValidator(check_secret)], ...],
        _definition("variable of its workers from Secrets Manager; repeatable", "NAME=ARN"),
    ] = ()
