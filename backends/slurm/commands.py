"""Slurm's commands as argument lists, and their outputs as values. Pure."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from backends.slurm.settings import SlurmSettings
from backends.slurm.states import JobRecord, never_starts

NAME_PREFIX = "orchestrator-"
COMMENT_PREFIX = "parallel-orchestrator:"
SIGNAL_AHEAD_S = 30
"""How long before a time limit the worker is signalled; Slurm may do so a minute early."""
_EMPTY_VALUES = {"", "N/A", "(null)"}
_FIELDS = ("ArrayJobID", "ArrayTaskID", "State", "exit_code", "Reason", "Comment", "Name")
_QUEUE_FORMAT = ",".join(f"{name}:|" for name in (*_FIELDS, "WorkDir")) + ",Command:"
_PATHS = re.compile(r"(?P<dir>.*?)\|(?P<script>(?P=dir)/.*)|(?P<other>[^|]*).*")
"""The last two fields. Our scripts lie below the directory, and both may hold the separator."""
_JOB_ID = re.compile(r"(\d+)(;[\w.-]+)?", re.ASCII)
_NATIVE_ID = re.compile(r"(\d+)(?:_(\d+))?", re.ASCII)


def job_name(run_id: str) -> str:
    return f"{NAME_PREFIX}{run_id}"


def build_sbatch(
    settings: SlurmSettings, run_dir: str, name: str, digest: str, script: str, count: int
) -> list[str]:
    """Submit `count` jobs, several as an array; `script` is relative to `run_dir`."""
    # Slurm expands the whole path of the output, the working directory's part too
    folder = f"{run_dir}/{Path(script).parent}".replace("%", "%%")
    log = f"{folder}/{'%a' if count > 1 else '0'}.log"
    return [
        *("sbatch", "--parsable", "--export=NIL"),
        f"--job-name={name}",
        f"--comment={COMMENT_PREFIX}{digest}",
        f"--chdir={run_dir}",
        f"--output={log}",
        "--open-mode=append",
        f"--signal=B:USR1@{SIGNAL_AHEAD_S}",
        *([f"--array=0-{count - 1}"] if count > 1 else []),
        *_resource_arguments(settings),
        f"{run_dir}/{script}",
    ]


def build_test(settings: SlurmSettings, run_dir: str) -> list[str]:
    """Ask whether Slurm would take such a job; the script is read from standard input."""
    fixed = ("sbatch", "--test-only", "--export=NIL", f"--chdir={run_dir}")
    return [*fixed, *_resource_arguments(settings)]


def _resource_arguments(settings: SlurmSettings) -> Iterator[str]:
    yield from ("--nodes=1", "--ntasks=1", f"--cpus-per-task={settings.slurm_cpus}")
    for name in ("partition", "account", "qos", "time", "mem", "constraint"):
        if value := getattr(settings, f"slurm_{name}"):
            yield f"--{name}={value}"
    if settings.slurm_gpus:
        yield f"--gres=gpu:{settings.slurm_gpus}"
    yield from settings.slurm_arg


def build_squeue(name: str = "") -> list[str]:
    """List this user's jobs, or those of one name, including those that ended a while ago.

    Without --all, jobs of hidden partitions and of other clusters of a federation are left out.
    https://slurm.schedmd.com/squeue.html#OPT_all
    """
    named = [f"--name={name}"] if name else []
    scope = ("--noheader", "--array", "--all", "--states=all", "--me", *named)
    return ["squeue", *scope, "-O", _QUEUE_FORMAT]


def parse_squeue(text: str) -> Iterator[JobRecord]:
    """Other lines, such as a site's greeting, are skipped."""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|", len(_FIELDS))]
        if len(cells) != len(_FIELDS) + 1 or not cells[0].isdecimal():
            continue
        array_id, index, state, status, reason, comment, name, paths = cells
        found = _PATHS.match(paths)
        is_array = index.isdecimal()
        yield JobRecord(
            array_id=array_id,
            array_index=int(index) if is_array else 0,
            state=state,
            exit_status=_exit_status(status),
            reason="" if reason in _EMPTY_VALUES else reason,
            comment="" if comment in _EMPTY_VALUES else comment,
            run_dir=(found["dir"] or found["other"] or "") if found else "",
            script=(found["script"] or "") if found else "",
            is_array=is_array,
            name=name,
        )


def _exit_status(text: str) -> int | None:
    """A status of wait(2), which Slurm prints as it is or as code:signal."""
    if found := re.fullmatch(r"(\d+):(\d+)", text):
        return int(found[1]) << 8 | int(found[2])
    return int(text) if text.isdecimal() else None


def build_sacct(native_ids: Sequence[str]) -> list[str]:
    """Ask the accounting database about jobs that have left the queue."""
    ids, fields = ",".join(native_ids), "JobID,State,ExitCode"
    return ["sacct", "-X", "--noheader", "--parsable2", f"--jobs={ids}", f"--format={fields}"]


