"""Runs of the whole program that die, by kill -9, at a step, or leave what a death after a line of
their journal would leave."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]

# One process imports and prepares everything once; each run is a fork of it. --json prints each
# event after it was written to the journal. Those that are named have one id, and hardly any time
# passes, so that what they commit is the same.
_PROGRAM = """
import io, json, os, signal, sys, threading, time
from pathlib import Path
import orchestrator
import boto3, claude.sdk, engine.pipeline, engine.planning.preflight, engine.run.rundir
import backends.threading_backend, claude.client.stall, h11, httpcore2
from claude.client.providers import tls_context
from core.clock import SystemClock
from core.events import EPHEMERAL
from tests.fakes.dying_steps import die_at

class Watched(io.TextIOBase):
    def __init__(self, lines, number):
        self.lines, self.number, self.count = lines, number, 0
    def write(self, text):
        for line in filter(None, text.splitlines()):
            event = json.loads(line)
            kept = event["kind"] not in EPHEMERAL or event["data"].get("usage")
            self.count += bool(kept)
            if kept and self.count in self.lines:
                signal.pthread_kill(threading.get_ident(), self.number)
        return len(text)

class Slow(SystemClock):
    def time(self):
        return 1.8e9 + self.monotonic() / 1e6

def run(place, url, *args):
    os.chdir(place)
    os.environ["ANTHROPIC_BASE_URL"] = url
    return orchestrator.main([*args, "--json"])

def prepare():
    tls_context()
    with open(os.devnull, "w") as sys.stdout:
        assert run(".", "", "Build it", "--sim-speed", "0", "--sim-tasks", "2") == 0
    while threading.active_count() > 1:  # no thread outlives a fork
        time.sleep(0.01)

prepare()
out = sys.__stdout__
for line in iter(sys.stdin.readline, ""):
    lines, number, step, named, place, url, *args = json.loads(line)
    child = os.fork()
    if child == 0:
        sys.stdout = Watched(lines, number)
        if named:
            orchestrator.CLOCK = Slow()
            engine.run.rundir.new_run_id = lambda now: "20270115-080000-000aaaa"
        if step is not None:
            die_at(*step, Path(place), Path(place, "steps"))
        os._exit(run(place, url, *args))
    while os.WIFSTOPPED(status := os.waitpid(child, os.WUNTRACED)[1]):
        print("stopped", file=out, flush=True)
        sys.stdin.readline()
        os.kill(child, signal.SIGCONT)
    print(os.waitstatus_to_exitcode(status), file=out, flush=True)
"""
DIED = -signal.SIGKILL


class DyingRuns:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(
        self,
        place: Path,
        url: str,
        *args: str,
        step: tuple[str, int] | None = None,
        named: bool = False,
    ) -> int:
        """The exit code of a run in `place`. With a `step` it dies there, or the file `steps` in
        `place` gets them, see die_at. A run that is `named` has the same id and the same commits
        as any other."""
        self._tell(json.dumps([(), signal.SIGKILL, step, named, str(place), url, *args]))
        return int(self._hear())

    def deaths(self, after: range, place: Path, url: str, *args: str) -> Iterator[int]:
        """After each of these lines of its journal, a run in `place` is carried out to the end,
        and `place` is then as a death by kill -9 after that line would have left it."""
        self._tell(json.dumps([[*after], signal.SIGSTOP, None, False, str(place), url, *args]))
        kept = place.with_name(f"{place.name}-at")
        kept.mkdir()
        while (told := self._hear()) == "stopped":
            here = kept / str(after[len(list(kept.iterdir()))])
            subprocess.run(["cp", "--archive", place, here], check=True)
            self._tell("")
        assert told == "0"
        for lines in after[: len(list(kept.iterdir()))]:
            shutil.rmtree(place)
            (kept / str(lines)).rename(place)
            yield lines

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def _hear(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@contextmanager
def dying_runs(home: Path) -> Iterator[DyingRuns]:
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("ANTHROPIC_", "AWS_"))}
    environ |= {"ANTHROPIC_API_KEY": "sk-ant-test", "HOME": str(home), "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM], stdin=pipe, stdout=pipe, env=environ, cwd=home, text=True
    ) as process:
        yield DyingRuns(process)
        assert process.stdin is not None
        process.stdin.close()
