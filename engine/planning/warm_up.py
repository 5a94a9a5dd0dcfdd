"""What warming the prompt cache is worth in a run: the prefix that its executors share, priced."""

from dataclasses import replace

from claude.prices import pricing
from claude.simulation.latency import first_token_s
from claude.simulation.prompt_cache import least_cacheable_tokens
from core.bundle import ModelSettings
from core.job import Usage
from core.plan import Plan
from engine.money.usage import Price
from engine.planning.requests import BYTES_A_TOKEN, byte_count, shared_bytes
from engine.scheduling.warm_up import SharedPrefix

ASSUMED_INPUT_USD = 3.0
ASSUMED_OUTPUT_USD = 15.0
"""Per million tokens, where the price is unknown: a model in the middle of the list."""


def price_prefix(
    plan: Plan, prompt: str, price: Price, model: ModelSettings, first_line_s: float
) -> SharedPrefix:
    """What the executors of `plan` share. `first_line_s` is the backend's. Seconds are those of the
    model, so that a simulation at any speed decides as the real run would."""
    tokens = (shared_bytes(plan, model) + byte_count(prompt)) // BYTES_A_TOKEN
    written = Usage(model.provider, model.model, cache_write_tokens=tokens)
    read = Usage(model.provider, model.model, cache_read_tokens=tokens)
    if price(written) is None or price(read) is None:
        price = pricing(
            replace(model, price_input_usd=ASSUMED_INPUT_USD, price_output_usd=ASSUMED_OUTPUT_USD)
        )
    return SharedPrefix(
        tokens,
        least_cacheable_tokens(model.model),
        write_usd=price(written) or 0.0,
        read_usd=price(read) or 0.0,
        begins_s=first_line_s + first_token_s(tokens),
    )
