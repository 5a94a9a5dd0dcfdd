"""Tests for batch_executor: the entry of a batch system's job, run as it is run there."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

import batch_executor
from core.bundle import (
    AttemptDir,
    Limits,
    ModelSettings,
    SimulationSettings,
    claim,
    read_result,
)
from core.credentials import Credentials
from core.job import JobKey, Outcome
from core.wire import decode, encode
from core.worker.check import WorkerCheck
from core.worker.exit_codes import CLAIMED, FAILED, STOPPED
from core.worker.job_index import CREDENTIALS_NAME, BatchDir, JobIndex
from core.worker.process import render_credentials
from engine.run.attempt_store import DiskStore, write_contracts
from engine.run.rundir import RunDir
from tests.fakes.plans import make_plan
from tests.fakes.scripted_model import model_that, tool_answers, write
from tests.fakes.scripted_model import run as run_command
from tests.fakes.waiting import until

pytestmark = pytest.mark.slow  # starts many processes, or waits

ROOT = Path(__file__).parents[2]
SECRET = "sk-ant-canary-in-a-batch"
KEY = JobKey("r1", "t", 1)
PROGRAM = ROOT / "batch_executor.py"


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    found = RunDir(tmp_path / "runs" / "r1")
    found.tasks.mkdir(parents=True)
    return found


def prepare(run: RunDir, speed: float = 0.0, model: ModelSettings | None = None) -> AttemptDir:
    """The request of a small task."""
    plan = make_plan({"t": []})
    write_contracts(run, plan.contracts)
    model = model or ModelSettings(simulation=SimulationSettings(speed=speed))
    job = DiskStore(run, plan, "Do it", model, Limits()).prepare(plan.task("t"), KEY, "", {})
    return AttemptDir(job.attempt_dir)


def lay_batch(run: RunDir) -> BatchDir:
    """A batch of two, of which the task is the second; its run has credentials."""
    batch = BatchDir(run.root / "slurm" / "abc")
    batch.root.mkdir(parents=True)
    batch.index.write_text(encode(JobIndex("r1", ("tasks/never/1", "tasks/t/1"))))
    batch.credentials.write_bytes(render_credentials(Credentials(anthropic_api_key=SECRET)))
    return batch


@contextmanager
def _given(batch: BatchDir, flags: tuple[str, ...]) -> Iterator[IO[bytes] | None]:
    """In a container the credentials are on standard input, and the file is out of sight."""
    if "--contained" not in flags:
        yield None
        return
    with batch.credentials.open("rb") as stream:
        batch.credentials.unlink()
        yield stream


@contextmanager
def worker(
    batch: BatchDir, claimant: str = "c:1", *flags: str, place: str = "1"
) -> Iterator[subprocess.Popen[str]]:
    with (
        _given(batch, flags) as stdin,
        subprocess.Popen(
            [sys.executable, PROGRAM, batch.root, place, claimant, *flags],
            stdin=stdin,
            env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code, and all it said; nothing of it is secret."""
    out, err = process.communicate(timeout=90)
    assert SECRET not in out + err
    return process.returncode, out + err


def test_the_attempt_at_its_place_is_run_and_the_credentials_stay_for_the_others(
    run: RunDir,
) -> None:
    attempt, batch = prepare(run), lay_batch(run)
    with worker(batch) as process:
        assert ended(process) == (0, "")
    assert read_result(attempt, KEY).outcome is Outcome.OK
    assert attempt.claim.read_text() == "c:1"
    assert (run.root / "slurm" / CREDENTIALS_NAME).exists()


def test_a_second_claimant_leaves_and_touches_nothing(run: RunDir) -> None:
    attempt, batch = prepare(run), lay_batch(run)
    attempt.claim.write_text("another:7")
    before = sorted(path.name for path in attempt.root.rglob("*"))
    with worker(batch) as process:
        code, said = ended(process)
    assert code == CLAIMED
    assert said == "error: Another worker already has the attempt.\n"
    assert sorted(path.name for path in attempt.root.rglob("*")) == before


