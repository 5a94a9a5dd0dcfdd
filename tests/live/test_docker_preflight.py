"""Preflight of the Docker backend: each thing that can be missing and its fix, on a real engine."""

from __future__ import annotations

import gc
import json
import os
import socket
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from backends.docker.client import DockerHost
from backends.docker.container import RunLabels
from backends.docker.preflight import SOURCE_LABEL, Preflight
from backends.docker.settings import DockerSettings
from core.clock import SystemClock
from core.errors import Problem
from tests.live.docker_run import (
    FULL_IMAGE,
    IMAGE,
    LOST_SOCKETS,
    OPTIONS,
    command_line,
    orchestrate,
)

pytestmark = [pytest.mark.docker_engine, LOST_SOCKETS]


@pytest.fixture(autouse=True)
def _no_lost_sockets() -> Iterator[None]:
    yield
    gc.collect()


def problems(
    place: Path, environ: Mapping[str, str] | None = None, **options: Any
) -> list[Problem]:
    host = DockerHost(dict(os.environ) if environ is None else environ)
    settings = DockerSettings.read({**OPTIONS, **options})
    home = RunLabels.of(place / "work" / "runs" / "20260101-120000-6666")
    try:
        return Preflight(host, settings, home, SystemClock()).problems()
    finally:
        host.close()


def the_problem(place: Path, environ: Mapping[str, str] | None = None, **options: Any) -> Problem:
    [problem] = problems(place, environ, **options)
    return problem


def test_nothing_is_missing(tmp_path: Path) -> None:
    assert problems(tmp_path) == []
    assert problems(tmp_path, docker_image=FULL_IMAGE, engine="claude-code") == []


# -- the engine


def test_a_port_where_nobody_listens(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{closed.getsockname()[1]}"
        problem = the_problem(tmp_path, {"DOCKER_HOST": address})
    assert "cannot be reached" in problem.what
    assert "refused" in problem.what.lower()
    assert "DOCKER_HOST" in problem.fix


def test_a_socket_that_does_not_exist(tmp_path: Path) -> None:
    problem = the_problem(tmp_path, {"DOCKER_HOST": f"unix://{tmp_path}/no.sock"})
    assert "socket does not exist" in problem.what
    assert "Start Docker" in problem.fix


def test_an_address_that_is_none(tmp_path: Path) -> None:
    problem = the_problem(tmp_path, {"DOCKER_HOST": "nonsense://x"})
    assert "nonsense" in problem.what
    assert "DOCKER_HOST" in problem.fix


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_socket_that_this_user_may_not_use(tmp_path: Path) -> None:
    place = Path("/var/run/docker.sock")
    assert not stat.S_IMODE(place.stat().st_mode) & stat.S_IRWXO, "anybody may use it"
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        found = problems(Path("/nonexistent"), {"DOCKER_HOST": f"unix://{place}"})
        os.write(sender, json.dumps([[p.what, p.fix] for p in found]).encode())
        os._exit(0)
    os.close(sender)
    assert os.waitpid(child, 0)[1] == 0
    with open(receiver, "rb") as stream:
        [[what, fix]] = json.load(stream)
    assert "permission was denied" in what
    assert "usermod -aG docker" in fix


# -- the image


def test_an_image_that_is_not_there(tmp_path: Path) -> None:
    problem = the_problem(tmp_path, docker_image="parallel-orchestrator:never-built")
    assert "has no image parallel-orchestrator:never-built" in problem.what
    assert "./build.sh" in problem.fix


@pytest.fixture
def relabelled() -> Iterator[Any]:
    """Makes an image of ours with other labels."""
    host = DockerHost(dict(os.environ))
    made: list[str] = []

    def make(**labels: str) -> str:
        name = f"pto-test-preflight-{os.getpid()}"
        container = host.create(name, {"Image": IMAGE, "Cmd": ["true"], "Labels": labels})
        made.append(f"{name}:other")
        with host._calling() as engine:
            engine.commit(container, name, "other", conf={"Labels": labels})
        host.remove(container)
        return made[-1]

    yield make
    with host._calling() as engine:
        for name in made:
            engine.remove_image(name, force=True)
    host.close()


def test_an_image_of_another_version(tmp_path: Path, relabelled: Any) -> None:
    image = relabelled(**{SOURCE_LABEL: "0123456789abcdef"})
    problem = the_problem(tmp_path, docker_image=image)
    assert "built from another version" in problem.what
    assert "./build.sh" in problem.fix


def test_an_image_that_is_not_ours(tmp_path: Path) -> None:
    host = DockerHost(dict(os.environ))
    with host._calling() as engine:
        name = f"pto-test-foreign-{os.getpid()}"
        engine.import_image_from_data(_empty_tar(), repository=name, tag="latest")
    try:
        problem = the_problem(tmp_path, docker_image=name)
        assert "not one of this program's" in problem.what
        assert "--docker-image" in problem.fix
    finally:
        with host._calling() as engine:
            engine.remove_image(name)
        host.close()


def _empty_tar() -> bytes:
    return bytes(10_240)


def test_an_image_without_the_command_line_tool_of_claude(tmp_path: Path) -> None:
    problem = the_problem(tmp_path, docker_image=IMAGE, engine="claude-code")
    assert IMAGE in problem.what
    assert "without --slim" in problem.fix


# -- what is asked for


def test_more_than_the_engines_machine_has(tmp_path: Path) -> None:
    found = problems(tmp_path, docker_memory="900g", docker_cpus=1000.0)
    assert [("--docker-memory" in p.fix, "--docker-cpus" in p.fix) for p in found] == [
        (True, False),
        (False, True),
    ]
    assert "921,600 MiB" in found[0].what
    assert "fewer than one executor's 1000" in found[1].what


def test_less_memory_than_the_engine_allows(tmp_path: Path) -> None:
    problem = the_problem(tmp_path, docker_memory="1m")
    assert "memory limit" in problem.what.lower()
    assert "--docker" in problem.fix


def test_a_network_that_nobody_made(tmp_path: Path) -> None:
    problem = the_problem(tmp_path, docker_network="no-such-network")
    assert "no network 'no-such-network'" in problem.what
    assert "host" in problem.fix
    assert "docker network create" in problem.fix


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "http://localhost/v1", "http://[::1]:1"])
def test_an_address_that_means_something_else_in_a_container(tmp_path: Path, url: str) -> None:
    problem = the_problem(tmp_path, real=True, base_url=url)
    assert url in problem.what
    assert "--docker-network host" in problem.fix
    assert problems(tmp_path, base_url=url) == [], "a simulation asks nobody"
    bedrock = the_problem(tmp_path, real=True, provider="bedrock", bedrock_base_url=url)
    assert url in bedrock.what


def test_the_hosts_network_reaches_the_host(tmp_path: Path) -> None:
    url = "http://127.0.0.1:1"
    assert problems(tmp_path, real=True, base_url=url, docker_network="host") == []


def test_the_program_says_each_problem_with_its_fix_and_starts_nothing(tmp_path: Path) -> None:
    command = command_line("Write a script", image="no-such-image:1", network="no-such-network")
    done = orchestrate(tmp_path, command)
    assert done.returncode == 3
    assert "no image no-such-image:1" in done.stderr
    assert "no network 'no-such-network'" in done.stderr
    assert "./build.sh" in done.stderr
    assert not (tmp_path / ".orchestrator").exists()
