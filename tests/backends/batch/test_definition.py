"""Job definitions: the one that `doctor` registers, and the sizes that Fargate has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backends.batch.definition import (
    EC2,
    FARGATE,
    build_definition,
    fargate_problem,
)
from backends.batch.definition import (
    register as register_definition,
)
from backends.batch.settings import BatchSettings
from core.errors import BackendError, UsageError
from tests.fakes.aws import ROLE, FakeAws, usable_environment
from tests.fakes.aws_calls import fault
from tests.fakes.batch_run import NoWaiting, problems, site_of
from tests.fakes.strict_batch import Refusal, check_definition

ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:key"
OPTIONS = {"batch_image": "registry/image:1", "batch_job_role": ROLE}


def test_old_ways_to_say_resources_count_too() -> None:
    assert fargate_problem({"vcpus": 1, "memory": 2048}, BatchSettings()) is None
    assert fargate_problem({"vcpus": 1, "memory": 64}, BatchSettings()) is not None


def register(aws: FakeAws, tmp_path: Path, **options: Any) -> tuple[str, bool]:
    context = site_of(tmp_path / "runs" / "doctor", NoWaiting(), **{**OPTIONS, **options})
    made = register_definition(context, aws.client)
    return made.name, made.is_new


def test_a_definition_is_registered_once_and_passes_its_own_preflight(
    tmp_path: Path, aws: FakeAws
) -> None:
    name, is_new = register(aws, tmp_path)
    assert is_new
    assert register(aws, tmp_path) == (name, False)
    assert aws.count("registerjobdefinition") == 1
    assert problems(tmp_path, aws, batch_job_definition=name) == []
    other, _ = register(aws, tmp_path, batch_image="registry/image:2")
    assert other != name


def test_a_definition_for_a_real_run_names_its_secret(tmp_path: Path, aws: FakeAws) -> None:
    name, _ = register(aws, tmp_path, batch_secret=(f"ANTHROPIC_API_KEY={ARN}",))
    container = aws.definitions[name]["containerProperties"]
    assert container["secrets"] == [{"name": "ANTHROPIC_API_KEY", "valueFrom": ARN}]
    assert problems(tmp_path, aws, batch_job_definition=name, real=True) == []


@pytest.mark.parametrize(
    ("kind", "platform"), [("EC2", EC2), ("SPOT", EC2), ("FARGATE", FARGATE), ("", FARGATE)]
)
def test_it_is_for_what_the_queue_has(
    tmp_path: Path, aws: FakeAws, kind: str, platform: str
) -> None:
    aws.environments["an-environment"] = usable_environment(kind)
    name, _ = register(aws, tmp_path, **({} if kind else {"batch_job_queue": ""}))
    assert aws.definitions[name]["platformCapabilities"] == [platform]


def test_what_starts_workers_has_a_role_of_its_own_where_one_is_given() -> None:
    settings, other = BatchSettings.read(OPTIONS), ROLE.replace("workers", "starts-workers")
    own = build_definition(settings, FARGATE)
    both = build_definition(replace(settings, batch_execution_role=other), FARGATE)
    for definition, starter in ((own, ROLE), (both, other)):
        check_definition(definition)
        assert definition["containerProperties"]["executionRoleArn"] == starter
        assert definition["containerProperties"]["jobRoleArn"] == ROLE


def test_its_name_is_made_of_its_content_alone() -> None:
    settings = BatchSettings.read({**OPTIONS, "batch_vcpus": 2.0, "batch_memory": "4g"})
    name = build_definition(settings, FARGATE)["jobDefinitionName"]
    assert name == build_definition(settings, FARGATE)["jobDefinitionName"]
    for other in (replace(settings, batch_vcpus=1.0), replace(settings, batch_image="i:2")):
        assert name != build_definition(other, FARGATE)["jobDefinitionName"]
    assert (
        name
        == build_definition(replace(settings, batch_job_queue="q"), FARGATE)["jobDefinitionName"]
    )


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"batch_image": ""}, "--batch-image"),
        ({"batch_job_role": ""}, "--batch-job-role"),
        ({"batch_vcpus": 3.0}, "--batch-vcpus"),
    ],
)
def test_what_cannot_be_a_definition_is_refused_before_aws_is_asked(
    tmp_path: Path, aws: FakeAws, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        register(aws, tmp_path, batch_job_queue="", **options)
    assert aws.count("registerjobdefinition") == 0


def test_a_definition_that_aws_refuses_is_an_error(tmp_path: Path, aws: FakeAws) -> None:
    aws.faults.append(fault("registerjobdefinition", Refusal("Role is not assumable")))
    with pytest.raises(BackendError, match="Role is not assumable"):
        register(aws, tmp_path)
