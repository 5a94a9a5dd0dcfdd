"""A cluster for tests as a laptop sees it: a head node behind a real sshd, a real Slurm behind
that, and an EC2 (moto) that knows it by its tags.

Every host name leads to the sshd of tests/services/sshd.sh, by the ssh that it puts on PATH.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import IO, Any

import boto3
from moto import mock_aws

from backends.base import Backend, BackendContext
from backends.parallelcluster.cluster import ClusterFinder, Ec2Clusters
from backends.parallelcluster.settings import ParallelClusterSettings
from backends.parallelcluster.ssh import SshLink
from backends.parallelcluster_backend import ParallelClusterBackend
from core.bundle import AttemptDir
from core.clock import Clock, SystemClock
from core.credentials import Credentials
from core.job import JobKey
from engine.run.rundir import RunDir
from tests.fakes.results import no_work

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tests" / "services" / "sshd.sh"
PLACE = Path(os.environ.get("SSHD_SERVICE_DIR", "/var/tmp/parallel-orchestrator-sshd"))
REGION = "eu-central-1"
NAME = "my-cluster"


@dataclass(frozen=True)
class Sshd:
    """One that tests/services/sshd.sh runs; `path` is put before the PATH of its sessions."""

    place: Path = PLACE
    port: int = 0
    path: str = ""

    def control(self, order: str) -> None:
        environ = {
            **os.environ,
            "SSHD_SERVICE_DIR": str(self.place),
            "SSHD_SERVICE_PATH": self.path,
        }
        if self.port:
            environ["SSHD_SERVICE_PORT"] = str(self.port)
        done = subprocess.run([str(SCRIPT), order], env=environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    @classmethod
    def of_its_own(cls, place: Path, path: str = "") -> Sshd:
        """One that a test may stop."""
        with socket.socket() as held:
            held.bind(("127.0.0.1", 0))
            return cls(place, held.getsockname()[1], path)

    @contextmanager
    def running(self) -> Iterator[Sshd]:
        self.control("start")
        try:
            yield self
        finally:
            self.control("stop")

    @property
    def log(self) -> str:
        return (self.place / "sshd.log").read_text(encoding="utf-8", errors="replace")

    @property
    def sign_ins(self) -> int:
        """How many connections were let in so far."""
        return self.log.count("Accepted publickey")

    @property
    def sessions(self) -> int:
        """How many commands were run so far."""
        return self.log.count("Starting session: command")

    def environ(self) -> dict[str, str]:
        """That of a laptop from which all hosts are this one."""
        kept = {
            name: os.environ[name] for name in ("HOME", "USER", "LOGNAME") if name in os.environ
        }
        return {**kept, "PATH": f"{self.place / 'bin'}:{os.environ['PATH']}"}


@contextmanager
def aws_with_cluster(*names: str, **tags: str) -> Iterator[Any]:
    """An EC2 in which head nodes of these names run; gives its client."""
    with mock_aws():
        client = boto3.client("ec2", region_name=REGION)
        for name in names or (NAME,):
            add_head_node(client, name, **tags)
        yield client


def aws_client(environ: Mapping[str, str]) -> Any:
    """The EC2 of one with this environment."""
    return boto3.client(
        "ec2",
        region_name=REGION,
        endpoint_url=environ["AWS_ENDPOINT_URL"],
        aws_access_key_id=environ["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environ["AWS_SECRET_ACCESS_KEY"],
    )


def add_head_node(client: Any, name: str, **tags: str) -> str:
    """The id of its instance."""
    all_tags = {"cluster-name": name, "node-type": "HeadNode", **tags}
    pairs = [{"Key": f"parallelcluster:{key}", "Value": value} for key, value in all_tags.items()]
    found = client.run_instances(
        ImageId="ami-12c6146b",
        MinCount=1,
        MaxCount=1,
        TagSpecifications=[{"ResourceType": "instance", "Tags": pairs}],
    )
    return str(found["Instances"][0]["InstanceId"])


@dataclass
class Cut:
    """Which requests' connections are cut: the first that holds each of `words`."""

    words: list[bytes]


class CutLink:
    """An SshLink whose master is killed as soon as certain requests are on their way."""

    def __init__(self, link: SshLink, cut: Cut) -> None:
        self._link = link
        self._cut = cut

    @contextmanager
    def run(self, command: str, feed: Iterable[bytes] = ()) -> Iterator[IO[bytes]]:
        chunks = iter(feed)
        first = next(chunks, b"")
        with self._link.run(command, chain([first], chunks)) as printed:
            if found := [word for word in self._cut.words if word in first]:
                self._cut.words.remove(found[0])
                kill_master(self._link)
            yield printed

    def close(self) -> None:
        self._link.close()


def kill_master(link: SshLink) -> None:
    """As a network that is gone does it, so that nobody says goodbye."""
    name = f"{link._folder}/s".encode()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = path.read_bytes()
            # a master calls itself "ssh: <socket> [mux]"
            if words.startswith(b"ssh: " + name) or (name in words and b"\0-N\0" in words):
                os.kill(int(path.parent.name), signal.SIGKILL)


@dataclass
class RemoteCluster:
    """Backends for it. Its shared directory is `shared`, below which nodes find all of a run."""

    shared: Path
    sshd: Sshd = field(default_factory=Sshd)
    credentials: Credentials = field(default_factory=Credentials)
    clock: Clock = field(default_factory=SystemClock)
    more: Mapping[str, Any] = field(default_factory=dict)
    cut: Cut | None = None

    def options(self) -> dict[str, Any]:
        self.shared.mkdir(parents=True, exist_ok=True)
        setup = self.shared / "setup.sh"
        setup.write_text(f'export PATH="{ROOT}/.venv/bin:$PATH"\n', encoding="utf-8")
        return {
            "aws_cluster_name": NAME,
            "aws_region": REGION,
            "aws_shared_dir": str(self.shared),
            "slurm_partition": "debug",
            "slurm_mem": "100M",
            "slurm_setup": setup,
            **self.more,
        }

    def make(self, run: RunDir) -> ParallelClusterBackend:
        context = BackendContext(
            run.root, self.credentials, self.clock, no_work, self.options(), self.sshd.environ()
        )
        if self.cut is None:
            return ParallelClusterBackend.build(context)
        settings = ParallelClusterSettings.read(context.options)
        finder = ClusterFinder(settings, Ec2Clusters(REGION, self.credentials))
        link = CutLink(SshLink(finder.target, context.environ), self.cut)
        return ParallelClusterBackend.over(link, finder, context)

    @property
    def root(self) -> Path:
        return self.shared / ".parallel-orchestrator"

    def runs(self) -> list[Path]:
        """Directories of runs."""
        return sorted((self.root / "runs").glob("*-*"))

    def attempt(self, key: JobKey) -> AttemptDir:
        [found] = (self.root / "runs").glob(f"{key.run}-*")
        return AttemptDir(found / "tasks" / key.task / str(key.attempt))


Maker = Callable[[RunDir], Backend]
