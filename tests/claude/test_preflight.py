"""Where credentials come from, and what one request to the provider comes to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import certifi
import pytest

import claude.client.client
from claude.client.silence import Watchman
from claude.limits.governor import Governor
from claude.preflight import ask_once, find_credentials, find_problems, try_models
from claude.simulation.server import serve
from core.bundle import ModelSettings, SimulationSettings
from core.clock import SystemClock
from core.credentials import Credentials
from core.errors import PreflightFailed, Problem, SettingsError
from tests.fakes.scripted_server import Asked, Told, api_refusal, hello, scripted_server
from tests.fakes.silent_api import silent_server
from tests.fakes.simulated import RecordingClock

BEDROCK = ModelSettings(provider="bedrock", model="m")
NOTHING = Credentials()
KEY = Credentials(anthropic_api_key="sk-test")
AWS_KEYS = Credentials(aws_access_key_id="AKIATEST", aws_secret_access_key="s")
PROFILE = Credentials(aws_profile="somebody")


@pytest.fixture(autouse=True)
def _nothing_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    from anthropic.lib.aws._auth import _get_session

    for name in list(os.environ):
        if name.startswith(("ANTHROPIC_", "AWS_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    kept: Any = _get_session  # the SDK keeps boto3's sessions, and with them what they found
    kept.cache_clear()
    yield
    kept.cache_clear()


def write_profile(tmp_path: Path, text: str, name: str = "credentials") -> None:
    (tmp_path / ".aws").mkdir(exist_ok=True)
    (tmp_path / ".aws" / name).write_text(text)


# -- what is there


def test_a_simulation_needs_nothing() -> None:
    simulated = ModelSettings(simulation=SimulationSettings())
    assert find_problems(simulated, NOTHING) == []
    clock, governor = RecordingClock(), Governor()
    assert try_models([simulated], NOTHING, clock=clock, governor=governor, warn=fail) == ()


def fail(text: str) -> None:
    raise AssertionError(text)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("HTTPS_PROXY", "foo://user:CANARY@h:1", "not an address"),
        ("HTTP_PROXY", "http://user:CANARY/x@h:1", "not an address"),
        ("ALL_PROXY", "socks4://CANARY@h:1", "not an address"),
        ("HTTPS_PROXY", "::::", "not an address"),
        ("HTTPS_PROXY", "http://", "not an address"),
        ("HTTP_PROXY", "http://h:99999", "not an address"),
        ("HTTP_PROXY", "the proxy", "not an address"),
        ("ALL_PROXY", "http://user:CANARY@/", "not an address"),
        ("ALL_PROXY", "socks5://CANARY@h:1", "SOCKS"),
        ("SSL_CERT_FILE", "/nowhere/at/all.pem", "No such file"),
        ("SSL_CERT_FILE", __file__, "SSL_CERT_FILE cannot be read"),
        ("SSLKEYLOGFILE", "/nowhere/log", "/nowhere/log in SSLKEYLOGFILE cannot be written: No su"),
    ],
)
@pytest.mark.parametrize("provider", ["anthropic", "bedrock"])
def test_network_settings_that_no_client_can_be_made_of_are_a_problem(
    provider: str, name: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "SSLKEYLOGFILE":  # which the system's own store of certificates does not heed
        monkeypatch.setenv("SSL_CERT_FILE", certifi.where())
    monkeypatch.setenv(name, value)
    credentials = Credentials(anthropic_api_key="k", aws_bearer_token_bedrock="b")
    (problem,) = find_problems(ModelSettings(provider=provider, model="m"), credentials)
    assert words in problem.what
    assert name in problem.fix + problem.what
    assert "CANARY" not in problem.what
    assert find_problems(ModelSettings(simulation=SimulationSettings()), NOTHING) == []


def test_faults_that_cannot_be_read_are_a_settings_error() -> None:
    simulation = SimulationSettings(faults="rate_limt=0.1")
    with pytest.raises(SettingsError, match="rate_limt"):
        find_problems(ModelSettings(simulation=simulation), NOTHING)


@pytest.mark.parametrize(
    ("credentials", "source"),
    [
        (Credentials(anthropic_api_key="k"), "ANTHROPIC_API_KEY"),
        (Credentials(anthropic_auth_token="t"), "ANTHROPIC_AUTH_TOKEN"),
        (
            Credentials(anthropic_api_key="k", anthropic_auth_token="t"),
            "ANTHROPIC_API_KEY (ANTHROPIC_AUTH_TOKEN is not used)",
        ),
    ],
)
def test_a_key_or_a_token_is_enough_for_anthropic(credentials: Credentials, source: str) -> None:
    assert find_problems(ModelSettings(), credentials) == []
    assert find_credentials(ModelSettings(), credentials) == source


def test_an_identity_of_the_sdk_is_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t")
    monkeypatch.setenv("ANTHROPIC_FEDERATION_RULE_ID", "rule")
    monkeypatch.setenv("ANTHROPIC_ORGANIZATION_ID", "org")
    monkeypatch.setenv("ANTHROPIC_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    assert "identity" in find_credentials(ModelSettings(), NOTHING)


def test_a_home_directory_that_is_unknown_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "~/x")
    (problem,) = find_problems(ModelSettings(), NOTHING)
    assert "the home directory is unknown" in problem.what
    assert problem.fix == "Set HOME to one."


def test_a_profile_of_the_sdk_that_does_not_exist_is_a_problem(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ANTHROPIC_PROFILE", "nowhere")
    (problem,) = find_problems(ModelSettings(), NOTHING)
    assert "nowhere" in problem.what


def test_no_key_is_named_with_the_variable_to_set() -> None:
    (problem,) = find_problems(ModelSettings(), NOTHING)
    assert "Anthropic" in problem.what
    assert "ANTHROPIC_API_KEY" in problem.fix
    assert "--real" in problem.fix


def test_the_sdk_is_not_loaded_to_find_that_there_is_no_key() -> None:
    asking = (
        "import sys; from claude.preflight import find_problems;"
        "from core.bundle import ModelSettings; from core.credentials import Credentials;"
        "print(len(find_problems(ModelSettings(), Credentials())), 'anthropic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", asking], capture_output=True, text=True)
    assert done.stdout.split() == ["1", "False"], done.stderr


def test_a_malformed_key_is_named_without_showing_it() -> None:
    (problem,) = find_problems(ModelSettings(), Credentials(anthropic_api_key="sk-canary x"))
    assert "canary" not in problem.what + problem.fix


@pytest.mark.parametrize(
    ("credentials", "source"),
    [
        (AWS_KEYS, "an AWS access key"),
        (
            Credentials(aws_access_key_id="A", aws_secret_access_key="s", aws_session_token="t"),
            "an AWS access key with a session token",
        ),
        (Credentials(aws_bearer_token_bedrock="t"), "AWS_BEARER_TOKEN_BEDROCK"),
    ],
)
def test_keys_or_a_bearer_token_are_enough_for_bedrock(
    credentials: Credentials, source: str
) -> None:
    assert find_problems(BEDROCK, credentials) == []
    assert find_credentials(BEDROCK, credentials) == source


def test_no_aws_credentials_are_named_with_the_ways_to_have_them() -> None:
    (problem,) = find_problems(BEDROCK, NOTHING)
    assert "AWS" in problem.what
    assert "AWS_PROFILE" in problem.fix


def test_half_a_key_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
    (problem,) = find_problems(BEDROCK, Credentials(aws_access_key_id="AKIATEST"))
    assert "AWS_SECRET_ACCESS_KEY" in problem.what


def test_a_profile_that_does_not_exist_is_named() -> None:
    (problem,) = find_problems(BEDROCK, Credentials(aws_profile="nobody"))
    assert "nobody" in problem.what
    assert "AWS_PROFILE" in problem.fix


def test_a_profile_that_exists_is_enough(tmp_path: Path) -> None:
    write_profile(tmp_path, "[somebody]\naws_access_key_id = a\naws_secret_access_key = b\n")
    assert find_problems(BEDROCK, PROFILE) == []
    assert find_credentials(BEDROCK, PROFILE) == "profile somebody, shared-credentials-file"


# -- what goes out with each kind of credentials


def sent_with(credentials: Credentials, provider: str) -> Asked:
    """The one request of a preflight; Bedrock's is refused, which is enough here."""
    with scripted_server(api_refusal(429, "rate_limit_error", "no")) as server:
        model = ModelSettings(
            provider=provider, model="m", region="eu-south-2", base_url=server.url
        )
        ask_once(model, credentials, clock=RecordingClock())
        (asked,) = server.asked
        return asked


