"""`cancel`, as a person meets it, and what it must not do to others."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from config import load_settings
from core.clock import SystemClock
from core.errors import RunLocked
from core.events import Kind
from core.job import JobHandle, JobKey
from core.wire import plain
from engine.cleanup.cancel import EventPrinter, cancel_run
from engine.cleanup.lock_holder import LockHolder, find_holder, stop_holder
from engine.cleanup.run_backends import RunBackends, check_place
from engine.run.journal import Journal, read_journal
from engine.run.run_view import replay
from engine.run.rundir import RunDir, RunFacts, create_run, locked
from tests.fakes.detached_backend import NAME
from tests.fakes.events import data_of, event_of
from tests.fakes.stopped_runs import PROMPT, Cli

# -- from the command line


@pytest.mark.slow
@pytest.mark.parametrize("ignore_ctrl_c", [False, True], ids=["a shell's", "of a script with &"])
def test_a_running_run_is_stopped_from_a_second_process_and_goes_on_later(
    cli: Cli, ignore_ctrl_c: bool
) -> None:
    with cli.running(ignore_ctrl_c=ignore_ctrl_c) as process:
        result = cli("cancel", "last")
        assert process.wait(timeout=5) == 130
    assert result.code == 0, result.err
    assert f"process {process.pid}" in result.out
    assert "  one: stopped (attempt 1)" in result.out.splitlines()
    assert cli.alive() == []
    assert list(cli.engine.iterdir()) == []
    assert cli.state() == "interrupted"
    resumed = cli(*result.printed, "--sim-speed", "0")
    assert resumed.code == 0, resumed.err
    assert (cli.place / "out" / "one.md").exists()
    assert list(cli.engine.iterdir()) == []


@pytest.mark.slow
def test_a_run_resumed_elsewhere_leaves_no_jobs_where_it_was(cli: Cli) -> None:
    run_id = cli.killed(jobs=2)
    resumed = cli("resume", run_id, "--backend", "threading", "--sim-speed", "0")
    assert resumed.code == 0, resumed.err
    assert "  one: stopped (attempt 1)" in resumed.err.splitlines()
    assert cli.alive() == []
    assert list(cli.engine.iterdir()) == []
    ends = [(e["task"], e["attempt"]) for e in cli.journal() if e["kind"] == "job_ended"]
    assert sorted(ends) == [("one", 1), ("one", 2), ("two", 1), ("two", 2)]


@pytest.mark.slow
def test_a_run_that_may_have_jobs_is_not_resumed_where_they_would_not_be_seen(
    cli: Cli,
) -> None:
    run_id = cli.killed()
    facts = cli.run.facts.read_bytes()
    for backend in ([], ["--backend", "threading"]):
        result = cli("resume", run_id, "--docker-network", "other", *backend)
        assert result.code == 2
        assert f"1 job of run {run_id} may still run on {NAME}" in result.err
        assert "where it was started (--docker-network '')" in result.err
        assert f"cancel {run_id}" in result.err
    assert cli.run.facts.read_bytes() == facts
    assert len(cli.alive()) == 1
    assert cli("cancel", run_id).code == 0
    resumed = cli("resume", run_id, "--docker-network", "other", "--sim-speed", "0")
    assert resumed.code == 0, resumed.err


@pytest.mark.slow
def test_a_job_that_is_gone_without_a_trace_keeps_a_cancelled_run_from_nothing(
    cli: Cli,
) -> None:
    run_id = cli.killed()
    [pid] = cli.alive()
    assert pid > 1
    os.kill(pid, signal.SIGKILL)
    shutil.rmtree(cli.engine / run_id)
    elsewhere = ["--docker-network", "other"]
    assert cli("resume", run_id, *elsewhere).code == 2
    result = cli("cancel", run_id)
    assert result.code == 0, result.err
    assert "  one: had ended: The job is gone and left no result." in result.out.splitlines()
    again = cli("cancel", run_id)
    assert again.out == f"Nothing of run {run_id} is running. How it ended: cancelled.\n"
    resumed = cli("resume", run_id, *elsewhere, "--sim-speed", "0")
    assert resumed.code == 0, resumed.err
    ends = [(e["task"], e["attempt"]) for e in cli.journal() if e["kind"] == "job_ended"]
    assert sorted(ends) == [("one", 1), ("one", 2), ("two", 1)]


@pytest.mark.slow
def test_a_job_that_was_never_handed_over_keeps_a_cancelled_run_from_nothing(
    cli: Cli,
) -> None:
    run_id = cli.killed()
    cli.finish_jobs()
    assert cli("cancel", run_id).code == 0
    intended = {"kind": "job_intended", "at": 1.0, "task": "two", "attempt": 1, "data": {}}
    with cli.run.journal.open("a") as journal:
        journal.write(f"{json.dumps(intended)}\n")
    elsewhere = ["--docker-network", "other", "--sim-speed", "0"]
    assert cli("resume", run_id, *elsewhere).code == 2
    assert cli("cancel", run_id).code == 0
    assert cli("resume", run_id, *elsewhere).code == 0


@pytest.mark.slow
def test_a_run_resumed_elsewhere_goes_on_though_where_it_was_is_out_of_reach(
    cli: Cli,
) -> None:
    run_id = cli.killed()
    (cli.engine / "down").touch()
    resumed = cli("resume", run_id, "--backend", "threading", "--sim-speed", "0")
    assert resumed.code == 0, resumed.err
    assert "these may still run: one (attempt 1)" in resumed.err


@pytest.mark.slow
def test_after_kill_9_the_jobs_are_stopped_noted_and_tried_again_on_resume(
    cli: Cli,
) -> None:
    run_id = cli.killed()
    assert cli.alive() != []
    result = cli("cancel", run_id[-6:])
    assert result.code == 0, result.err
    assert "  one: stopped (attempt 1)" in result.out.splitlines()
    assert cli.alive() == []
    assert list(cli.engine.iterdir()) == []
    assert cli.state() == "cancelled"
    again = cli("cancel", run_id)
    assert (again.code, again.err) == (0, "")
    assert again.out == f"Nothing of run {run_id} is running. How it ended: cancelled.\n"
    resumed = cli("resume", run_id, "--sim-speed", "0")
    assert resumed.code == 0, resumed.err
    ends = [
        (e["task"], e["attempt"], e["data"]["cause"])
        for e in cli.journal()
        if e["kind"] == "job_ended"
    ]
    assert sorted(ends) == [("one", 1, "INTERRUPTED"), ("one", 2, "OK"), ("two", 1, "OK")]


@pytest.mark.slow
def test_what_finished_before_the_cancel_is_kept_and_not_paid_for_again(cli: Cli) -> None:
    run_id = cli.killed()
    cli.finish_jobs()
    result = cli("cancel", run_id, "--json")
    assert result.code == 0, result.err
    assert [line["kind"] for line in result.lines] == [
        "run_started",
        "job_ended",
        "task_ended",
        "run_ended",
        "notice",
    ]
    assert cli.run.tasks.joinpath("one/1/result/files/one.md").exists()
    assert list(cli.engine.iterdir()) == []
    assert cli("resume", run_id, "--sim-speed", "0").code == 0
    begun = [e["task"] for e in cli.journal() if e["kind"] == "job_intended"]
    assert begun == ["one", "two"]


@pytest.mark.slow
def test_a_backend_out_of_reach_is_an_error_that_names_what_may_run(cli: Cli) -> None:
    run_id = cli.killed()
    (cli.engine / "down").touch()
    before = cli.journal()
    result = cli("cancel", run_id)
    assert (result.code, result.out) == (1, "")
    assert "The engine is out of reach." in result.err
    assert "may still run: one (attempt 1)" in result.err
    assert cli.journal() == before
    (cli.engine / "down").unlink()
    assert cli("cancel", run_id).code == 0
    assert cli.alive() == []


def test_a_run_that_ended_well_is_left_as_it_is(cli: Cli) -> None:
    assert cli(PROMPT, "--sim-speed", "0", "--quiet").code == 0
    before = cli.journal()
    result = cli("cancel", "last")
    assert result.code == 0
    assert result.out.endswith("is running. How it ended: succeeded.\n")
    assert cli.journal() == before


def test_nothing_is_cancelled_where_the_name_is_not_clear(cli: Cli) -> None:
    for end in ("aaaa", "bbbb"):
        create_run(cli.runs.parent, facts(f"20260101-120000-{end}"))
    result = cli("cancel", "2026")
    assert result.code == 2
    assert "matches several runs" in result.err
    assert "20260101-120000-aaaa, 20260101-120000-bbbb" in result.err
    assert cli("cancel", "nobody").code == 2
    assert cli("cancel").code == 2


def test_a_run_whose_backend_is_gone_from_the_program_is_a_usage_error(cli: Cli) -> None:
    create_run(cli.runs.parent, facts("20260101-120000-aaaa", backend="nowhere:Nothing"))
    result = cli("cancel", "last")
    assert result.code == 2
    assert "nowhere:Nothing" in result.err


# -- whoever works on the run


def facts(run_id: str, backend: str = NAME) -> RunFacts:
    settings: dict[str, object] = {"backend": backend, "provider": "anthropic"}
    return RunFacts(run_id, PROMPT, "/nowhere/out", time.time(), settings, simulated=True)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return create_run(tmp_path, facts("20260101-120000-aaaa"))


class Signals:
    """Keeps what would have been sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, int]] = []

    def __call__(self, pid: int, number: int) -> None:
        self.sent.append((pid, number))


