"""Refusals that only Bedrock and AWS's sign-in give, told apart by the error's name and text.

One status stands for several causes there, each with a remedy of its own.
https://docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html
"""

from typing import NamedTuple

from claude.errors.endpoint import Endpoint, Refusal
from core.errors import BillingRefused, CredentialsRefused, ModelError, ModelUnknown
from core.models import find_ending

CREDENTIALS_REMEDY = (
    "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN), "
    "AWS_BEARER_TOKEN_BEDROCK or AWS_PROFILE, or give this machine a role."
)


class _Rule(NamedTuple):
    """A cause: `pattern` is searched for in "name: text" of the refusal, in lower case. Message and
    remedy may hold {endpoint}, {detail}, {profiles}, {current} and {list_ids}."""

    pattern: str
    message: str
    remedy: str
    kind: type[ModelError] = CredentialsRefused


# The first that matches counts.
_RULES = (
    _Rule(
        "bearer token has expired|api key has expired",
        "The Bedrock API key for {endpoint} has expired: {detail}.",
        "Create a new key in the Bedrock console and set AWS_BEARER_TOKEN_BEDROCK to it.",
    ),
    _Rule(
        "^expiredtoken|token included in the request is expired",
        "The AWS session for {endpoint} has expired: {detail}.",
        "Sign in again (aws sso login), or renew AWS_SESSION_TOKEN and its keys.",
    ),
    _Rule(
        "signature expired|signature not yet current",
        "{endpoint} rejected a signature because of its time: {detail}.",
        "Correct the clock of this machine.",
    ),
    _Rule(
        "scoped to a valid region|scoped to correct region",
        "{endpoint} is in another region than the request was signed for: {detail}.",
        "Set --region to the region of that address, or correct ANTHROPIC_BEDROCK_BASE_URL.",
    ),
    _Rule(
        "api key is valid|invalid api key",
        "{endpoint} rejected the Bedrock API key: {detail}.",
        "Set AWS_BEARER_TOKEN_BEDROCK to a valid key (a short-term key works only in the --region"
        " it was created in), or unset it to use AWS keys or a profile.",
    ),
    _Rule(
        "^(invalidsignatureexception|signaturedoesnotmatch):",
        "{endpoint} rejected the signature: {detail}.",
        "Check that AWS_SECRET_ACCESS_KEY belongs to AWS_ACCESS_KEY_ID.",
    ),
    _Rule(
        "^(unrecognizedclientexception|invalidclienttokenid):",
        "{endpoint} does not know the AWS access key: {detail}.",
        "Check AWS_ACCESS_KEY_ID; a temporary key also needs its AWS_SESSION_TOKEN. Enable the"
        " region for the account if it is an opt-in region.",
    ),
    _Rule(
        "on-demand throughput",
        "{endpoint} cannot be called by its bare model id: {detail}.",
        "Use the id of an inference profile, such as {profiles}. {list_ids}",
        ModelUnknown,
    ),
    _Rule(
        "end of its life|provider as legacy",
        "{endpoint} is retired: {detail}.",
        "Use {current}. {list_ids}",
        ModelUnknown,
    ),
    _Rule(
        "use case details",
        "Access to {endpoint} is not granted yet: {detail}.",
        "Submit Anthropic's use case form in the Bedrock console, once for the account; it takes"
        " effect after some minutes.",
    ),
    _Rule(
        "payment instrument",
        "The AWS account has no valid payment method for {endpoint}: {detail}.",
        "Set one in the AWS billing console.",
        BillingRefused,
    ),
    _Rule(
        "unsupported countries",
        "{endpoint} is not available in the country of this account or network: {detail}.",
        "Use an account and a region in a supported country.",
    ),
    _Rule(
        "^accessdeniedexception: .*marketplace",
        "Access to {endpoint} is not granted yet, and this identity may not subscribe to it:"
        " {detail}.",
        "Have an administrator call the model once or enable it in the Bedrock console; the first"
        " use needs aws-marketplace:Subscribe and aws-marketplace:ViewSubscriptions.",
    ),
    _Rule(
        "^accessdeniedexception: .*explicit deny",
        "A policy denies this identity the use of {endpoint}: {detail}.",
        "Have the policy changed by its owner; an inference profile needs all the regions it"
        " sends requests to.",
    ),
    _Rule(
        "^accessdeniedexception: .*not authorized to perform",
        "This identity may not use {endpoint}: {detail}.",
        "Allow it bedrock:InvokeModelWithResponseStream on the inference profile and on the model"
        " behind it.",
    ),
    _Rule(
        "^accessdeniedexception:",
        "This AWS account has no access to {endpoint}: {detail}.",
        "Request access to the model in the Bedrock console of this region, and allow the role or"
        " user bedrock:InvokeModelWithResponseStream.",
    ),
    _Rule(
        "^servicequotaexceededexception:|per day",
        "The quota of the AWS account for {endpoint} is used up: {detail}.",
        "Wait until it refills (a daily quota: tomorrow), or raise it in the Service Quotas"
        " console under Amazon Bedrock.",
        BillingRefused,
    ),
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
    """The error for a refusal that only AWS gives; None when the status is enough."""
    ending = find_ending(endpoint.model.model)
    parts = {
        "endpoint": endpoint,
        "detail": refusal.detail,
        "profiles": _profile_options(endpoint, endpoint.model.model),
        "current": f"its successor {ending.successor}" if ending else "a current model",
        "list_ids": _list_ids(endpoint),
    }
    for pattern, message, remedy, kind in _RULES:
        if refusal.matches(pattern):
            return kind(message.format(**parts), remedy.format(**parts))
    unknown = refusal.matches("^resourcenotfoundexception:|model identifier is invalid")
    return _unknown_model(refusal, endpoint) if unknown else None


def profiles_for(model: str, region: str) -> tuple[str, ...]:
    """Ids of inference profiles that a bare `model` may have, the world-wide one first."""
    near = [f"{prefix}.{model}" for prefix in _GEOGRAPHIES if _serves(prefix, region)]
    return (f"global.{model}", *near[:1])


def _profile_options(endpoint: Endpoint, model: str) -> str:
    names = profiles_for(model, endpoint.model.region)
    return " or ".join(f"{endpoint.model.option} {name}" for name in names)


def _serves(prefix: str, region: str) -> bool:
    return region.startswith(_GEOGRAPHIES[prefix])


def _unknown_model(refusal: Refusal, endpoint: Endpoint) -> ModelUnknown:
    prefix, _, bare = endpoint.model.model.partition(".")
    if prefix in _GEOGRAPHIES and not _serves(prefix, endpoint.model.region):
        return ModelUnknown(
            f"{endpoint} is an inference profile that this region does not have: {refusal.detail}.",
            f"Set --region to one of the {prefix} regions, or use"
            f" {_profile_options(endpoint, bare)}.",
        )
    ending = find_ending(endpoint.model.model)
    successor = f" If it is retired, use its successor {ending.successor}." if ending else ""
    return ModelUnknown(
        f"{endpoint} was not found: {refusal.detail}.",
        f"Check {endpoint.model.option} and --region: not every region has every model.{successor} "
        f"{_list_ids(endpoint)}",
    )


def _list_ids(endpoint: Endpoint) -> str:
    return f"List ids: aws bedrock list-inference-profiles --region {endpoint.model.region}"
