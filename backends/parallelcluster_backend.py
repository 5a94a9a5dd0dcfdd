"""Executors as jobs of an AWS ParallelCluster: Slurm behind a head node, reached over SSH.

The head node is found by the cluster's name or given; from there on it is the Slurm backend over
another site. What is left of a run on the cluster is one directory, which `cleanup` removes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

from backends.base import BackendContext, LogChunk
from backends.parallelcluster.cluster import (
    ClusterFinder,
    chosen_partitions,
    explain_partitions,
    node_troubles,
)
from backends.parallelcluster.discovery import Ec2Clusters
from backends.parallelcluster.progress import Transfers
from backends.parallelcluster.remote_host import CLI, COMMANDS, RemoteHost
from backends.parallelcluster.rpc import HeadNodeClient, Link
from backends.parallelcluster.s3_transfer import TransferBucket
from backends.parallelcluster.settings import ParallelClusterSettings
from backends.parallelcluster.ssh import SshLink
from backends.shared.worker_credentials import sent_credentials
from backends.slurm_backend import SlurmBackend
from core.credentials import Credentials
from core.errors import BackendError, Problem
from core.job import JobHandle, JobKey, JobState, JobStatus

TROUBLES_EVERY_S = 60.0


class ParallelClusterBackend(SlurmBackend):
    name = "parallelcluster"
    _remote: RemoteHost
    _finder: ClusterFinder
    _bucket: TransferBucket | None
    _chosen: Sequence[str] = ()
    _troubles = ""
    _troubles_at: float | None = None

    @classmethod
    def build(cls, site: BackendContext) -> Self:
        settings = ParallelClusterSettings.read(site.options)
        finder = ClusterFinder(settings, Ec2Clusters(settings.aws_region, site.credentials))
        return cls.over(SshLink(finder.target, site.environ), finder, site)

    @classmethod
    def over(cls, link: Link, finder: ClusterFinder, site: BackendContext) -> Self:
        """With another link to the head node than the usual one."""
        settings = ParallelClusterSettings.read(site.options)
        head = HeadNodeClient(link, settings.aws_shared_dir)
        transfers, bucket = Transfers(), None
        if name := settings.aws_s3_bucket:
            connect = partial(finder.clusters.client, "s3")
            bucket = TransferBucket(name, connect, transfers, site.run_dir)
        mask = site.credentials.mask
        remote = RemoteHost(site.run_dir, head, site.clock, bucket, transfers, mask)
        made = cls(
            site.run_dir,
            remote,
            settings,
            clock=site.clock,
            credentials=lambda: node_credentials(site.credentials, settings),
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

    def preflight(self) -> list[Problem]:
        if problems := self._finder.problems():
            return problems
        try:
            return self._node_problems() or self._slurm_problems()
        except BackendError as exc:
            return [Problem(exc.message, exc.remedy)]

    def _node_problems(self) -> list[Problem]:
        """What the head node lacks; its Python is the nodes' as well, as far as can be seen."""
        found = self._remote.greeting
        if (bucket := self._bucket) is not None:
            if CLI in found.missing:
                return [Problem("The head node has no aws.", "Leave out --aws-s3-bucket.")]
            bucket.prove()
        if missing := self._remote.missing_commands(COMMANDS):
            return [
                Problem(
                    f"The head node has no {', '.join(missing)}.",
                    "Name a cluster whose scheduler is Slurm, or its head node itself.",
                )
            ]
        if self._settings.slurm_setup is not None or self._settings.slurm_container:
            return []
        return self._python_problems(found.python, ", ".join(found.lacking))

    def _python_problems(self, python: tuple[int, ...], lacking: str) -> list[Problem]:
        fix = (
            "Give a --slurm-setup that activates an environment with this program's packages on a"
            " Python of 3.11 or newer, or a --slurm-container."
        )
        if python < (3, 11):
            told = ".".join(map(str, python))
            return [Problem(f"The cluster's python3 is {told}, which runs no workers.", fix)]
        return (
            [Problem(f"The cluster's python3 lacks packages: {lacking}.", fix)] if lacking else []
        )

    def _slurm_problems(self) -> list[Problem]:
        problems = super().preflight()
        if problems and (found := explain_partitions(self._site, self._settings, self._finder)):
            return [found]
        return problems

    def probe(self) -> list[Problem]:
        was_used = self._remote.is_used
        try:
            return super().probe()
        finally:
            if not was_used:
                self._remote.forget([self._remote.name])

    # -- while it runs

    def poll(self, handles: Sequence[JobHandle]) -> dict[JobKey, JobStatus]:
        found = super().poll(handles)
        queued = [key for key, status in found.items() if status.state is JobState.QUEUED]
        if queued and (troubles := self._node_troubles()):
            for key in queued:
                told = "; ".join(part for part in (found[key].message, troubles) if part)
                found[key] = replace(found[key], message=told)
        return found

    def _node_troubles(self) -> str:
        """Why nodes do not come up, such as no capacity in the zone; asked once a minute."""
        now = self._clock.monotonic()
        if self._troubles_at is None or now - self._troubles_at >= TROUBLES_EVERY_S:
            self._troubles_at = now
            self._troubles = node_troubles(self._site, self._partitions())
        return self._troubles

    def _partitions(self) -> Sequence[str]:
        """Names of those that jobs are for, as far as they are known."""
        if not self._chosen:
            if named := self._settings.slurm_partition:
                self._chosen = named.split(",")
            else:
                with suppress(BackendError):  # squeue has told how the jobs are
                    found = chosen_partitions(self._site, self._settings)
                    self._chosen = [p.name for p in found]
        return self._chosen

    def logs(self, handle: JobHandle, cursor: str) -> LogChunk:
        if handle.key.run == self._run_id:
            with suppress(BackendError):  # poll tells it
                self._remote.freshen(handle.key)
        return super().logs(handle, cursor)

    def under_way(self, method: str) -> str:
        verb = {"submit": "sent", "collect": "received"}.get(method, "")
        return self._remote.transfers.words(verb) if verb else ""

    # -- what a run holds

    def _places(self, run_id: str) -> Sequence[str]:
        folder = Path(self._site.run_dir).parent
        return [str(folder / name) for name in self._remote.names_of(run_id)]

    def leftovers(self, run_id: str) -> list[str]:
        folder = Path(self._site.run_dir).parent
        left = [f"directory {folder / name} on the head node" for name in self._left(run_id)]
        if run_id == self._run_id and self._bucket and self._bucket.may_hold_something:
            left.append(f"what a cut transfer may have left in the bucket {self._bucket.name}")
        return [*super().leftovers(run_id), *left]

    def _left(self, run_id: str) -> list[str]:
        """Names of a run's directories that are there."""
        there = self._remote.runs()
        return [name for name in self._remote.names_of(run_id) if name in there]

    def known_runs(self, work_dir: Path) -> list[str]:
        return self._remote.runs_here(work_dir)

    def cleanup(self, run_id: str) -> None:
        if run_id == self._run_id:
            self._remote.end()
        names = self._remote.names_of(run_id)
        self._remote.seal(names)  # so that the jobs that there are now are all that there will be
        self._queue.cancel([row.native_id for row in self._unended(run_id)])
        self._remote.forget(names)
        if run_id == self._run_id and self._bucket is not None:
            self._bucket.clear()


def node_credentials(credentials: Credentials, settings: ParallelClusterSettings) -> Credentials:
    """What nodes are sent. For Bedrock they have the role of their instances, so that only keys go
    that were given for that: no profile's, and none that had to be looked up."""
    explicit = credentials.aws_bearer_token_bedrock or credentials.aws_access_key_id
    by_role = not explicit or bool(
        credentials.aws_profile and not credentials.aws_bearer_token_bedrock
    )
    if settings.provider == "bedrock" and by_role:
        return Credentials()
    return sent_credentials(credentials, settings)