def test_the_holder_is_who_the_lock_says(run: RunDir) -> None:
    assert find_holder(run) is None
    with locked(run):
        assert find_holder(run) == LockHolder(os.getpid(), socket.gethostname())
    assert find_holder(run) is None


def test_nobody_is_asked_where_nobody_is(run: RunDir) -> None:
    signals = Signals()
    run.lock.write_text(f"process {os.getpid()} on {socket.gethostname()}\n")
    assert stop_holder(run, SystemClock(), pytest.fail, send=signals) is False
    assert signals.sent == []


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("process 1 on another-host\n", "process 1 on another-host"),
        (f"process 1 on {socket.gethostname()}\n", "not visible from here"),
        (f"process 4194304999 on {socket.gethostname()}\n", "not visible from here"),
        ("process 0 on here\n", "another process"),
        ("process -1 on here\n", "another process"),
        ("", "another process"),
        ("\0\ud7ff process 1 on x", "another process"),
    ],
)
def test_who_is_elsewhere_or_does_not_have_the_lock_gets_no_signal(
    run: RunDir, text: str, part: str
) -> None:
    signals = Signals()
    with locked(run):
        run.lock.write_text(text)
        with pytest.raises(RunLocked, match=part) as caught:
            stop_holder(run, SystemClock(), pytest.fail, send=signals)
    assert signals.sent == []
    assert caught.value.remedy
    assert caught.value.exit_code == 2


