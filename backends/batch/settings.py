"""The settings of jobs on AWS Batch, and of the job definition that `doctor` can register."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated

from core.settings.options import RUN_COMMANDS, Group, setting
from core.settings.size import size_bytes
from core.settings.types import Cpus, Name, Region, Size, checked, matching
from core.settings.worker import AWS_REGION_ENV, DEFAULT_REGION, WorkerSettings

SECRETS = (
    *("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"),
    *("AWS_BEARER_TOKEN_BEDROCK", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
)
"""Variables that a job definition may give its workers from Secrets Manager."""

_batch = partial(setting, Group.BATCH, commands=RUN_COMMANDS | {"doctor"})
_place = partial(setting, Group.BATCH, commands=RUN_COMMANDS | {"doctor", "cancel"})
_definition = partial(setting, Group.BATCH, commands=frozenset({"doctor"}), kept=False)

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html, the safe characters
_Bucket = Annotated[
    str, matching(r"([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])?", "the name of a bucket, without s3://")
]
_Prefix = Annotated[
    str, matching(r"[A-Za-z0-9!_.*'()/-]{0,400}", "up to 400 letters, digits or !_.*'()/-")
]
_Role = Annotated[
    str, matching(r"(arn:[a-z-]+:iam::\d{12}:role/\S+)?", "the ARN of a role: arn:aws:iam::...")
]


def check_secret(text: str) -> str:
    """`text`, NAME=ARN. Raises ValueError with what it must be."""
    name, _, value = text.partition("=")
    if name not in SECRETS:
        raise ValueError(f"it must be NAME=ARN, with NAME one of {', '.join(SECRETS)}")
    if not value.startswith("arn:"):
        raise ValueError("after the name must come the ARN of a secret, not the secret itself")
    return text


@dataclass(frozen=True, kw_only=True)
class BatchSettings(WorkerSettings):
    """An empty text means that there is none."""

    batch: bool = _batch(False, "same as --backend batch", sets="backend", sets_to="batch")
    batch_job_queue: str = _place("", "job queue, by name or ARN", "NAME")
    batch_job_definition: str = _batch("", "job definition, by name, name:revision or ARN", "NAME")
    batch_region: Region = _place(
        DEFAULT_REGION, "region of queue and bucket", "REGION", standard_env=AWS_REGION_ENV
    )
    batch_s3_bucket: _Bucket = _place("", "S3 bucket for requests and results", "NAME")
    batch_s3_prefix: _Prefix = _place(
        "parallel-orchestrator", "prefix of the names of objects in it", "PREFIX"
    )
    batch_vcpus: Cpus | None = _batch(
        None, "vCPUs of each job", "N", default_text="that of the job definition"
    )
    batch_memory: Size | None = _batch(
        None, "memory of each job", "SIZE", default_text="that of the job definition"
    )
    batch_image: Name | None = _definition(None, "image for a new job definition", "IMAGE")
    batch_job_role: _Role = _definition("", "role of its workers", "ARN")
    batch_execution_role: _Role = _definition(
        "", "role that starts them", "ARN", default_text="the role of its workers"
    )
    batch_secret: tuple[Annotated[str, checked(check_secret)], ...] = _definition(
        (),
        "variable of its workers from Secrets Manager; repeatable",
        "NAME=ARN",
        masked_in_errors=True,
    )

    @property
    def batch_memory_mib(self) -> int | None:
        memory = self.batch_memory
        return max(1, size_bytes(memory) // 1024**2) if memory else None
