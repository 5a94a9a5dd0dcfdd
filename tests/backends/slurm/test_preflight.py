"""What a preflight finds on a cluster, and what one short job finds that only a node knows."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from backends.base import BackendContext
from backends.shared.provider_endpoint import provider_address
from backends.slurm.preflight import PROBE_TIMEOUT_S, check_problems
from backends.slurm.settings import SlurmSettings
from backends.slurm_backend import SlurmBackend
from core.bundle import WIRE_VERSION
from core.clock import Clock, SystemClock
from core.credentials import Credentials
from core.errors import Problem
from core.settings.worker import WorkerSettings
from core.worker.check import WorkerCheck
from tests.fakes.results import no_work
from tests.fakes.scripted_claude import FakeClock
from tests.fakes.slurm import FakeSlurm

pytestmark = pytest.mark.slow  # starts many processes, or waits

Options = Mapping[str, Any]
NONE: Options = {}


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[FakeSlurm]:
    fake = FakeSlurm(tmp_path / "fake cluster")
    yield fake
    fake.stop()


def backend(
    slurm: FakeSlurm, options: Options = NONE, *, clock: Clock | None = None, name: str = "r1"
) -> SlurmBackend:
    run_dir = slurm.root.parent / "work dir" / name
    run_dir.mkdir(parents=True, exist_ok=True)
    clock = clock or SystemClock()
    return SlurmBackend.build(
        BackendContext(run_dir, Credentials(), clock, no_work, options, slurm.environ)
    )


def the_problem(slurm: FakeSlurm, options: Options = NONE, *, name: str = "r1") -> Problem:
    [problem] = backend(slurm, options, name=name).preflight()
    return problem


# -- preflight


def test_a_cluster_that_takes_such_jobs_is_fine_and_none_is_submitted(slurm: FakeSlurm) -> None:
    assert backend(slurm, {"slurm_partition": "debug"}).preflight() == []
    [call] = slurm.calls("sbatch")
    assert "--test-only" in call["argv"]
    assert "--partition=debug" in call["argv"]
    assert slurm.jobs() == []


def test_commands_that_are_not_there_are_named(tmp_path: Path) -> None:
    problem = the_problem(FakeSlurm(tmp_path / "fake", leave_out=("sbatch", "scancel")))
    assert problem.what == "Slurm's commands sbatch, scancel were not found on PATH."
    assert "login node" in problem.fix


def test_a_command_that_cannot_be_run_is_a_problem_and_no_error(slurm: FakeSlurm) -> None:
    (slurm.root / "bin" / "sinfo").write_text("#!/nonexistent/interpreter\n")
    assert "sinfo could not be started" in the_problem(slurm).what


def test_a_cluster_that_does_not_answer(slurm: FakeSlurm) -> None:
    slurm.set(sinfo_fails="Unable to contact slurm controller (connect failure)")
    problem = the_problem(slurm)
    assert "Unable to contact slurm controller" in problem.what
    assert "scontrol ping" in problem.fix


def test_what_slurm_would_not_take_is_reported_in_its_words(slurm: FakeSlurm) -> None:
    slurm.set(sbatch_refuses="Invalid account or account/partition combination specified")
    problem = the_problem(slurm, {"slurm_account": "nope"})
    assert "Invalid account or account/partition combination specified" in problem.what
    assert "--slurm" in problem.fix


@pytest.mark.parametrize(
    ("sinfo", "wanted", "what", "fix"),
    [
        ("a*|up|1\nb|up|1\n", "c", "no partition 'c'", "Choose one of: a, b."),
        ("", "c", "no partition 'c'", "Choose one of: none."),
        ("a|up|1\nb|up|1\n", "", "no default partition", "--slurm-partition: a, b"),
        ("a*|down|1\nb|up|1\n", "", "a is down", "another partition: b."),
        ("a*|up|1\nb|inact|1\n", "b", "b is inact", "another partition: a."),
        ("a*|down|1\n", "a", "a is down", "none is up"),
        ("a*|down|1\nb|inact|1\n", "a,b", "a is down, b is inact", "none is up"),
    ],
)
def test_a_partition_that_cannot_be_used_is_reported_with_those_that_can(
    slurm: FakeSlurm, sinfo: str, wanted: str, what: str, fix: str
) -> None:
    slurm.set(sinfo=sinfo)
    problem = the_problem(slurm, {"slurm_partition": wanted})
    assert what in problem.what
    assert fix in problem.fix


@pytest.mark.parametrize(
    ("sinfo", "wanted"), [("a*|down|1\nb|up|1\n", "a,b"), ("a*|up|1\n", ""), ("", "")]
)
def test_one_partition_that_is_up_is_enough(slurm: FakeSlurm, sinfo: str, wanted: str) -> None:
    slurm.set(sinfo=sinfo)
    assert backend(slurm, {"slurm_partition": wanted}).preflight() == []


def test_a_setup_file_that_is_not_there(slurm: FakeSlurm, tmp_path: Path) -> None:
    problem = the_problem(slurm, {"slurm_setup": tmp_path / "none.sh"})
    assert "none.sh" in problem.what
    assert "--slurm-setup" in problem.fix


def test_an_engine_that_runs_commands_needs_a_container_or_a_word(slurm: FakeSlurm) -> None:
    engine = {"engine": "claude-code"}
    problem = the_problem(slurm, engine)
    assert "--slurm-container" in problem.fix
    assert "--allow-commands" in problem.fix
    assert backend(slurm, {**engine, "slurm_container": "docker://worker"}).preflight() == []
    assert backend(slurm, {**engine, "allow_commands": True}).preflight() == []


@pytest.mark.parametrize("name", ["a:b", "a,b"])
def test_a_directory_that_apptainer_would_take_for_two(slurm: FakeSlurm, name: str) -> None:
    problem = the_problem(slurm, {"slurm_container": "docker://worker"}, name=name)
    assert name in problem.what
    assert "--work-dir" in problem.fix
    assert backend(slurm, name=name).preflight() == []


# -- the probe


@pytest.fixture
def provider() -> Iterator[str]:
    """Takes connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def nothing_left(slurm: FakeSlurm) -> bool:
    return not list((slurm.root.parent / "work dir").rglob("probe"))


