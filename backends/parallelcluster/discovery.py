"""Where an AWS ParallelCluster has its head node, by the tags that it gives its instances.

https://docs.aws.amazon.com/parallelcluster/latest/ug/ (tags `parallelcluster:...`)
"""

from __future__ import annotations

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
_UNUSABLE = {
    "CREATE_IN_PROGRESS": "is still being created",
    "CREATE_FAILED": "could not be created",
    "ROLLBACK_IN_PROGRESS": "could not be created and is being removed",
    "ROLLBACK_COMPLETE": "could not be created",
    "ROLLBACK_FAILED": "could not be created",
    "DELETE_IN_PROGRESS": "is being deleted",
    "DELETE_FAILED": "could not be deleted whole",
    "UPDATE_IN_PROGRESS": "is being updated",
    "UPDATE_FAILED": "was not updated: the update failed",
    "UPDATE_ROLLBACK_IN_PROGRESS": "is being put back after an update that failed",
    "UPDATE_ROLLBACK_FAILED": "is neither updated nor put back: both failed",
}


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
        found = (name for system, name in _LOGINS.items() if self.system.startswith(system))
        return next(found, "")


class Ec2Clusters:
    """The clusters of a region, as one may see them with these credentials."""

    def __init__(self, region: str, credentials: Credentials) -> None:
        self.region = region
        self._credentials = credentials

    def head_nodes(self) -> list[HeadNode]:
        """Of all clusters; raises BackendError when AWS does not tell."""
        wanted = [{"Name": f"tag:{TYPE_TAG}", "Values": ["HeadNode"]}]
        with _refusals(self.region):
            pages = self.client("ec2").get_paginator("describe_instances")
            return list(parse_instances(pages.paginate(Filters=wanted)))

    def stack_state(self, cluster: str) -> str:
        """Of the stack that the cluster is; empty when it is not told."""
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
    """Out of the pages of describe_instances."""
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
    """The running head node of cluster `name`. Raises BackendError, with what there is instead."""
    living = [node for node in found if node.state not in ("terminated", "shutting-down")]
    ours = [node for node in living if node.cluster == name]
    if not ours:
        names = ", ".join(sorted({node.cluster for node in living})) or "none"
        raise BackendError(
            f"There is no cluster {name!r} in {region}.",
            f"Clusters there: {names}. Correct --aws-cluster-name or --aws-region.",
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


def explain_stack(name: str, region: str, state: str) -> BackendError | None:
    """What a stack's state means for those who want to use the cluster; None when it is fine."""
    if state not in _UNUSABLE:
        return None
    fix = "Wait until that is done." if state.endswith("IN_PROGRESS") else "Mend the cluster."
    return BackendError(
        f"Cluster {name} {_UNUSABLE[state]} ({state}).",
        f"{fix} It tells more: pcluster describe-cluster --cluster-name {name} --region {region}",
    )


@contextmanager
def _refusals(region: str) -> Iterator[None]:
    """AWS's errors as ours."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as exc:
        code = exc.response.get("Error", {}).get("Code", "")
        if code in ("UnauthorizedOperation", "AccessDenied", "AccessDeniedException"):
            fix = "Allow ec2:DescribeInstances, or name the host with --aws-head-node."
        else:
            fix = "Sign in again (aws sso login), or name the host with --aws-head-node."
        raise BackendError(f"EC2 in {region} does not say where clusters are: {exc}.", fix) from exc
    except BotoCoreError as exc:
        raise BackendError(
            f"EC2 in {region} cannot be asked where clusters are: {exc}.",
            "Sign in (aws sso login, AWS_PROFILE), correct --aws-region, or name the host with"
            " --aws-head-node.",
        ) from exc
