"""Finding clusters in moto's EC2, and what is said when one cannot be used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from moto import mock_aws

from backends.parallelcluster.cluster import (
    Ec2Clusters,
    HeadNode,
    aws_errors,
    check_stack,
    choose_head_node,
)
from core.credentials import Credentials
from core.errors import BackendError
from tests.live.remote_cluster import REGION, add_head_node, aws_with_cluster


@pytest.fixture(scope="module")
def ec2() -> Iterator[Any]:
    """One for all tests, which add to it what no other one looks for."""
    with aws_with_cluster("one", "two", attributes="alinux2023, slurm, 3.13.0, x86_64") as client:
        yield client


@pytest.fixture
def clusters() -> Ec2Clusters:
    return Ec2Clusters(REGION, Credentials())


def test_the_head_node_is_found_by_the_clusters_name(ec2: Any, clusters: Ec2Clusters) -> None:
    node = choose_head_node("two", REGION, clusters.head_nodes())
    assert (node.cluster, node.state, node.login) == ("two", "running", "ec2-user")
    assert node.address == node.public != ""


def test_compute_nodes_are_no_head_nodes(ec2: Any, clusters: Ec2Clusters) -> None:
    tags = [{"Key": "parallelcluster:cluster-name", "Value": "one"}]
    tags.append({"Key": "parallelcluster:node-type", "Value": "Compute"})
    wanted = [{"ResourceType": "instance", "Tags": tags}]
    before = clusters.head_nodes()
    ec2.run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1, TagSpecifications=wanted)
    assert clusters.head_nodes() == before


def test_an_unknown_cluster_lists_those_there_are(ec2: Any, clusters: Ec2Clusters) -> None:
    with pytest.raises(BackendError) as caught:
        choose_head_node("three", REGION, clusters.head_nodes())
    assert caught.value.message == "The cluster 'three' was not found in eu-central-1."
    assert "one, two" in caught.value.remedy


def test_a_region_without_clusters_says_so() -> None:
    with pytest.raises(BackendError, match="Clusters there: none"):
        choose_head_node("three", REGION, [])


def test_a_stopped_head_node_is_reported_with_its_start(ec2: Any, clusters: Ec2Clusters) -> None:
    instance = add_head_node(ec2, "asleep")
    ec2.stop_instances(InstanceIds=[instance])
    with pytest.raises(BackendError) as caught:
        choose_head_node("asleep", REGION, clusters.head_nodes())
    assert "is stopped" in caught.value.message
    assert f"start-instances --instance-ids {instance}" in caught.value.remedy


def test_a_terminated_head_node_is_none(ec2: Any, clusters: Ec2Clusters) -> None:
    ec2.terminate_instances(InstanceIds=[add_head_node(ec2, "gone")])
    with pytest.raises(BackendError, match="The cluster 'gone' was not found"):
        choose_head_node("gone", REGION, clusters.head_nodes())


def test_without_a_public_address_the_private_one_is_taken() -> None:
    node = HeadNode("one", "i-1", "running", private="10.0.0.5", system="ubuntu2204")
    assert choose_head_node("one", REGION, [node]).address == "10.0.0.5"
    assert node.login == "ubuntu"
    with pytest.raises(BackendError, match="no address yet"):
        choose_head_node("one", REGION, [HeadNode("one", "i-1", "running")])


def test_given_keys_are_used(ec2: Any) -> None:
    keys = Credentials(aws_access_key_id="AKIATEST", aws_secret_access_key="x")
    assert {"one", "two"} <= {node.cluster for node in Ec2Clusters(REGION, keys).head_nodes()}


def test_a_profile_that_is_not_there_is_reported(ec2: Any) -> None:
    with pytest.raises(BackendError, match="never-made") as caught:
        Ec2Clusters(REGION, Credentials(aws_profile="never-made")).head_nodes()
    assert "AWS_PROFILE" in caught.value.remedy


@pytest.mark.parametrize(
    ("error", "fix"),
    [
        (NoCredentialsError(), "aws sso login"),
        (ClientError({"Error": {"Code": "UnauthorizedOperation"}}, "D"), "Allow"),
        (ClientError({"Error": {"Code": "RequestExpired"}}, "D"), "Sign in to AWS again"),
    ],
)
def test_refusals_of_aws_have_their_remedy(error: BotoCoreError | ClientError, fix: str) -> None:
    with pytest.raises(BackendError) as caught, aws_errors(REGION):
        raise error
    assert caught.value.remedy.startswith(fix) or fix in caught.value.remedy


@pytest.mark.parametrize(
    ("state", "fix"),
    [
        ("CREATE_IN_PROGRESS", "Wait until that is done."),
        ("CREATE_FAILED", "Repair the cluster."),
        ("ROLLBACK_COMPLETE", "Repair the cluster."),
        ("UPDATE_FAILED", "Repair the cluster."),
        ("UPDATE_ROLLBACK_FAILED", "Repair the cluster."),
        ("DELETE_IN_PROGRESS", "Wait"),
    ],
)
def test_a_cluster_that_is_not_ready_says_why(state: str, fix: str) -> None:
    with pytest.raises(BackendError) as caught:
        check_stack("one", REGION, state)
    assert (
        caught.value.message == f"The cluster one is not ready: its stack is in the state {state}."
    )
    assert caught.value.remedy.startswith(fix)
    assert "describe-cluster --cluster-name one --region eu-central-1" in caught.value.remedy


@pytest.mark.parametrize(
    "state", ["", "CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"]
)
def test_a_cluster_that_is_ready_or_unknown_is_no_problem(state: str) -> None:
    check_stack("one", REGION, state)


def test_the_state_of_a_stack_is_read_where_it_can_be(clusters: Ec2Clusters) -> None:
    with mock_aws():
        template = '{"Resources": {"T": {"Type": "AWS::SNS::Topic"}}}'
        boto3.client("cloudformation", region_name=REGION).create_stack(
            StackName="one", TemplateBody=template
        )
        assert clusters.stack_state("one") == "CREATE_COMPLETE"
        assert clusters.stack_state("another") == ""