def test_a_node_where_all_is_well_has_no_problem(slurm: FakeSlurm, provider: str) -> None:
    assert backend(slurm, {"base_url": provider}).probe() == []
    assert slurm.states() == {"1": "COMPLETED"}
    assert nothing_left(slurm)


def test_a_node_without_a_way_to_the_provider_is_named(slurm: FakeSlurm) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    [problem] = backend(slurm, {"base_url": url}).probe()
    assert url.removeprefix("http://") in problem.what
    assert os.uname().nodename in problem.what
    assert "HTTPS_PROXY" in problem.fix


def test_a_node_whose_python_lacks_a_package_is_named(
    slurm: FakeSlurm, provider: str, tmp_path: Path
) -> None:
    setup = tmp_path / "setup.sh"
    tools = _bare_python(tmp_path)
    setup.write_text(f"export PATH={tools}:$PATH\n")
    [problem] = backend(slurm, {"base_url": provider, "slurm_setup": setup}).probe()
    assert "start on a node: The package pydantic is not installed for /" in problem.what
    assert "--slurm-setup" in problem.fix
    assert nothing_left(slurm)


def _bare_python(place: Path) -> Path:
    tools = place / "tools"
    tools.mkdir()
    (tools / "python3").write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    (tools / "python3").chmod(0o755)
    return tools


def test_a_node_whereno_worker_starts_says_why(slurm: FakeSlurm, tmp_path: Path) -> None:
    setup = tmp_path / "setup.sh"
    setup.write_text("echo 'module: no such module' >&2\nexit 1\n")
    [problem] = backend(slurm, {"slurm_setup": setup}).probe()
    assert "module: no such module" in problem.what
    assert "--slurm-setup" in problem.fix


