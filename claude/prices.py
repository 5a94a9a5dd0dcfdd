"""What a request cost, from the price list that ships with genai-prices: no network.

Prices are looked up per request and never for sums, since long requests may have another tier.
"""

from __future__ import annotations

from core.job import Usage

_PROVIDER_IDS = {"anthropic": "anthropic", "bedrock": "aws"}


def price_usd(usage: Usage) -> float | None:
    """US dollars for one request; None when the list does not know the provider or model."""
    import genai_prices  # a tenth of a second that --help need not pay

    provider_id = _PROVIDER_IDS.get(usage.provider)
    if provider_id is None:
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
