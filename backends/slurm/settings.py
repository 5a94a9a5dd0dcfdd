"""The settings of jobs on Slurm, wherever its commands are run from. Slurm itself judges values."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

from core.settings.options import RUN_COMMANDS, Group, setting
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

_slurm = partial(setting, Group.SLURM, commands=RUN_COMMANDS | {"doctor"})
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

    slurm: bool = _slurm(False, "same as --backend slurm", sets="backend", sets_to="slurm")
    slurm_partition: _Word = _slurm(
        "", "partition", "NAME", default_text="the default of the cluster"
    )
    slurm_account: _Word = _slurm("", "account to charge", "NAME")
    slurm_qos: _Word = _slurm("", "quality of service", "NAME")
    slurm_time: _Word = _slurm("01:00:00", "time limit of each job", "TIME")
    slurm_mem: _Word = _slurm("4G", "memory of each job", "SIZE")
    slurm_cpus: Count = _slurm(1, "CPUs of each job", "N")
    slurm_gpus: Annotated[int, whole_number(0)] = _slurm(0, "GPUs of each job", "N")
    slurm_constraint: _Word = _slurm("", "features that a node must have", "LIST")
    slurm_setup: Path | None = _slurm(
        None, "shell lines run before each worker: modules, venv", "FILE"
    )
    slurm_container: str = _slurm("", "image that apptainer runs each worker in", "IMAGE")
    slurm_arg: tuple[Annotated[str, checked(check_argument)], ...] = _slurm(
        (), "one more argument for sbatch; repeatable", "ARG"
    )