def parse_sacct(text: str) -> Iterator[JobRecord]:
    for line in text.splitlines():
        cells = line.strip().split("|")
        if len(cells) != 3 or (found := _NATIVE_ID.fullmatch(cells[0])) is None:
            continue
        state = cells[1].split()[:1] or [""]  # CANCELLED by 1000
        yield JobRecord(
            array_id=found[1],
            array_index=int(found[2] or 0),
            state=state[0].rstrip("+"),
            exit_status=_exit_status(cells[2]),
            is_array=found[2] is not None,
        )


def parse_job_id(text: str) -> str | None:
    """The job id in the output of `sbatch --parsable`, around which sites print more."""
    found = [m for line in text.splitlines() if (m := _JOB_ID.fullmatch(line.strip()))]
    return found[-1][1] if found else None


def is_native_id(text: str) -> bool:
    return _NATIVE_ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """`min_job_age_s` is how long squeue lists a job that ended, 0 for ever; `max_array_size` is
    one more than the highest array index."""

    min_job_age_s: int = 300
    max_array_size: int = 1001
    has_accounting: bool = False


def parse_config(text: str) -> ClusterConfig:
    """From `scontrol show config`; a value that is absent has Slurm's default."""
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
    """Seconds of a time limit of sbatch; None for no limit, and for a value sbatch will refuse.

    minutes, minutes:seconds, hours:minutes:seconds, days-hours, days-hours:minutes[:seconds]
    https://slurm.schedmd.com/sbatch.html#OPT_time
    """
    if (found := _TIME.fullmatch(text)) is None:
        return None
    days, *parts = (int(part or 0) for part in found.groups())
    if found[1] is None and found[4] is None:
        parts = [0, *parts[:2]]
    hours, minutes, seconds = parts
    return days * 86_400.0 + hours * 3_600.0 + minutes * 60.0 + seconds


@dataclass(frozen=True, slots=True)
class Partition:
    name: str
    state: str
    is_default: bool

    @property
    def is_up(self) -> bool:
        return self.state == "up"


def build_sinfo() -> list[str]:
    """List all partitions, hidden ones too."""
    return ["sinfo", "--noheader", "--all", "--format=%P|%a|%D"]


def parse_sinfo(text: str) -> list[Partition]:
    """One entry per partition; sinfo prints a line for each state of its nodes."""
    found: dict[str, Partition] = {}
    for line in text.splitlines():
        cells = line.strip().split("|")
        if len(cells) == 3 and cells[2].isdecimal():
            name = cells[0].rstrip("*")
            found[name] = Partition(name, cells[1], is_default=cells[0].endswith("*"))
    return list(found.values())


_UNREACHABLE = re.compile(
    r"unable to contact slurm controller|socket timed out|connection (refused|timed out|reset)"
    r"|transport endpoint|zero bytes were transmitted|temporarily unable|unable to connect"
    r"|protocol authentication error|munge|standby mode|resource temporarily unavailable"
    r"|could not establish a configuration source|unable to process configuration file"
    r"|i/o error|rate limit exceeded|job queue full",
    re.IGNORECASE,
)
_UNCONFIGURED = re.compile(
    r"could not establish a configuration source|unable to process configuration file",
    re.IGNORECASE,
)
_TOO_MANY_JOBS = re.compile(r"violates accounting/qos policy|submitjob|maxjobs", re.IGNORECASE)
# sbatch takes such jobs, and they wait. https://slurm.schedmd.com/sbatch.html#OPT_test-only
_NOT_NOW = re.compile(
    r"requested node configuration is not available|required node not available"
    r"|requested partition configuration not available now|requested nodes are busy"
    r"|maintenance reservation|reservation not usable now|reservation is in use"
    r"|licenses currently unavailable",
    re.IGNORECASE,
)
_NO_SUCH_JOB = re.compile(r"invalid job id|already completing or completed", re.IGNORECASE)


def is_unreachable(stderr: str) -> bool:
    """Whether the controller did not answer, as opposed to refusing."""
    return _UNREACHABLE.search(stderr) is not None


def lacks_configuration(stderr: str) -> bool:
    """Whether Slurm's commands have found no slurm.conf that they can use."""
    return _UNCONFIGURED.search(stderr) is not None


def is_job_limit(stderr: str) -> bool:
    """Whether the same submission may be accepted once fewer jobs are queued."""
    limits_one_job = any(never_starts(word) for word in re.findall(r"\w+", stderr))
    return _TOO_MANY_JOBS.search(stderr) is not None and not limits_one_job


def may_start_later(stderr: str) -> bool:
    """Whether `sbatch --test-only` may only mean that such a job cannot start right now."""
    return _NOT_NOW.search(stderr) is not None


def concerns_ended_jobs(stderr: str) -> bool:
    """Whether scancel only complains that there was nothing to cancel."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    return bool(lines) and all(_NO_SUCH_JOB.search(line) for line in lines)


def error_summary(stderr: str) -> str:
    """The errors of a command on one line, without its name in front."""
    lines = [re.sub(r"^\w+: (error: |fatal: )?", "", line) for line in stderr.splitlines()]
    return "; ".join(dict.fromkeys(line.strip().rstrip(".") for line in lines if line.strip()))
