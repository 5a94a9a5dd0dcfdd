"""The CloudFormation template of the documentation: sound, and the same as what is registered."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from cfnlint.decode.cfn_yaml import load

from backends.batch_definition import FARGATE, build_definition
from backends.batch_jobs import Wanted
from tests.fake_aws import ROLE

ROOT = Path(__file__).parent.parent
TEMPLATE = ROOT / "docs" / "aws-batch.yaml"


def resources() -> dict[str, Any]:
    found: dict[str, Any] = load(str(TEMPLATE))["Resources"]
    return found


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
    options = {"batch_image": "image", "batch_job_role": ROLE}
    made = build_definition(options, Wanted("", ""), FARGATE, "eu-central-1")
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
    [policy] = resources()["JobRole"]["Properties"]["Policies"]
    allowed = [s["Action"] for s in policy["PolicyDocument"]["Statement"]]
    flat = {a for actions in allowed for a in (actions if isinstance(actions, list) else [actions])}
    assert flat == {
        *("s3:GetObject", "s3:PutObject", "s3:ListBucket"),
        *("bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream"),
    }
