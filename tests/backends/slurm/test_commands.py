"""Slurm's commands as they are built, and what they print as it is read."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backends.slurm.commands import (
    ClusterConfig,
    Partition,
    build_sacct,
    build_sbatch,
    build_sinfo,
    build_squeue,
    build_test,
    concerns_ended_jobs,
    error_summary,
    is_job_limit,
    is_native_id,
    is_unreachable,
    job_name,
    parse_config,
    parse_job_id,
    parse_sacct,
    parse_sinfo,
    parse_squeue,
    time_limit_s,
)
from backends.slurm.settings import SlurmSettings
from backends.slurm.states import JobRecord

RUN_DIR = "/scratch/it's 100% $HOME/runs/r1"
ESCAPED = RUN_DIR.replace("%", "%%")
ALL = SlurmSettings(
    slurm_partition="compute",
    slurm_account="physics",
    slurm_qos="low",
    slurm_time="00:10:00",
    slurm_mem="2G",
    slurm_cpus=4,
    slurm_gpus=2,
    slurm_constraint="a100&ib",
    slurm_arg=("--exclusive", "--nice=100"),
)


# -- sbatch


def test_an_empty_memory_asks_sbatch_for_none() -> None:
    settings = SlurmSettings(slurm_mem="", slurm_time="")
    command = build_sbatch(settings, RUN_DIR, "n", "b", "slurm/b/job.sh", 1)
    assert not [part for part in command if part.startswith(("--mem", "--time"))]


def sbatch(count: int, settings: SlurmSettings = ALL) -> list[str]:
    return build_sbatch(settings, RUN_DIR, "orchestrator-r1", "abc", "slurm/abc/job.sh", count)


def test_one_job_is_a_plain_one_and_several_are_an_array() -> None:
    assert [part for part in sbatch(1) if "array" in part or "%a" in part] == []
    assert f"--output={ESCAPED}/slurm/abc/0.log" in sbatch(1)
    assert "--array=0-199" in sbatch(200)
    assert f"--output={ESCAPED}/slurm/abc/%a.log" in sbatch(200)


def test_the_job_gets_nothing_of_the_environment_and_can_be_found_again() -> None:
    command = sbatch(1)
    assert command[:3] == ["sbatch", "--parsable", "--export=NIL"]
    assert "--job-name=orchestrator-r1" in command
    assert "--comment=parallel-orchestrator:abc" in command
    assert f"--chdir={RUN_DIR}" in command
    assert command[-1] == f"{RUN_DIR}/slurm/abc/job.sh"


def test_the_script_alone_hears_of_the_time_limit_ahead_of_it() -> None:
    assert "--signal=B:USR1@30" in sbatch(1)


def test_the_places_of_logs_hold_nothing_that_sbatch_would_replace() -> None:
    """In --output a % begins a replacement, which a path of the user's may hold too."""
    [log] = [part for part in sbatch(2) if part.startswith("--output=")]
    assert log.replace("%%", "").count("%") == 1  # that of %a


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 1_800),
        ("1:30", 90),
        ("01:00:00", 3_600),
        ("2-0", 172_800),
        ("1-2:30", 95_400),
        ("1-00:00:05", 86_405),
        ("UNLIMITED", None),
        ("soon", None),
        ("", None),
    ],
)
def test_a_time_limit_is_read_as_sbatch_reads_it(text: str, seconds: float | None) -> None:
    assert time_limit_s(text) == seconds


def test_what_is_asked_for_is_passed_on_and_what_is_empty_is_not() -> None:
    asked = sbatch(1)[-13:-1]
    assert asked == [
        *("--nodes=1", "--ntasks=1", "--cpus-per-task=4", "--partition=compute"),
        *("--account=physics", "--qos=low", "--time=00:10:00", "--mem=2G"),
        *("--constraint=a100&ib", "--gres=gpu:2", "--exclusive", "--nice=100"),
    ]
    bare = sbatch(1, SlurmSettings())
    names = ("--partition", "--account", "--qos", "--constraint", "--gres")
    assert not [part for part in bare if part.startswith(names)]


