"""Checks of a project in a container, and what hostile code in it can do: nothing."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from backends.docker.checks import DockerChecks
from backends.docker.client import DockerHost
from backends.docker.container import CHECKS, RunLabels
from backends.docker.settings import DockerSettings
from core.check_request import Check, CheckRequest
from core.checks.registries import Registries, read_registries
from core.clock import StoppableClock, SystemClock
from core.errors import Interrupted
from core.events import CheckBegun, CheckEnded, Proof
from core.plan import Setup
from parallel_task_orchestrator.conformance.live_run import eventually
from tests.live.docker_run import (
    IMAGE,
    OPTIONS,
    command_line,
    left_behind,
    orchestrate,
    quiet_environment,
)

pytestmark = [pytest.mark.docker_engine, pytest.mark.slow, pytest.mark.timeout(240)]
RUN_ID = "20260101-120000-8888"
SERVER = "python3 -m http.server 8000"
ONLY_LOOPBACK = 'test "$(ls /sys/class/net)" = lo'
SECRET, PATTERN = "sk-ant-planted", "sk-ant-[p]lanted"


@dataclass
class Checking:
    """One pass over a project of `files`, for a work directory below `place`."""

    place: Path
    files: dict[str, str]
    registries: Registries = field(default_factory=Registries)

    @property
    def labels(self) -> RunLabels:
        return RunLabels.of(self.place / "work" / "runs" / RUN_ID)

    def run(self, *scripts: str, network: str = "none", **setup: object) -> list[CheckEnded]:
        """How each script ended, in this order, as its own file of the project, which shows that it
        is about it; then the start."""
        project, host = self.place / "project", DockerHost(dict(os.environ))
        project.mkdir()
        names = [f"{number}.sh" for number in range(len(scripts))]
        for name, text in {**self.files, **dict(zip(names, scripts, strict=True))}.items():
            project.joinpath(name).write_text(text)
        request = CheckRequest(
            Setup.model_validate({**setup, "network": network}),
            tuple(Check(f"sh {name}", ("a",)) for name in names),
        )
        settings = DockerSettings.read(
            {**OPTIONS, "docker_memory": "1g", "docker_network": network}
        )
        ended: dict[tuple[str, str], CheckEnded] = {}
        clock = StoppableClock()

        def tell(data: CheckBegun | CheckEnded) -> None:
            if isinstance(data, CheckEnded):
                ended[data.phase, data.command] = data
                return
            told = project.joinpath(data.command[3:])
            if told.is_file() and "remove me" in told.read_text():
                host.remove(self.labels.name(CHECKS))
            elif told.is_file() and "interrupt me" in told.read_text():
                clock.stop()

        try:
            checks = DockerChecks(host, settings, self.labels, clock, self.registries)
            checks.run(project, request, tell)
        finally:
            host.close()
            assert left_behind(self.place / "work") == []
        order = [asked[:2] for asked in request.commands()]
        return sorted(ended.values(), key=lambda end: order.index((end.phase, end.command)))


def test_a_project_is_installed_checked_and_started(tmp_path: Path) -> None:
    """The installation has the network that its plan asks for, and the user's registries; what
    comes after it has neither."""
    certificate = tmp_path / "own.pem"
    certificate.write_text("own")
    registries = Registries({"PIP_INDEX_URL": "https://own"}, {"PIP_CERT": certificate})
    ended = Checking(tmp_path, {"a.txt": "here"}, registries).run(
        "grep here a.txt && test -s net && touch made ~/made",
        "test -e made -a -e ~/made",
        f'{ONLY_LOOPBACK} && test -z "$PIP_INDEX_URL"',
        "echo wrong; exit 3",
        network="bridge",
        install=(
            "ls /sys/class/net | grep -vx lo > net",
            'test "$PIP_INDEX_URL" = https://own && grep -qx own "$PIP_CERT"',
        ),
        start=SERVER,
    )
    assert [(check.phase, check.state) for check in ended] == [
        *[("install", Proof.PASSED)] * 2,
        *[("check", Proof.PASSED)] * 3,
        ("check", Proof.FAILED),
        ("start", Proof.PASSED),
    ]
    assert (ended[5].reason, ended[5].output, ended[5].tasks) == ("exit code 3", "wrong", ("a",))
    assert ended[6].reason == "GET / on port 8000 was answered with 200"


@pytest.mark.parametrize(
    ("made", "network", "taken"),
    [
        ("echo made > sub/lock", "bridge", b"made\n"),
        ("ln -s /etc/hostname sub/lock", "none", None),
        ("true", "none", None),
        ("seq 1000 > sub/lock", "none", None),
    ],
    ids=["a file", "a link", "nothing", "a large file"],
)
def test_a_file_that_was_made_is_taken_out(
    made: str, network: str, taken: bytes | None, tmp_path: Path
) -> None:
    project, host = tmp_path / "project", DockerHost(dict(os.environ))
    project.joinpath("sub").mkdir(parents=True)
    settings = DockerSettings.read({**OPTIONS, "docker_memory": "1g", "docker_network": network})
    labels = RunLabels.of(tmp_path / "work" / "runs" / RUN_ID)
    request = CheckRequest(Setup(install=(made,), network=network), (Check("test -d sub"),))
    with closing(host):
        checks = DockerChecks(host, settings, labels, SystemClock(), Registries())
        assert checks.run(project, request, lambda _: None, "sub/lock", 1_000) == taken
    assert left_behind(tmp_path / "work") == []


@pytest.mark.registries
def test_a_package_of_the_registry_is_there_without_a_network(tmp_path: Path) -> None:
    registries = read_registries(os.environ, Path.home())
    ended = Checking(tmp_path, {}, registries).run(
        "python3 -c 'import iniconfig'", network="host", install=("pip install iniconfig",)
    )
    assert [check.state for check in ended] == [Proof.PASSED] * 2, ended


def test_where_the_installation_fails_nothing_is_proven(tmp_path: Path) -> None:
    ended = Checking(tmp_path, {}).run("exit 0", network="bridge", install=("exit 2",))
    assert [check.state for check in ended] == [Proof.FAILED, Proof.NOT_PROVEN]
    assert ended[1].reason == "the installation failed: exit 2"


FILL = """
import os
for number in range(9):
    with open(f"big{number}", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, 900 << 20)
