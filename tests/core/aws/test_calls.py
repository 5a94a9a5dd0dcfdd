"""Calls of AWS, the bucket, and whose credentials they use."""

from __future__ import annotations

import io
from contextlib import closing
from typing import Any

import pytest

from core.aws.bucket import S3Bucket
from core.aws.calls import AwsService, explain, is_transient
from core.aws.session import build_client, build_session
from core.credentials import Credentials
from core.errors import (
    AwsRefused,
    BackendError,
)
from tests.fakes.aws import FakeAws
from tests.fakes.aws_calls import BUCKET, fault, lost_connection
from tests.fakes.batch_run import NoWaiting
from tests.fakes.strict_batch import Refusal

# -- the bucket


def test_a_conditional_write_takes_a_name_once(bucket: S3Bucket, aws: FakeAws) -> None:
    assert bucket.put_new("claim", io.BytesIO(b"one"))
    assert not bucket.put_new("claim", io.BytesIO(b"two"))
    assert aws.objects["claim"] == b"one"
    aws.faults.append(fault("PutObject", Refusal("no", "AccessDenied", 403)))
    with pytest.raises(AwsRefused, match="AccessDenied"):
        bucket.put_new("other", io.BytesIO(b"x"))
    aws.faults.append(fault("PutObject", Refusal("now", "ConditionalRequestConflict", 409)))
    assert bucket.put_new("other", io.BytesIO(b"x"))


def test_whether_there_is_an_object_is_asked_without_fetching_it(
    bucket: S3Bucket, aws: FakeAws
) -> None:
    bucket.put_new("there", io.BytesIO(b"x"))
    assert bucket.exists("there")
    assert not bucket.exists("elsewhere")
    bucket.put_new("elsewhere/", io.BytesIO(b"x"))
    assert not bucket.exists("elsewhere")
    aws.faults.append(fault("ListObjectsV2", Refusal("no", "AccessDenied", 403)))
    with pytest.raises(AwsRefused):
        bucket.exists("there")
    assert aws.count("GetObject") == aws.count("HeadObject") == 0


# -- calls


def test_a_call_that_is_refused_for_good_is_made_once(bucket: S3Bucket, aws: FakeAws) -> None:
    aws.faults.append(fault("GetObject", Refusal("no", "AccessDenied", 403), times=9))
    with pytest.raises(AwsRefused) as refused:
        bucket.get("x")
    assert refused.value.code == "AccessDenied"
    assert aws.count("GetObject") == 1


def test_a_call_that_keeps_failing_is_given_up(bucket: S3Bucket, aws: FakeAws) -> None:
    aws.faults.append(fault("GetObject", lost_connection(), times=99))
    with pytest.raises(BackendError, match="Try again later"):
        bucket.get("x")
    assert aws.count("GetObject") == 6


def test_errors_without_an_answer_say_what_to_do() -> None:
    from botocore.exceptions import NoCredentialsError, TokenRetrievalError

    assert "Sign in" in explain(NoCredentialsError(), "GetObject").remedy
    expired = TokenRetrievalError(provider="sso", error_msg="expired")
    assert not is_transient(expired)
    assert "sign-in" in explain(expired, "GetObject").message


def test_a_service_connects_once_until_it_is_closed(aws: FakeAws) -> None:
    connected: list[str] = []

    def connect(name: str) -> Any:
        connected.append(name)
        return aws.client(name)

    service = AwsService("s3", connect, NoWaiting())
    for _ in range(2):
        service("list_objects_v2", BUCKET, Bucket=BUCKET)
    service.close()
    assert connected == ["s3"]
    service("list_objects_v2", BUCKET, Bucket=BUCKET)
    assert connected == ["s3"] * 2


def test_clients_have_the_right_identity() -> None:
    environ = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    with closing(build_client("s3", Credentials(), "eu-central-1", environ)) as client:
        assert client.meta.endpoint_url == "http://127.0.0.1:9"
    keys = Credentials(aws_access_key_id="AK", aws_secret_access_key="SK")
    with closing(build_client("s3", keys, "eu-west-1", {})) as client:
        assert client.meta.region_name == "eu-west-1"
        assert client._request_signer._credentials.access_key == "AK"
    named = Credentials(aws_access_key_id="AK", aws_secret_access_key="SK", aws_profile="other")
    with pytest.raises(BackendError, match="other"):
        build_session(named)
