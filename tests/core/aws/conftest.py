"""S3 of the AWS that is in this process."""

from __future__ import annotations

import pytest

from core.aws.bucket import S3Bucket
from core.aws.calls import AwsService
from tests.fakes.aws import FakeAws
from tests.fakes.aws_calls import BUCKET
from tests.fakes.batch_run import NoWaiting


@pytest.fixture
def aws() -> FakeAws:
    return FakeAws()


@pytest.fixture
def bucket(aws: FakeAws) -> S3Bucket:
    return S3Bucket(BUCKET, AwsService("s3", aws.client, NoWaiting()))
