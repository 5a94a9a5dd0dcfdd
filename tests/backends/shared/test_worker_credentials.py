"""Tests for backends.shared.worker_credentials: the least that a worker elsewhere needs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from backends.shared.worker_credentials import sent_credentials
from core.aws.session import find_keys
from core.credentials import Credentials
from core.errors import BackendError
from core.settings.worker import WorkerSettings

ALL = Credentials(
    anthropic_api_key="key",
    anthropic_auth_token="token",
    aws_access_key_id="AKIA",
    aws_secret_access_key="secret",
    aws_session_token="session",
    aws_bearer_token_bedrock="bearer",
)
BEDROCK = WorkerSettings(real=True, provider="bedrock")


@pytest.fixture
def aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory for AWS's own files, and nothing of this machine."""
    import os

    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    return tmp_path


def test_a_simulation_is_sent_no_credentials_at_all() -> None:
    assert sent_credentials(ALL, WorkerSettings()) == Credentials()
    assert sent_credentials(ALL, WorkerSettings(provider="bedrock")) == Credentials()


def test_a_worker_is_sent_only_what_its_provider_takes() -> None:
    assert sent_credentials(ALL, WorkerSettings(real=True)) == Credentials(
        anthropic_api_key="key", anthropic_auth_token="token"
    )
    assert sent_credentials(ALL, BEDROCK) == Credentials(aws_bearer_token_bedrock="bearer")
    keys = Credentials(aws_access_key_id="A", aws_secret_access_key="s", anthropic_api_key="key")
    assert sent_credentials(keys, BEDROCK) == Credentials(
        aws_access_key_id="A", aws_secret_access_key="s"
    )


def test_a_profile_is_looked_up_here_since_its_files_do_not_travel(aws: Path) -> None:
    (aws / "credentials").write_text(
        "[mine]\naws_access_key_id = ASIA\naws_secret_access_key = s\naws_session_token = t\n"
    )
    found = sent_credentials(Credentials(aws_profile="mine", aws_access_key_id="other"), BEDROCK)
    assert found == Credentials(
        aws_access_key_id="ASIA", aws_secret_access_key="s", aws_session_token="t"
    )


def test_a_process_that_gives_credentials_is_asked_each_time_anew(aws: Path) -> None:
    program = aws / "give.py"
    program.write_text(
        "import json, pathlib\n"
        f"count = pathlib.Path({str(aws / 'count')!r})\n"
        "number = int(count.read_text()) + 1 if count.exists() else 1\n"
        "count.write_text(str(number))\n"
        "print(json.dumps({'Version': 1, 'AccessKeyId': f'ASIA{number}',"
        " 'SecretAccessKey': 's', 'SessionToken': 't', 'Expiration': '2999-01-01T00:00:00Z'}))\n"
    )
    (aws / "config").write_text(f"[profile p]\ncredential_process = {sys.executable} {program}\n")
    ids = [find_keys(Credentials(aws_profile="p")).aws_access_key_id for _ in range(2)]
    assert ids == ["ASIA1", "ASIA2"]


def test_a_profile_that_is_not_there_is_named(aws: Path) -> None:
    with pytest.raises(BackendError, match="no-such-profile") as told:
        find_keys(Credentials(aws_profile="no-such-profile"))
    assert "aws configure list-profiles" in told.value.remedy


def test_credentials_that_have_expired_are_no_surprise_elsewhere(aws: Path) -> None:
    program = aws / "give.py"
    program.write_text("raise SystemExit('Your session has expired.')")
    (aws / "config").write_text(f"[profile p]\ncredential_process = {sys.executable} {program}\n")
    with pytest.raises(BackendError, match="cannot be read") as told:
        find_keys(Credentials(aws_profile="p"))
    assert "expired" in told.value.message


def test_a_machine_without_any_sends_none(aws: Path) -> None:
    assert find_keys(Credentials()) == Credentials()
