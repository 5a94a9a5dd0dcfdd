"""Tests for backends.docker.connection: where the engine is, and its errors in our words."""

from __future__ import annotations

import gc
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest
from docker.errors import APIError, DockerException
from requests import Response
from requests.exceptions import ReadTimeout

from backends.docker.connection import (
    engine_errors,
    engine_message,
    explain_unreachable,
    open_engine,
)
from core.errors import BackendError
from tests.live.docker_run import LOST_SOCKETS

pytestmark = LOST_SOCKETS


@pytest.fixture(autouse=True)
def _no_lost_sockets() -> Iterator[None]:
    yield
    gc.collect()


@contextmanager
def fake_engine(place: Path) -> Iterator[tuple[str, list[str]]]:
    """A socket that answers as an engine does when it is asked its version."""
    path, asked = place / "engine.sock", list[str]()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        body = json.dumps({"ApiVersion": "1.41"}).encode()
        head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\n"
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                asked.append(connection.recv(65536).decode().splitlines()[0])
                connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"unix://{path}", asked
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def ask_version(environ: Mapping[str, str]) -> None:
    open_engine(environ).close()


def test_docker_host_names_the_engine(tmp_path: Path) -> None:
    with fake_engine(tmp_path) as (address, asked):
        ask_version({"DOCKER_HOST": address})
    assert asked == ["GET /version HTTP/1.1"]


def test_the_current_context_names_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake_engine(tmp_path) as (address, asked):
        config = tmp_path / ".docker"
        meta = config / "contexts" / "meta" / sha256(b"elsewhere").hexdigest()
        meta.mkdir(parents=True)
        endpoint = {"docker": {"Host": address, "SkipTLSVerify": False}}
        (meta / "meta.json").write_text(
            json.dumps({"Name": "elsewhere", "Metadata": {}, "Endpoints": endpoint})
        )
        (config / "config.json").write_text(json.dumps({"currentContext": "elsewhere"}))
        monkeypatch.setenv("DOCKER_CONFIG", str(config))
        monkeypatch.delenv("DOCKER_CONTEXT", raising=False)
        monkeypatch.delenv("DOCKER_HOST", raising=False)
        ask_version({"DOCKER_CONFIG": str(config)})
    assert len(asked) == 1


def test_the_environment_given_counts_and_not_that_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/wrong.sock")
    with fake_engine(tmp_path) as (address, asked):
        ask_version({"DOCKER_HOST": address})
    assert asked


def test_certificates_that_are_not_there_are_told(tmp_path: Path) -> None:
    environ = {
        "DOCKER_HOST": "tcp://127.0.0.1:1",
        "DOCKER_TLS_VERIFY": "1",
        "DOCKER_CERT_PATH": str(tmp_path),
    }
    with pytest.raises(BackendError, match="TLS"):
        ask_version(environ)


def refusal(status: int, words: str) -> APIError:
    response = Response()
    response.status_code = status
    return APIError("refused", response=response, explanation=words)


def test_what_is_about_one_thing_only_passes() -> None:
    with pytest.raises(APIError), engine_errors():
        raise refusal(404, "No such container: x")


@pytest.mark.parametrize("error", [OSError("no line"), ReadTimeout("timed out"), DockerException()])
def test_what_is_about_the_engine_is_a_backend_error(error: Exception) -> None:
    with pytest.raises(BackendError) as told, engine_errors():
        raise error
    assert told.value.remedy


def test_an_engine_that_is_unwell_is_quoted() -> None:
    with pytest.raises(BackendError, match="failed: no space left on device"), engine_errors():
        raise refusal(500, "no space\n left on device.")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("('Connection aborted.', PermissionError(13, 'Permission denied'))", "permission"),
        ("FileNotFoundError(2, 'No such file or directory')", "does not exist"),
        ("Read timed out. (read timeout=60)", "in time"),
        ("[Errno 111] Connection refused", "Connection refused"),
    ],
)
def test_each_way_of_being_out_of_reach_has_its_words_and_its_fix(words: str, told: str) -> None:
    problem = explain_unreachable(OSError(words))
    assert told in problem.what
    assert problem.fix


def test_the_engines_own_words_come_in_one_line() -> None:
    assert engine_message(refusal(400, "wrong\n  option.")) == "wrong option"
    assert engine_message(ValueError("plain")) == "plain"
