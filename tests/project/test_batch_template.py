"""The CloudFormation template of the documentation: sound, and the same as what is registered."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from backends.batch.definition import FARGATE, build_definition, register
from backends.batch.settings import BatchSettings
from core.aws.bundles import claim_name
from core.errors import CollectError
from core.job import JobHandle, JobState, Outcome
from parallel_task_orchestrator.conformance.live_run import LiveRun
from tests.fakes.aws import DEFINITION, QUEUE, ROLE, FakeAws
from tests.fakes.aws_calls import BUCKET
from tests.fakes.aws_policies import (
    BATCH,
    STARTERS,
    TEMPLATE,
    WORKERS,
    Need,
    allows,
    caller_policy,
    resources,
    worker_policy,
)
from tests.fakes.batch_run import NoWaiting, batch_run, site_of


def lint(template: Path) -> subprocess.CompletedProcess[str]:
    command = [
        str(Path(sys.executable).parent / "cfn-lint"),
        "--regions",
        "eu-central-1",
        "--",
        str(template),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=100)


def test_the_template_is_sound() -> None:
    done = lint(TEMPLATE)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_the_linter_sees_a_fault(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text(TEMPLATE.read_text(encoding="utf-8").replace("MaxvCpus:", "MaxCpus:"))
    done = lint(broken)
    assert done.returncode != 0
    assert "MaxCpus" in done.stdout


def lowered(value: Any) -> Any:
    """With the names of the API: those of CloudFormation begin with a capital."""
    if isinstance(value, dict):
        return {name[0].lower() + name[1:]: lowered(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [lowered(inner) for inner in value]
    return value


def test_its_job_definition_is_the_one_that_doctor_registers() -> None:
    given = lowered(resources()["JobDefinition"]["Properties"])
    settings = BatchSettings(batch_image="image", batch_job_role=ROLE)
    made = build_definition(settings, FARGATE)
    for name in ("type", "platformCapabilities", "propagateTags", "timeout"):
        assert given[name] == made[name], name
    assert given["retryStrategy"]["attempts"] == made["retryStrategy"]["attempts"]
    assert given["retryStrategy"]["evaluateOnExit"] == [
        {**rule, "action": rule["action"].upper()}
        for rule in made["retryStrategy"]["evaluateOnExit"]
    ]
    theirs, ours = given["containerProperties"], made["containerProperties"]
    assert set(theirs) == {*ours, "secrets"}
    same = ("command", "resourceRequirements", "linuxParameters", "networkConfiguration")
    for name in (*same, "fargatePlatformConfiguration"):
        assert theirs[name] == ours[name], name


def test_the_bucket_is_closed_and_its_objects_expire() -> None:
    bucket = resources()["Bucket"]["Properties"]
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert bucket["LifecycleConfiguration"]["Rules"][0]["ExpirationInDays"] == {"Ref": "DaysKept"}


def test_workers_may_do_nothing_but_their_work() -> None:
    objects = "arn:aws:s3:::a-bucket/parallel-orchestrator/*"
    bedrock = "arn:aws:bedrock:*:"
    assert worker_policy(BUCKET) == [
        {
            "Effect": "Allow",
            "Action": "s3:GetObject",
            "Resource": [f"{objects}/requests/*", f"{objects}/claims/*"],
        },
        {
            "Effect": "Allow",
            "Action": "s3:PutObject",
            "Resource": [f"{objects}/claims/*", f"{objects}/results/*"],
            "Condition": {"Null": {"s3:if-none-match": "false"}},
        },
        {
            "Effect": "Allow",
            "Action": "s3:ListBucket",
            "Resource": "arn:aws:s3:::a-bucket",
            "Condition": {"StringLike": {"s3:prefix": "parallel-orchestrator/*/results/*"}},
        },
        {
            "Effect": "Allow",
            "Action": ["bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream"],
            "Resource": [
                f"{bedrock}:foundation-model/anthropic.*",
                f"{bedrock}123456789012:inference-profile/*.anthropic.*",
            ],
        },
    ]


IN_BUCKET = "arn:aws:s3:::a-bucket/parallel-orchestrator/p/r"
NEW = {"s3:if-none-match": ["*"]}


@pytest.mark.parametrize(
    ("need", "allowed"),
    [
        (Need("s3:PutObject", f"{IN_BUCKET}/results/t/1", NEW), True),
        (Need("s3:PutObject", f"{IN_BUCKET}/results/t/1"), False),  # what is there already
        (Need("s3:PutObject", f"{IN_BUCKET}/claims/t/1"), False),
        (Need("s3:PutObject", f"{IN_BUCKET}/requests/0-1", NEW), False),
        (Need("s3:PutObject", "arn:aws:s3:::a-bucket/elsewhere/results/t/1", NEW), False),
        (Need("s3:GetObject", f"{IN_BUCKET}/requests/0-1"), True),
        (Need("s3:GetObject", f"{IN_BUCKET}/results/t/1"), False),
        (Need("s3:DeleteObject", f"{IN_BUCKET}/results/t/1"), False),
        (Need("s3:ListBucket", "arn:aws:s3:::a-bucket"), False),
        (Need("s3:ListBucket", "arn:aws:s3:::a-bucket", {"s3:prefix": [""]}), False),
    ],
)
def test_a_shell_with_the_workers_role_changes_nothing_that_is_there(
    need: Need, allowed: bool
) -> None:
    assert allows(worker_policy(BUCKET), need) is allowed


OURS = {"aws:ResourceTag/parallel-orchestrator.run": ["r"]}
JOB = f"{BATCH}:job/0123abcd-0123-4567-89ab-0123456789ab"


@pytest.mark.parametrize(
    ("need", "allowed"),
    [
        (Need("batch:SubmitJob", f"{BATCH}:job-queue/{QUEUE}"), True),
        (Need("batch:SubmitJob", f"{BATCH}:job-queue/another"), False),
        (Need("batch:SubmitJob", f"{BATCH}:job-definition/{DEFINITION}"), True),
        (Need("batch:SubmitJob", f"{BATCH}:job-definition/{DEFINITION}:17"), True),
        (Need("batch:SubmitJob", f"{BATCH}:job-definition/parallel-orchestrator-0a:1"), True),
        (Need("batch:SubmitJob", f"{BATCH}:job-definition/{DEFINITION}-of-others:1"), False),
        (Need("batch:RegisterJobDefinition", f"{BATCH}:job-definition/{DEFINITION}"), False),
        (Need("batch:TerminateJob", JOB, OURS), True),
        (Need("batch:TerminateJob", JOB, {"aws:ResourceTag/team": ["x"]}), False),
        (Need("batch:TerminateJob", JOB), False),
        (Need("batch:TerminateJob", f"{JOB}:7"), True),
        (Need("batch:TagResource", JOB, {"aws:TagKeys": ["parallel-orchestrator.run"]}), True),
        (Need("batch:TagResource", JOB, {"aws:TagKeys": ["team"]}), False),
        (Need("s3:PutObject", f"{IN_BUCKET}/requests/0-1"), True),
        (Need("s3:DeleteObject", "arn:aws:s3:::a-bucket/elsewhere"), False),
        (Need("iam:PassRole", WORKERS), True),
        (Need("iam:PassRole", f"{WORKERS}-of-others"), False),
    ],
)
def test_who_runs_the_orchestrator_may_touch_nothing_of_others(need: Need, allowed: bool) -> None:
    assert allows(caller_policy(BUCKET, QUEUE, DEFINITION), need) is allowed


def test_a_run_needs_no_more_than_the_template_allows(tmp_path: Path) -> None:
    """Every call of a session and its workers, one that took over from a lost host included."""
    aws = FakeAws(lazy=True)
    aws.caller = caller_policy(BUCKET, QUEUE, DEFINITION)
    with batch_run(tmp_path, aws) as live:
        assert live.backend.preflight() == []
        aws.runner.never_ends = True
        [single] = live.submit("fast-01")
        array = live.submit("fast-02", "fast-03")
        stopped = live.submit("fast-04", "fast-05")
        live.poll(single, *array, *stopped)
        live.backend.cancel(stopped)
        aws.objects[_claim_of(live, single)] = single.native_id.encode()
        aws.batch.lose_host(single.native_id)
        aws.runner.never_ends = False
        assert {s.state for s in live.wait_ended(single, *array)} == {JobState.SUCCEEDED}
        aws.logs[f"a-definition/default/{single.native_id}#1"] = ["a word"]
        live.read_log(single)
        for handle in (single, *array):
            assert live.result(handle).outcome is Outcome.OK
        assert isinstance(live.collect(stopped[0]), CollectError)
        live.backend = live.another_backend()
        assert len(live.backend.reattach(live.run.run_id)) == 5
        live.backend.leftovers(live.run.run_id)
        live.backend.known_runs(live.run.root.parent.parent)
        live.backend.cleanup(live.run.run_id)
        assert aws.objects == {}
    options = {"batch_image": "i", "batch_job_role": WORKERS, "batch_execution_role": STARTERS}
    context = site_of(tmp_path / "runs" / "doctor", NoWaiting(), **options)
    assert register(context, aws.client).is_new
    for_doctor = {"DescribeLogGroups", "registerjobdefinition", "SimulatePrincipalPolicy"}
    assert {call.action for call in aws.calls} >= for_doctor | {"terminatejob", "GetLogEvents"}


def test_a_worker_that_may_do_less_is_refused_by_the_aws_of_these_tests(tmp_path: Path) -> None:
    aws = FakeAws(lazy=True)
    aws.caller = caller_policy(BUCKET, QUEUE, DEFINITION)
    aws.roles[ROLE] = worker_policy(BUCKET, "elsewhere")
    with batch_run(tmp_path, aws) as live:
        [handle] = live.submit("fast-01")
        [status] = live.poll(handle)
        assert "AccessDenied" in status.message


def _claim_of(live: LiveRun, handle: JobHandle) -> str:
    root = live.backend._objects(live.backend._location).root  # type: ignore[attr-defined]
    return f"{root}{claim_name(handle.key)}"
