"""The shell commands of a page, read out of its blocks and carried out in a directory."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import orchestrator
from tests.project.doc_pages import ROOT

PROGRAM = re.compile(r"((?:[A-Z_]+=\S+\s+)*)(?:python3 orchestrator\.py|parallel-orchestrator)\s+")
SERVERS = re.compile(r"orchestrator\.py (simulated-api|watch)|todo_app serve")
"""What goes on until somebody stops it."""
AS_ARGV = 'orchestrator() { printf "%s\\0" "$@"; }; orchestrator '


@dataclass(frozen=True)
class Command:
    text: str
    printed: tuple[str, ...] | None = None
    """The lines that the page shows of a console, whatever the exit code; None: it has to be 0."""


@dataclass(frozen=True)
class File:
    """A block whose first line is a comment with its name."""

    name: str
    text: str


def read_steps(page: Path) -> Iterator[Command | File]:
    for language, text in re.findall(
        r"^```(\w+)\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S
    ):
        named = re.match(r"# ([\w.-]+\.\w+)\n", text)
        if named:
            yield File(named[1], text)
        elif language == "sh":
            yield from map(Command, _split(text))
        elif language == "console":
            for part in re.split(r"^\$ ", text, flags=re.M)[1:]:
                command, _, output = part.replace("\\\n", " ").partition("\n")
                yield Command(command, tuple(output.splitlines()))


def _split(text: str) -> Iterator[str]:
    """Commands of one line, of several with a backslash, or with the text that is fed to them."""
    held, end = "", ""
    for line in text.splitlines():
        held += line + "\n"
        fed = re.search(r"<<'(\w+)'", line)
        end = fed[1] if fed else end
        if line == end or not (end or line.endswith("\\")):
            if held.strip():
                yield (held if end else held.replace("\\\n", " ")).strip()
            held, end = "", ""


class Typed(io.TextIOWrapper):
    """A terminal at which somebody answers every question with y."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(b"y\n"))
        self.isatty = lambda: True  # type: ignore[method-assign]


@dataclass
class Shell:
    """Carries out commands as a shell in `home` would; those of the program in this process, which
    saves the seconds in which the vendor's SDK is imported."""

    home: Path
    env: dict[str, str]
    monkeypatch: pytest.MonkeyPatch
    capfd: pytest.CaptureFixture[str]
    servers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def carry_out(self, step: Command) -> tuple[int, str]:
        """The exit code, and all that was printed."""
        exported = re.match(r"export ([A-Z_]+)=(\S+)", step.text)
        program = PROGRAM.match(step.text)
        self.capfd.readouterr()
        if exported:
            self.env[exported[1]] = exported[2]
            return 0, ""
        if SERVERS.search(step.text):
            return self._serve(step.text)
        if program and "PYTHONPATH" not in program[1]:
            code = self._in_process(step.text[program.end() :], program[1])
        else:
            done = self._bash(step.text)
            return done.returncode, (done.stdout + done.stderr).decode()
        return code, "".join(self.capfd.readouterr())

    def _in_process(self, arguments: str, assigned: str) -> int:
        argv = self._bash(AS_ARGV + arguments).stdout.decode().split("\0")[:-1]
        extra = dict(part.split("=", 1) for part in assigned.split())
        with self.monkeypatch.context() as patch:
            for name in set(os.environ) - set(self.env):
                patch.delenv(name)
            for name, value in {**self.env, **extra}.items():
                patch.setenv(name, value)
            patch.chdir(self.home)
            patch.setattr("sys.stdin", Typed())
            patch.setattr("sys.argv", ["orchestrator.py", *argv])
            patch.setattr("sys.executable", shutil.which("python3", path=self.env["PATH"]))
            try:
                return orchestrator.main(argv)
            except SystemExit as exc:
                return int(exc.code or 0)

    def _bash(self, text: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["bash", "-c", text], cwd=self.home, env=self.env, capture_output=True, timeout=120
        )

    def _serve(self, text: str) -> tuple[int, str]:
        """Starts it, and waits for the address that it prints."""
        server = subprocess.Popen(
            ["bash", "-c", f"exec {text}" if text[0] != "(" else text],
            cwd=self.home, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        self.servers.append(server)
        assert server.stdout
        told = b""
        for line in server.stdout:
            told += line
            if b"http://" in line:
                return 0, told.decode()
        return server.wait() or 1, told.decode()

    def close(self) -> None:
        for server in self.servers:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
            assert server.stdout
            server.stdout.close()


def surroundings(home: Path, address: str) -> Mapping[str, str]:
    """Those of a person in a checkout who is signed in to AWS, with a Claude on loopback."""
    aws = home / "aws-config"
    keys = "aws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = example\n"
    aws.write_text(f"[default]\n{keys}[profile my-profile]\n{keys}", encoding="utf-8")
    for name in ("orchestrator.py", "docs", "docker", "Makefile"):
        (home / name).symlink_to(ROOT / name)
    (home / ".venv").symlink_to(sys.prefix)
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "TERM": "dumb",
        "BROWSER": "true",
        "PYTHONUNBUFFERED": "1",
        "AWS_CONFIG_FILE": str(aws),
        "AWS_EC2_METADATA_DISABLED": "true",
        "ANTHROPIC_BASE_URL": address,
        "ANTHROPIC_BEDROCK_BASE_URL": address,
        "ORCHESTRATOR_SIM_SPEED": "0",
        "ORCHESTRATOR_VERIFY": "false",
        "key_id": "AKIAEXAMPLE",
        "secret": "example",
    }
