"""A region that does not exist."""

from __future__ import annotations

import pytest
from botocore.exceptions import EndpointConnectionError

from core.aws.calls import explain, is_transient
from core.aws.region import region_failure


def unreached(region: str) -> EndpointConnectionError:
    return EndpointConnectionError(endpoint_url=f"https://batch.{region}.amazonaws.com/v1/x")


@pytest.mark.parametrize(
    ("region", "fix"),
    [
        ("eu-centrl-1", "Correct the region to eu-central-1."),
        ("us-gov-wst-1", "Correct the region to us-gov-west-1."),
        ("no-where-at-all", "Correct the region."),
    ],
)
def test_one_that_was_misspelt_is_told_at_once_with_the_nearest(region: str, fix: str) -> None:
    assert not is_transient(unreached(region))
    error = explain(unreached(region), "DescribeJobQueues on queue q")
    assert error.message.startswith(f"There seems to be no AWS region '{region}'")
    assert error.remedy == fix


@pytest.mark.parametrize(
    "error",
    [
        unreached("eu-central-1"),
        EndpointConnectionError(endpoint_url="https://bucket.s3.amazonaws.com/key"),
        EndpointConnectionError(endpoint_url="https://iam.amazonaws.com/"),
        OSError("no network"),
    ],
)
def test_another_that_is_out_of_reach_is_no_question_of_its_name(error: Exception) -> None:
    assert region_failure(error) is None
