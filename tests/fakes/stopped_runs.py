"""Runs on the detached backend, started as a person would, for the tests of cancel and clean."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import orchestrator
from core.clock import SystemClock
from engine.run.rundir import RunDir, is_locked
from parallel_task_orchestrator.conformance.live_run import eventually
from tests.fakes import detached_backend
from tests.fakes.detached_backend import NAME, ROOT, VARIABLE, is_alive, pid_of
from tests.fakes.surroundings import clean

PROMPT = "Build a todo list app"


@dataclass(frozen=True)
class CommandResult:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def printed(self) -> list[str]:
        """The words of the command that it names, after those that call the program."""
        (command,) = re.findall(r"`(.*)`", self.out)
        return shlex.split(command)[2:]

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(frozen=True)
class Cli:
    """A working directory, an engine for the detached backend, and the command line."""

    place: Path

    @property
    def engine(self) -> Path:
        return self.place / "engine"

    @property
    def runs(self) -> Path:
        return self.place / ".orchestrator" / "runs"

    @property
    def environ(self) -> Mapping[str, str]:
        kept = {k: os.environ[k] for k in ("PATH", "LANG", "LC_ALL") if k in os.environ}
        more = {"HOME": str(self.place), "PYTHONPATH": str(ROOT), VARIABLE: str(self.engine)}
        return {**kept, **more, "AWS_EC2_METADATA_DISABLED": "true"}

    def command(self, *args: str) -> list[str]:
        return [sys.executable, str(ROOT / "orchestrator.py"), *args]

    def __call__(self, *args: str) -> CommandResult:
        done = subprocess.run(
            self.command(*args),
            cwd=self.place,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=110,
        )
        assert "Traceback" not in done.stderr
        return CommandResult(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def start(self, *args: str, ignore_ctrl_c: bool = False) -> Iterator[subprocess.Popen[str]]:
        """A process that is gone at the end, whatever happens."""
        ignored = {signal.SIGINT} if ignore_ctrl_c else set()
        before = {number: signal.signal(number, signal.SIG_IGN) for number in ignored}
        try:
            process = subprocess.Popen(
                self.command(*args),
                cwd=self.place,
                env=self.environ,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    @contextmanager
    def running(self, jobs: int = 1, **how: bool) -> Iterator[subprocess.Popen[str]]:
        """A run on the detached backend, once so many of its jobs run and its journal has them."""
        slow = ("--sim-speed", "0.05", "--max-executors", str(jobs), "--output-dir", "out")
        plan = self.place / "plan.json"
        if not plan.exists():
            plan.write_text(json.dumps(two_tasks()))
        wanted = self.submitted() + jobs
        with self.start(PROMPT, "--backend", NAME, *slow, "--plan", "plan.json", **how) as process:
            self.eventually(lambda: self.submitted() >= wanted, "jobs that the journal has")
            yield process

    def killed(self, jobs: int = 1) -> str:
        """The id of a run whose process was killed while its jobs ran."""
        with self.running(jobs) as process:
            process.kill()
        return self.run_id

    @property
    def run_id(self) -> str:
        return self.run.run_id

    @property
    def run(self) -> RunDir:
        """The newest."""
        return RunDir(max(path.parent for path in self.runs.glob("*/run.json")))

    def journal(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.run.journal.read_text().splitlines()]

    def alive(self) -> list[int]:
        pids = (pid_of(path.parent) for path in self.engine.glob("*/*/pid"))
        return [pid for pid in pids if is_alive(pid)]

    def submitted(self) -> int:
        """Jobs that the journals of all runs have as handed over."""
        journals = self.runs.glob("*/journal.jsonl")
        return sum(path.read_text().count('"kind":"job_submitted"') for path in journals)

    def state(self) -> str:
        return str(self("runs", "--json").lines[-1]["state"])

    def is_locked(self) -> bool:
        return is_locked(self.run)

    def finish_jobs(self) -> None:
        """Let what runs end by itself, with results."""
        for bundle in self.engine.glob("*/*/bundle"):
            pid = pid_of(bundle.parent)
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)
                for stale in (bundle / "result", bundle / "work"):
                    subprocess.run(["rm", "-rf", str(stale)], check=True)
                task = bundle / "request" / "task.json"
                task.write_text(task.read_text().replace('"speed":0.05', '"speed":0.0'))
                worker = [sys.executable, detached_backend.__file__, str(bundle)]
                subprocess.run(worker, env=self.environ, check=True, timeout=60)

    def eventually(self, seen: Any, what: str) -> None:
        eventually(seen, what, within_s=60, every_s=0.05, clock=SystemClock())

    def end_all(self) -> None:
        for pid in self.alive():
            os.kill(pid, signal.SIGKILL)


@dataclass(frozen=True)
class CliInProcess(Cli):
    """Its commands run in this process, which is at its `place` and has its `environ`."""

    capsys: pytest.CaptureFixture[str]

    def __call__(self, *args: str) -> CommandResult:
        self.capsys.readouterr()
        code = orchestrator.main(list(args))
        result = self.capsys.readouterr()
        assert "Traceback" not in result.err
        return CommandResult(code, result.out, result.err)


@contextmanager
def opened(cli: Cli) -> Iterator[Cli]:
    """With an engine that runs nothing any more at the end."""
    cli.engine.mkdir()
    try:
        yield cli
    finally:
        cli.end_all()


@contextmanager
def opened_here(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Cli]:
    cli = CliInProcess(place, capsys)
    monkeypatch.setattr("sys.argv", cli.command()[1:])
    clean(place, monkeypatch)
    for name, value in cli.environ.items():
        monkeypatch.setenv(name, value)
    with opened(cli):
        yield cli


def two_tasks() -> dict[str, Any]:
    """A plan whose two tasks run side by side; nothing in it takes long to make."""
    return {
        "title": "Two",
        "summary": PROMPT,
        "analysis": {
            "complexity": 1,
            "rationale": "Flat.",
            "recommended_executors": 2,
            "parallel_pays": True,
        },
        "contracts": [],
        "tasks": [
            {
                "id": name,
                "title": f"Write {name}",
                "instructions": f"Write {name}.md.",
                "depends_on": [],
                "owns": [f"{name}.md"],
                "checks": [],
                "estimate": 100,
            }
            for name in ("one", "two")
        ],
        "acceptance_criteria": [{"text": "Both are there.", "served_by": ["one", "two"]}],
    }
