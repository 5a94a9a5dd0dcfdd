"""What settings say together: which go only with others, and what a person is warned of."""

from collections.abc import Iterator, Mapping, Sequence

from core.errors import SettingsError
from core.models import efforts_of, find_ending
from core.settings import layers
from core.settings.layers import REFUSED, Errors, Found, Values
from core.settings.options import Setting
from core.settings.worker import DEFAULT_MODELS, ROLE_MODELS, ROLES, WorkerSettings

_AWS_KEYS = ("docker_aws_access_key_id", "docker_aws_secret_access_key", "docker_aws_session_token")


def check_pairs(found: Values, errors: Errors) -> None:
    """What is given together or not at all."""
    value = {key: given.value for key, given in found.items()}
    key, secret = value["docker_aws_access_key_id"], value["docker_aws_secret_access_key"]
    refused = {key for key, given in found.items() if given.origin.startswith(REFUSED)}
    if refused & {*_AWS_KEYS, "price_input", "price_output"}:
        return  # the default stands in the place of what was given
    if bool(key) != bool(secret) or (value["docker_aws_session_token"] and not key):
        fix = (
            "Give docker_aws_access_key_id and docker_aws_secret_access_key together"
            " (and the session token if they have one), or none and use the environment."
        )
        errors.append(SettingsError("Only a part of the AWS credentials was given.", fix))
    if (value["price_input"] is None) != (value["price_output"] is None):
        fix = "Give both, in US dollars per million tokens, or none."
        errors.append(SettingsError("Only one of price_input and price_output was given.", fix))


def effort_errors(settings: WorkerSettings, found: Values) -> Iterator[SettingsError]:
    for role in ROLES:
        model, effort = getattr(settings, f"{role}_model"), getattr(settings, f"{role}_effort")
        if effort is None or effort in (levels := efforts_of(model)):
            continue
        fix = f"Use one of {', '.join(levels)}, or leave it out." if levels else "Leave it out."
        yield SettingsError(
            f"The model {model} takes no effort {effort!r}"
            f" ({role}_effort, {found[f'{role}_effort'].origin}).",
            fix,
        )


def forget_other_models(found: Values, saved: Mapping[str, object], origin: str) -> None:
    """Drop what a run has kept of models that are not asked any more."""
    provider = str(saved.get("provider", found["provider"].value))
    if found["provider"].value != provider:
        for key in ("model", *ROLE_MODELS):
            if found[key].origin == origin:
                found[key] = Found("")  # an id of the other provider
    default = DEFAULT_MODELS[str(found["provider"].value)]
    changed = False
    for role, key in zip(ROLES, ROLE_MODELS, strict=True):
        known = saved.get(key) or saved.get("model") or DEFAULT_MODELS.get(provider, "")
        if (found[key].value or found["model"].value or default) != known:
            changed = True
            _forget(found, f"{role}_effort", origin)
    if changed:
        _forget(found, "price_input", origin)
        _forget(found, "price_output", origin)


def _forget(found: Values, key: str, origin: str) -> None:
    if found[key].origin == origin:
        found[key] = Found(None)


def warnings(
    declared: Sequence[Setting], settings: WorkerSettings, found: Values, environ: Mapping[str, str]
) -> Iterator[str]:
    for each in declared:
        origin = found[each.key].origin
        if each.secret and origin.endswith(".toml"):
            yield f"{each.key} is a secret in {origin}. Put it in the environment instead."
        if not origin.startswith("option "):
            continue
        if each.secret:
            yield (
                f"{each.flag} puts a secret on the command line, where others can see it."
                " Put it in the environment instead."
            )
        if each.only_with and not layers.has_effect(each, found):
            key, value = each.only_with
            yield f"{each.flag} has no effect here: it needs {key} = {layers.in_words(value)}."
    yield from layers.misspelt_variables(declared, environ)
    if settings.provider == "anthropic":
        for model in dict.fromkeys((settings.planner_model, settings.executor_model)):
            if (ending := find_ending(model)) is not None:
                yield f"The model {model} ends on {ending.day}. Use {ending.successor} instead."
