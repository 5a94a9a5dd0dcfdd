"""The settings of a Slurm cluster on AWS that is reached over SSH."""

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

from backends.slurm.settings import SlurmSettings
from core.settings.options import RUN_COMMANDS, Group, setting
from core.settings.types import Region, checked, matching
from core.settings.worker import AWS_REGION_ENV, DEFAULT_REGION

_cluster = partial(
    setting, Group.PARALLELCLUSTER, commands=RUN_COMMANDS | {"doctor", "clean", "cancel"}
)
_chosen = partial(
    _cluster, commands=RUN_COMMANDS | {"doctor"}, sets="backend", sets_to="parallelcluster"
)
# A name on a command line of ssh, where a dash in front would make it an option.
_Word = Annotated[
    str, matching(r"([\w.:%\[][\w.:%\[\]-]*)?", "a name or an address, which begins with no dash")
]


def check_folder(text: str) -> str:
    """Raises ValueError: only the other machine knows another login's home."""
    if not text or re.search(r"[\x00-\x1f\x7f]", text):
        raise ValueError("it must be a path")
    if text.startswith("~") and text.partition("/")[0] != "~":
        raise ValueError("it must give the home of another user as a full path")
    return text


_Folder = Annotated[str, checked(check_folder)]


@dataclass(frozen=True, kw_only=True)
class ParallelClusterSettings(SlurmSettings):
    """What is empty is looked up, or left to the configuration of ssh."""

    parallelcluster: bool = _chosen(False, "same as --backend parallelcluster")
    aws: bool = _chosen(False, "same as --parallelcluster")
    aws_cluster_name: _Word = _cluster("", "name of the cluster", "NAME")
    aws_region: Region = _cluster(
        DEFAULT_REGION, "region of the cluster", "REGION", standard_env=AWS_REGION_ENV
    )
    aws_head_node: _Word = _cluster("", "its head node, if AWS is not to be asked for it", "HOST")
    aws_ssh_user: _Word = _cluster(
        "", "login name there", "NAME", default_text="that of ssh or of its image"
    )
    aws_ssh_key: Path | None = _cluster(
        None, "private key for it", "FILE", default_text="those of ssh"
    )
    aws_shared_dir: _Folder = _cluster(
        "~", "directory that head node and compute nodes share", "DIR"
    )
    aws_s3_bucket: _Word = _cluster(
        "", "bucket that files travel through", "NAME", default_text="over SSH"
    )