@pytest.mark.parametrize(
    "credentials", [Credentials(anthropic_api_key="C1"), Credentials(anthropic_auth_token="C1")]
)
def test_the_api_gets_the_key_or_the_token(credentials: Credentials) -> None:
    headers = sent_with(credentials, "anthropic").headers
    assert "C1" in headers.get("authorization", "") + headers.get("x-api-key", "")


def test_bedrock_gets_the_bearer_token_and_no_signature() -> None:
    keys = Credentials(aws_bearer_token_bedrock="C1", aws_access_key_id="A", aws_profile="x")
    headers = sent_with(keys, "bedrock").headers
    assert headers["authorization"] == "Bearer C1"


def signed_by(asked: Asked) -> tuple[str, str]:
    """The key id and the session token of a signed request."""
    scope = asked.headers["authorization"].partition("Credential=")[2].split("/")
    assert scope[2:4] == ["eu-south-2", "bedrock"]
    return scope[0], asked.headers.get("x-amz-security-token", "")


def test_bedrock_gets_a_signature_by_keys() -> None:
    assert signed_by(sent_with(AWS_KEYS, "bedrock")) == ("AKIATEST", "")


def test_bedrock_gets_a_signature_by_a_session() -> None:
    keys = Credentials(aws_access_key_id="A", aws_secret_access_key="s", aws_session_token="T")
    assert signed_by(sent_with(keys, "bedrock")) == ("A", "T")


