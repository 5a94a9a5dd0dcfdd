"""The cost of a request, by given prices or by the list in genai-prices (no network).

Prices are looked up per request and never for sums, since long requests may have another tier.
"""

from collections.abc import Callable, Mapping

from core.bundle import ModelSettings
from core.errors import UsageError
from core.job import Usage

_PROVIDER_IDS = {"anthropic": "anthropic", "bedrock": "aws"}
_PER = 1_000_000
# Of the price of input, for what is kept in the cache for five minutes:
# https://platform.claude.com/docs/en/build-with-claude/prompt-caching#pricing
_CACHE_READ, _CACHE_WRITE = 0.1, 1.25


def pricing(model: ModelSettings) -> Callable[[Usage], float | None]:
    """The price in US dollars of each request of a run: for the settings' own model by the prices
    given there, else by the list, which gives None for an unknown provider or model."""
    asked = model.provider, model.model
    return _fixed(
        model.price_input_usd,
        model.price_output_usd,
        lambda usage: (usage.provider, usage.model) == asked,
    )


def kept_pricing(settings: Mapping[str, object]) -> Callable[[Usage], float | None]:
    """The same from the stored settings of a run; a model that is not among them is the default."""
    asked = settings.get("provider"), settings.get("model")
    return _fixed(
        settings.get("price_input"),
        settings.get("price_output"),
        lambda usage: not asked[1] or (usage.provider, usage.model) == asked,
    )


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


def check_priced(model: ModelSettings, max_cost: float | None) -> None:
    """Raises UsageError when there is a limit on cost and requests have no known price."""
    probe = Usage(model.provider, model.model, input_tokens=1, output_tokens=1)
    if max_cost is not None and pricing(model)(probe) is None:
        raise UsageError(
            f"--max-cost needs the price of {model.model!r} on {model.provider}, which is unknown.",
            "Set --price-input and --price-output, in US dollars per million tokens.",
        )


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
