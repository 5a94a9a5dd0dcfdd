"""The real SDKs over real HTTP: each thing a provider can say or fail to say, its message and fix.

Bodies and headers are those of the vendors' documentation and of reports by their users.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from claude.client.providers import open_sdk
from claude.errors.endpoint import Endpoint
from claude.errors.vendor_errors import vendor_errors
from claude.preflight import Answer, ask_once
from core.bundle import ModelSettings
from core.credentials import Credentials
from core.errors import (
    BillingRefused,
    ConnectionLost,
    CredentialsRefused,
    ModelError,
    ModelUnavailable,
    ModelUnknown,
    Overloaded,
    RateLimited,
    RequestRejected,
    ServerFault,
)
from tests.fakes.scripted_server import (
    REQUEST_ID,
    Asked,
    Told,
    api_refusal,
    api_refusal_in_stream,
    aws_refusal,
    aws_refusal_in_stream,
    hello,
    scripted_server,
    web_page,
)
from tests.fakes.simulated import RecordingClock, ask, connected

KEYS = Credentials(
    anthropic_api_key="sk-test", aws_access_key_id="AKIATEST", aws_secret_access_key="test-secret"
)
DOCS = Path(__file__).parents[3] / "docs"
BARE = "anthropic.claude-sonnet-4-5-20250929-v1:0"
MODELS = {"anthropic": "claude-sonnet-5-5", "bedrock": f"global.{BARE}"}


@dataclass(frozen=True)
class Case:
    """One refusal: what comes, what it is, and words of the message and of the remedy."""

    status: int
    name: str
    text: str
    kind: type[ModelError]
    message: str
    remedy: str
    model: str = ""
    region: str = "eu-central-1"
    provider: str = "anthropic"

    def settings(self, url: str) -> ModelSettings:
        model = self.model or MODELS[self.provider]
        return ModelSettings(provider=self.provider, model=model, region=self.region, base_url=url)

    @property
    def told(self) -> Told:
        refusal = aws_refusal if self.provider == "bedrock" else api_refusal
        return refusal(self.status, self.name, self.text)


KINDS = {
    kind.__name__: kind
    for kind in (
        *(BillingRefused, CredentialsRefused, ModelUnknown, Overloaded, RateLimited),
        *(RequestRejected, ServerFault),
    )
}


def read_cases(provider: str, table: str) -> list[Case]:
    """Cases, each in a paragraph set in from its second line on: the status, the name and the text
    that come, and behind the arrow the kind, words of the message and of the remedy, perhaps the
    model and the region that were asked for."""
    cases = []
    for block in re.split(r"\n(?=\d)", table.strip().replace("BARE", BARE)):
        came, _, found = " ".join(block.split()).partition(" => ")
        status, name, text = came.split(" ", 2)
        kind, message, remedy, model, region, *_ = *found.split(" | "), "", ""
        case = Case(int(status), name, text, KINDS[kind], message, remedy, model)
        cases.append(replace(case, provider=provider, region=region or case.region))
    return cases


API = read_cases(
    "anthropic",
    """
400 invalid_request_error messages.0.content: Input should be a valid list
    => RequestRejected | rejected a request (400) | would be rejected again
400 invalid_request_error Your credit balance is too low to access the Anthropic API. Please go to
    Plans & Billing to upgrade or purchase credits.
    => BillingRefused | no credit left | Add credit
400 invalid_request_error You have reached your specified API usage limits. You will regain access
    on 2026-12-01 at 00:00 UTC.
    => BillingRefused | 2026-12-01 | raise the spend limit
400 invalid_request_error This organization has been disabled.
    => CredentialsRefused | is disabled | another organization
401 authentication_error invalid x-api-key
    => CredentialsRefused | rejected the credentials | Set ANTHROPIC_API_KEY
401 authentication_error OAuth token has expired. Please obtain a new token or refresh your
    existing token.
    => CredentialsRefused | has expired | ANTHROPIC_AUTH_TOKEN to a new one
402 billing_error There is an issue with your billing or payment information.
    => BillingRefused | no credit left | provider's console
403 permission_error Your API key does not have permission to use the specified resource.
    => CredentialsRefused | may not use | workspace that may use this model
