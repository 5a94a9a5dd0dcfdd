"""Which cluster is meant, where its head node is, and the state of the cluster and its fleet.

A head node is found by the tags of its instance (`parallelcluster:...`).
https://docs.aws.amazon.com/parallelcluster/latest/ug/
"""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from backends.parallelcluster.settings import ParallelClusterSettings
from backends.parallelcluster.ssh import SshTarget
from backends.slurm.commands import Partition, build_sinfo, parse_sinfo
from backends.slurm.host import ClusterHost
from backends.slurm.settings import SlurmSettings
from core.aws.calls import reason_of
from core.aws.region import region_failure
from core.aws.session import build_session, open_client
from core.credentials import Credentials
from core.errors import BackendError, Problem

log = logging.getLogger(__name__)

CLUSTER_TAG, TYPE_TAG = "parallelcluster:cluster-name", "parallelcluster:node-type"
ATTRIBUTES_TAG = "parallelcluster:attributes"
"""Its value begins with the operating system: `alinux2023, slurm, 3.13.0, x86_64`."""
_LOGINS = {"alinux": "ec2-user", "rhel": "ec2-user", "ubuntu": "ubuntu", "rocky": "rocky"}
# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/view-stack-events.html
_UNUSABLE_STATES = re.compile(
    r"CREATE_(IN_PROGRESS|FAILED)|ROLLBACK_\w+|DELETE_(IN_PROGRESS|FAILED)"
    r"|UPDATE_(IN_PROGRESS|FAILED)|UPDATE_ROLLBACK_(IN_PROGRESS|FAILED)"
)
_MAX_CHARS = 300


@dataclass(frozen=True, slots=True)
class HeadNode:
    """An instance as EC2 lists it."""

    cluster: str
    instance: str
    state: str
    public: str = ""
    private: str = ""
    system: str = ""

    @property
    def address(self) -> str:
        return self.public or self.private

    @property
    def login(self) -> str:
        """The login name of its operating system's image; empty when that is not known."""
        names = (name for system, name in _LOGINS.items() if self.system.startswith(system))
        return next(names, "")


class Ec2Clusters:
    """The clusters of a region that these credentials can see."""

    def __init__(self, region: str, credentials: Credentials) -> None:
        self.region = region
        self._credentials = credentials

    def head_nodes(self) -> list[HeadNode]:
        """Those of all clusters. Raises BackendError when AWS refuses."""
        wanted = [{"Name": f"tag:{TYPE_TAG}", "Values": ["HeadNode"]}]
        with aws_errors(self.region):
            pages = self.client("ec2").get_paginator("describe_instances")
            found = pages.paginate(Filters=wanted).search("Reservations[].Instances[]")
            return [_parse_instance(instance) for instance in found]

    def stack_state(self, cluster: str) -> str:
        """The state of the cluster's stack; empty when it cannot be read."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            found = self.client("cloudformation").describe_stacks(StackName=cluster)
        except (BackendError, BotoCoreError, ClientError):
            return ""
        return str(found["Stacks"][0]["StackStatus"])

    def client(self, service: str) -> Any:
        """One of boto3's, for this region."""
        return open_client(self._session, service)

    @cached_property
    def _session(self) -> Any:
        return build_session(self._credentials, self.region)


def _parse_instance(found: Mapping[str, Any]) -> HeadNode:
    tags = {tag["Key"]: tag["Value"] for tag in found.get("Tags", ())}
    return HeadNode(
        cluster=tags.get(CLUSTER_TAG, ""),
        instance=found["InstanceId"],
        state=found["State"]["Name"],
        public=found.get("PublicIpAddress", ""),
        private=found.get("PrivateIpAddress", ""),
        system=tags.get(ATTRIBUTES_TAG, "").partition(",")[0].strip(),
    )


def choose_head_node(name: str, region: str, found: Sequence[HeadNode]) -> HeadNode:
    """The running head node of cluster `name`. Raises BackendError when there is none."""
    present = [node for node in found if node.state not in ("terminated", "shutting-down")]
    ours = [node for node in present if node.cluster == name]
    if not ours:
        names = ", ".join(sorted({node.cluster for node in present})) or "none"
        remedy = f"Correct --aws-cluster-name or --aws-region. Clusters there: {names}."
        raise BackendError(f"The cluster {name!r} was not found in {region}.", remedy)
    running = [node for node in ours if node.state == "running"]
    if not running:
        node = ours[0]
        raise BackendError(
            f"The head node of cluster {name} ({node.instance}) is {node.state}.",
            f"Start it and wait a minute: aws ec2 start-instances --instance-ids {node.instance}"
            f" --region {region}",
        )
    if not running[0].address:
        remedy = "Try again in a minute."
        raise BackendError(f"The head node of cluster {name} has no address yet.", remedy)
    return running[0]


def check_stack(name: str, region: str, state: str) -> None:
    """Raises BackendError when a cluster whose stack is in this state cannot be used."""
    if not _UNUSABLE_STATES.fullmatch(state):
        return
    fix = "Wait until that is done." if state.endswith("IN_PROGRESS") else "Repair the cluster."
    raise BackendError(
        f"The cluster {name} is not ready: its stack is in the state {state}.",
        f"{fix} For details: pcluster describe-cluster --cluster-name {name} --region {region}",
    )


@contextmanager
def aws_errors(region: str) -> Iterator[None]:
    """Errors of AWS as BackendError."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as exc:
        if (failure := region_failure(exc)) is not None:
            raise BackendError(*failure) from exc
        code = exc.response.get("Error", {}).get("Code") if isinstance(exc, ClientError) else ""
        fix = "Sign in to AWS again (aws sso login, AWS_PROFILE), correct --aws-region"
        if code in ("UnauthorizedOperation", "AccessDenied", "AccessDeniedException"):
            fix = "Allow ec2:DescribeInstances"
        remedy = f"{fix}, or name the host with --aws-head-node."
        raise BackendError(
            f"EC2 in {region} did not list the clusters: {reason_of(exc)}.", remedy
        ) from exc


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
            remedy = "Give --aws-cluster-name or --aws-head-node."
            raise BackendError("No cluster is named.", remedy)
        node = choose_head_node(self.name, self.region, self.clusters.head_nodes())
        return SshTarget(node.address, self._user, self._key, default_user=node.login)

    def check(self) -> None:
        """Raises BackendError for what AWS reports against using the cluster now, and for a missing
        key file: ssh would go on with other keys."""
        if self._key and not Path(self._key).is_file():
            raise BackendError(f"The key file {self._key} was not found.", "Correct --aws-ssh-key.")
        self.target()
        if not self._host:
            check_stack(self.name, self.region, self.clusters.stack_state(self.name))


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
    coded = re.compile(r"^\(Code:(\w+)\)")
    found = [(coded.sub(r"\1, ", reason.strip()), nodes) for reason, _, nodes in lines if nodes]
    reasons = [f"{nodes}: {reason}" for reason, nodes in found]
    return f"nodes that failed to start: {'; '.join(reasons)[:_MAX_CHARS]}" if reasons else ""
