"""Runs of the whole program that die, by kill -9, after a given line of their journal, or at a step
that leaves none there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]

# One process imports everything once; each run is a fork of it. --json prints each event after it
# was written to the journal. Those that are named have one id, and hardly any time passes, so that
# what they commit is the same.
_PROGRAM = """
import io, json, os, signal, sys, time
from pathlib import Path
import orchestrator
import boto3, claude.sdk, engine.pipeline, engine.planning.preflight, engine.run.rundir
import backends.threading_backend, claude.client.stall
from core.clock import SystemClock
from core.events import EPHEMERAL
from tests.fakes.dying_steps import die_at

class Dying(io.TextIOBase):
    def __init__(self, lines):
        self.left = lines
    def write(self, text):
        for line in filter(None, text.splitlines()):
            event = json.loads(line)
            kept = event["kind"] not in EPHEMERAL or event["data"].get("usage")
            self.left -= bool(kept)
            if not self.left:
                os.kill(os.getpid(), signal.SIGKILL)
        return len(text)

class Slow(SystemClock):
    def time(self):
        return 1.8e9 + self.monotonic() / 1e6

for line in sys.stdin:
    lines, step, named, place, url, *args = json.loads(line)
    child = os.fork()
    if child == 0:
        os.chdir(place)
        os.environ["ANTHROPIC_BASE_URL"] = url
        sys.stdout = Dying(lines)
        if named:
            orchestrator.CLOCK = Slow()
            engine.run.rundir.new_run_id = lambda now: "20270115-080000-000aaaa"
        if step is not None:
            die_at(*step, Path(place), Path(place, "steps"))
        os._exit(orchestrator.main([*args, "--json"]))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
DIED = -signal.SIGKILL


class DyingRuns:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(
        self,
        lines: int,
        place: Path,
        url: str,
        *args: str,
        step: tuple[str, int] | None = None,
        named: bool = False,
    ) -> int:
        """The exit code of a run in `place` that dies after so many lines; 0 for never. With a
        `step` it dies there, or the file `steps` in `place` gets them, see die_at. A run that is
        `named` has the same id and the same commits as any other."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([lines, step, named, str(place), url, *args]) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


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