403 forbidden Request not allowed
    => CredentialsRefused | is not available from this network | VPN
404 not_found_error model: claude-9
    => ModelUnknown | claude-9 on anthropic (127.0.0.1) was not found | leave it out for a
    current one | claude-9
404 not_found_error model: claude-3-opus-20240229
    => ModelUnknown | was not found | Use --model claude-opus-5-5; this one ends on 5 January
    2026 | claude-3-opus-20240229
413 request_too_large Request exceeds the maximum size
    => RequestRejected | too large | Shorten
429 rate_limit_error This request would exceed your organization's rate limit of 50 requests per
    minute
    => RateLimited | limits the rate of requests | --max-executors
500 api_error Internal server error
    => ServerFault | failed to answer | resume
529 overloaded_error Overloaded
    => Overloaded | is overloaded | resume
""",
)
BEDROCK = read_cases(
    "bedrock",
    """
404 UnknownOperationException No such operation
    => ModelUnknown | was not found | the base URL if one is set
403 ExpiredTokenException The security token included in the request is expired
    => CredentialsRefused | AWS session for | aws sso login
403 UnrecognizedClientException The security token included in the request is invalid.
    => CredentialsRefused | does not know the AWS access key | AWS_ACCESS_KEY_ID
403 InvalidSignatureException The request signature we calculated does not match the signature you
    provided.
    => CredentialsRefused | rejected the signature | AWS_SECRET_ACCESS_KEY
403 InvalidSignatureException Signature expired: 20261122T100000Z is now earlier than
    20261122T105500Z
    => CredentialsRefused | because of its time | clock
403 InvalidSignatureException Credential should be scoped to a valid region.
    => CredentialsRefused | another region | --region
403 AccessDeniedException You don't have access to the model with the specified model ID.
    => CredentialsRefused | has no access | Bedrock console
403 AccessDeniedException User: arn:aws:iam::123456789012:user/x is not authorized to perform:
    bedrock:InvokeModelWithResponseStream on resource: arn:aws:bedrock:x because no identity-based
    policy allows the bedrock:InvokeModelWithResponseStream action
    => CredentialsRefused | This identity may not use | Allow it
    bedrock:InvokeModelWithResponseStream
403 AccessDeniedException User: arn:aws:sts::123456789012:assumed-role/x is not authorized to
    perform: bedrock:InvokeModelWithResponseStream on resource: arn:aws:bedrock:x with an explicit
    deny in a service control policy
    => CredentialsRefused | A policy denies | all the regions
403 AccessDeniedException Model access is denied due to IAM user or service role is not authorized
    to perform the required AWS Marketplace actions (aws-marketplace:ViewSubscriptions,
    aws-marketplace:Subscribe) to enable access to this model.
    => CredentialsRefused | may not subscribe | aws-marketplace:Subscribe
403 AccessDeniedException Model access is denied due to INVALID_PAYMENT_INSTRUMENT:A valid payment
    instrument must be provided.
    => BillingRefused | no valid payment method | billing console
400 ValidationException Access to Anthropic models is not allowed from unsupported countries,
    regions, or territories.
    => CredentialsRefused | is not available in the country | supported country
404 ResourceNotFoundException Model use case details have not been submitted for this account.
    Fill out the Anthropic use case details form before using the model.
    => CredentialsRefused | is not granted yet | use case form
400 ValidationException Invocation of model ID BARE with on-demand throughput isn’t supported.
    Retry your request with the ID or ARN of an inference profile that contains this model.
    => ModelUnknown | bare model id | --model global.BARE or --model eu.BARE. | BARE
400 ValidationException Invocation of model ID BARE with on-demand throughput isn’t supported.
    => ModelUnknown | bare model id | --model global.BARE or --model jp.BARE. List ids: aws
    bedrock list-inference-profiles --region ap-northeast-1 | BARE | ap-northeast-1
400 ValidationException The provided model identifier is invalid.
    => ModelUnknown | was not found | Check --model and --region | anthropic.claude-nine
400 ValidationException The provided model identifier is invalid.
    => ModelUnknown | was not found | its successor claude-opus-5-5 |
    anthropic.claude-3-opus-20240229-v1:0
