"""The policies of docs/aws-batch.yaml as IAM reads them: what calls need, and whether they may.

As much of IAM as those policies use; anything else in one is an error here.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
"""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from cfnlint.decode.cfn_yaml import load

TEMPLATE = Path(__file__).parents[2] / "docs" / "aws-batch.yaml"
ACCOUNT, REGION = "123456789012", "eu-central-1"
BATCH = f"arn:aws:batch:{REGION}:{ACCOUNT}"
WORKERS, STARTERS = (
    f"arn:aws:iam::{ACCOUNT}:role/{name}" for name in ("workers", "starts-workers")
)
Statement = Mapping[str, Any]


@dataclass(frozen=True)
class Need:
    """What a call has to be allowed: an action on a resource, and what is known of the request."""

    action: str
    resource: str = "*"
    context: Mapping[str, Sequence[str]] = field(default_factory=dict)


# -- the template


@functools.cache
def resources() -> Mapping[str, Any]:
    found: Mapping[str, Any] = load(str(TEMPLATE))["Resources"]
    return found


def worker_policy(bucket: str, prefix: str = "parallel-orchestrator") -> list[Statement]:
    [policy] = resources()["JobRole"]["Properties"]["Policies"]
    return _resolved(policy["PolicyDocument"]["Statement"], _values(bucket, prefix))  # type: ignore[no-any-return]  # of a list, a list


def caller_policy(
    bucket: str, queue: str, definition: str, prefix: str = "parallel-orchestrator"
) -> list[Statement]:
    values = _values(bucket, prefix) | {
        "JobQueue": f"{BATCH}:job-queue/{queue}",
        "JobDefinition": f"{BATCH}:job-definition/{definition}:3",
    }
    document = resources()["CallerPolicy"]["Properties"]["PolicyDocument"]
    return _resolved(document["Statement"], values)  # type: ignore[no-any-return]  # of a list, a list


def _values(bucket: str, prefix: str) -> dict[str, str]:
    return {
        "AWS::Partition": "aws",
        "AWS::Region": REGION,
        "AWS::AccountId": ACCOUNT,
        "Bucket.Arn": f"arn:aws:s3:::{bucket}",
        "Prefix": prefix,
        "JobRole.Arn": WORKERS,
        "ExecutionRole.Arn": STARTERS,
        "LogGroup.Arn": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/batch/executors:*",
    }


def _resolved(node: Any, values: Mapping[str, str]) -> Any:
    """`node` with what CloudFormation puts in the place of its functions."""
    if isinstance(node, list):
        return [_resolved(inner, values) for inner in node]
    if not isinstance(node, Mapping):
        return str(node)
    if len(node) == 1:
        [(name, given)] = node.items()
        if (function := _FUNCTIONS.get(str(name))) is not None:
            return function(given, values)
    return {str(name): _resolved(inner, values) for name, inner in node.items()}


def _sub(given: Any, values: Mapping[str, str]) -> str:
    text, own = (given, {}) if isinstance(given, str) else given
    known = {**values, **{name: _resolved(inner, values) for name, inner in own.items()}}
    return re.sub(r"\$\{([^}]+)\}", lambda found: known[found[1]], text)


def _select(given: Any, values: Mapping[str, str]) -> Any:
    return _resolved(given[1], values)[int(given[0])]


def _split(given: Any, values: Mapping[str, str]) -> list[str]:
    return str(_resolved(given[1], values)).split(given[0])


_FUNCTIONS: Mapping[str, Callable[[Any, Mapping[str, str]], Any]] = {
    "Ref": lambda given, values: values[given],
    "Fn::GetAtt": lambda given, values: values[".".join(given)],
    "Fn::Sub": _sub,
    "Fn::Select": _select,
    "Fn::Split": _split,
}


# -- IAM


def allows(policy: Sequence[Statement], need: Need) -> bool:
    return any(_applies(statement, need) for statement in policy)


def _applies(statement: Statement, need: Need) -> bool:
    assert set(statement) <= {"Effect", "Action", "Resource", "Condition"}, statement
    assert statement["Effect"] == "Allow"
    return (
        _matches(statement["Action"], need.action)
        and _matches(statement["Resource"], need.resource)
        and all(
            _holds(operator, key, _listed(wanted), need.context.get(key, ()))
            for operator, keys in statement.get("Condition", {}).items()
            for key, wanted in keys.items()
        )
    )


def _holds(operator: str, key: str, wanted: Sequence[str], given: Sequence[str]) -> bool:
    match operator:
        case "Null":
            return wanted == ["false" if given else "true"]
        case "StringLike":
            return bool(given) and all(_matches(wanted, value) for value in given)
        case "ForAllValues:StringLike":
            return all(_matches(wanted, value) for value in given)
    raise AssertionError(f"no {operator} of {key} here")


def _matches(patterns: Any, text: str) -> bool:
    return any(fnmatch.fnmatchcase(text, pattern) for pattern in _listed(patterns))


def _listed(value: Any) -> list[str]:
    return list(value) if isinstance(value, list) else [value]


