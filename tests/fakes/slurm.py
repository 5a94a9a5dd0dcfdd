"""A cluster of fake commands on PATH, for what one real node cannot be made to do.

The commands behave (see tests/fakes/slurm_commands.py): jobs run, the real worker works in them.
What goes wrong is a setting; what happens to a job from outside is a method here.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from backends.base import BackendContext
from backends.slurm_backend import SlurmBackend
from core.bundle import AttemptDir
from core.clock import Clock, SystemClock
from core.credentials import Credentials
from core.job import JobHandle
from core.plan import Plan
from engine.run.rundir import RunDir, RunFacts, create_run
from parallel_task_orchestrator.conformance.live_run import PROMPT, Bounds, LiveRun, build_plan
from tests.fakes import slurm_commands as fake_slurm_commands
from tests.fakes.results import no_work
from tests.fakes.slurm_commands import COMMANDS, Cluster, Job

BOUNDS = Bounds(state_s=60, cancel_s=30, look_every_s=0.15)
RUN_ID = "20260101-120000-7777"


class FakeSlurm:
    """The cluster in `root`, whose commands are in `root`/bin."""

    def __init__(self, root: Path, *, leave_out: tuple[str, ...] = ()) -> None:
        self.root, self.cluster = root, Cluster(root)
        for name in ("bin", "jobs", "node-bin"):
            (root / name).mkdir(parents=True)
        for name in COMMANDS:
            if name not in leave_out:
                program = [sys.executable, "-IS", fake_slurm_commands.__file__, name, str(root)]
                self.add_command(name, f'exec {" ".join(map(_quoted, program))} "$@"')
        self._settings: dict[str, Any] = {
            "max_array_size": 1001,
            "min_job_age": 300,
            "accounting": "none",
            "sinfo": "debug*|up|1\n",
        }
        self.set()

    @property
    def environ(self) -> dict[str, str]:
        return {"PATH": str(self.root / "bin"), "HOME": str(self.root)}

    def add_command(self, name: str, text: str, *, on_node: bool = False) -> None:
        """A shell script on PATH, here or on the nodes."""
        path = self.root / ("node-bin" if on_node else "bin") / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def set(self, **settings: Any) -> None:
        """A list counts for as many calls as it has entries, anything else until it is None."""
        with self.cluster.locked():
            self._settings |= settings
            (self.root / "settings.json").write_text(json.dumps(self._settings))

    def calls(self, name: str) -> list[dict[str, Any]]:
        path = self.root / "calls.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [call for call in map(json.loads, lines) if call["name"] == name]

    def jobs(self) -> list[Job]:
        return self.cluster.jobs()

    def end(self, handle: JobHandle, state: str, status: int = 0, *, kill: int = 9) -> None:
        """Slurm ends a job that runs or waits."""
        job = self.change(handle, state=state, status=status, reason="None")
        if job["pid"]:
            with suppress(ProcessLookupError):
                os.killpg(job["pid"], kill)

    def change(self, handle: JobHandle, **changes: Any) -> Job:
        return self.cluster.change(handle.native_id, lambda job: job | changes)

    def forget(self, handle: JobHandle) -> None:
        """Some minutes after its end no job is in the queue's list."""
        self.change(handle, listed=False)

    def release(self, *native_ids: str) -> None:
        """Start these jobs, or all that wait."""
        self.set(holds=False)
        program = [sys.executable, "-IS", fake_slurm_commands.__file__, "release", str(self.root)]
        subprocess.run([*program, *native_ids], check=True, timeout=60)

    def states(self) -> dict[str, str]:
        """By id, of all jobs, whether they are listed or not."""
        return {job["id"]: job["state"] for job in self.jobs()}

    def stop(self) -> None:
        for job in self.jobs():
            if job["pid"]:
                with suppress(ProcessLookupError):
                    os.killpg(job["pid"], signal.SIGKILL)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


class FakeSlurmRun(LiveRun):
    """A LiveRun on a fake cluster."""

    slurm: FakeSlurm

    def attempt(self, handle: JobHandle) -> AttemptDir:
        return self.run.attempt(handle.key)


@contextmanager
def fake_slurm_run(
    place: Path,
    *,
    options: Mapping[str, Any] | None = None,
    credentials: Credentials = Credentials(),  # noqa: B008 - a frozen value
    plan: Plan | None = None,
    clock: Clock | None = None,
    leave_out: tuple[str, ...] = (),
    **settings: Any,
) -> Iterator[FakeSlurmRun]:
    """A run below `place`; at its end no job of it is left."""
    slurm = FakeSlurm(place / "fake cluster", leave_out=leave_out)
    slurm.set(**settings)
    clock = clock or SystemClock()

    def make(run: RunDir) -> SlurmBackend:
        chosen = dict(options or {})
        return SlurmBackend.build(
            BackendContext(run.root, credentials, clock, no_work, chosen, slurm.environ)
        )

    facts = RunFacts(RUN_ID, PROMPT, str(place / "out"), 0.0, {}, True)
    run = create_run(place / "work dir", facts)
    live = FakeSlurmRun(run, plan or build_plan(), make, BOUNDS, clock)
    live.slurm = slurm
    try:
        yield live
    finally:
        slurm.set(**dict.fromkeys(("squeue_fails", "scancel_fails", "scontrol_fails")))
        live.end()
        slurm.stop()
