"""Real Slurm clusters: the one that everybody uses, and clusters that a test may break.

tests/services/slurm.sh starts them all. A cluster of a test's own has a directory with a short path
(it holds sockets) and two ports that no other test process of the machine takes.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "services" / "slurm.sh"
_PORTS = range(27000, 28000, 2)  # below those that the system gives to outgoing connections
_SERVICE_DIR = "/var/tmp/parallel-orchestrator-slurm"  # as in the script


def service_conf() -> Path:
    """The slurm.conf of the cluster that everybody uses."""
    return Path(os.environ.get("SLURM_SERVICE_DIR", _SERVICE_DIR)) / "slurm.conf"


class Cluster:
    """What a test does on a cluster, with the commands that users have."""

    def __init__(self, conf: Path) -> None:
        self.conf = conf
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "SLURM_CONF": str(conf),
        }

    def run(self, *command: str) -> str:
        """What it prints on stdout; fails with what it says on stderr."""
        done = subprocess.run(
            command, env=self.environ, capture_output=True, text=True, timeout=100
        )
        assert done.returncode == 0, f"{command} failed ({done.returncode}): {done.stderr}"
        return done.stdout

    def submit(self, script: str, *options: str) -> str:
        """The id of a job, whose output goes nowhere unless the options say where."""
        quiet = ("--parsable", "--output=/dev/null")
        return self.run("sbatch", *quiet, *options, f"--wrap={script}").strip()

    def states(self, job: str) -> dict[str, str]:
        """State by id of a job, or of each element of an array; empty once Slurm forgot it."""
        listing = ["squeue", "-h", "-r", "-t", "all", "-j", job, "-o", "%i %T"]
        done = subprocess.run(
            listing, env=self.environ, capture_output=True, text=True, timeout=100
        )
        if done.returncode != 0:
            assert "Invalid job id specified" in done.stderr, done.stderr
        return dict(line.split() for line in done.stdout.splitlines())

    def await_states(self, job: str, *wanted: str, within_s: float = 30) -> dict[str, str]:
        """Wait until the job's states are none but these; with none wanted, until it is gone."""
        deadline = time.monotonic() + within_s
        while True:
            seen = self.states(job)
            if set(seen.values()) <= set(wanted) and bool(seen) == bool(wanted):
                return seen
            assert time.monotonic() < deadline, f"job {job} is {seen}, not {wanted}"
            threading.Event().wait(0.1)


class OwnCluster(Cluster):
    """A cluster that a test may break; its node has the name `node`."""

    def __init__(self, place: Path, port: int, settings: dict[str, int]) -> None:
        super().__init__(place / "slurm.conf")
        self.place, self.node = place, f"node{port}"
        self._service = {f"SLURM_SERVICE_{name.upper()}": str(n) for name, n in settings.items()}
        self._service |= {"SLURM_SERVICE_DIR": str(place), "SLURM_SERVICE_PORT": str(port)}

    def start(self) -> None:
        self._script("start")

    def stop(self) -> None:
        """End the daemons and all jobs, and forget them."""
        self._script("stop")

    def stop_controller(self) -> None:
        """Jobs go on; every command fails, most of them after four seconds."""
        self._script("stop-controller")

    def start_controller(self) -> None:
        self._script("start-controller")

    def kill_node(self) -> None:
        """As when the node loses its power: its jobs are gone, and nobody has said so."""
        self._script("crash-node")

    def start_node(self) -> None:
        self._script("start-node")

    def _script(self, what: str) -> None:
        done = subprocess.run(
            [SCRIPT, what],
            env=self.environ | self._service,
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert done.returncode == 0, f"{SCRIPT.name} {what} failed: {done.stderr}"


@contextmanager
def _leased_ports() -> Iterator[int]:
    """The first of two free ports, kept from other test processes by a name in the kernel."""
    for port in _PORTS:
        with socket.socket(socket.AF_UNIX) as lease:
            try:
                lease.bind(f"\0parallel-orchestrator-slurm-{port}")
            except OSError:
                continue
            if _is_free(port) and _is_free(port + 1):
                yield port
                return
    raise AssertionError(f"no two free ports in {_PORTS}")


def _is_free(port: int) -> bool:
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("", port))
        except OSError:
            return False
        return True


@contextmanager
def cluster_of_its_own(**settings: int) -> Iterator[OwnCluster]:
    """A started cluster; settings are the script's: `min_job_age=2` is SLURM_SERVICE_MIN_JOB_AGE.

    Skips where only root could start one. Everything is stopped and removed at the end.
    """
    if os.geteuid() != 0:
        pytest.skip("only root can start a Slurm of the test's own")
    with _leased_ports() as port:
        place = Path(tempfile.mkdtemp(prefix="pto-", dir="/tmp"))
        cluster = OwnCluster(place, port, settings)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()
            shutil.rmtree(place)