def test_a_users_argument_comes_after_ours_so_that_it_wins() -> None:
    command = sbatch(1, SlurmSettings(slurm_arg=("--nodes=2",)))
    assert command.index("--nodes=2") > command.index("--nodes=1")


def test_a_test_asks_for_the_same_and_submits_nothing() -> None:
    tested = build_test(ALL, "/")
    assert tested[:2] == ["sbatch", "--test-only"]
    assert tested[4:] == sbatch(1)[-13:-1]


# -- the id that sbatch gives


@pytest.mark.parametrize(
    ("text", "job_id"),
    [
        ("123\n", "123"),
        ("123;cluster-1\n", "123"),
        ("sbatch: Welcome!\n  123  \n", "123"),
        ("123\nYour balance: 17 hours\n", "123"),
        ("Quota: 80%\n\n123;a.b\n", "123"),
        ("7\n123\n", "123"),
    ],
)
def test_an_id_is_found_in_what_a_site_prints_around_it(text: str, job_id: str) -> None:
    assert parse_job_id(text) == job_id


@pytest.mark.parametrize(
    "text", ["", "\n", "Submitted batch job 123", "-5", "12a", "123;", "1 2", "١٢٣"]
)
def test_what_is_no_id_is_not_taken_for_one(text: str) -> None:
    assert parse_job_id(text) is None


# -- squeue


def test_all_jobs_of_a_run_are_asked_for_by_name_and_the_ended_ones_too() -> None:
    command = build_squeue(job_name("r1"))
    assert "--me" in command
    assert command[:5] == ["squeue", "--noheader", "--array", "--all", "--states=all"]
    assert "--name=orchestrator-r1" in command
    assert not [part for part in build_squeue() if part.startswith("--name")]


def squeue_line(row: JobRecord) -> str:
    """As squeue prints it, with the fields that build_squeue asks for."""
    cells = [
        row.array_id,
        str(row.array_index) if row.is_array else "N/A",
        row.state,
        "" if row.exit_status is None else str(row.exit_status),
        row.reason or "None",
        row.comment or "(null)",
        row.name,
        row.run_dir,
        row.script or "(null)",
    ]
    return "|".join(cells)


words = st.from_regex(r"[A-Za-z][A-Za-z0-9_:.-]{0,20}", fullmatch=True)
folders = st.lists(
    st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="/"), min_size=1),
    min_size=1,
    max_size=3,
).map(lambda parts: "/" + "/".join(parts))


@st.composite
def rows(draw: st.DrawFn) -> JobRecord:
    is_array = draw(st.booleans())
    run_dir = draw(folders)
    return JobRecord(
        array_id=str(draw(st.integers(1, 10**9))),
        array_index=draw(st.integers(0, 10**6)) if is_array else 0,
        state=draw(words),
        exit_status=draw(st.none() | st.integers(0, 0xFFFF)),
        reason=draw(words),
        comment=draw(st.just("") | words),
        run_dir=run_dir,
        script=f"{run_dir}/slurm/abc/job.sh",
        is_array=is_array,
        name=draw(words),
    )


@given(st.lists(rows(), max_size=5))
@example([JobRecord("1", 0, "PENDING", 0, "X", "", "/a|b/a", "/a|b/a/s/j.sh", name="n")])
def test_what_squeue_prints_is_read_as_it_was_meant(meant: list[JobRecord]) -> None:
    assert list(parse_squeue("\n".join(map(squeue_line, meant)))) == meant


@given(st.text())
def test_a_greeting_is_no_job(text: str) -> None:
    for row in parse_squeue(text):
        assert int(row.array_id) >= 0
        assert text.count("|") >= 7