400 ValidationException The provided model identifier is invalid.
    => ModelUnknown | an inference profile that this region does not have | Set --region to one
    of the us regions, or use --model global.BARE or --model eu. | us.BARE
404 ResourceNotFoundException This model version has reached the end of its life. Please refer to
    the AWS documentation for more details.
    => ModelUnknown | is retired | its successor claude-sonnet-5-5 |
    eu.anthropic.claude-3-7-sonnet-20250219-v1:0
404 ResourceNotFoundException Access denied. This Model is marked by provider as Legacy and you
    have not been actively using the model in the last 15 days. Please upgrade to an active model
    on Amazon Bedrock
    => ModelUnknown | is retired | Use a current model | us.anthropic.claude-next-v1:0
404 ResourceNotFoundException Could not resolve the foundation model from the provided model
    identifier.
    => ModelUnknown | was not found | list-inference-profiles --region eu-central-1
404 ResourceNotFoundException The specified resource ARN was not found.
    => ModelUnknown | was not found | If it is retired, use its successor claude-sonnet-5-5.
    List ids
404 ResourceNotFoundException The specified resource ARN was not found.
    => ModelUnknown | was not found | Check --model and --region: not every region has every
    model. If it is retired, | eu.anthropic.claude-3-5-haiku-20241022-v1:0
400 ValidationException Malformed input request: #: required key [messages] not found
    => RequestRejected | rejected a request (400) | would be rejected again
400 ServiceQuotaExceededException Your request exceeds the service quota for your account.
    => BillingRefused | quota of the AWS account | Service Quotas
429 ThrottlingException Too many tokens per day, please wait before trying again.
    => BillingRefused | is used up | tomorrow
429 ThrottlingException Too many tokens, please wait before trying again.
    => RateLimited | limits the rate of requests | --max-executors
429 ModelNotReadyException The model is not ready for inference.
    => RateLimited | is not ready yet | resume
500 InternalServerException The system encountered an unexpected error during processing.
    => ServerFault | failed to answer (500) | resume
503 ServiceUnavailableException Bedrock is unable to process your request.
    => Overloaded | is overloaded | resume
424 ModelErrorException The model had an error.
    => ServerFault | failed to answer | resume