def test_a_job_that_is_started_again_goes_on_where_it_was_killed(run: RunDir) -> None:
    attempt, batch = prepare(run), lay_batch(run)
    attempt.claim.write_text("c:1#0")
    with worker(batch, "c:1#1") as process:
        assert ended(process)[0] == 0
    assert read_result(attempt, KEY).outcome is Outcome.OK


def test_a_worker_whose_job_was_started_again_elsewhere_ends_by_itself(run: RunDir) -> None:
    attempt, batch = prepare(run, speed=0.01), lay_batch(run)
    with worker(batch, "c:1#0") as process:
        until(attempt.transcript.exists, "the begin of its work")
        assert claim(attempt, "c:1#1")
        code, said = ended(process)
    assert (code, said) == (CLAIMED, "error: Another worker already has the attempt.\n")
    assert attempt.claim.read_text() == "c:1#1"
    assert not attempt.result_json.exists()


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGTERM, "The job was told to stop."),
        (signal.SIGUSR1, "The job's time limit was reached (--slurm-time)."),
    ],
)
def test_a_signal_saves_what_there_is_and_the_result_says_which_it_was(
    run: RunDir, number: signal.Signals, words: str
) -> None:
    attempt, batch = prepare(run, speed=0.01), lay_batch(run)
    with worker(batch) as process:
        until(attempt.transcript.exists, "the begin of its work")
        process.send_signal(number)
        code, said = ended(process)
    assert (code, said) == (STOPPED, "")
    result = read_result(attempt, KEY)
    assert (result.outcome, result.message) == (Outcome.INTERRUPTED, words)
    assert result.manifest.paths == ()


def test_an_index_and_a_request_that_appear_late_are_waited_for(run: RunDir) -> None:
    batch = BatchDir(run.root / "slurm" / "abc")
    with worker(batch) as process:
        until(lambda: _looks_at(process.pid), "that it waits")
        lay_batch(run)
        attempt = prepare(run)
        assert ended(process)[0] == 0
    assert read_result(attempt, KEY).outcome is Outcome.OK