def test_lines_around_the_jobs_are_passed_over() -> None:
    line = squeue_line(JobRecord("7", 3, "RUNNING", 0, "None", "c", "/r", is_array=True, name="n"))
    [row] = parse_squeue(f"Welcome to the cluster | enjoy\n{line}\n|||||||\nBye")
    assert (row.native_id, row.state, row.reason, row.script) == ("7_3", "RUNNING", "None", "")


def test_padding_around_a_field_is_none_of_it() -> None:
    [row] = parse_squeue("7  | 3 | RUNNING   |  9:0 | N/A | c | n | /r|/r/j.sh ")
    assert (row.array_index, row.state, row.exit_status) == (3, "RUNNING", 9 << 8)
    assert (row.reason, row.run_dir, row.script) == ("", "/r", "/r/j.sh")


def test_a_job_without_a_script_of_ours_keeps_its_directory() -> None:
    [row] = parse_squeue("7|N/A|RUNNING|0|None||n|/home/me|/usr/bin/tool -x a|b")
    assert (row.run_dir, row.script) == ("/home/me", "")


# -- sacct


def test_the_accounting_database_is_asked_for_whole_jobs_in_one_go() -> None:
    command = build_sacct(["5_0", "5_1", "7"])
    assert command[:2] == ["sacct", "-X"]
    assert "--jobs=5_0,5_1,7" in command


@pytest.mark.parametrize(
    ("line", "row"),
    [
        ("5_3|COMPLETED|0:0", JobRecord("5", 3, "COMPLETED", 0, is_array=True)),
        ("7|CANCELLED by 1000|0:15", JobRecord("7", 0, "CANCELLED", 15)),
        ("7|OUT_OF_MEMORY|0:125", JobRecord("7", 0, "OUT_OF_MEMORY", 125)),
        ("7|FAILED|3:0", JobRecord("7", 0, "FAILED", 3 << 8)),
        ("7|NODE_FAIL+|1:0", JobRecord("7", 0, "NODE_FAIL", 256)),
        ("7||", JobRecord("7", 0, "", None)),
    ],
)
def test_a_line_of_the_database_is_a_job(line: str, row: JobRecord) -> None:
    assert list(parse_sacct(line)) == [row]


@pytest.mark.parametrize("line", ["", "JobID|State|ExitCode", "5_[0-3]|PENDING|0:0", "7|RUNNING"])
def test_a_line_of_the_database_that_is_no_job_is_passed_over(line: str) -> None:
    assert list(parse_sacct(line)) == []


# -- scancel


@pytest.mark.parametrize("text", ["7", "5_0", "123_45"])
def test_an_id_of_slurms_is_one(text: str) -> None:
    assert is_native_id(text)


@pytest.mark.parametrize(
    "text", ["", "nobody:1", "5_", "_1", "--state=ALL", "7 8", "5_[0-3]", "7\n"]
)
def test_what_is_no_id_never_reaches_scancel(text: str) -> None:
    assert not is_native_id(text)


@pytest.mark.parametrize(
    ("stderr", "ended"),
    [
        ("scancel: error: Kill job error on job id 5: Invalid job id specified", True),
        (
            "scancel: error: Kill job error on job id 5: Job/step already completing or"
            " completed\n\nscancel: error: Kill job error on job id 6: Invalid job id specified",
            True,
        ),
        ("scancel: error: Kill job error on job id 5: Access/permission denied", False),
        (
            "scancel: error: Kill job error on job id 5: Invalid job id specified\n"
            "scancel: error: Kill job error on job id 6: Access/permission denied",
            False,
        ),
        ("", False),
    ],
)
def test_scancel_may_complain_of_ended_jobs_and_of_nothing_else(stderr: str, ended: bool) -> None:
    assert concerns_ended_jobs(stderr) is ended


# -- what the cluster is like