""",
)
CASES = [*API, *BEDROCK]
ONE_OF_EACH_KIND = list({(c.provider, c.kind): c for c in CASES}.values())
NAMES = [f"{case.provider}-{case.name}-{case.message[:20]}" for case in CASES]

IN_STREAM = [
    *[c for c in API if c.name not in ("forbidden",)],
    # Bedrock has few kinds of exceptions once a stream has begun
    *[
        replace(c, name=c.name[0].lower() + c.name[1:])
        for c in BEDROCK
        if c.name in ("ThrottlingException", "ServiceUnavailableException")
    ],
]


def streamed(settings: ModelSettings) -> ModelError:
    with connected(model=settings, credentials=KEYS) as claude, pytest.raises(ModelError) as caught:
        claude.send(ask())
    return caught.value


def whole(settings: ModelSettings) -> ModelError:
    """The same request without a stream."""
    clock = RecordingClock()
    endpoint = Endpoint(settings, "127.0.0.1", KEYS.mask, clock.time)
    body = {"model": settings.model, "max_tokens": 1, "messages": []}
    with (
        open_sdk(settings, KEYS, clock) as sdk,
        pytest.raises(ModelError) as caught,
        vendor_errors(endpoint),
    ):
        sdk.post("/v1/messages", cast_to=object, body=body)
    return caught.value


def assert_told(error: ModelError, case: Case) -> None:
    assert type(error) is case.kind
    assert case.message in error.message
    assert case.remedy in error.remedy
    assert f"(request {REQUEST_ID})" in error.message


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_a_streamed_request_that_is_refused_gives_a_message_that_the_documents_explain(
    case: Case,
) -> None:
    with scripted_server(case.told) as server:
        error = streamed(case.settings(server.url))
    assert_told(error, case)
    page = "bedrock-model-setup.md" if case.provider == "bedrock" else "troubleshooting.md"
    rows = [row for row in (DOCS / page).read_text(encoding="utf-8").splitlines() if row[:1] == "|"]
    cells = [cell for row in rows for cell in row.split("|")[1].split("`, `")]
    told = [[part.strip(" `") for part in cell.split("...")] for cell in cells]
    told = [[part for part in parts if len(part) > 7] for parts in told]
    assert any(p and all(part in error.message for part in p) for p in told), error.message


@pytest.mark.parametrize("case", ONE_OF_EACH_KIND, ids=lambda c: f"{c.provider}-{c.kind.__name__}")
def test_a_request_without_a_stream_that_is_refused(case: Case) -> None:
    with scripted_server(case.told) as server:
        assert_told(whole(case.settings(server.url)), case)


@pytest.mark.parametrize("case", IN_STREAM, ids=[f"{c.name}-{c.message[:20]}" for c in IN_STREAM])
def test_a_stream_that_ends_in_a_refusal(case: Case) -> None:
    cut = aws_refusal_in_stream if case.provider == "bedrock" else api_refusal_in_stream
    with scripted_server(cut(case.name, case.text)) as server:
        error = streamed(case.settings(server.url))
    assert type(error) is case.kind
    assert case.remedy in error.remedy
    assert case.text.rstrip(".") in error.message


@pytest.mark.parametrize("case", ONE_OF_EACH_KIND, ids=lambda c: f"{c.provider}-{c.kind.__name__}")
def test_the_preflight_fails_on_all_but_what_passes_by_itself(case: Case) -> None:
    with scripted_server(case.told) as server:
        answer = ask_once(case.settings(server.url), KEYS, clock=RecordingClock())
        assert len(server.asked) == 1
    assert answer.spent == ()
    if issubclass(case.kind, ModelUnavailable):
        assert answer.problem is None
        assert case.message in answer.warning
    else:
        assert answer.problem is not None
        assert case.message in answer.problem.what
        assert case.remedy in answer.problem.fix
        assert not answer.warning


def test_no_two_causes_have_the_same_message_and_fix() -> None:
    """Retryable ones aside, and those that are the same cause in other words."""
    told = [(c.provider, c.message, c.remedy) for c in CASES]
    assert len(set(told)) == len(told)


@pytest.mark.parametrize("text", ["Bearer Token has expired", "The API key has expired"])
def test_a_bedrock_key_that_has_expired(text: str) -> None:
    with scripted_server(aws_refusal(403, "AccessDeniedException", text)) as server:
        error = streamed(ModelSettings(provider="bedrock", model="m", base_url=server.url))
    assert type(error) is CredentialsRefused
    assert "has expired" in error.message
    assert "AWS_BEARER_TOKEN_BEDROCK" in error.remedy


def test_a_bedrock_key_that_is_not_valid_here() -> None:
    text = "Authentication failed: Please make sure your API Key is valid."
    with scripted_server(aws_refusal(403, "", text, key="Message")) as server:
        error = streamed(ModelSettings(provider="bedrock", model="m", base_url=server.url))
    assert type(error) is CredentialsRefused
    assert "rejected the Bedrock API key" in error.message
    assert "only in the --region it was created in" in error.remedy


def test_a_spend_limit_that_comes_as_a_rate_limit_is_billing() -> None:
    told = api_refusal(
        429, "rate_limit_error", "Over the limit", error_code="enforced_spend_limit_reached"
    )
    with scripted_server(told) as server:
        assert type(streamed(ModelSettings(base_url=server.url))) is BillingRefused


@pytest.mark.parametrize(
    "model", ["gpt-9", "us.anthropic.claude-sonnet-5-5", "arn:aws:bedrock:eu:1:inference-profile/x"]
)
@pytest.mark.parametrize("provider", ["anthropic", "bedrock"])
def test_any_model_id_is_sent_as_given(provider: str, model: str) -> None:
    refused = Case(404, "x", "model: no", ModelUnknown, "", "", model=model, provider=provider)
    with scripted_server(refused.told) as server:
        error = streamed(refused.settings(server.url))
    assert type(error) is ModelUnknown
    assert model in error.message
    (asked,) = server.asked
    if provider == "anthropic":
        assert asked.data["model"] == model
    else:
        quoted = model.replace("/", "%2F")
        assert asked.path == f"/model/{quoted}/invoke-with-response-stream"


# -- no answer, or an answer by somebody else


def fails(url: str, provider: str = "anthropic", region: str = "eu-central-1") -> Answer:
    settings = ModelSettings(provider=provider, model=MODELS[provider], region=region, base_url=url)
    return ask_once(settings, KEYS, clock=RecordingClock())


def assert_problem(answer: Answer, message: str, remedy: str) -> None:
    assert answer.problem is not None
    assert message in answer.problem.what
    assert remedy in answer.problem.fix


@contextmanager
def free_port() -> Iterator[int]:
    """One that nobody listens on and nobody else gets."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])


