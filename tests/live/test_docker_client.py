"""Tests for backends.docker.client on a real engine: what is an answer, and what is an error."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker.errors import APIError

from backends.docker.client import DockerHost
from core.errors import BackendError
from tests.live.docker_engines import CuttableLine
from tests.live.docker_run import IMAGE

pytestmark = pytest.mark.docker_engine
MEBIBYTES_64 = 64 * 1024**2


@pytest.fixture
def host() -> Iterator[DockerHost]:
    found = DockerHost(dict(os.environ))
    yield found
    found.close()


@pytest.fixture
def container(host: DockerHost) -> Iterator[str]:
    """One that has left a large file and ended."""
    name = f"pto-test-host-{uuid.uuid4().hex[:8]}"
    command = f"head -c {MEBIBYTES_64} /dev/urandom > /tmp/large; echo said"
    host.start(host.create(name, {"Image": IMAGE, "Cmd": ["sh", "-c", command]}))
    with host._calling() as engine:
        engine.wait(name)
    yield name
    host.remove(name)


def test_what_is_not_there_is_an_answer(host: DockerHost) -> None:
    assert host.inspect("no-such-container") is None
    assert host.log("no-such-container") == b""
    host.kill("no-such-container", "SIGKILL")
    host.remove("no-such-container")
    host.remove_volume("no-such-volume")
    with host.archive("no-such-container", "/job") as chunks:
        assert chunks is None
    with pytest.raises(APIError):
        host.image("no-such-image:1")


def test_a_path_that_is_not_there_is_an_answer(host: DockerHost, container: str) -> None:
    with host.archive(container, "/tmp/none") as chunks:
        assert chunks is None


def test_an_archive_that_is_not_read_to_its_end_blocks_nobody(
    host: DockerHost, container: str
) -> None:
    with host.archive(container, "/tmp/large") as chunks:
        assert chunks is not None
        assert next(chunks)
    assert host.inspect(container) is not None
    assert host.log(container) == b"said\n"


def test_what_the_reader_of_an_archive_meets_is_no_fault_of_the_engine(
    host: DockerHost, container: str
) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    with (
        pytest.raises(OSError, match="No space left") as told,
        host.archive(container, "/tmp/large"),
    ):
        raise full
    assert told.value is full


def test_an_archive_whose_line_breaks_is_a_fault_of_the_engine(
    container: str, tmp_path: Path
) -> None:
    def read(host: DockerHost) -> int:
        with host.archive(container, "/tmp/large") as chunks:
            assert chunks is not None
            size = len(next(chunks))
            line.cut()
            return size + sum(len(chunk) for chunk in chunks)

    with CuttableLine(tmp_path) as line:
        host = DockerHost({"DOCKER_HOST": f"unix://{line.path}"})
        with pytest.raises(BackendError):
            read(host)
        host.close()


def test_of_a_container_that_runs_no_more_nothing_is_killed(
    host: DockerHost, container: str
) -> None:
    host.kill(container, "SIGTERM")
    found = host.inspect(container)
    assert found is not None
    assert found["State"]["ExitCode"] == 0
