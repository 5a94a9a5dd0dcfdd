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
from backends.docker.context import context_options
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


def write_context(config: Path, content: str, name: str = "c", current: str = "") -> None:
    """A context as the docker command stores it."""
    meta = config / "contexts" / "meta" / sha256(name.encode()).hexdigest()
    meta.mkdir(parents=True)
    (meta / "meta.json").write_text(content)
    if current:
        (config / "config.json").write_text(json.dumps({"currentContext": current}))


def context_of(address: str) -> str:
    return json.dumps({"Name": "c", "Metadata": {}, "Endpoints": {"docker": {"Host": address}}})


@pytest.mark.parametrize("how", ["configured", "DOCKER_CONTEXT", "HOME"])
def test_the_current_context_names_the_engine(tmp_path: Path, how: str) -> None:
    with fake_engine(tmp_path) as (address, asked):
        config = tmp_path / ".docker"
        write_context(config, context_of(address), current="" if how == "DOCKER_CONTEXT" else "c")
        place = {"HOME": str(tmp_path)} if how == "HOME" else {"DOCKER_CONFIG": str(config)}
        ask_version(place | ({"DOCKER_CONTEXT": "c"} if how == "DOCKER_CONTEXT" else {}))
    assert len(asked) == 1


def test_the_default_context_is_the_engine_of_this_machine(tmp_path: Path) -> None:
    for environ in ({}, {"DOCKER_CONTEXT": "default"}, {"DOCKER_CONFIG": str(tmp_path / "none")}):
        assert context_options({"HOME": str(tmp_path)} | environ) == {}


def test_a_context_brings_its_certificates(tmp_path: Path) -> None:
    write_context(tmp_path, context_of("tcp://h:1"))
    place = tmp_path / "contexts" / "tls" / sha256(b"c").hexdigest() / "docker"
    place.mkdir(parents=True)
    for name in ("ca", "cert", "key"):
        (place / f"{name}.pem").touch()
    tls = context_options({"DOCKER_CONFIG": str(tmp_path), "DOCKER_CONTEXT": "c"})["tls"]
    assert (tls.ca_cert, tls.verify) == (str(place / "ca.pem"), True)
    assert tls.cert == (str(place / "cert.pem"), str(place / "key.pem"))


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[1]", "\ud800", "[" * 99_999, '{"Name": "c"}'),
        '{"Endpoints": {"kubernetes": {}}}',
        '{"Endpoints": {"docker": "x"}}',
        '{"Endpoints": {"docker": {"Host": 3}}}',
    ],
)
def test_a_context_that_is_damaged_is_refused(tmp_path: Path, content: str) -> None:
    write_context(tmp_path, "", current="c")
    for path in tmp_path.rglob("meta.json"):
        path.write_bytes(content.encode(errors="surrogatepass"))
    with pytest.raises(BackendError, match=r"context 'c' cannot be used: .+ is damaged") as refused:
        ask_version({"DOCKER_CONFIG": str(tmp_path)})
    assert "docker context use" in refused.value.remedy


@pytest.mark.parametrize(
    ("content", "environ", "words"),
    [
        ('{"currentContext": "gone"}', {}, "context 'gone' cannot be used: it does not exist"),
        ("{}", {"DOCKER_CONTEXT": "gone"}, "context 'gone' cannot be used: it does not exist"),
        ("{", {}, "config.json cannot be read: it is damaged"),
        ("[]", {}, "config.json cannot be read: it is damaged"),
        ('{"proxies": 3}', {}, "The docker configuration is damaged"),
        ("", {"DOCKER_HOST": "tcp://127.0.0.1:x"}, "tcp://127.0.0.1:x cannot be reached: Port"),
        ("", {"DOCKER_HOST": "tcp://127.0.0.1:99999"}, "cannot be reached: Port out of range"),
        ("", {"DOCKER_HOST": "tcp://[::1"}, "cannot be reached: Invalid IPv6 URL"),
        ("", {"DOCKER_HOST": "word"}, "at word cannot be reached"),
        ("", {"DOCKER_HOST": "tcp://u:CANARY@h:1"}, r"//\*{8}@h:1 cannot be reached"),
        ("", {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/nowhere"}, "cannot be found"),
    ],
)
def test_settings_of_docker_that_cannot_be_used_are_told(
    content: str,
    environ: dict[str, str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(BackendError, match=words) as refused:
        ask_version({"DOCKER_CONFIG": str(tmp_path), **environ})
    assert refused.value.remedy
    assert "CANARY" not in str(refused.value)


def test_a_docker_configuration_that_is_a_directory_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    with pytest.raises(BackendError, match="Is a directory"):
        ask_version({"DOCKER_CONFIG": str(tmp_path)})


def test_the_environment_given_counts_and_not_that_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/wrong.sock")
    with fake_engine(tmp_path) as (address, asked):
        ask_version({"DOCKER_HOST": address})
    assert asked


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