@pytest.mark.parametrize("provider", ["anthropic", "bedrock"])
def test_an_address_that_refuses_connections(provider: str) -> None:
    with free_port() as port:
        answer = fails(f"http://127.0.0.1:{port}", provider)
    assert_problem(answer, "was refused", "ANTHROPIC_BASE_URL")


@pytest.mark.parametrize("provider", ["anthropic", "bedrock"])
def test_a_connection_that_is_reset_twice(provider: str) -> None:
    with scripted_server(Told(reset=True)) as server:
        answer = fails(server.url, provider)
        assert len(server.asked) == 2
    assert_problem(answer, "was lost", "network")


@pytest.mark.parametrize("provider", ["anthropic", "bedrock"])
def test_tls_to_an_address_without_tls(provider: str) -> None:
    with scripted_server(web_page()) as server:
        answer = fails(server.url.replace("http:", "https:"), provider)
    assert_problem(answer, "No TLS connection", "http://")


@pytest.mark.parametrize("status", [200, 301, 403, 404])
@pytest.mark.parametrize("provider", ["anthropic", "bedrock"])
def test_a_web_page_in_place_of_an_api(provider: str, status: int) -> None:
    with scripted_server(web_page(status)) as server:
        answer = fails(server.url, provider)
        assert len(server.asked) == 1
    assert_problem(answer, "is not an API: it answered with a web page", "sign-in page")


def test_a_gateway_that_is_down_for_a_moment_is_only_a_warning() -> None:
    with scripted_server(web_page(502)) as server:
        answer = fails(server.url)
    assert answer.problem is None
    assert "failed to answer (502)" in answer.warning


