"""Finds the head node of an AWS ParallelCluster by the tags of its instances.

https://docs.aws.amazon.com/parallelcluster/latest/ug/ (tags `parallelcluster:...`)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from core.aws.session import build_session
from core.credentials import Credentials
from core.errors import BackendError

CLUSTER_TAG, TYPE_TAG = "parallelcluster:cluster-name", "parallelcluster:node-type"
ATTRIBUTES_TAG = "parallelcluster:attributes"
"""Its value begins with the operating system: `alinux2023, slurm, 3.13.0, x86_64`."""
_LOGINS = {"alinux": "ec2-user", "rhel": "ec2-user", "ubuntu": "ubuntu", "rocky": "rocky"}
# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/view-stack-events.html
_UNUSABLE_STATES = re.compile(
    r"CREATE_(IN_PROGRESS|FAILED)|ROLLBACK_\w+|DELETE_(IN_PROGRESS|FAILED)"
    r"|UPDATE_(IN_PROGRESS|FAILED)|UPDATE_ROLLBACK_(IN_PROGRESS|FAILED)"
)


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
            return list(parse_instances(pages.paginate(Filters=wanted)))

    def stack_state(self, cluster: str) -> str:
        """The state of the cluster's stack; empty when it cannot be read."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            found = self.client("cloudformation").describe_stacks(StackName=cluster)
        except (BotoCoreError, ClientError):
            return ""
        return str(found["Stacks"][0]["StackStatus"])

    def client(self, service: str) -> Any:
        """One of boto3's, for this region."""
        return self._session.client(service)

    @cached_property
    def _session(self) -> Any:
        return build_session(self._credentials, self.region)


def parse_instances(pages: Any) -> Iterator[HeadNode]:
    """From the pages of describe_instances."""
    for page in pages:
        for reservation in page["Reservations"]:
            yield from map(_parse_instance, reservation["Instances"])


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
        raise BackendError(
            f"The cluster {name!r} was not found in {region}.",
            f"Correct --aws-cluster-name or --aws-region. Clusters there: {names}.",
        )
    running = [node for node in ours if node.state == "running"]
    if not running:
        node = ours[0]
        raise BackendError(
            f"The head node of cluster {name} ({node.instance}) is {node.state}.",
            f"Start it and wait a minute: aws ec2 start-instances --instance-ids {node.instance}"
            f" --region {region}",
        )
    if not running[0].address:
        raise BackendError(
            f"The head node of cluster {name} has no address yet.", "Try again in a minute."
        )
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
        code = exc.response.get("Error", {}).get("Code") if isinstance(exc, ClientError) else ""
        fix = "Sign in to AWS again (aws sso login, AWS_PROFILE), correct --aws-region"
        if code in ("UnauthorizedOperation", "AccessDenied", "AccessDeniedException"):
            fix = "Allow ec2:DescribeInstances"
        raise BackendError(
            f"EC2 in {region} did not list the clusters: {exc}.",
            f"{fix}, or name the host with --aws-head-node.",
        ) from exc
