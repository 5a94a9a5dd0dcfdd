"""What hostile code of a project can do to the machine that checks it: nothing."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import threading
import time
from pathlib import Path

import pytest

from core.checks.sandbox import _root_of
from tests.core.checks.conftest import MIB, Box

pytestmark = pytest.mark.bubblewrap


def test_the_project_its_home_and_tools_are_there(box: Box) -> None:
    box.places.project.joinpath("a.txt").write_text("here")
    end = box.run("cat a.txt && echo x > b.txt && echo y > ~/c && python -c 'import ssl'")
    assert end.exit_code == 0, end.output
    assert box.places.project.joinpath("b.txt").read_text() == "x\n"
    assert box.places.home.joinpath("c").read_text() == "y\n"
    if shutil.which("node"):
        assert box.run("node --version").output.startswith("v")


@pytest.mark.parametrize("place", [Path.home(), Path("/var/tmp"), Path("/tmp"), Path("/etc")])
def test_no_file_of_the_user_can_be_read(box: Box, place: Path) -> None:
    planted = place / f".planted-{secrets.token_hex(4)}"
    planted.write_text("secret")
    try:
        assert "secret" not in box.run(f"cat {planted}").output
        assert box.run(f"cp {planted} .").exit_code != 0
    finally:
        planted.unlink()


def test_no_variable_and_no_process_of_the_user_is_seen(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-planted")
    assert "sk-planted" not in box.run("env; cat /proc/*/environ; cat /proc/*/cmdline").output
    assert box.run(f"test -e /proc/{os.getpid()}/cwd/conftest.py || kill {os.getpid()}").exit_code


@pytest.mark.parametrize("place", ["/usr", "/bin", "/etc", "/opt", "/root", "/home", "/var", "/"])
def test_nothing_is_written_outside(box: Box, place: str) -> None:
    name = f"planted-{secrets.token_hex(4)}"
    box.run(f"mkdir -p {place}; echo x > {place}/{name}")
    assert not Path(place, name).exists()


def test_a_link_out_of_the_project_leads_nowhere(box: Box, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    box.run(f"ln -s {outside} out; echo x > out/x; echo x > ../../outside/x")
    assert list(outside.iterdir()) == []


def test_there_is_no_network_but_a_loopback_of_its_own(box: Box) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        connect = "import socket\nsocket.create_connection(('127.0.0.1', {port}), 5).close()\n"
        assert box.python(connect.format(port=port)).exit_code == 1
        end = box.run("python hostile.py", network=True)
        assert end.exit_code == 0, end.output
    alone = "import socket\ns = socket.create_server(('127.0.0.1', 0))\n"
    assert box.python(alone + "socket.create_connection(s.getsockname(), 5)\n").exit_code == 0


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import os\nwhile True: os.fork()\n", "processes|memory"),
        ("x = []\nwhile True: x.append(bytearray(1 << 24))\n", "memory"),
        ("while True: print('x' * 10_000)\n", "printed"),
        (
            "import os\nfor i in range(10_000):\n"
            "    with open(f'f{i}', 'wb') as f: f.write(os.urandom(1 << 22))\n",
            "disk space",
        ),
    ],
)
def test_what_uses_too_much_is_stopped(box: Box, code: str, why: str) -> None:
    end = box.python(code)
    assert end.exit_code is None
    assert re.search(why, end.why)


def test_others_may_fill_the_disk_meanwhile(
    box: Box, tmp_path_factory: pytest.TempPathFactory
) -> None:
    others = tmp_path_factory.mktemp("others")

    def fill() -> None:
        while not box.places.project.joinpath("begun").exists():
            time.sleep(0.01)
        with others.joinpath("file").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, 300 * MIB)
        box.places.project.joinpath("filled").touch()

    thread = threading.Thread(target=fill)
    thread.start()
    end = box.run("touch begun; until [ -e filled ]; do sleep 0.1; done; sleep 0.5")
    thread.join()
    assert end.exit_code == 0, end.why


def test_what_takes_too_long_is_stopped(box: Box) -> None:
    assert "not done within 1 s" in box.run("trap '' TERM INT; sleep 1000", limit_s=1).why


def test_what_outlives_its_check_is_ended(box: Box) -> None:
    mark = f"{1_000_000 + int.from_bytes(secrets.token_bytes(3))}"
    assert box.run(f"setsid nohup sleep {mark} >/dev/null 2>&1 & sleep 0.1").exit_code == 0
    running = (p.read_bytes() for p in Path("/proc").glob("[0-9]*/cmdline") if p.exists())
    assert not any(mark.encode() in line for line in running)


def test_names_that_programs_look_up_are_there(box: Box) -> None:
    code = "import getpass, socket\nprint(getpass.getuser(), socket.getaddrinfo('localhost', 80))"
    assert box.python(code).exit_code == 0


@pytest.mark.parametrize("place", ["/", "/etc", "/dev/shm", "/tmp"])
def test_memory_cannot_be_filled_by_files(box: Box, place: str) -> None:
    end = box.run(f"head -c 600M /dev/zero > {place}/big")
    assert end.exit_code != 0, end.output


def test_a_tool_brings_its_installation_and_never_what_else_lies_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    for place in (".local/bin", ".local/lib", ".cargo/bin", ".nvm/v20/bin", ".nvm/v20/lib"):
        home.joinpath(place).mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    assert _root_of(home / ".local/bin") == home / ".local/bin"
    assert _root_of(home / ".cargo/bin") == home / ".cargo/bin"
    assert _root_of(home / ".nvm/v20/bin") == home / ".nvm/v20"
