"""Which cluster is meant, where its head node is, and what state cluster and fleet are in."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from backends.parallelcluster.discovery import Ec2Clusters, choose_head_node, explain_stack
from backends.parallelcluster.settings import ParallelClusterSettings
from backends.parallelcluster.ssh import SshTarget
from backends.slurm.commands import Partition, build_sinfo, parse_sinfo
from backends.slurm.host import ClusterHost
from backends.slurm.settings import SlurmSettings
from core.errors import BackendError, Problem

log = logging.getLogger(__name__)

_MOST_CHARS = 300


class ClusterFinder:
    """EC2 is asked only where no head node is named."""

    def __init__(self, settings: ParallelClusterSettings, clusters: Ec2Clusters) -> None:
        self.name = settings.aws_cluster_name
        self._host = settings.aws_head_node
        self._user = settings.aws_ssh_user
        self._key = str(settings.aws_ssh_key or "")
        self.clusters = clusters

    @property
    def region(self) -> str:
        return self.clusters.region

    def target(self) -> SshTarget:
        """Where to sign in, as of now: a head node that was stopped comes back elsewhere."""
        if self._host:
            return SshTarget(self._host, self._user, self._key)
        if not self.name:
            raise BackendError(
                "No cluster is named.", "Give --aws-cluster-name or --aws-head-node."
            )
        node = choose_head_node(self.name, self.region, self.clusters.head_nodes())
        return SshTarget(node.address, self._user, self._key, usual_user=node.login)

    def problems(self) -> list[Problem]:
        """What AWS says against using the cluster now, and a key that was named and is not there:
        ssh would go on with others."""
        if self._key and not Path(self._key).is_file():
            return [Problem(f"There is no key file {self._key}.", "Correct --aws-ssh-key.")]
        try:
            target = self.target()
        except BackendError as exc:
            return [Problem(exc.message, exc.remedy)]
        if target.host == self._host:
            return []
        state = self.clusters.stack_state(self.name)
        error = explain_stack(self.name, self.region, state)
        return [Problem(error.message, error.remedy)] if error else []


def explain_partitions(
    site: ClusterHost, settings: SlurmSettings, finder: ClusterFinder
) -> Problem | None:
    """A fleet that is stopped, which Slurm shows as partitions that are inactive."""
    chosen = chosen_partitions(site, settings)
    if not chosen or not all(p.state.startswith("inact") for p in chosen):
        return None
    names = ", ".join(p.name for p in chosen)
    troubles = node_troubles(site, [p.name for p in chosen])
    cluster = f"--cluster-name {finder.name or 'NAME'} --region {finder.region}"
    return Problem(
        f"The compute fleet is stopped, or failed to start too often: {names} is INACTIVE."
        + (f" {troubles}." if troubles else ""),
        f"Start it: pcluster update-compute-fleet {cluster} --status START_REQUESTED",
    )


def chosen_partitions(site: ClusterHost, settings: SlurmSettings) -> list[Partition]:
    """Those that jobs are for: the cluster's default one, where none is named."""
    wanted = settings.slurm_partition.split(",") if settings.slurm_partition else []
    found = parse_sinfo(site.run(build_sinfo()).stdout)
    return [p for p in found if p.name in wanted or (not wanted and p.is_default)]


def node_troubles(site: ClusterHost, partitions: Sequence[str]) -> str:
    """Why nodes of these partitions are down, in the cluster's own words; empty when none is, and
    when that cannot be asked: it is only told beside something else."""
    if not partitions:
        return ""
    chosen = f"--partition={','.join(partitions)}"
    asked = ["sinfo", "--noheader", "--list-reasons", chosen, "--format=%E|%N"]
    try:
        done = site.run(asked)
    except BackendError as exc:
        log.debug("%s", exc)
        return ""
    return parse_reasons(done.stdout) if done.exit_code == 0 else ""


def parse_reasons(text: str) -> str:
    """`(Code:InsufficientInstanceCapacity)Failure when resuming nodes|queue1-dy-c5-[1-4]`."""
    rows = [line.strip().rpartition("|") for line in text.splitlines() if "|" in line]
    told = [f"{nodes}: {_plain(reason)}" for reason, _, nodes in rows if nodes]
    return f"nodes that do not start: {'; '.join(told)[:_MOST_CHARS]}" if told else ""


def _plain(reason: str) -> str:
    """ParallelCluster's codes are EC2's own."""
    return re.sub(r"^\(Code:(\w+)\)", r"\1, ", reason.strip())
