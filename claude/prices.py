"""The cost of a request, by given prices or by the list in genai-prices (no network).

Prices are looked up per request and never for sums, since long requests may have another tier.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from core.bundle import Models, ModelSettings
from core.errors import UsageError
from core.job import Usage
from core.settings.worker import ROLES

_PROVIDER_IDS = {"anthropic": "anthropic", "bedrock": "aws"}
_PER = 1_000_000
# Of the price of input, for what is kept in the cache for five minutes:
# https://platform.claude.com/docs/en/build-with-claude/prompt-caching#pricing
_CACHE_READ, _CACHE_WRITE = 0.1, 1.25


def pricing(*models: ModelSettings) -> Callable[[Usage], float | None]:
    """The price in US dollars of each request of a run: for a model of `models` by the prices given
    there, else by the list, which gives None for an unknown provider or model."""
    given = {(m.provider, m.model): m for m in models if m.price_input_usd is not None}
    one = next(iter(given.values()), ModelSettings())
    return _fixed(
        one.price_input_usd,
        one.price_output_usd,
        lambda usage: (usage.provider, usage.model) in given,
    )


def kept_pricing(settings: Mapping[str, object]) -> Callable[[Usage], float | None]:
    """The same from the stored settings of a run; a model that is not among them is the default."""
    provider, model = settings.get("provider"), settings.get("model")
    asked = {settings.get(f"{role}_model") or model for role in ROLES}

    def applies(usage: Usage) -> bool:
        """Of two models, to the one without a price of its own."""
        own = asked == {None} or (usage.provider == provider and asked == {usage.model})
        return len(asked) == 1 and own

    return _fixed(settings.get("price_input"), settings.get("price_output"), applies)


def settle_prices(models: Models) -> Models:
    """Leave the prices that were given with the model that they are for: where planner and executor
    differ, with the one that has no known price. Raises UsageError where that is not one."""
    planner, executor = models.planner, models.executor
    if planner.price_input_usd is None or not models.differ:
        return models
    known = [price_usd(_probe(each)) is not None for each in (planner, executor)]
    if known[0] == known[1]:
        what = "both have one" if known[0] else "neither has one"
        fix = (
            "Leave them out."
            if known[0]
            else "Give --planner-model or --executor-model a model with a known price."
        )
        raise UsageError(
            "--price-input and --price-output are for one model without a known price; of"
            f" {planner.model!r} and {executor.model!r} {what}.",
            fix,
        )
    return Models(*map(_unpriced, (planner, executor), known))


def _unpriced(model: ModelSettings, is_known: bool) -> ModelSettings:
    return replace(model, price_input_usd=None, price_output_usd=None) if is_known else model


def _probe(model: ModelSettings) -> Usage:
    return Usage(model.provider, model.model, input_tokens=1, output_tokens=1)


def _fixed(
    price_in: object, price_out: object, applies: Callable[[Usage], bool]
) -> Callable[[Usage], float | None]:
    if not isinstance(price_in, int | float) or not isinstance(price_out, int | float):
        return price_usd

    def price(usage: Usage) -> float:
        if not applies(usage) and (listed := price_usd(usage)) is not None:
            return listed
        weighted = (
            usage.input_tokens
            + usage.cache_read_tokens * _CACHE_READ
            + usage.cache_write_tokens * _CACHE_WRITE
        )
        return (weighted * price_in + usage.output_tokens * price_out) / _PER

    return price


def check_priced(models: Iterable[ModelSettings], max_cost: float | None) -> None:
    """Raises UsageError when there is a limit on cost and requests have no known price."""
    for model in models if max_cost is not None else ():
        if pricing(model)(_probe(model)) is None:
            raise UsageError(
                f"--max-cost needs the price of {model.model!r} on {model.provider}, which is"
                " unknown.",
                "Set --price-input and --price-output, in US dollars per million tokens.",
            )


@functools.lru_cache(maxsize=4096)  # each view of a run asks for the same ones
def price_usd(usage: Usage) -> float | None:
    """US dollars for one request; None for an unknown provider or model."""
    import genai_prices  # a tenth of a second that --help need not pay

    if (provider_id := _PROVIDER_IDS.get(usage.provider)) is None:
        return None
    # genai-prices wants cached tokens included in the input; the API reports them beside it
    cached = usage.cache_read_tokens + usage.cache_write_tokens
    tokens = genai_prices.Usage(
        input_tokens=usage.input_tokens + cached,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        output_tokens=usage.output_tokens,
    )
    try:
        price = genai_prices.calc_price(tokens, usage.model, provider_id=provider_id)
    except LookupError:
        return None
    return float(price.total_price)
