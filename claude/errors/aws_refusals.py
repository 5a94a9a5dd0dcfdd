"""What Bedrock and AWS's sign-in refuse, told apart by the error's name and words.

One status stands for several causes there, each with a fix of its own.
https://docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html
"""

from __future__ import annotations

from claude.errors.endpoint import Endpoint, Refusal
from core.errors import BillingRefused, CredentialsRefused, ModelError, ModelUnknown
from core.models import find_ending

CREDENTIALS_REMEDY = (
    "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN), "
    "AWS_BEARER_TOKEN_BEDROCK or AWS_PROFILE, or give this machine a role."
)

# Where an inference profile serves, by its prefix, and the beginnings of its regions' names.
_GEOGRAPHIES = {
    "us-gov": ("us-gov-",),
    "us": ("us-", "ca-"),
    "eu": ("eu-",),
    "jp": ("ap-northeast-1", "ap-northeast-3"),
    "au": ("ap-southeast-2", "ap-southeast-4"),
    "apac": ("ap-",),
}


def from_aws(refusal: Refusal, endpoint: Endpoint) -> ModelError | None:
    """The error for a refusal that only AWS gives; None for what the status tells well enough."""
    for find in (_by_session, _by_signature, _by_model, _by_access, _by_quota):
        if (error := find(refusal, endpoint)) is not None:
            return error
    return None


def profiles_for(model: str, region: str) -> tuple[str, ...]:
    """Ids of inference profiles that a bare `model` may have, the world-wide one first."""
    near = [f"{prefix}.{model}" for prefix in _GEOGRAPHIES if _serves(prefix, region)]
    return (f"global.{model}", *near[:1])


def _serves(prefix: str, region: str) -> bool:
    return region.startswith(_GEOGRAPHIES[prefix])


def _by_session(refusal: Refusal, endpoint: Endpoint) -> CredentialsRefused | None:
    if refusal.says("bearer token has expired", "api key has expired"):
        return CredentialsRefused(
            f"The Bedrock API key for {endpoint} has expired: {refusal.detail}.",
            "Make a new one in the Bedrock console and set AWS_BEARER_TOKEN_BEDROCK to it.",
        )
    if "ExpiredToken" in refusal.name or refusal.says("token included in the request is expired"):
        return CredentialsRefused(
            f"The AWS session for {endpoint} has expired: {refusal.detail}.",
            "Sign in again (aws sso login) or renew AWS_SESSION_TOKEN and its keys.",
        )
    return None


def _by_signature(refusal: Refusal, endpoint: Endpoint) -> CredentialsRefused | None:
    def refused(what: str, fix: str) -> CredentialsRefused:
        return CredentialsRefused(f"{endpoint} {what}: {refusal.detail}.", fix)

    if refusal.says("signature expired", "signature not yet current"):
        return refused("refused a signature by its time", "Set this machine's clock.")
    if refusal.says("scoped to a valid region", "scoped to correct region"):
        return refused(
            "is in another region than the request was signed for",
            "Give --region the region of the address asked; check ANTHROPIC_BEDROCK_BASE_URL.",
        )
    if refusal.says("api key is valid", "invalid api key"):
        return refused(
            "refused the Bedrock API key",
            "Set AWS_BEARER_TOKEN_BEDROCK to a valid key (a short-term key holds for the one"
            " --region it was made in), or unset it to use AWS keys or a profile.",
        )
    if refusal.name in ("InvalidSignatureException", "SignatureDoesNotMatch"):
        return refused(
            "refused the signature",
            "Check that AWS_SECRET_ACCESS_KEY is the one that belongs to AWS_ACCESS_KEY_ID.",
        )
    if refusal.name in ("UnrecognizedClientException", "InvalidClientTokenId"):
        return refused(
            "does not know the AWS key",
            "Check AWS_ACCESS_KEY_ID; a temporary key also needs its AWS_SESSION_TOKEN. A region"
            " that has to be enabled first knows no keys before that.",
        )
    return None


