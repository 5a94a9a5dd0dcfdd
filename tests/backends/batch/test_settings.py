"""The settings of AWS Batch: what reaches AWS is of the right shape, and no secret is typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends.batch.jobs import build_resources
from config import Settings, load_settings
from core.errors import SettingsError
from core.settings.size import size_bytes

ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:key"


def load(place: Path, **given: object) -> Settings:
    return load_settings(given, {}, place).settings


def test_batch_is_another_spelling_of_the_backend(tmp_path: Path) -> None:
    assert load(tmp_path, batch=True).backend == "batch"


def test_two_backends_at_once_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--batch"):
        load(tmp_path, batch=True, docker=True)


def test_the_region_is_frankfurt_unless_another_is_given(tmp_path: Path) -> None:
    assert load(tmp_path).batch_region == "eu-central-1"
    elsewhere = load_settings({}, {"AWS_REGION": "us-east-1"}, tmp_path).settings
    assert elsewhere.batch_region == "us-east-1"
    given = load_settings({"batch_region": "eu-west-1"}, {"AWS_REGION": "us-east-1"}, tmp_path)
    assert given.settings.batch_region == "eu-west-1"


def test_what_jobs_may_have_is_left_to_their_definition_unless_given(tmp_path: Path) -> None:
    left = load(tmp_path)
    assert build_resources(left.batch_vcpus, left.batch_memory_mib) == []
    given = load(tmp_path, batch_vcpus="0.25", batch_memory="1.5g")
    assert build_resources(given.batch_vcpus, given.batch_memory_mib) == [
        {"type": "VCPU", "value": "0.25"},
        {"type": "MEMORY", "value": "1536"},
    ]


@pytest.mark.parametrize(
    ("text", "size"),
    [("7", 7), ("9b", 9), ("3kb", 3072), ("512m", 512 * 2**20), ("1.5G", 3 * 2**29), ("1t", 2**40)],
)
def test_sizes_are_powers_of_1024(text: str, size: int) -> None:
    assert size_bytes(text) == size


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_s3_bucket", "My_Bucket"),
        ("batch_s3_bucket", "a/b"),
        ("batch_s3_prefix", "a b"),
        ("batch_s3_prefix", "x" * 401),
        ("batch_job_role", "workers"),
        ("batch_memory", "0"),
        ("batch_vcpus", "0"),
        ("batch_secret", ["ANTHROPIC_API_KEY=sk-ant-1"]),
        ("batch_secret", [f"PATH={ARN}"]),
        ("batch_secret", ["ANTHROPIC_API_KEY"]),
    ],
)
def test_what_aws_would_refuse_is_refused_here(tmp_path: Path, name: str, value: object) -> None:
    with pytest.raises(SettingsError, match=name):
        load(tmp_path, **{name: value})


def test_a_secret_is_named_and_a_run_keeps_nothing_of_how_definitions_are_made(
    tmp_path: Path,
) -> None:
    loaded = load_settings({"batch_secret": [f"ANTHROPIC_API_KEY={ARN}"]}, {}, tmp_path)
    assert loaded.settings.batch_secret == (f"ANTHROPIC_API_KEY={ARN}",)
    assert "batch_secret" not in loaded.kept()
    assert "batch_job_queue" in loaded.kept()