def instance_profile(name: str, role: str) -> bytes:
    """What GetInstanceProfile answers."""
    date = "<CreateDate>2026-01-01T00:00:00Z</CreateDate>"
    names = f"<Path>/</Path><RoleName>r</RoleName><RoleId>R</RoleId><Arn>{role}</Arn>{date}"
    own = f"<Path>/</Path><InstanceProfileName>{name}</InstanceProfileName><Arn>{name}</Arn>{date}"
    found = f"<InstanceProfile>{own}<Roles><member>{names}</member></Roles></InstanceProfile>"
    result = f"<GetInstanceProfileResult>{found}</GetInstanceProfileResult>"
    return f"<GetInstanceProfileResponse>{result}</GetInstanceProfileResponse>".encode()


def simulated(
    asked: Mapping[str, str], roles: Mapping[str, Sequence[Statement]], denied: set[str]
) -> bytes:
    """What SimulatePrincipalPolicy answers; actions that are `denied` are so on everything."""
    policy, context = roles[asked["PolicySourceArn"]], dict(_context(asked))
    results = "".join(
        f"<member><EvalActionName>{action}</EvalActionName>"
        f"<EvalResourceName>{resource}</EvalResourceName>"
        f"<EvalDecision>{'allowed' if allowed else 'implicitDeny'}</EvalDecision></member>"
        for action in _members(asked, "ActionNames")
        for resource in _members(asked, "ResourceArns")
        for allowed in [action not in denied and allows(policy, Need(action, resource, context))]
    )
    inner = f"<EvaluationResults>{results}</EvaluationResults>"
    result = f"<SimulatePrincipalPolicyResult>{inner}</SimulatePrincipalPolicyResult>"
    return f"<SimulatePrincipalPolicyResponse>{result}</SimulatePrincipalPolicyResponse>".encode()


def _members(asked: Mapping[str, str], name: str) -> list[str]:
    return [value for key, value in asked.items() if re.fullmatch(rf"{name}\.\d+", key)]


def _context(asked: Mapping[str, str]) -> Iterator[tuple[str, list[str]]]:
    for key, value in asked.items():
        if found := re.fullmatch(r"(ContextEntries\.\d+)\.ContextKeyName", key):
            yield value, _members(asked, rf"{re.escape(found[1])}\.ContextKeyValues")


# -- what calls need


def needs(action: str, path: str, params: Mapping[str, Any], body: bytes) -> Iterator[Need]:
    """What the identity that makes a call has to be allowed."""
    bucket, _, key = path.removeprefix("/").partition("/")
    objects = f"arn:aws:s3:::{bucket}"
    match action:
        case "PutObject":
            told = {f"s3:{name}": [params[name]] for name in ("if-none-match",) if name in params}
            yield Need("s3:PutObject", f"{objects}/{key}", told)
        case "GetObject" | "HeadObject":
            yield Need("s3:GetObject", f"{objects}/{key}")
        case "ListObjectsV2":
            yield Need("s3:ListBucket", objects, {"s3:prefix": [params["prefix"]]})
        case "DeleteObjects":
            for name in ElementTree.fromstring(body).findall(".//{*}Key"):
                yield Need("s3:DeleteObject", f"{objects}/{name.text}")
        case "GetBucketEncryption":
            yield Need("s3:GetEncryptionConfiguration", objects)
        case "GetLogEvents":
            group = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{params['logGroupName']}"
            yield Need("logs:GetLogEvents", f"{group}:log-stream:{params['logStreamName']}")
        case "DescribeLogGroups":
            yield Need("logs:DescribeLogGroups")
        case "SimulatePrincipalPolicy":
            yield Need("iam:SimulatePrincipalPolicy", params["PolicySourceArn"])
        case _:
            yield from _needs_of_batch(action, params)


def _needs_of_batch(action: str, params: Mapping[str, Any]) -> Iterator[Need]:
    tagged = {"aws:TagKeys": list(params.get("tags") or ())}
    match action:
        case "submitjob":
            definition = f"{BATCH}:job-definition/{params['jobDefinition']}"
            yield Need("batch:SubmitJob", f"{BATCH}:job-queue/{params['jobQueue']}")
            yield Need("batch:SubmitJob", definition)
            yield Need("batch:TagResource", f"{BATCH}:job/new", tagged)
            yield Need("batch:TagResource", definition, tagged)
        case "registerjobdefinition":
            definition = f"{BATCH}:job-definition/{params['jobDefinitionName']}"
            yield Need("batch:RegisterJobDefinition", definition)
            yield Need("batch:TagResource", definition, tagged)
            container = params["containerProperties"]
            yield Need("iam:PassRole", container["jobRoleArn"])
            yield Need("iam:PassRole", container["executionRoleArn"])
        case "terminatejob":
            tags = {f"aws:ResourceTag/{n}": [v] for n, v in params.get("tags", {}).items()}
            yield Need("batch:TerminateJob", f"{BATCH}:job/{params['jobId']}", tags)
        case _:
            names = ("DescribeComputeEnvironments", "DescribeJobDefinitions", "DescribeJobQueues")
            known = {name.lower(): name for name in (*names, "DescribeJobs", "ListJobs")}
            yield Need(f"batch:{known[action]}")
