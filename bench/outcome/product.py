"""A codebase under test: its commands and servers, run with nothing but a bare interpreter."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

# The interpreter without the packages of this project's environment.
PYTHON = str(Path(sys.base_prefix) / "bin" / "python3")
READY_S = 10.0


@dataclass(frozen=True, slots=True)
class Finished:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


@dataclass(frozen=True, slots=True)
class Running:
    """A process that serves on `port`; what it prints goes to `log`."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout_s: float = 8) -> int:
        """Its exit code after the signal; TimeoutExpired if it lives on."""
        self.process.send_signal(number)
        return self.process.wait(timeout_s)


@dataclass(frozen=True, slots=True)
class Product:
    """The codebase in `root`; `work` is one check's own folder, `shared` is that of all checks."""

    root: Path
    work: Path
    shared: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        path = os.pathsep.join((str(Path(PYTHON).parent), "/usr/local/bin", "/usr/bin", "/bin"))
        fixed = {"PATH": path, "HOME": str(self.work), "LANG": "C.UTF-8", "TZ": "UTC"}
        return {**fixed, **self.variables, **(more or {})}

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
        timeout_s: float = 15,
    ) -> Finished:
        """Runs a command in the codebase's root to its end."""
        done = subprocess.run(
            argv, cwd=self.root, env=self.environment(env), input=stdin.encode(),
            capture_output=True, timeout=timeout_s, check=False,
        )  # fmt: skip
        return Finished(done.returncode, done.stdout.decode(), done.stderr.decode())

    def prepare(self, name: str, build: Callable[[], None]) -> None:
        """Fills the empty `work`: by `build` for the first check that asks, then by a copy."""
        made = self.shared / name
        if made.exists():
            shutil.copytree(made, self.work, dirs_exist_ok=True)
            return
        build()
        shutil.copytree(self.work, self.shared / f"{name}.part", dirs_exist_ok=True)
        (self.shared / f"{name}.part").rename(made)

    def start(
        self, argv: Sequence[str], *, port: int, env: Mapping[str, str] | None = None
    ) -> Running:
        """Starts a server in the codebase's root and waits until `port` accepts connections."""
        log = self.work / f"output-{time.monotonic_ns()}.txt"
        with log.open("wb") as out:
            process = subprocess.Popen(
                argv, cwd=self.root, env=self.environment(env),
                stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip
        running = Running(process, port, log)
        wait_until_accepting(running)
        return running


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_accepting(running: Running) -> None:
    """AssertionError, with the last of its output, if the process ends or does not listen."""
    end = time.monotonic() + READY_S
    while running.process.poll() is None and time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", running.port), 1).close()
        except OSError:
            time.sleep(0.03)
        else:
            return
    raise AssertionError(f"does not listen on its port: {running.output()[-300:].strip()}")
