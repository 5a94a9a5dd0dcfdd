"""What `doctor` and every run look at before anything is started, each with its fix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backends.batch.definition import (
    FARGATE,
)
from backends.batch.permissions import model_permission
from tests.fakes import aws_policies as policies
from tests.fakes.aws import DEFINITION, QUEUE, ROLE, FakeAws, usable_definition, usable_environment
from tests.fakes.aws_calls import BUCKET, fault, lost_connection
from tests.fakes.aws_policies import allows, worker_policy
from tests.fakes.aws_server import Answer
from tests.fakes.batch_run import only, problems
from tests.fakes.strict_batch import Refusal

ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:key"
OPTIONS = {"batch_image": "registry/image:1", "batch_job_role": ROLE}


def test_all_is_well(tmp_path: Path, aws: FakeAws) -> None:
    assert problems(tmp_path, aws) == []
    assert aws.objects == {}, "the probe stayed in the bucket"


@pytest.mark.parametrize(
    ("option", "flag"),
    [
        ("batch_job_queue", "--batch-job-queue"),
        ("batch_job_definition", "--batch-job-definition"),
        ("batch_s3_bucket", "--batch-s3-bucket"),
    ],
)
def test_what_was_not_named_is_asked_for_and_aws_is_not_asked(
    tmp_path: Path, aws: FakeAws, option: str, flag: str
) -> None:
    _, fix = only(problems(tmp_path, aws, **{option: ""}))
    assert f"Name one with {flag}" in fix
    assert aws.calls == []


def test_a_queue_or_definition_that_is_not_there_is_named(tmp_path: Path, aws: FakeAws) -> None:
    names = {"batch_job_queue": "nowhere", "batch_job_definition": "none:7"}
    queue, definition = problems(tmp_path, aws, **names)
    assert "no job queue 'nowhere'" in queue.what
    assert f"(those there: {QUEUE})" in queue.fix
    assert "no active job definition 'none:7'" in definition.what


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [("state", "DISABLED", "is disabled"), ("status", "INVALID", "is INVALID: no subnets")],
)
def test_a_queue_or_environment_that_is_off_is_told(
    tmp_path: Path, aws: FakeAws, field: str, value: str, told: str
) -> None:
    broken = {field: value, "statusReason": "no subnets."}
    aws.queues[QUEUE] |= broken
    aws.environments["an-environment"] |= broken
    found = [p.what for p in problems(tmp_path, aws)]
    assert found == [
        f"The job queue 'a-queue' {told}.",
        f"The compute environment 'an-environment' {told}.",
    ]


def test_one_environment_that_is_well_is_enough(tmp_path: Path, aws: FakeAws) -> None:
    aws.environments["off"] = {**usable_environment(), "state": "DISABLED"}
    order = aws.queues[QUEUE]["computeEnvironmentOrder"]
    order.append({"order": 2, "computeEnvironment": "off"})
    assert problems(tmp_path, aws) == []


def test_a_queue_without_an_environment_is_told(tmp_path: Path, aws: FakeAws) -> None:
    aws.environments.clear()
    what, _ = only(problems(tmp_path, aws))
    assert "has no compute environment" in what


def test_a_definition_for_many_nodes_is_told(tmp_path: Path, aws: FakeAws) -> None:
    del aws.definitions[DEFINITION]["containerProperties"]
    what, _ = only(problems(tmp_path, aws))
    assert "is not of a single container" in what


def test_the_newest_revision_is_looked_at_on_whatever_page_it_is(
    tmp_path: Path, aws: FakeAws
) -> None:
    old = usable_definition()
    aws.revisions = [{**old, "revision": 1}, {**old, "revision": 2}]
    del aws.definitions[DEFINITION]["containerProperties"]
    what, _ = only(problems(tmp_path, aws))
    assert "is not of a single container" in what
    assert aws.count("describejobdefinitions") == 3


# -- Fargate


def test_a_definition_that_is_not_for_fargate_is_told(tmp_path: Path, aws: FakeAws) -> None:
    aws.environments["an-environment"] = usable_environment("FARGATE_SPOT")
    what, fix = only(problems(tmp_path, aws))
    assert "is not for Fargate, but the queue is" in what
    assert "--register-job-definition" in fix


@pytest.mark.parametrize(
    ("vcpus", "memory", "told"),
    [
        (None, None, None),
        (0.5, "2g", None),
        (16, "64g", None),
        (1, "1g", "--batch-memory to 2048m"),
        (4, "64g", "--batch-memory to 30720m"),
        (3, "8g", "--batch-vcpus to one of 0.25, 0.5, 1, 2, 4, 8, 16"),
    ],
)
def test_pairs_that_fargate_does_not_have_are_told_with_the_nearest(
    tmp_path: Path, aws: FakeAws, vcpus: float | None, memory: str | None, told: str | None
) -> None:
    aws.environments["an-environment"] = usable_environment("FARGATE")
    asked = [{"type": "VCPU", "value": "2"}, {"type": "MEMORY", "value": "4096"}]
    aws.definitions[DEFINITION] = usable_definition(resourceRequirements=asked)
    aws.definitions[DEFINITION]["platformCapabilities"] = [FARGATE]
    found = problems(tmp_path, aws, batch_vcpus=vcpus, batch_memory=memory)
    assert [told in p.fix for p in found if told] == ([True] if told else [])
    assert bool(found) == bool(told)


# -- credentials


@pytest.mark.parametrize(
    ("provider", "container", "well"),
    [
        ("anthropic", {}, False),
        ("anthropic", {"secrets": [{"name": "ANTHROPIC_API_KEY", "valueFrom": ARN}]}, True),
        ("anthropic", {"secrets": [{"name": "ANTHROPIC_AUTH_TOKEN", "valueFrom": ARN}]}, True),
        ("anthropic", {"secrets": [{"name": "OTHER", "valueFrom": ARN}]}, False),
        ("bedrock", {}, True),
        ("bedrock", {"jobRoleArn": ""}, False),
        (
            "bedrock",
            {
                "jobRoleArn": "",
                "secrets": [{"name": "AWS_BEARER_TOKEN_BEDROCK", "valueFrom": ARN}],
            },
            True,
        ),
        (
            "bedrock",
            {"jobRoleArn": "", "secrets": [{"name": "AWS_ACCESS_KEY_ID", "valueFrom": ARN}]},
            False,
        ),
    ],
)
def test_workers_of_a_real_run_need_credentials(
    tmp_path: Path, aws: FakeAws, provider: str, container: dict[str, Any], well: bool
) -> None:
    aws.definitions[DEFINITION] = usable_definition(**container)
    asked = {"provider": provider, "model": "global.anthropic.claude-x"}
    assert problems(tmp_path, aws, **asked) == [], "a simulation needs none"
    found = problems(tmp_path, aws, **asked, real=True)
    assert [("no credentials for Claude" in p.what) for p in found] == ([] if well else [True])


def test_a_key_in_the_clear_is_told(tmp_path: Path, aws: FakeAws) -> None:
    shown = [{"name": "ANTHROPIC_API_KEY", "value": "sk-ant-1"}, {"name": "TZ", "value": "UTC"}]
    aws.definitions[DEFINITION] = usable_definition(environment=shown)
    what, fix = only(problems(tmp_path, aws))
    assert "ANTHROPIC_API_KEY in the clear" in what
    assert "sk-ant-1" not in what + fix


# -- role, log, bucket


@pytest.mark.parametrize("action", ["s3:GetObject", "s3:PutObject", "s3:ListBucket"])
def test_what_the_workers_role_may_not_do_is_told(
    tmp_path: Path, aws: FakeAws, action: str
) -> None:
    aws.denied = {action, "bedrock:InvokeModelWithResponseStream"}
    what, _ = only(problems(tmp_path, aws))
    place = "s3://a-bucket/parallel-orchestrator"
    assert what == f"The workers' role {ROLE} may not use {place}: it lacks {action}."


def test_a_bucket_that_is_not_there_is_told_and_nothing_untrue_of_the_role(
    tmp_path: Path, aws: FakeAws
) -> None:
    what, fix = only(problems(tmp_path, aws, batch_s3_bucket="another"))
    assert what == "The bucket another does not exist."
    assert "Correct --batch-s3-bucket" in fix


def test_a_role_is_asked_about_the_very_objects_of_workers(tmp_path: Path, aws: FakeAws) -> None:
    """One for another prefix, or for another bucket, is told, as is the template's for its own."""
    assert problems(tmp_path, aws) == []
    aws.roles[ROLE] = worker_policy(BUCKET, "elsewhere")
    what, fix = only(problems(tmp_path, aws))
    assert what.endswith("it lacks s3:GetObject, s3:PutObject, s3:ListBucket.")
    assert "--batch-s3-prefix" in fix
    assert problems(tmp_path, aws, batch_s3_prefix="elsewhere/") == []
    aws.roles[ROLE] = worker_policy("another-bucket")
    assert only(problems(tmp_path, aws)) == (what, fix)