import time; time.sleep(20)
"""
FORK = """
import os, time
while True:
    try:
        os.fork() or time.sleep(60)
    except OSError:
        time.sleep(60)
"""
CONNECT = "import socket; socket.create_connection(('1.1.1.1', 53), 5)"
HOSTILE = {
    "reads keys": (
        f"! grep -rqs {PATTERN} /proc/*/environ /proc/*/cmdline /job /tmp /run /etc",
        Proof.PASSED,
        "",
    ),
    "reads homes": ('test -z "$(ls -A ~; ls -A /home)" && ! ls /root', Proof.PASSED, ""),
    "writes outside": (
        "for d in / /usr /etc /opt/orchestrator /home /var; do touch $d/x && exit 1; done; true",
        Proof.PASSED,
        "",
    ),
    "opens the network": (
        f"{ONLY_LOOPBACK} && ! python3 connect.py",
        Proof.PASSED,
        "",
    ),
    "forks without end": (
        "python3 fork.py",
        Proof.FAILED,
        "stopped: it started more than 512 processes",
    ),
    "prints without end": ("yes", Proof.FAILED, "stopped: it printed more than 67,108,864 bytes"),
    "fills the disk": ("python3 fill.py", Proof.NOT_PROVEN, "stopped: the free disk space fell"),
    "ends its watcher": (
        "env -i setsid sleep 300 & sleep 0.2; kill -9 $(cut -d' ' -f4 /proc/$PPID/stat); sleep 60",
        Proof.FAILED,
        "stopped: the process that watches over it was ended",
    ),
    "outlives its check": ("! cat /proc/[0-9]*/comm | grep -x sleep", Proof.PASSED, ""),
    "ends or stops the checker": (
        "kill -INT 1; kill -TERM 1; kill -STOP 1; kill -KILL 1",
        Proof.PASSED,
        "",
    ),
    "speaks for the checker": ("! echo forged > /proc/1/fd/1", Proof.PASSED, ""),
    "ends all": ("kill -KILL -1; sleep 60", Proof.FAILED, ""),
    "is a good one": ("exit 0", Proof.PASSED, ""),
}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> dict[str, CheckEnded]:
    """Each of HOSTILE, one after the other in one container."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANTHROPIC_API_KEY", SECRET)
        checking = Checking(
            tmp_path_factory.mktemp("hostile"),
            {"fill.py": FILL, "connect.py": CONNECT, "fork.py": FORK},
        )
        ended = checking.run(*(script for script, _, _ in HOSTILE.values()))
    return dict(zip(HOSTILE, ended, strict=True))


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_that_hostile_code_does_gets_out(hostile: dict[str, CheckEnded], name: str) -> None:
    _, state, reason = HOSTILE[name]
    assert hostile[name].state is state, hostile[name]
    assert hostile[name].reason.startswith(reason)


def test_what_a_container_does_not_live_to_tell_is_not_proven(tmp_path: Path) -> None:
    ended = Checking(tmp_path, {}).run("exit 0", "sleep 60 # remove me", "exit 0")
    assert [check.state for check in ended] == [Proof.PASSED, *[Proof.NOT_PROVEN] * 2]
    assert ended[1].reason == "their container was removed by another program"


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        Checking(tmp_path, {}).run("sleep 60 # interrupt me")


def test_after_a_kill_clean_removes_the_container_and_resume_proves(tmp_path: Path) -> None:
    words = ("a script that counts words", "--sim-speed", "0", "--quiet", "--output-dir", "out")
    work_dir = tmp_path / ".orchestrator"
    with subprocess.Popen(command_line(*words), cwd=tmp_path, env=quiet_environment()) as process:
        try:
            eventually(
                lambda: any("-checks-" in name for name in left_behind(work_dir)),
                "checks run",
                within_s=120,
                clock=SystemClock(),
                every_s=0.2,
            )
        finally:
            process.kill()
    program = command_line()[:2]
    cleaned = orchestrate(tmp_path, [*program, "clean", "--yes"])
    assert "container orchestrator-" in cleaned.stdout, cleaned.stdout + cleaned.stderr
    assert left_behind(work_dir) == []
    done = orchestrate(tmp_path, [*program, "resume", "last", "--json"])
    assert done.returncode == 0, done.stdout + done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    [verified] = [event["data"] for event in events if event["kind"] == "verified"]
    assert verified["sandbox"].startswith(f"a container of {IMAGE}")
    assert left_behind(work_dir) == []
