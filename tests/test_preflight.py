from __future__ import annotations

from pathlib import Path

import pytest

from claude.preflight import find_problems
from core.bundle import ModelSettings, SimulationSettings
from core.credentials import Credentials
from core.errors import SettingsError

BEDROCK = ModelSettings(provider="bedrock", model="m")
NOTHING = Credentials()


@pytest.fixture(autouse=True)
def _nothing_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "AWS_PROFILE", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def test_a_simulation_needs_nothing() -> None:
    assert find_problems(ModelSettings(simulation=SimulationSettings()), NOTHING) == []


def test_faults_that_cannot_be_read_are_a_settings_error() -> None:
    simulation = SimulationSettings(faults="rate_limt=0.1")
    with pytest.raises(SettingsError, match="rate_limt"):
        find_problems(ModelSettings(simulation=simulation), NOTHING)


@pytest.mark.parametrize(
    "credentials", [Credentials(anthropic_api_key="k"), Credentials(anthropic_auth_token="t")]
)
def test_a_key_or_a_token_is_enough_for_anthropic(credentials: Credentials) -> None:
    assert find_problems(ModelSettings(), credentials) == []


def test_no_key_is_named_with_the_variable_to_set() -> None:
    (problem,) = find_problems(ModelSettings(), NOTHING)
    assert "Anthropic" in problem.what
    assert "ANTHROPIC_API_KEY" in problem.fix
    assert "--real" in problem.fix


def test_a_malformed_key_is_named_without_showing_it() -> None:
    (problem,) = find_problems(ModelSettings(), Credentials(anthropic_api_key="sk-canary x"))
    assert "canary" not in problem.what + problem.fix


@pytest.mark.parametrize(
    "credentials",
    [
        Credentials(aws_access_key_id="a", aws_secret_access_key="b"),
        Credentials(aws_bearer_token_bedrock="t"),
    ],
)
def test_keys_or_a_bearer_token_are_enough_for_bedrock(credentials: Credentials) -> None:
    assert find_problems(BEDROCK, credentials) == []


def test_no_aws_credentials_are_named_with_the_ways_to_have_them() -> None:
    (problem,) = find_problems(BEDROCK, NOTHING)
    assert "AWS" in problem.what
    assert "AWS_PROFILE" in problem.fix


def test_a_profile_that_does_not_exist_is_named() -> None:
    (problem,) = find_problems(BEDROCK, Credentials(aws_profile="nobody"))
    assert "nobody" in problem.what


def test_a_profile_that_exists_is_enough(tmp_path: Path) -> None:
    folder = tmp_path / ".aws"
    folder.mkdir()
    (folder / "credentials").write_text(
        "[somebody]\naws_access_key_id = a\naws_secret_access_key = b\n"
    )
    assert find_problems(BEDROCK, Credentials(aws_profile="somebody")) == []
