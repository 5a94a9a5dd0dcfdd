"""The settings of jobs on Slurm, wherever its commands are run from. Slurm itself judges values."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

from core.settings.options import RUN_COMMANDS, Group, Setting
from core.settings.types import Count, checked, matching, whole_number
from core.settings.worker import WorkerSettings

OWN_ARGUMENTS = frozenset(
    {"array", "chdir", "clusters", "comment", "error", "export", "export-file", "get-user-env"}
    | {"gid", "help", "input", "job-name", "open-mode", "output", "parsable", "quiet", "signal"}
    | {"test-only", "uid", "usage", "version", "wait", "wrap"}
)
"""Long options of sbatch that this program sets itself, or whose answer it could not read."""
_OWN_LETTERS = frozenset("aDeiJoWMQVh")
_WITH_OPTION = {
    **{name: name for name in ("account", "constraint", "mem", "partition", "qos", "time")},
    "cpus-per-task": "cpus",
}

_slurm = partial(Setting, Group.SLURM, commands=RUN_COMMANDS | {"doctor"})
_Word = Annotated[str, matching(r"[^\s\x00-\x1f\x7f]*", "a text without white space")]


def check_argument(text: str) -> str:
    """`text`, one more argument for sbatch. Raises ValueError with what it must be."""
    long, letter = text.startswith("--"), text[1:2]
    name = text[2:].partition("=")[0]
    # getopt takes a beginning for the whole
    ours = any(own == name or (own.startswith(name) and len(name) > 1) for own in OWN_ARGUMENTS)
    if not (text.startswith("-") and text.strip("-")) or not text.isprintable():
        raise ValueError("it must be one option of sbatch, such as --exclusive or --nice=100")
    if (long and ours) or (not long and letter in _OWN_LETTERS):
        raise ValueError("it must not be an option that this program sets itself")
    if long and name in _WITH_OPTION:
        raise ValueError(f"it must be given as --slurm-{_WITH_OPTION[name]}")
    return text


@dataclass(frozen=True, kw_only=True)
class SlurmSettings(WorkerSettings):
    """An empty text is not passed to sbatch."""

    slurm: Annotated[bool, _slurm("same as --backend slurm", sets="backend", sets_to="slurm")] = (
        False
    )
    slurm_partition: Annotated[
        _Word, _slurm("partition", "NAME", default_text="the default of the cluster")
    ] = ""
    slurm_account: Annotated[_Word, _slurm("account to charge", "NAME")] = ""
    slurm_qos: Annotated[_Word, _slurm("quality of service", "NAME")] = ""
    slurm_time: Annotated[_Word, _slurm("time limit of each job", "TIME")] = "01:00:00"
    slurm_mem: Annotated[_Word, _slurm("memory of each job", "SIZE")] = "4G"
    slurm_cpus: Annotated[Count, _slurm("CPUs of each job", "N")] = 1
    slurm_gpus: Annotated[int, whole_number(0), _slurm("GPUs of each job", "N")] = 0
    slurm_constraint: Annotated[_Word, _slurm("features that a node must have", "LIST")] = ""
    slurm_setup: Annotated[
        Path | None, _slurm("shell lines run before each worker: modules, venv", "FILE")
    ] = None
    slurm_container: Annotated[str, _slurm("image that apptainer runs each worker in", "IMAGE")] = (
        ""
    )
    slurm_arg: Annotated[
        tuple[Annotated[str, checked(check_argument)], ...],
        _slurm("one more argument for sbatch; repeatable", "ARG"),
    ] = ()
