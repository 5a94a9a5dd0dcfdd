"""Slurm's commands as argument lists, and their outputs as values. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from backends.slurm.settings import SlurmSettings
from backends.slurm.states import Row, never_starts

NAME_PREFIX = "orchestrator-"
COMMENT_PREFIX = "parallel-orchestrator:"
SIGNAL_AHEAD_S = 30
"""How long before a time limit the worker hears of it; Slurm may be a minute early."""
_UNSEEN = {"", "N/A", "(null)"}
_FIELDS = ("ArrayJobID", "ArrayTaskID", "State", "exit_code", "Reason", "Comment", "Name")
_QUEUE_FORMAT = ",".join(f"{name}:|" for name in (*_FIELDS, "WorkDir")) + ",Command:"
_PLACES = re.compile(r"(?P<dir>.*?)\|(?P<script>(?P=dir)/.*)|(?P<other>[^|]*).*")
"""The last two fields; our scripts lie below the directory, and both may hold the separator."""
_JOB_ID = re.compile(r"(\d+)(;[\w.-]+)?", re.ASCII)
_SACCT_ID = re.compile(r"(\d+)(?:_(\d+))?", re.ASCII)


def job_name(run_id: str) -> str:
    return f"{NAME_PREFIX}{run_id}"


def build_sbatch(
    settings: SlurmSettings, run_dir: str, name: str, batch: str, script: str, count: int
) -> list[str]:
    """Submit `count` jobs, as an array where they are several; `script` is below `run_dir`."""
    # Slurm expands the whole path of the output, the working directory's part too
    folder = f"{run_dir}/{Path(script).parent}".replace("%", "%%")
    log = f"{folder}/{'%a' if count > 1 else '0'}.log"
    return [
        *("sbatch", "--parsable", "--export=NIL"),
        f"--job-name={name}",
        f"--comment={COMMENT_PREFIX}{batch}",
        f"--chdir={run_dir}",
        f"--output={log}",
        "--open-mode=append",
        f"--signal=B:USR1@{SIGNAL_AHEAD_S}",
        *([f"--array=0-{count - 1}"] if count > 1 else []),
        *_wishes(settings),
        f"{run_dir}/{script}",
    ]


def build_test(settings: SlurmSettings, run_dir: str) -> list[str]:
    """Ask whether such a job would be taken, without submitting it; the script comes on stdin."""
    return ["sbatch", "--test-only", "--export=NIL", f"--chdir={run_dir}", *_wishes(settings)]


def _wishes(settings: SlurmSettings) -> Iterator[str]:
    yield from ("--nodes=1", "--ntasks=1", f"--cpus-per-task={settings.slurm_cpus}")
    for name in ("partition", "account", "qos", "time", "mem", "constraint"):
        if value := getattr(settings, f"slurm_{name}"):
            yield f"--{name}={value}"
    if settings.slurm_gpus:
        yield f"--gres=gpu:{settings.slurm_gpus}"
    yield from settings.slurm_arg


def build_squeue(name: str = "") -> list[str]:
    """All of this user's jobs, or those of one name, also those that ended a while ago.

    Without --all, jobs of hidden partitions and those that another cluster of a federation has are
    left out. https://slurm.schedmd.com/squeue.html#OPT_all
    """
    named = [f"--name={name}"] if name else []
    asked = ("--noheader", "--array", "--all", "--states=all", "--me", *named)
    return ["squeue", *asked, "-O", _QUEUE_FORMAT]


def parse_squeue(text: str) -> Iterator[Row]:
    """Lines that are none of ours, such as a site's greeting, are passed over."""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|", len(_FIELDS))]
        if len(cells) != len(_FIELDS) + 1 or not cells[0].isdecimal():
            continue
        array_id, place, state, status, reason, comment, name, places = cells
        found = _PLACES.match(places)
        is_array = place.isdecimal()
        yield Row(
            array_id=array_id,
            place=int(place) if is_array else 0,
            state=state,
            exit_status=_exit_status(status),
            reason="" if reason in _UNSEEN else reason,
            comment="" if comment in _UNSEEN else comment,
            run_dir=(found["dir"] or found["other"] or "") if found else "",
            script=(found["script"] or "") if found else "",
            is_array=is_array,
            name=name,
        )


def _exit_status(text: str) -> int | None:
    """As wait(2) has it: Slurm prints it so, or as code:signal."""
    if found := re.fullmatch(r"(\d+):(\d+)", text):
        return int(found[1]) << 8 | int(found[2])
    return int(text) if text.isdecimal() else None


def build_sacct(native_ids: Sequence[str]) -> list[str]:
    """What the accounting database knows of jobs that have left the queue."""
    ids, fields = ",".join(native_ids), "JobID,State,ExitCode"
    return ["sacct", "-X", "--noheader", "--parsable2", f"--jobs={ids}", f"--format={fields}"]


def parse_sacct(text: str) -> Iterator[Row]:
    for line in text.splitlines():
        cells = line.strip().split("|")
        if len(cells) != 3 or (found := _SACCT_ID.fullmatch(cells[0])) is None:
            continue
        state = cells[1].split()[:1] or [""]  # CANCELLED by 1000
        yield Row(
            array_id=found[1],
            place=int(found[2] or 0),
            state=state[0].rstrip("+"),
            exit_status=_exit_status(cells[2]),
            is_array=found[2] is not None,
        )


def parse_job_id(text: str) -> str | None:
    """The id in what `sbatch --parsable` printed; sites print more around it."""
    found = [m for line in text.splitlines() if (m := _JOB_ID.fullmatch(line.strip()))]
    return found[-1][1] if found else None


