"""Which cluster is meant, where its head node is, and the state of the cluster and its fleet."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from backends.parallelcluster.discovery import Ec2Clusters, check_stack, choose_head_node
from backends.parallelcluster.settings import ParallelClusterSettings
from backends.parallelcluster.ssh import SshTarget
from backends.slurm.commands import Partition, build_sinfo, parse_sinfo
from backends.slurm.host import ClusterHost
from backends.slurm.settings import SlurmSettings
from core.errors import BackendError, Problem

log = logging.getLogger(__name__)

_MAX_CHARS = 300


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
        """Where to sign in now; a head node that was restarted has another address."""
        if self._host:
            return SshTarget(self._host, self._user, self._key)
        if not self.name:
            raise BackendError(
                "No cluster is named.", "Give --aws-cluster-name or --aws-head-node."
            )
        node = choose_head_node(self.name, self.region, self.clusters.head_nodes())
        return SshTarget(node.address, self._user, self._key, default_user=node.login)

    def check(self) -> None:
        """Raises BackendError for what AWS reports against using the cluster now, and for a missing
        key file: ssh would go on with other keys."""
        if self._key and not Path(self._key).is_file():
            raise BackendError(f"The key file {self._key} was not found.", "Correct --aws-ssh-key.")
        self.target()
        if not self._host:
            state = self.clusters.stack_state(self.name)
            check_stack(self.name, self.region, state)


def fleet_problem(
    host: ClusterHost, settings: SlurmSettings, finder: ClusterFinder
) -> Problem | None:
    """A stopped compute fleet, which Slurm shows as inactive partitions."""
    chosen = chosen_partitions(host, settings)
    if not chosen or not all(p.state.startswith("inact") for p in chosen):
        return None
    names = [p.name for p in chosen]
    failures = node_failures(host, names)
    cluster = f"--cluster-name {finder.name or 'NAME'} --region {finder.region}"
    return Problem(
        "The compute fleet is stopped, or failed to start too often:"
        f" {', '.join(names)} is INACTIVE." + (f" {failures}." if failures else ""),
        f"Start it: pcluster update-compute-fleet {cluster} --status START_REQUESTED",
    )


def chosen_partitions(host: ClusterHost, settings: SlurmSettings) -> list[Partition]:
    """Those that jobs go to: the default one where none is named."""
    wanted = settings.slurm_partition.split(",") if settings.slurm_partition else []
    found = parse_sinfo(host.run(build_sinfo()).stdout)
    return [p for p in found if p.name in wanted or (not wanted and p.is_default)]


def node_failures(host: ClusterHost, partitions: Sequence[str]) -> str:
    """Why nodes of these partitions are down, in the cluster's own words. Empty when none is, and
    when that cannot be found out, since it only completes another message."""
    if not partitions:
        return ""
    chosen = f"--partition={','.join(partitions)}"
    try:
        result = host.run(["sinfo", "--noheader", "--list-reasons", chosen, "--format=%E|%N"])
    except BackendError as exc:
        log.debug("%s", exc)
        return ""
    return parse_reasons(result.stdout) if result.exit_code == 0 else ""


def parse_reasons(text: str) -> str:
    """`(Code:InsufficientInstanceCapacity)Failure when resuming nodes|queue1-dy-c5-[1-4]`.

    The codes are those of EC2.
    """
    lines = [line.strip().rpartition("|") for line in text.splitlines() if "|" in line]
    reasons = [f"{nodes}: {_plain(reason)}" for reason, _, nodes in lines if nodes]
    return f"nodes that failed to start: {'; '.join(reasons)[:_MAX_CHARS]}" if reasons else ""


def _plain(reason: str) -> str:
    return re.sub(r"^\(Code:(\w+)\)", r"\1, ", reason.strip())