def test_without_a_job_role_that_of_the_instances_has_to_do(tmp_path: Path, aws: FakeAws) -> None:
    aws.definitions[DEFINITION] = usable_definition(jobRoleArn="")
    assert problems(tmp_path, aws) == [], "nothing is known of the instances"
    resources = aws.environments["an-environment"]["computeResources"]
    resources["instanceRole"] = "arn:aws:iam::123456789012:instance-profile/instances"
    assert problems(tmp_path, aws) == []
    aws.denied = {"s3:GetObject"}
    what, fix = only(problems(tmp_path, aws))
    assert "has no job role: its instances' counts. The workers'" in what
    assert "lacks s3:GetObject" in what
    assert "--batch-job-role ROLE" in fix
    aws.faults.append(fault("GetInstanceProfile", Refusal("not you", "AccessDenied", 403)))
    assert problems(tmp_path, aws) == []


def test_a_role_with_a_plainer_policy_is_well_too(tmp_path: Path, aws: FakeAws) -> None:
    actions = ["s3:GetObject", "s3:PutObject", "s3:ListBucket"]
    aws.roles[ROLE] = [{"Effect": "Allow", "Action": actions, "Resource": "arn:aws:s3:::a-bucket*"}]
    assert problems(tmp_path, aws) == []


def test_a_role_is_asked_for_the_model_itself_since_policies_name_models() -> None:
    role = "arn:aws:iam::123456789012:role/workers"
    assert model_permission(role, "eu-central-1", "anthropic.claude-x").resource == (
        "arn:aws:bedrock:eu-central-1::foundation-model/anthropic.claude-x"
    )
    assert model_permission(role, "eu-central-1", "global.anthropic.claude-x").resource == (
        "arn:aws:bedrock:eu-central-1:123456789012:inference-profile/global.anthropic.claude-x"
    )
    for model in ("anthropic.claude-x", "global.anthropic.claude-x"):
        need = model_permission(role, "eu-central-1", model)
        assert allows(worker_policy(BUCKET), policies.Need(need.action, need.resource))