def build_scancel(native_ids: Sequence[str]) -> list[str]:
    return ["scancel", *native_ids]


def is_native_id(text: str) -> bool:
    return re.fullmatch(r"\d+(_\d+)?", text, re.ASCII) is not None


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """What of the cluster's configuration matters here. `min_job_age_s` is how long a job that
    ended stays in the queue's list, 0 for ever; `max_array_size` is one more than the highest
    place in an array."""

    min_job_age_s: int = 300
    max_array_size: int = 1001
    has_accounting: bool = False


def parse_config(text: str) -> ClusterConfig:
    """Out of `scontrol show config`; Slurm's own defaults where it does not say."""
    values = dict(re.findall(r"^(\w+)\s*=\s*(.*?)\s*$", text, re.MULTILINE))

    def number(name: str, default: int) -> int:
        found = re.match(r"\d+", values.get(name, ""))
        return int(found[0]) if found else default

    storage = values.get("AccountingStorageType", "")
    return ClusterConfig(
        number("MinJobAge", 300),
        number("MaxArraySize", 1001),
        bool(storage) and not storage.endswith("/none") and storage != "(null)",
    )


_TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", re.ASCII)


def time_limit_s(text: str) -> float | None:
    """Seconds of a time limit as sbatch takes it, None for none or for what it will refuse.

    minutes, minutes:seconds, hours:minutes:seconds, days-hours, days-hours:minutes[:seconds]
    https://slurm.schedmd.com/sbatch.html#OPT_time
    """
    if (found := _TIME.fullmatch(text)) is None:
        return None
    days, *rest = found.groups()
    first, second, third = (int(part or 0) for part in rest)
    if days is not None or rest[2] is not None:
        hours, minutes, seconds = first, second, third
    else:
        hours, minutes, seconds = 0, first, second
    return int(days or 0) * 86_400.0 + hours * 3_600.0 + minutes * 60.0 + seconds


@dataclass(frozen=True, slots=True)
class Partition:
    name: str
    state: str
    nodes: int
    is_default: bool

    @property
    def is_up(self) -> bool:
        return self.state == "up"


def build_sinfo() -> list[str]:
    """Of hidden partitions too."""
    return ["sinfo", "--noheader", "--all", "--format=%P|%a|%D"]


def parse_sinfo(text: str) -> list[Partition]:
    """One entry a partition; sinfo has one line for each state of its nodes."""
    found: dict[str, Partition] = {}
    for line in text.splitlines():
        cells = line.strip().split("|")
        if len(cells) == 3 and cells[2].isdecimal():
            name, is_default = cells[0].rstrip("*"), cells[0].endswith("*")
            nodes = int(cells[2]) + (found[name].nodes if name in found else 0)
            found[name] = Partition(name, cells[1], nodes, is_default)
    return list(found.values())


# sbatch and squeue in these words when the controller does not answer, or cannot now.
_OUT_OF_REACH = re.compile(
    r"unable to contact slurm controller|socket timed out|connection (refused|timed out|reset)"
    r"|transport endpoint|zero bytes were transmitted|temporarily unable|unable to connect"
    r"|protocol authentication error|munge|standby mode|resource temporarily unavailable"
    r"|could not establish a configuration source|i/o error"
    r"|rate limit exceeded|job queue full",
    re.IGNORECASE,
)
_TOO_MANY = re.compile(r"violates accounting/qos policy|submitjob|maxjobs", re.IGNORECASE)
# sbatch takes such jobs; they wait. https://slurm.schedmd.com/sbatch.html#OPT_test-only
_NOT_NOW = re.compile(
    r"requested node configuration is not available|required node not available"
    r"|requested partition configuration not available now|requested nodes are busy"
    r"|maintenance reservation|reservation not usable now|reservation is in use"
    r"|licenses currently unavailable",
    re.IGNORECASE,
)
_NO_SUCH_JOB = re.compile(r"invalid job id|already completing or completed", re.IGNORECASE)


def is_out_of_reach(stderr: str) -> bool:
    """Whether the cluster could not be asked, rather than said no."""
    return _OUT_OF_REACH.search(stderr) is not None


def is_over_a_limit(stderr: str) -> bool:
    """Whether the same submission may be taken once fewer jobs are there."""
    of_one_job = any(never_starts(word) for word in re.findall(r"\w+", stderr))
    return _TOO_MANY.search(stderr) is not None and not of_one_job


def is_about_now(stderr: str) -> bool:
    """Whether `sbatch --test-only` may only mean that such a job cannot start for now."""
    return _NOT_NOW.search(stderr) is not None


def least_of(settings: SlurmSettings) -> SlurmSettings:
    """What asks no more of a node than that it is there, in the same place and for as long."""
    return replace(
        settings, slurm_cpus=1, slurm_mem="", slurm_gpus=0, slurm_constraint="", slurm_arg=()
    )


def is_about_ended_jobs(stderr: str) -> bool:
    """Whether all that scancel complains of is that there was nothing to cancel."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    return bool(lines) and all(_NO_SUCH_JOB.search(line) for line in lines)


def words_of(stderr: str) -> str:
    """What a command complained of, without its name in front, on one line."""
    lines = [re.sub(r"^\w+: (error: |fatal: )?", "", line) for line in stderr.splitlines()]
    return "; ".join(dict.fromkeys(line.strip().rstrip(".") for line in lines if line.strip()))