def test_bedrock_gets_a_signature_by_a_profile(tmp_path: Path) -> None:
    write_profile(
        tmp_path,
        "[somebody]\naws_access_key_id = P\naws_secret_access_key = b\naws_session_token = T\n",
    )
    assert signed_by(sent_with(PROFILE, "bedrock")) == ("P", "T")


def role_credentials() -> bytes:
    until = datetime.now(UTC) + timedelta(hours=6)
    return json.dumps(
        {
            "Code": "Success",
            "Type": "AWS-HMAC",
            "AccessKeyId": "ASIAROLE",
            "SecretAccessKey": "s",
            "Token": "T",
            "LastUpdated": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "Expiration": until.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
    ).encode()


def test_bedrock_gets_a_signature_by_a_containers_role(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted_server(Told(200, role_credentials())) as role:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{role.url}/role")
        assert find_credentials(BEDROCK, NOTHING) == "container-role"
        assert signed_by(sent_with(NOTHING, "bedrock")) == ("ASIAROLE", "T")


def test_bedrock_gets_a_signature_by_a_machines_role(monkeypatch: pytest.MonkeyPatch) -> None:
    def metadata(asked: Asked) -> Told:
        if asked.path.endswith("/token"):
            return Told(200, b"t")
        is_list = asked.path.endswith("/security-credentials/")
        return Told(200, b"my-role" if is_list else role_credentials())

    with scripted_server(metadata) as role:
        monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", role.url)
        assert find_credentials(BEDROCK, NOTHING) == "iam-role"
        assert signed_by(sent_with(NOTHING, "bedrock")) == ("ASIAROLE", "T")


ASSUMED = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleResult><Credentials><AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>s
</SecretAccessKey><SessionToken>T</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>
</Credentials></AssumeRoleResult></AssumeRoleResponse>"""
STS_REFUSED = """<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error>
<Type>Sender</Type><Code>{code}</Code><Message>{text}</Message></Error></ErrorResponse>"""


def profile_with_a_role(tmp_path: Path) -> None:
    write_profile(
        tmp_path,
        "[profile somebody]\nrole_arn = arn:aws:iam::123456789012:role/x\n"
        "source_profile = base\nregion = eu-south-2\n"
        "[profile base]\naws_access_key_id = B\naws_secret_access_key = b\n",
        "config",
    )


def test_bedrock_gets_a_signature_by_the_role_of_a_profile(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    profile_with_a_role(tmp_path)
    with scripted_server(Told(200, ASSUMED.encode())) as sts:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.url)
        assert find_credentials(BEDROCK, PROFILE) == "profile somebody, assume-role"
        assert signed_by(sent_with(PROFILE, "bedrock")) == ("ASIAROLE", "T")


@pytest.mark.parametrize(
    ("code", "text", "words"),
    [
        ("AccessDenied", "User is not authorized to perform: sts:AssumeRole", "No usable"),
        ("ExpiredToken", "The security token included in the request is expired", "has expired"),
    ],
)
def test_a_role_that_cannot_be_taken_is_a_problem(
    code: str, text: str, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    profile_with_a_role(tmp_path)
    refused = STS_REFUSED.format(code=code, text=text)
    with scripted_server(Told(403, refused.encode())) as sts:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.url)
        answer = ask_once(BEDROCK, PROFILE, clock=RecordingClock())
    assert answer.problem is not None
    assert words in answer.problem.what
    assert text in answer.problem.what


def test_a_sign_in_that_has_expired_is_a_problem(tmp_path: Path) -> None:
    write_profile(
        tmp_path,
        "[profile somebody]\nsso_start_url = https://example.invalid/start\n"
        "sso_region = eu-central-1\nsso_account_id = 123456789012\nsso_role_name = x\n",
        "config",
    )
    answer = ask_once(BEDROCK, PROFILE, clock=RecordingClock())
    assert answer.problem is not None
    assert "aws sso login" in answer.problem.fix


# -- one request


def test_one_token_is_asked_for_and_what_it_took_is_reported() -> None:
    with scripted_server(hello()) as server:
        model = ModelSettings(base_url=server.url)
        spent = try_models([model], KEY, clock=RecordingClock(), governor=Governor(), warn=fail)
    (asked,) = server.asked
    assert asked.data["max_tokens"] == 1
    (usage,) = spent
    assert (usage.input_tokens, usage.output_tokens) == (14, 7)


@pytest.mark.parametrize("provider", ["anthropic", "bedrock"])
def test_the_simulated_api_answers_it_on_both_providers(provider: str) -> None:
    keys = Credentials(anthropic_api_key="k", aws_bearer_token_bedrock="t")
    with serve(0, SimulationSettings(speed=0), SystemClock()) as server:
        model = ModelSettings(provider=provider, model="m", base_url=server.base_url)
        answer = ask_once(model, keys, clock=SystemClock())
    assert answer.problem is None
    assert not answer.warning
    (usage,) = answer.spent
    assert usage.output_tokens == 1


def test_a_refusal_fails_the_preflight_with_its_fix() -> None:
    with scripted_server(api_refusal(401, "authentication_error", "invalid x-api-key")) as server:
        model = ModelSettings(base_url=server.url)
        with pytest.raises(PreflightFailed, match="invalid x-api-key") as caught:
            try_models([model], KEY, clock=RecordingClock(), governor=Governor(), warn=fail)
    assert "ANTHROPIC_API_KEY" in caught.value.problems[0].fix
    assert caught.value.exit_code == 3


def test_nothing_is_sent_where_a_problem_is_known_before() -> None:
    with scripted_server(hello()) as server:
        model, known = ModelSettings(base_url=server.url), Problem("No room.", "Make some.")
        clock, governor = RecordingClock(), Governor()
        with pytest.raises(PreflightFailed, match="No room") as caught:
            try_models([model], NOTHING, [known], clock=clock, governor=governor, warn=fail)
        assert len(caught.value.problems) == 2
        assert server.asked == []


def test_a_rate_limit_is_a_warning_and_the_run_waits_as_long() -> None:
    warned: list[str] = []
    clock, governor = RecordingClock(), Governor()
    told = api_refusal(429, "rate_limit_error", "Slow down", retry_after="30")
    with scripted_server(told) as server:
        model = ModelSettings(base_url=server.url)
        spent = try_models([model], KEY, clock=clock, governor=governor, warn=warned.append)
    assert spent == ()
    assert "Slow down" in warned[0]
    assert clock.slept == []
    with governor.admit(clock):
        assert sum(clock.slept) >= 30


def test_a_connection_that_is_lost_once_is_tried_again() -> None:
    answers = iter([Told(reset=True), hello()])
    with scripted_server(lambda _: next(answers)) as server:
        answer = ask_once(ModelSettings(base_url=server.url), KEY, clock=RecordingClock())
    assert answer.problem is None
    assert len(answer.spent) == 1


def test_each_model_is_asked_with_its_effort_and_what_they_refuse_is_told_together() -> None:
    def answer(asked: Asked) -> Told:
        model = asked.data["model"]
        return (
            hello() if model == "good" else api_refusal(404, "not_found_error", f"model: {model}")
        )

    with scripted_server(answer) as server:
        good = ModelSettings(model="good", base_url=server.url, effort="low")
        bad, worse = (replace(good, model=name, option=f"--{name}") for name in ("bad", "worse"))
        clock, governor = RecordingClock(), Governor()
        with pytest.raises(PreflightFailed) as caught:
            try_models([good, bad, worse], KEY, clock=clock, governor=governor, warn=fail)
        assert [a.data["output_config"] for a in server.asked] == [{"effort": "low"}] * 3
    first, second = caught.value.problems
    assert ("bad on anthropic" in first.what, "worse on anthropic" in second.what) == (True, True)
    assert "Check --bad" in first.fix


def test_what_two_models_lack_together_is_told_once() -> None:
    models = [ModelSettings(model=name) for name in "ab"]
    with pytest.raises(PreflightFailed) as caught:
        try_models(models, NOTHING, clock=RecordingClock(), governor=Governor(), warn=fail)
    assert len(caught.value.problems) == 1


def test_a_provider_that_does_not_answer_is_told_of_while_it_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(claude.client.client, "WATCHMAN", Watchman(0.01, 0.001))
    told: list[str] = []
    with silent_server(0) as (api, model):

        def tell(text: str) -> None:
            told.append(text)
            api.spoke.set()

        try_models([model], KEY, clock=SystemClock(), governor=Governor(), warn=tell)
    assert told[0] == f"No answer from {model.model} for 0 s."
