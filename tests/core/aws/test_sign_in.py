"""AWS credentials that are there and cannot be used: each with its cause and what to do."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from botocore.credentials import ProcessProvider
from botocore.exceptions import (
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    ProxyConnectionError,
    SSLError,
)
from urllib3.exceptions import HTTPError

from core.aws import session
from core.aws.calls import AwsService, explain, is_transient
from core.aws.session import build_client, find_aws_credentials, find_keys
from core.aws.sign_in import chain_source
from core.credentials import Credentials, resolve_credentials
from core.errors import BackendError
from tests.fakes.batch_run import NoWaiting

KEYS = '"Version": 1, "AccessKeyId": "A", "SecretAccessKey": "s", "SessionToken": "t"'
EXPIRED = f'{{{KEYS}, "Expiration": "2020-01-01T00:00:00Z"}}'
ROLE = "role_arn = arn:aws:iam::123456789012:role/r\n"
PROCESS = r"\(credential_process\): "
SSO = "[profile p]\nsso_start_url = https://x.invalid\nsso_region = eu-central-1\n"


def process(command: str) -> str:
    return f"[default]\ncredential_process = {command}\n"


@pytest.fixture(autouse=True)
def _nothing_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


# the content of ~/.aws/config, the environment, words of the message, words of the fix
FAULTS = [
    (process("echo hello"), {}, PROCESS + "the answer is not JSON", "by hand"),
    (process("echo '[1]'"), {}, PROCESS + "the answer is not of the form", "by hand"),
    (process("echo '{\"Version\": 1}'"), {}, "Missing required key", "by hand"),
    (process("echo '{\"Version\": 2}'"), {}, "Unsupported version '2'", "by hand"),
    (process(f"echo '{EXPIRED}'"), {}, PROCESS + ".*still expired", "by hand"),
    (process(f"echo '{EXPIRED.replace('2020', 'in ')}'"), {}, PROCESS + "Unknown", "by hand"),
    (process("false"), {}, PROCESS + "it failed and did not say why", "by hand"),
    (process("/no/such --x"), {}, PROCESS + "/no/such: No such file", "by hand"),
    (process("echo 'a"), {}, PROCESS + "No closing quotation", "by hand"),
    (
        "",
        {"AWS_WEB_IDENTITY_TOKEN_FILE": "/no/token", "AWS_ROLE_ARN": "arn:aws:iam::1:role/r"},
        r"\(web identity\): /no/token: No such file",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
    ),
    (
        SSO + "sso_account_id = 1\nsso_role_name = r\n",
        {"AWS_PROFILE": "p"},
        r"\(IAM Identity Center\): .*does not exist",
        "aws sso login",
    ),
    (
        "[profile p]\nsso_session = gone\nsso_account_id = 1\nsso_role_name = r\n",
        {"AWS_PROFILE": "p"},
        "sso-session does not exist",
        "Correct ~/.aws/config",
    ),
    ("", {"AWS_PROFILE": "nobody"}, r"\(nobody\) could not be found", "AWS_PROFILE"),
    ("[default\n", {}, "Unable to parse config file: .*/.aws/config", "Correct that file"),
    (
        f"[profile p]\n{ROLE}source_profile = q\n",
        {"AWS_PROFILE": "p"},
        '"q" referenced in the profile "p" does not exist',
        "Correct ~/.aws/config",
    ),
    ("", {"AWS_ACCESS_KEY_ID": "AKIATEST"}, "missing: AWS_SECRET_ACCESS_KEY", "together"),
    (
        "",
        {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://elsewhere.invalid/x"},
        r"\(container's role\): Unsupported host",
        "AWS_CONTAINER_",
    ),
    (
        "",
        {"AWS_EC2_METADATA_DISABLED": "", "AWS_METADATA_SERVICE_TIMEOUT": "soon"},
        "invalid literal",
        "the variables AWS_",
    ),
    (
        "",
        {"AWS_EC2_METADATA_DISABLED": "", "AWS_EC2_METADATA_SERVICE_ENDPOINT": "a b"},
        "Invalid endpoint EC2 Instance Metadata endpoint: a b",
        "the variables AWS_",
    ),
]


@pytest.mark.parametrize(("config", "environ", "words", "fix"), FAULTS)
def test_credentials_that_cannot_be_used_are_told_with_cause_and_fix(
    config: str,
    environ: Mapping[str, str],
    words: str,
    fix: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text(config)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BackendError, match=words) as refused:
        find_keys(resolve_credentials(os.environ))
    assert fix in refused.value.remedy


def test_a_secret_in_what_botocore_says_is_masked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text(process("sh -c 'echo CANARY >&2; exit 1'"))
    with pytest.raises(BackendError, match=r"\*{8}") as refused:
        find_aws_credentials(Credentials(anthropic_api_key="CANARY"))
    assert "CANARY" not in str(refused.value)


def test_a_command_that_does_not_end_is_not_waited_for_without_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".aws").mkdir()
    os.mkfifo(tmp_path / "never")
    (tmp_path / ".aws" / "config").write_text(process(f"cat {tmp_path}/never"))
    monkeypatch.setattr(session, "SIGN_IN_S", 0.01)
    try:
        with pytest.raises(BackendError, match=r"there was no answer within 0\.01 s"):
            find_keys(Credentials())
    finally:
        with suppress(OSError):  # nobody reads it yet
            os.close(os.open(tmp_path / "never", os.O_WRONLY | os.O_NONBLOCK))


def test_the_source_that_is_asked_is_read_off_a_stack() -> None:
    found: list[str | None] = []

    def look() -> Any:
        frames = [frame for frame, _ in traceback.walk_stack(sys._getframe())]
        found.append(chain_source(frames[::-1]))
        return {"profiles": {}}

    look()
    ProcessProvider("default", look).load()
    assert found == [None, "custom-process"]


# -- in a call


def no_json() -> Any:
    return {"profiles": {"default": {"credential_process": "echo hello"}}}


def no_terminal() -> Any:
    raise EOFError


@pytest.mark.parametrize(
    ("load_config", "words", "fix"),
    [(no_json, "not JSON", "by hand"), (no_terminal, "MFA device", "in a terminal")],
)
def test_credentials_that_fail_in_a_call_are_told(
    load_config: Callable[[], Any], words: str, fix: str
) -> None:
    """As where keys have expired, and new ones are looked for."""
    service = AwsService("batch", lambda name: name, NoWaiting())
    with pytest.raises(BackendError, match=words) as refused:
        service.retry("list_jobs", "q", lambda _: ProcessProvider("default", load_config).load())
    assert fix in refused.value.remedy


def test_a_bug_is_not_taken_for_a_fault_of_credentials() -> None:
    service = AwsService("batch", lambda name: name, NoWaiting())
    with pytest.raises(ZeroDivisionError):
        service.retry("list_jobs", "queue q", lambda client: 1 // 0)


@pytest.mark.parametrize(
    ("error", "transient", "words"),
    [
        (NoCredentialsError(), False, "Sign in"),
        (SSLError(endpoint_url="u", error="[Errno 2] No such file"), False, "AWS_CA_BUNDLE"),
        (SSLError(endpoint_url="u", error="CERTIFICATE_VERIFY_FAILED"), False, "AWS_CA_BUNDLE"),
        (SSLError(endpoint_url="u", error="UNEXPECTED_EOF"), True, "later"),
        (
            HTTPClientError(error=ValueError("'x:y' is not a valid host or port")),
            False,
            "HTTPS_PROXY",
        ),
        (HTTPClientError(error=ValueError("Invalid header value b'CANARY\\n'")), False, "AWS_"),
        (HTTPClientError(error="reset by peer"), True, "later"),
        (ProxyConnectionError(proxy_url="x://u:CANARY@h:1"), True, "HTTPS_PROXY"),
        (EndpointConnectionError(endpoint_url="http://u:CANARY@h"), True, "later"),
        (HTTPError("in the middle of an object"), True, "later"),
        (EndpointConnectionError(endpoint_url="u", error="[Errno 111] refused"), True, "later"),
    ],
)
def test_what_cannot_be_sent_names_the_setting_to_correct(
    error: Exception, transient: bool, words: str
) -> None:
    assert is_transient(error) == transient
    told = explain(error, "GetObject")
    assert words in told.remedy
    assert "CANARY" not in str(told)


@pytest.mark.parametrize(
    ("variable", "value", "fix"),
    [
        ("AWS_ENDPOINT_URL", "localhost:4566", "http://"),
        ("AWS_ENDPOINT_URL", "user:CANARY@localhost:4566", "http://"),
        ("AWS_ENDPOINT_URL_BATCH", "http://[::1", "http://"),
        ("AWS_RETRY_MODE", "often", "the variables AWS_"),
        ("AWS_DEFAULTS_MODE", "x", "the variables AWS_"),
    ],
)
def test_settings_of_which_no_client_can_be_made_are_told(
    variable: str, value: str, fix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    keys = Credentials(aws_access_key_id="A", aws_secret_access_key="s")
    with pytest.raises(BackendError, match="The settings for AWS cannot be used") as refused:
        build_client("batch", keys, "eu-central-1", os.environ)
    assert fix in refused.value.remedy
    assert "CANARY" not in str(refused.value)