@pytest.mark.parametrize(
    ("text", "config"),
    [
        ("", ClusterConfig(300, 1001, False)),
        (
            "Configuration data as of 2026-01-01\n"
            "AccountingStorageType   = accounting_storage/slurmdbd\n"
            "MaxArraySize            = 40001\n"
            "MinJobAge               = 10 sec\n",
            ClusterConfig(10, 40001, True),
        ),
        ("AccountingStorageType = accounting_storage/none\nMinJobAge = 0 sec\n", ClusterConfig(0)),
        ("AccountingStorageType = (null)\nMaxArraySize = n/a\n", ClusterConfig()),
    ],
)
def test_of_the_configuration_what_matters_is_read(text: str, config: ClusterConfig) -> None:
    assert parse_config(text) == config


def test_a_partition_of_several_lines_is_one() -> None:
    assert build_sinfo()[0] == "sinfo"
    text = "debug*|up|1\ndebug*|up|3\nclosed|inact|2\nnonsense\n|x|y\n"
    assert parse_sinfo(text) == [
        Partition("debug", "up", True),
        Partition("closed", "inact", False),
    ]
    assert [p.is_up for p in parse_sinfo(text)] == [True, False]


# -- what went wrong


@pytest.mark.parametrize(
    "stderr",
    [
        "slurm_load_jobs error: Unable to contact slurm controller (connect failure)",
        "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
        "sbatch: error: Batch job submission failed: Unable to contact slurm controller",
        "squeue: error: If munged is up, restart with --num-threads=10",
        "sbatch: error: Munge encode failed: Failed to access /run/munge/munge.socket.2",
        "slurm_load_jobs error: Zero Bytes were transmitted or received",
        "sbatch: error: Batch job submission failed: Slurm backup controller in standby mode",
        "slurm_load_jobs error: Protocol authentication error",
        "sbatch: error: Batch job submission failed: Resource temporarily unavailable",
        "sbatch: fatal: Could not establish a configuration source",
        "slurm_load_jobs error: Rate limit exceeded, please retry later",
        "sbatch: error: Slurm job queue full, sleeping and retrying\n"
        "sbatch: error: Batch job submission failed: Unable to create job record, try again",
    ],
)
def test_a_controller_that_cannot_be_asked_is_no_refusal(stderr: str) -> None:
    assert is_unreachable(stderr)


@pytest.mark.parametrize(
    "stderr",
    [
        "sbatch: error: invalid partition specified: nope",
        "sbatch: error: Batch job submission failed: Invalid account or account/partition"
        " combination specified",
        "sbatch: error: Batch job submission failed: Requested node configuration is not available",
        "sbatch: error: Memory specification can not be satisfied",
        "",
    ],
)
def test_a_refusal_is_not_taken_for_a_controller_that_cannot_be_asked(stderr: str) -> None:
    assert not is_unreachable(stderr)
    assert not is_job_limit(stderr)


def test_a_limit_on_submitted_jobs_passes_when_others_end() -> None:
    assert is_job_limit(
        "sbatch: error: QOSMaxSubmitJobPerUserLimit\n"
        "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy"
        " (job submit limit, user's size and/or time limits)"
    )
    assert is_job_limit("sbatch: error: AssocMaxSubmitJobLimit")


@pytest.mark.parametrize(
    "word",
    ["QOSMaxWallDurationPerJobLimit", "AssocMaxCpuPerJobLimit", "QOSMinGRES", "QOSMaxMemoryPerJob"],
)
def test_a_limit_on_one_job_does_not_pass(word: str) -> None:
    """With DenyOnLimit sbatch refuses what would wait for ever, in the same sentence."""
    assert not is_job_limit(
        f"sbatch: error: {word}\n"
        "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy"
        " (job submit limit, user's size and/or time limits)"
    )


@pytest.mark.parametrize(
    ("stderr", "words"),
    [
        ("", ""),
        ("sbatch: error: It broke.\n", "It broke"),
        ("sbatch: error: one\nsbatch: error: two\n\nsbatch: error: one\n", "one; two"),
        ("sbatch: fatal: no\n", "no"),
        ("plain words", "plain words"),
    ],
)
def test_slurms_own_words_are_reported_on_one_line_without_the_commands_name(
    stderr: str, words: str
) -> None:
    assert error_summary(stderr) == words
