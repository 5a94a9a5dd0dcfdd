"""Runs a case as a process of its own, and says what it did that no case may do."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.hostile.cases import Case
from tests.hostile.values import World

ROOT = Path(__file__).parents[2]
CODES = {0, 1, 2, 3, 4, 130}
SILENT_S = 10.0
LONGEST_S = 45.0
"""After it, a case that speaks is interrupted, which it has to heed."""
_INTERRUPTED_S = 30.0


@dataclass(frozen=True)
class Outcome:
    """`breaches` are sentences; empty is good."""

    code: int
    output: str
    took_s: float
    silent_s: float
    breaches: tuple[str, ...]


@contextmanager
def addresses() -> Iterator[tuple[int, int, int]]:
    """Ports on loopback: one that refuses, one that takes connections and is silent, and one that
    answers garbage."""
    with socket.socket() as refusing, socket.socket() as silent, socket.socket() as garbled:
        for each in (refusing, silent, garbled):
            each.bind(("127.0.0.1", 0))
        silent.listen(512)
        garbled.listen(512)
        threading.Thread(target=_answer, args=(garbled,), daemon=True).start()
        ports = [each.getsockname()[1] for each in (refusing, silent, garbled)]
        yield ports[0], ports[1], ports[2]


def _answer(listening: socket.socket) -> None:
    with suppress(OSError):
        while True:
            with suppress(ConnectionError):
                connection, _ = listening.accept()
                connection.sendall(b"\x00garbage\xff\r\n\r\n")
                connection.close()


def run_case(case: Case, world: World) -> Outcome:
    """Lays the case out and runs it; slower machines get more time."""
    cwd = world.place / "cwd"
    for name, content in case.files.items():
        path = cwd / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for name, script in case.commands.items():
        path = world.place / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    factor = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    code, output, took_s, silent_s, breaches = _watch(case, cwd, factor)
    return Outcome(code, output, took_s, silent_s, (*breaches, *_breaches(case, code, output, cwd)))


def _watch(case: Case, cwd: Path, factor: float) -> tuple[int, str, float, float, list[str]]:
    began = heard = time.monotonic()
    stdin = {"preexec_fn": _close_stdin} if case.reads_stdin else {"stdin": subprocess.DEVNULL}
    process = subprocess.Popen(
        [os.fsencode(sys.executable), os.fsencode(ROOT / "orchestrator.py"), *case.args],
        cwd=cwd,
        env=case.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        **stdin,
    )
    output, silent_s, breaches = bytearray(), 0.0, list[str]()
    interrupted_at = 0.0
    assert process.stdout is not None
    try:
        while True:
            ready = select.select([process.stdout], [], [], 0.25)[0]
            now = time.monotonic()
            if ready:
                piece = os.read(process.stdout.fileno(), 65_536)
                silent_s, heard = max(silent_s, now - heard), now
                output += piece
                if not piece:
                    break
            elif now - heard > 2 * SILENT_S * factor and not interrupted_at:
                silent_s = now - heard
                breaches.append(f"no line for {silent_s:.0f} s")
                break
            if interrupted_at and now - interrupted_at > _INTERRUPTED_S * factor:
                breaches.append("Ctrl-C did not end it")
                break
            if not interrupted_at and now - began > LONGEST_S * factor:
                interrupted_at = now
                process.send_signal(signal.SIGINT)
        if not breaches:
            process.wait(timeout=30)
        if silent_s > SILENT_S * factor and not breaches:
            breaches.append(f"no line for {silent_s:.0f} s")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    text = output.decode("utf-8", "backslashreplace")
    return process.returncode, text, time.monotonic() - began, silent_s, breaches


def _close_stdin() -> None:
    os.close(0)


def _breaches(case: Case, code: int, output: str, cwd: Path) -> Iterator[str]:
    if "Traceback (most" in output and b"--debug" not in case.args:
        yield "a traceback"
    if "nternal error" in output:
        yield "an internal error"
    if code not in CODES:
        yield f"exit code {code}"
    if (
        code == 0
        and case.args[0] == b"run"
        and not {b"--help-all", b"--show-config"} & set(case.args)
    ):
        yield from _missing(cwd)


def _missing(cwd: Path) -> Iterator[str]:
    """Files that a run planned and did not deliver, wherever its directories are."""
    runs = [p for p in cwd.parent.rglob("run.json") if p.parent.parent.name == "runs"]
    if not runs:
        yield "exit code 0 and no run directory"
    for facts in runs:
        target = Path(json.loads(facts.read_bytes())["target"])
        plan = json.loads((facts.parent / "plan.json").read_bytes())
        planned = [
            path for task in plan["tasks"] for path in task["owns"] if not path.endswith("/")
        ]
        planned += [contract["path"] for contract in plan["contracts"]]
        for path in planned:
            if not (target / path).is_file():
                yield f"exit code 0 without {path}"
