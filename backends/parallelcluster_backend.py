"""Executors as jobs of an AWS ParallelCluster: Slurm behind a head node, reached over SSH.

The head node is looked up by the cluster's name, or named itself. Everything else is the Slurm
backend over another host. A run leaves one directory on the cluster, which `cleanup` removes.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

from backends.base import BackendContext, LogChunk, PollPace
from backends.parallelcluster.cluster import (
    ClusterFinder,
    Ec2Clusters,
    chosen_partitions,
    fleet_problem,
    node_failures,
)
from backends.parallelcluster.progress import Transfers
from backends.parallelcluster.remote_host import AWS_CLI, RemoteHost
from backends.parallelcluster.rpc import HeadNodeClient, Link
from backends.parallelcluster.s3_transfer import TransferBucket
from backends.parallelcluster.settings import ParallelClusterSettings
from backends.parallelcluster.ssh import SshLink
from backends.shared.worker_credentials import sent_credentials
from backends.slurm.preflight import COMMANDS, errors_as_problems, start_remedy
from backends.slurm_backend import MOST_POLL_S, SlurmBackend
from core.credentials import Credentials
from core.errors import BackendError, Problem
from core.job import JobHandle, JobKey, JobState, JobStatus

NODE_FAILURES_EVERY_S = 60.0


class ParallelClusterBackend(SlurmBackend):
    name = "parallelcluster"
    checks_run_in = "job"
    pace = PollPace(5.0, MOST_POLL_S)  # what jobs leave is told of before
    first_line_s = 10.0
    _remote: RemoteHost
    _finder: ClusterFinder
    _bucket: TransferBucket | None
    _partitions: Sequence[str] = ()
    _failures = ""
    _failures_at: float | None = None

    @classmethod
    def build(cls, context: BackendContext) -> Self:
        settings = ParallelClusterSettings.read(context.options)
        finder = ClusterFinder(settings, Ec2Clusters(settings.aws_region, context.credentials))
        return cls.over(SshLink(finder.target, context.environ), finder, context)

    @classmethod
    def over(cls, link: Link, finder: ClusterFinder, context: BackendContext) -> Self:
        """Over any link to the head node."""
        settings = ParallelClusterSettings.read(context.options)
        head = HeadNodeClient(link, settings.aws_shared_dir)
        transfers, bucket = Transfers(), None
        if name := settings.aws_s3_bucket:
            connect = partial(finder.clusters.client, "s3")
            bucket = TransferBucket(name, connect, transfers, context.run_dir)
        mask = context.credentials.mask
        remote = RemoteHost(context.run_dir, head, context.clock, bucket, transfers, mask)
        made = cls(
            context.run_dir,
            remote,
            settings,
            clock=context.clock,
            credentials=lambda: node_credentials(context.credentials, settings),
            mask=mask,
        )
        made._remote, made._finder, made._bucket = remote, finder, bucket
        return made

    # -- before a run

    @classmethod
    def location_settings(cls, options: Mapping[str, Any]) -> dict[str, str]:
        """A cluster that has a name may have its head node anywhere."""
        settings = ParallelClusterSettings.read(options)
        named = ("aws_cluster_name", "aws_region")
        names = named if settings.aws_cluster_name else ("aws_head_node",)
        return {n: getattr(settings, n) for n in (*names, "aws_ssh_user", "aws_shared_dir")}

    @errors_as_problems
    def preflight(self) -> list[Problem]:
        self._finder.check()
        return self._head_node_problems() or self._slurm_problems()

    def _head_node_problems(self) -> list[Problem]:
        """Its Python is that of the nodes as well, as far as can be seen."""
        info = self._remote.info
        if (bucket := self._bucket) is not None:
            if AWS_CLI in info.missing_commands:
                fix = "Install the AWS CLI there, or leave out --aws-s3-bucket."
                return [Problem("The head node has no command aws.", fix)]
            bucket.check_access()
        if missing := self._remote.missing_commands(COMMANDS):
            fix = "Name a cluster whose scheduler is Slurm, or its head node itself."
            return [Problem(f"The head node lacks Slurm's {', '.join(missing)}.", fix)]
        if self._settings.slurm_setup is not None or self._settings.slurm_container:
            return []
        return python_problems(info.python, info.missing_packages, start_remedy(self._settings))

    def _slurm_problems(self) -> list[Problem]:
        problems = super().preflight()
        if problems and (found := fleet_problem(self._host, self._settings, self._finder)):
            return [found]
        return problems

    def probe(self) -> list[Problem]:
        was_used = self._remote.is_used
        try:
            return super().probe()
        finally:
            if not was_used:
                self._remote.remove_runs([self._remote.name])

    # -- during a run

    def poll(self, handles: Sequence[JobHandle]) -> dict[JobKey, JobStatus]:
        found = super().poll(handles)
        queued = [key for key, status in found.items() if status.state is JobState.QUEUED]
        if queued and (failures := self._node_failures()):
            for key in queued:
                message = "; ".join(filter(None, (found[key].message, failures)))
                found[key] = replace(found[key], message=message)
        return found

    def _node_failures(self) -> str:
        """Why nodes do not start, such as no capacity in the zone; asked once a minute."""
        now = self._clock.monotonic()
        if self._failures_at is None or now - self._failures_at >= NODE_FAILURES_EVERY_S:
            self._failures_at = now
            self._failures = node_failures(self._host, self._partition_names())
        return self._failures

    def _partition_names(self) -> Sequence[str]:
        """The partitions of the jobs, as far as they are known."""
        if wanted := self._settings.slurm_partition:
            return wanted.split(",")
        if not self._partitions:
            with suppress(BackendError):  # squeue has answered, and that is enough
                self._partitions = [p.name for p in chosen_partitions(self._host, self._settings)]
        return self._partitions

    def logs(self, handle: JobHandle, cursor: str) -> LogChunk:
        self._remote.follow()
        if handle.key.run == self._run_id and not self._is_heard:  # so that nobody waits for news
            with suppress(BackendError):  # poll reports it
                self._remote.refresh(handle.key)
        return super().logs(handle, cursor)

    def under_way(self, method: str) -> str:
        verb = {"submit": "sent", "collect": "received"}.get(method, "")
        return self._remote.transfers.summary(verb) if verb else ""

    # -- what a run holds

    def _run_dirs(self, run_id: str) -> Sequence[str]:
        folder = Path(self._host.run_dir).parent
        return [str(folder / name) for name in self._remote.names_of(run_id)]

    def leftovers(self, run_id: str) -> list[str]:
        folder, runs = Path(self._host.run_dir).parent, self._remote.runs()
        names = [name for name in self._remote.names_of(run_id) if name in runs]
        found = [f"directory {folder / name} on the head node" for name in names]
        if run_id == self._run_id and self._bucket and self._bucket.may_hold_objects:
            found.append(f"objects of interrupted transfers in the bucket {self._bucket.name}")
        return [*super().leftovers(run_id), *found]

    def known_runs(self, work_dir: Path) -> list[str]:
        return self._remote.runs_of(work_dir)

    def cleanup(self, run_id: str) -> None:
        if run_id == self._run_id:
            self._remote.end()
        names = self._remote.names_of(run_id)
        self._remote.mark_cleaned_up(names)  # no job is added to those that are cancelled next
        self._queue.cancel([record.native_id for record in self._active_jobs(run_id)])
        self._remote.remove_runs(names)
        if run_id == self._run_id and self._bucket is not None:
            self._bucket.clear()


def python_problems(
    version: tuple[int, ...], missing_packages: Sequence[str], fix: str
) -> list[Problem]:
    if version < (3, 11):
        found = ".".join(map(str, version))
        return [Problem(f"The cluster's python3 is {found}, too old for workers.", fix)]
    if missing_packages:
        names = ", ".join(missing_packages)
        return [Problem(f"The cluster's python3 lacks packages: {names}.", fix)]
    return []


def node_credentials(credentials: Credentials, settings: ParallelClusterSettings) -> Credentials:
    """The credentials that nodes are sent. For Bedrock they have the role of their instances, so
    that only keys go that were given for that: no profile's, and none that had to be looked up."""
    bearer, key = credentials.aws_bearer_token_bedrock, credentials.aws_access_key_id
    by_role = not (bearer or (key and not credentials.aws_profile))
    if settings.provider == "bedrock" and by_role:
        return Credentials()
    return sent_credentials(credentials, settings)