def _unknown_name(*_: object, **__: object) -> object:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@pytest.mark.parametrize(("provider", "fix"), [("anthropic", "network"), ("bedrock", "--region")])
def test_a_name_that_does_not_exist(
    provider: str, fix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", _unknown_name)  # nothing is to leave this machine
    answer = fails("http://api.invalid", provider)
    assert_problem(answer, "The host name api.invalid could not be resolved", fix)


def test_a_name_that_cannot_be_one() -> None:
    assert_problem(fails("http://api..invalid"), "could not be made", "ANTHROPIC_BASE_URL")


@pytest.mark.parametrize("provider", ["anthropic", "bedrock"])
def test_a_proxy_that_refuses(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "")
    with scripted_server(Told(407)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        answer = fails("https://api.invalid", provider)
    assert_problem(answer, "The proxy for", "HTTPS_PROXY")


def test_the_name_of_a_proxy_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid:8080")
    monkeypatch.setattr(socket, "getaddrinfo", _unknown_name)
    answer = fails("https://api.invalid")
    assert_problem(answer, "The host name of the proxy could not be resolved", "HTTPS_PROXY")


@pytest.mark.parametrize(
    "entries",
    ["[::1]", "fe80::/10", "[fe80::]/10", "::1]:80", "10.0.0.0/33", "fe80::%eth0,é.example", ",,"],
)
def test_whatever_no_proxy_holds_its_good_entries_count(
    entries: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scripted_server(hello()) as server, scripted_server(Told(407)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", f"{entries},127.0.0.1")
        model = ModelSettings(base_url=server.url)
        answer = ask_once(model, KEYS, clock=RecordingClock())
    assert answer.problem is None
    assert proxy.asked == []


# -- a redirect


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("provider", ["anthropic", "bedrock"])
def test_a_redirect_is_told_and_not_followed(provider: str, status: int) -> None:
    with scripted_server(hello()) as other:

        def answer(asked: Asked) -> Told:
            return Told(status, headers={"location": f"{other.url}/api{asked.path}?token=CANARY"})

        with scripted_server(answer) as server:
            found = fails(server.url, provider)
    assert other.asked == []
    variable = "ANTHROPIC_BASE_URL" if provider == "anthropic" else "ANTHROPIC_BEDROCK_BASE_URL"
    assert_problem(found, f"redirects to {other.url}/api (", f"Set {variable} to {other.url}/api,")
    assert "CANARY" not in repr(found)


@pytest.mark.parametrize(
    ("location", "words", "fix"),
    [
        ("/login?next=x", "/login (302); nothing was sent there", "sign-in page"),
        ("https://user:CANARY@h.invalid/v1/messages", "to https://h.invalid (302)", "https://h.in"),
        ("http://[::1/x", "rejected a request (302)", "Change what"),
        ("", "rejected a request (302)", "Change what"),
    ],
)
def test_where_a_redirect_leads_is_told_as_far_as_it_is_an_address(
    location: str, words: str, fix: str
) -> None:
    headers = {"location": location} if location else {}
    with scripted_server(Told(302, headers=headers)) as server:
        found = fails(server.url)
        assert len(server.asked) == 1
    assert_problem(found, words, fix)
    assert "CANARY" not in repr(found)


# -- what a refusal repeats


def test_what_aws_repeats_of_a_signed_request_is_masked() -> None:
    """The token of a profile is known to boto3 only, so that no mask has it."""
    text = (
        "The request signature we calculated does not match the signature you provided. The"
        " Canonical String for this request should have been 'POST x-amz-security-token:CANARY-T"
        " authorization: AWS4-HMAC-SHA256 Credential=CANARY-I/20261122/eu-central-1'"
    )
    with scripted_server(aws_refusal(403, "InvalidSignatureException", text)) as server:
        error = streamed(ModelSettings(provider="bedrock", model="m", base_url=server.url))
    assert "CANARY" not in f"{error.message} {error.remedy}"
    assert "x-amz-security-token:********" in error.message
    assert error.__cause__ is None


def test_a_timeout_is_reported_as_one() -> None:
    import httpx2

    def slow(_: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectTimeout("timed out")

    with (
        connected(slow) as claude,
        pytest.raises(ConnectionLost, match="did not answer in time") as e,
    ):
        claude.send(ask())
    assert "firewall" in e.value.remedy


def test_an_untrusted_certificate_is_reported_as_one() -> None:
    import ssl

    import httpx2

    def untrusted(_: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("bad") from ssl.SSLCertVerificationError("self-signed")

    with connected(untrusted) as claude, pytest.raises(ConnectionLost, match="not trusted") as e:
        claude.send(ask())
    assert "SSL_CERT_FILE" in e.value.remedy


def test_the_option_that_named_the_model_is_the_one_to_change() -> None:
    told = api_refusal(404, "not_found_error", "model: claude-3-opus-20240229")
    with scripted_server(told) as server:
        model = replace(ModelSettings(base_url=server.url), option="--executor-model")
        for name, fix in (
            ("claude-3-opus-20240229", "Use --executor-model claude-opus-5-5"),
            ("claude-x", "Check --executor-model "),
        ):
            answer = ask_once(replace(model, model=name), KEYS, clock=RecordingClock())
            assert answer.problem is not None
            assert fix in answer.problem.fix


def test_an_effort_that_is_refused_is_to_be_left_out() -> None:
    told = api_refusal(
        400, "invalid_request_error", "This model does not support the effort parameter."
    )
    with scripted_server(told) as server:
        model = ModelSettings(base_url=server.url, effort="low")
        answer = ask_once(model, KEYS, clock=RecordingClock())
        plain = ask_once(replace(model, effort=""), KEYS, clock=RecordingClock())
    assert answer.problem is not None
    assert answer.problem.fix.startswith("Leave out --planner-effort or --executor-effort")
    assert plain.problem is not None
    assert "would be rejected again" in plain.problem.fix