def _looks_at(pid: int) -> bool:
    """Whether its handlers are in place, which is when it begins to look."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught >> (signal.SIGUSR1 - 1) & 1)


def test_a_wait_for_an_index_can_be_ended(run: RunDir) -> None:
    with worker(BatchDir(run.root / "slurm" / "abc")) as process:
        until(lambda: _looks_at(process.pid), "that it waits")
        process.terminate()
        code, said = ended(process)
    assert code == FAILED
    assert said == "error: The job was told to stop.\n"


@pytest.mark.parametrize(
    ("place", "damage", "told"),
    [
        ("7", "", "no job number 7"),
        ("1", "index", "index.json"),
        ("1", "task", "task.json"),
        ("1", "credentials", "credentials.json"),
    ],
)
def test_what_cannot_be_read_is_one_message(
    run: RunDir, place: str, damage: str, told: str
) -> None:
    attempt, batch = prepare(run), lay_batch(run)
    broken = {"index": batch.index, "task": attempt.task_json, "credentials": batch.credentials}
    if damage:
        broken[damage].write_text('{"anthropic_api_key": ["' + SECRET + '"]}')
    with worker(batch, place=place) as process:
        code, said = ended(process)
    assert code == FAILED
    assert told in said
    assert said.count("\n") == 1
    assert not attempt.result_json.exists()


@pytest.mark.parametrize("flags", [["--contained"], []], ids=["contained", "not contained"])
def test_a_model_may_run_commands_where_something_contains_them(
    run: RunDir, flags: list[str]
) -> None:
    with model_that(run_command("echo its answer"), write("t/a.txt", "x")) as (model, server):
        attempt, batch = prepare(run, model=model), lay_batch(run)
        with worker(batch, "c:1", *flags) as process:
            assert ended(process)[0] == 0
    assert read_result(attempt, KEY).outcome is Outcome.OK
    assert ("its answer" in tool_answers(server)[0]) is bool(flags)


def test_as_a_process_it_needs_nothing_of_the_hosts_side(run: RunDir) -> None:
    attempt, batch = prepare(run), lay_batch(run)
    program = (
        "import sys, batch_executor\n"
        "code = batch_executor.main(sys.argv)\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "wrong = loaded & {'click', 'rich', 'docker', 'boto3', 'engine', 'backends', 'config'}\n"
        "sys.exit(f'loaded: {wrong}' if wrong else code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, batch.root, "1", "c:1"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    assert read_result(attempt, KEY).outcome is Outcome.OK


# -- the check


def checked(
    path: Path, engine: str, host: str, port: str, provider: str = "anthropic", **environ: str
) -> WorkerCheck:
    """The answer of a process, as a probe reads it."""
    done = subprocess.run(
        [sys.executable, PROGRAM, "--check", path, engine, provider, host, port],
        env={"PATH": "/usr/bin:/bin", **environ},
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return decode(WorkerCheck, path.read_text(), str(path))


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def unused_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return str(server.getsockname()[1])


def test_a_check_says_where_it_is_and_that_all_is_well(tmp_path: Path, listening: int) -> None:
    found = checked(tmp_path / "a", "api", "127.0.0.1", str(listening))
    assert found == WorkerCheck(sys.version.split()[0], os.uname().nodename)


def test_a_check_names_an_address_that_takes_no_connection(tmp_path: Path) -> None:
    port = unused_port()
    found = checked(tmp_path / "a", "api", "127.0.0.1", port)
    assert found.unreachable == f"127.0.0.1:{port}"
    assert checked(tmp_path / "b", "api", "", "443").unreachable == "", "nobody is to be asked"


def test_a_check_asks_the_proxy_where_there_is_one(tmp_path: Path, listening: int) -> None:
    proxy = {"https_proxy": f"http://127.0.0.1:{listening}"}
    found = checked(tmp_path / "a", "api", "nowhere.invalid", "443", **proxy)
    assert found.unreachable == ""
    closed = unused_port()
    found = checked(
        tmp_path / "b",
        "api",
        "nowhere.invalid",
        "443",
        https_proxy=f"http://127.0.0.1:{closed}",
    )
    assert found.unreachable == f"127.0.0.1:{closed}"
    found = checked(tmp_path / "c", "api", "127.0.0.1", closed, no_proxy="127.0.0.1", **proxy)
    assert found.unreachable == f"127.0.0.1:{closed}", "the proxy is not asked for this host"


def test_a_check_names_a_command_line_tool_that_is_not_there(
    tmp_path: Path, listening: int
) -> None:
    found = checked(tmp_path / "a", "claude-code", "127.0.0.1", str(listening))
    assert "claude" in found.missing_cli.lower()
    assert checked(tmp_path / "b", "api", "127.0.0.1", str(listening)).missing_cli == ""


def test_a_check_names_a_package_that_is_not_there(tmp_path: Path, listening: int) -> None:
    (tmp_path / "anthropic.py").write_text("raise ImportError('no anthropic here')\n")
    environ = {"PYTHONPATH": str(tmp_path)}
    found = checked(tmp_path / "a", "claude-code", "127.0.0.1", str(listening), **environ)
    assert found.missing_package == "no anthropic here"
    assert found.missing_cli == "", "what cannot be looked for is not said to be missing"


def test_a_check_for_bedrock_asks_for_the_sdk_of_aws(tmp_path: Path, listening: int) -> None:
    (tmp_path / "boto3.py").write_text("raise ImportError('no boto3 here')\n")
    asked = ("api", "127.0.0.1", str(listening), "bedrock")
    found = checked(tmp_path / "a", *asked, PYTHONPATH=str(tmp_path))
    assert found.missing_package == "no boto3 here"


def test_a_check_answers_with_a_whole_file(tmp_path: Path, listening: int) -> None:
    asked = ["--check", str(tmp_path / "a"), "api", "anthropic", "127.0.0.1", str(listening)]
    assert batch_executor.main(["x", *asked]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert json.loads((tmp_path / "a").read_text())["node"] == os.uname().nodename