def test_a_role_that_may_not_use_bedrock_is_told_for_a_real_run(
    tmp_path: Path, aws: FakeAws
) -> None:
    aws.denied = {"bedrock:InvokeModelWithResponseStream"}
    assert problems(tmp_path, aws, provider="bedrock") == []
    what, _ = only(problems(tmp_path, aws, provider="bedrock", real=True))
    assert "lacks the permission bedrock:InvokeModelWithResponseStream" in what
    ids = {"model": "anthropic.claude-plans", "executor_model": "anthropic.claude-works"}
    what, _ = only(problems(tmp_path, aws, provider="bedrock", real=True, **ids))
    assert "/anthropic.claude-works" in what, "no worker asks the planner's"


def test_a_role_that_does_not_exist_is_told(tmp_path: Path, aws: FakeAws) -> None:
    gone = Refusal("no such role", "NoSuchEntity", 404)
    aws.faults.append(fault("SimulatePrincipalPolicy", gone))
    what, _ = only(problems(tmp_path, aws))
    assert what == f"The workers' role {ROLE} does not exist."


def test_who_may_not_ask_about_roles_may_run_all_the_same(tmp_path: Path, aws: FakeAws) -> None:
    denied = Refusal("not you", "AccessDenied", 403)
    aws.faults.append(fault("SimulatePrincipalPolicy", denied))
    assert problems(tmp_path, aws) == []


def test_a_log_group_that_does_not_exist_is_told(tmp_path: Path, aws: FakeAws) -> None:
    options = {"awslogs-group": "/mine"}
    log = {"logDriver": "awslogs", "options": options}
    aws.definitions[DEFINITION] = usable_definition(logConfiguration=log)
    _, fix = only(problems(tmp_path, aws))
    assert "create-log-group --log-group-name /mine" in fix
    options["awslogs-create-group"] = "true"
    assert problems(tmp_path, aws) == []
    del options["awslogs-create-group"]
    aws.groups = ["/mine"]
    assert problems(tmp_path, aws) == []
    aws.groups = []
    del options["awslogs-group"]
    assert problems(tmp_path, aws) == [], "Batch makes its own with the first job"


@pytest.mark.parametrize("action", ["PutObject", "ListObjectsV2", "GetObject", "DeleteObjects"])
def test_what_may_not_be_done_in_the_bucket_is_told(
    tmp_path: Path, aws: FakeAws, action: str
) -> None:
    denied = Refusal("User is not authorized", "AccessDenied", 403)
    aws.faults.append(fault(action, denied))
    what, fix = only(problems(tmp_path, aws))
    assert f"{action} on s3://a-bucket/parallel-orchestrator/probes/" in what
    assert "Allow this action" in fix
    assert (aws.objects == {}) == (action != "DeleteObjects")


def test_a_bucket_that_changes_what_it_gets_is_told(tmp_path: Path, aws: FakeAws) -> None:
    aws.faults.append(fault("GetObject", Answer(200, b"other")))
    what, _ = only(problems(tmp_path, aws))
    assert "did not return the object" in what


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lost_connection(), "Try again later."),
        (Refusal("The token is expired", "ExpiredTokenException", 400), "Sign in again"),
        (Refusal("Not you", "AccessDeniedException", 403), "Allow this action"),
    ],
)
def test_an_aws_that_cannot_be_asked_is_told_once(
    tmp_path: Path, aws: FakeAws, answer: Exception, told: str
) -> None:
    aws.faults.append(fault("describejobqueues", answer, times=9))
    found = problems(tmp_path, aws)
    assert told in found[0].fix
    assert len(found) == 1