def _by_model(refusal: Refusal, endpoint: Endpoint) -> ModelError | None:
    model = endpoint.model
    if refusal.says("on-demand throughput"):
        ids = " or ".join(f"--model {name}" for name in profiles_for(model, endpoint.region))
        return ModelUnknown(
            f"{endpoint} cannot be asked by its bare id: {refusal.detail}.",
            f"Use the id of an inference profile, such as {ids}. {_listed(endpoint)}",
        )
    if refusal.says("end of its life", "provider as legacy"):
        return _retired(refusal, endpoint)
    if refusal.says("use case details"):
        return CredentialsRefused(
            f"Access to {endpoint} is not granted yet: {refusal.detail}.",
            "Fill in Anthropic's use case form in the Bedrock console, once for the account; it"
            " takes some minutes to count.",
        )
    if refusal.name == "ResourceNotFoundException" or refusal.says("model identifier is invalid"):
        return _unknown_model(refusal, endpoint)
    return None


def _retired(refusal: Refusal, endpoint: Endpoint) -> ModelUnknown:
    ending = find_ending(endpoint.model)
    name = f"its successor {ending.successor}" if ending else "a current model"
    return ModelUnknown(
        f"{endpoint} is retired: {refusal.detail}.", f"Use {name}. {_listed(endpoint)}"
    )


def _unknown_model(refusal: Refusal, endpoint: Endpoint) -> ModelUnknown:
    prefix = endpoint.model.partition(".")[0]
    if prefix in _GEOGRAPHIES and not _serves(prefix, endpoint.region):
        bare = endpoint.model.partition(".")[2]
        ids = " or ".join(f"--model {name}" for name in profiles_for(bare, endpoint.region))
        return ModelUnknown(
            f"{endpoint} is an inference profile that this region does not have: {refusal.detail}.",
            f"Give a --region that belongs to {prefix}., or use {ids}.",
        )
    ending = find_ending(endpoint.model)
    successor = f" If it is retired, use its successor {ending.successor}." if ending else ""
    return ModelUnknown(
        f"{endpoint} was not found: {refusal.detail}.",
        f"Check --model and --region: not every region has every model.{successor} "
        f"{_listed(endpoint)}",
    )


def _listed(endpoint: Endpoint) -> str:
    return f"List ids: aws bedrock list-inference-profiles --region {endpoint.region}"


def _by_access(refusal: Refusal, endpoint: Endpoint) -> ModelError | None:
    if refusal.says("payment instrument"):
        return BillingRefused(
            f"The AWS account cannot pay for {endpoint}: {refusal.detail}.",
            "Set a valid payment method in the AWS billing console.",
        )
    if refusal.says("unsupported countries"):
        return CredentialsRefused(
            f"{endpoint} is not offered where this account or machine is: {refusal.detail}.",
            "Use an account and a region of a supported country.",
        )
    if refusal.name != "AccessDeniedException":
        return None
    return CredentialsRefused(*_access(refusal, endpoint))


def _access(refusal: Refusal, endpoint: Endpoint) -> tuple[str, str]:
    """Message and remedy for an access denied, by who denied it."""
    if refusal.says("marketplace"):
        return (
            f"Access to {endpoint} is not granted yet, and this identity may not subscribe to it: "
            f"{refusal.detail}.",
            "Let an administrator call the model once or enable it in the Bedrock console; the "
            "first use needs aws-marketplace:Subscribe and aws-marketplace:ViewSubscriptions.",
        )
    if refusal.says("explicit deny"):
        return (
            f"A policy forbids this identity to use {endpoint}: {refusal.detail}.",
            "Ask who keeps the policy named there; an inference profile needs all the regions it "
            "sends to.",
        )
    if refusal.says("not authorized to perform"):
        return (
            f"This identity may not use {endpoint}: {refusal.detail}.",
            "Allow it bedrock:InvokeModelWithResponseStream on the inference profile and on the "
            "model behind it.",
        )
    return (
        f"This AWS account has no access to {endpoint}: {refusal.detail}.",
        "Request access to the model in the Bedrock console of this region, and allow "
        "bedrock:InvokeModelWithResponseStream to the role or user.",
    )


def _by_quota(refusal: Refusal, endpoint: Endpoint) -> BillingRefused | None:
    if refusal.name != "ServiceQuotaExceededException" and not refusal.says("per day"):
        return None
    return BillingRefused(
        f"The quota of the AWS account for {endpoint} is used up: {refusal.detail}.",
        "Wait until it is refilled (a daily one: tomorrow), or raise it in the Service Quotas "
        "console under Amazon Bedrock.",
    )
