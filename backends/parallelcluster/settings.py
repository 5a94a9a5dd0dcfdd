"""The settings of a Slurm cluster on AWS that is reached over SSH."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, StringConstraints

from core.settings.options import RUN_COMMANDS, Group, Option
from core.settings.types import Region

_cluster = partial(
    Option, Group.PARALLELCLUSTER, commands=RUN_COMMANDS | {"doctor", "clean", "cancel"}
)
_chosen = partial(
    Option,
    Group.PARALLELCLUSTER,
    commands=RUN_COMMANDS | {"doctor"},
    sets="backend",
    sets_to="parallelcluster",
)
# A name on a command line of ssh, where a dash in front would make it an option.
_Word = Annotated[str, StringConstraints(pattern=r"^([\w.:%\[][\w.:%\[\]-]*)?$")]


def check_folder(text: str) -> str:
    """Raises ValueError: another login's home is known to that machine, and to no shell's $HOME."""
    if text.startswith("~") and text.partition("/")[0] != "~":
        raise ValueError("after ~ there must be a slash: give another login's home as a full path")
    return text


_Folder = Annotated[
    str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$"), AfterValidator(check_folder)
]


class ParallelClusterSettings(BaseModel):
    """What is empty is found out, or left to the ssh config."""

    parallelcluster: Annotated[bool, _chosen("same as --backend parallelcluster")] = False
    aws: Annotated[bool, _chosen("the same")] = False
    aws_cluster_name: Annotated[_Word, _cluster("the cluster's name", "NAME")] = ""
    aws_region: Annotated[
        Region,
        _cluster(
            "the cluster's region",
            "REGION",
            standard_env={"AWS_REGION": None, "AWS_DEFAULT_REGION": None},
        ),
    ] = "eu-central-1"
    aws_head_node: Annotated[
        _Word, _cluster("its head node; then AWS is not asked for it", "HOST")
    ] = ""
    aws_ssh_user: Annotated[
        _Word, _cluster("login name there", "NAME", default_text="that of ssh, or of its system")
    ] = ""
    aws_ssh_key: Annotated[
        Path | None, _cluster("private key for it", "FILE", default_text="those of ssh")
    ] = None
    aws_shared_dir: Annotated[
        _Folder, _cluster("directory that head node and compute nodes share", "DIR")
    ] = "~"
    aws_s3_bucket: Annotated[
        _Word, _cluster("bucket that bundles travel through", "NAME", default_text="over SSH")
    ] = ""