def test_a_holder_that_does_not_stop_is_named_after_a_while(run: RunDir) -> None:
    signals, told = Signals(), list[str]()
    with locked(run), pytest.raises(RunLocked, match=r"not stopped within 0\.2 s") as caught:
        stop_holder(run, SystemClock(), told.append, patience_s=0.2, send=signals)
    assert signals.sent == [(os.getpid(), signal.SIGTERM)]
    assert f"kill -9 {os.getpid()}" in caught.value.remedy
    assert len(told) == 1


def test_a_holder_that_may_not_be_asked_is_an_error(run: RunDir) -> None:
    def refuse(pid: int, number: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    with locked(run), pytest.raises(RunLocked, match="Operation not permitted"):
        stop_holder(run, SystemClock(), lambda _: None, send=refuse)


def test_a_holder_that_stops_lets_the_run_go(run: RunDir) -> None:
    code = (
        "import sys, time; from engine.run.rundir import *\n"
        "with locked(RunDir(Path(sys.argv[1]))): print(flush=True); time.sleep(60)"
    )
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", code, str(run.root)]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert stop_holder(run, SystemClock(), lambda _: None) is True
        assert other.wait(timeout=5) == -signal.SIGTERM


def test_json_events_of_an_empty_cancel_are_events(cli: Cli) -> None:
    create_run(cli.runs.parent, facts("20260101-120000-aaaa"))
    result = cli("cancel", "last", "--json")
    assert result.code == 0, result.err
    assert [line["kind"] for line in result.lines] == ["run_started", "run_ended", "notice"]
    assert json.loads(cli("runs", "--json").out)["state"] == "cancelled"


# -- jobs of which nothing is left


def left_open(cli: Cli, *, submitted: bool, ended: bool) -> RunDir:
    """A run of an hour ago whose journal has a job that is not there any more."""
    told = facts("20260101-120000-aaaa")
    told = replace(told, settings={**told.settings, "docker_network": "here"})
    run = create_run(cli.runs.parent, told)
    key, then = JobKey(run.run_id, "one", 1), time.time() - 3600
    journal = Journal(run.journal)
    journal.emit(event_of(Kind.RUN_STARTED, then, data={"backend": NAME}))
    journal.emit(event_of(Kind.JOB_INTENDED, then, key.task, key.attempt))
    if submitted:
        handle = plain(JobHandle(key, "detached", str(key)))
        journal.emit(event_of(Kind.JOB_SUBMITTED, then, key.task, key.attempt, {"handle": handle}))
    if ended:
        data = {"exit_code": 130, "outcome": "interrupted", "message": ""}
        journal.emit(event_of(Kind.RUN_ENDED, then, data=data))
    journal.close()
    return run


@pytest.mark.parametrize("submitted", [True, False], ids=["submitted", "intended"])
@pytest.mark.parametrize("ended", [True, False], ids=["interrupted", "killed"])
def test_a_cancel_ends_what_nobody_knows_any_more_so_that_the_run_may_go_elsewhere(
    cli: Cli, submitted: bool, ended: bool
) -> None:
    run = left_open(cli, submitted=submitted, ended=ended)
    assert "may still run" in cli("resume", run.run_id, "--docker-network", "other").err
    result = cli("cancel", run.run_id)
    assert result.code == 0, result.err
    told = "is gone and left no result" if submitted else "could not be started"
    assert f"  one: had ended: The job {told}" in result.out
    assert "nothing was running" in result.out
    events = read_journal(run.journal)
    assert replay(run.run_id, events).jobs.open == {}
    [end] = [event for event in events if event.kind is Kind.JOB_ENDED]
    assert ("unaccounted" in data_of(end)) == submitted, "what was never sent has used nothing"


@pytest.mark.parametrize("submitted", [True, False], ids=["submitted", "intended"])
def test_a_run_whose_place_is_gone_for_good_is_cancelled_by_naming_another(
    cli: Cli, submitted: bool
) -> None:
    run = left_open(cli, submitted=submitted, ended=False)
    assert "If that place is gone" in cli("resume", run.run_id, "--docker-network", "other").err
    given = load_settings(
        {"docker_network": "other", "work_dir": cli.runs.parent}, cli.environ, cli.place
    )
    result: list[str] = []
    reopening = RunBackends(given, cli.environ, cli.place, SystemClock())
    assert cancel_run(run, reopening, EventPrinter(result.append, as_json=False)) == 0
    assert "(--docker-network here) is not stopped.\n" in result[0]
    assert replay(run.run_id, read_journal(run.journal)).jobs.open == {}
    again = RunDir(run.root)
    check_place(again, again.read_facts(), given.settings)