def test_a_directory_that_the_nodes_do_not_share_is_named(slurm: FakeSlurm, tmp_path: Path) -> None:
    setup = tmp_path / "setup.sh"
    setup.write_text("exit 0\n")  # the job ends well, and nothing of it is seen here
    [problem] = backend(slurm, {"slurm_setup": setup}).probe()
    assert "is not visible here" in problem.what
    assert "--work-dir" in problem.fix


def test_a_job_that_fails_without_a_log_ran_where_the_directory_is_another(
    slurm: FakeSlurm, tmp_path: Path
) -> None:
    setup = tmp_path / "setup.sh"
    setup.write_text("exit 1\n")
    [problem] = backend(slurm, {"slurm_setup": setup}).probe()
    assert "left no log" in problem.what
    assert "--work-dir" in problem.fix


def test_an_answer_that_cannot_be_read_is_a_problem(slurm: FakeSlurm, tmp_path: Path) -> None:
    setup, answer = tmp_path / "setup.sh", "work dir/r1/slurm/probe/answer.json"
    setup.write_text(f"echo nonsense > '{tmp_path}/{answer}'\nexit 0\n")
    [problem] = backend(slurm, {"slurm_setup": setup}).probe()
    assert "could not be read" in problem.what


def test_a_probe_that_slurm_refuses_is_reported(slurm: FakeSlurm) -> None:
    slurm.set(sbatch_refuses="invalid partition specified: nope")
    [problem] = backend(slurm).probe()
    assert "invalid partition specified: nope" in problem.what
    assert nothing_left(slurm)


def test_a_probe_that_cannot_ask_is_reported(slurm: FakeSlurm) -> None:
    (slurm.root / "bin" / "squeue").unlink()
    [problem] = backend(slurm).probe()
    assert "squeue could not be started" in problem.what


def test_a_probe_that_never_starts_is_cancelled_with_the_reason(slurm: FakeSlurm) -> None:
    slurm.set(holds=True, pending_reason="Resources")
    clock = FakeClock()
    began = clock.now
    [problem] = backend(slurm, clock=clock).probe()
    assert clock.now >= began + PROBE_TIMEOUT_S
    assert "Resources: waiting for free nodes" in problem.what
    assert "scontrol show job 1" in problem.fix
    assert slurm.states() == {"1": "CANCELLED"}


def test_squeue_may_fail_for_a_while(slurm: FakeSlurm, provider: str) -> None:
    slurm.set(squeue_fails=["Socket timed out on send/recv operation", "again"])
    assert backend(slurm, {"base_url": provider}).probe() == []


def judged(**answer: Any) -> list[Problem]:
    return list(check_problems(WorkerCheck(python="3.11.2", node="n1", **answer), SlurmSettings()))


@pytest.mark.parametrize(
    ("answer", "what", "fix"),
    [
        ({"wire": WIRE_VERSION + 1}, f"version {WIRE_VERSION + 1}", "same version"),
        ({"missing_package": "No module named 'x'"}, "Python 3.11.2 on n1", "--slurm-setup"),
        ({"missing_cli": "claude is not there."}, "claude is not there", "--engine api"),
        ({"unreachable": "api:443"}, "api:443", "HTTPS_PROXY"),
    ],
)
def test_each_finding_of_a_node_has_its_fix(answer: Options, what: str, fix: str) -> None:
    [problem] = judged(**answer)
    assert what in problem.what
    assert "n1" in problem.what
    assert fix in problem.fix
    assert judged() == []


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        ({}, ("api.anthropic.com", 443)),
        ({"base_url": "http://gateway/v1"}, ("gateway", 80)),
        ({"base_url": "https://gateway:8443"}, ("gateway", 8443)),
        ({"provider": "bedrock"}, ("bedrock-runtime.eu-central-1.amazonaws.com", 443)),
        (
            {"provider": "bedrock", "region": "us-east-1", "base_url": "http://x"},
            ("bedrock-runtime.us-east-1.amazonaws.com", 443),
        ),
        ({"provider": "bedrock", "bedrock_base_url": "https://[::1]:9"}, ("::1", 9)),
    ],
)
def test_the_provider_that_workers_will_ask(settings: Options, address: tuple[str, int]) -> None:
    assert provider_address(WorkerSettings.read(settings)) == address
