"""What requests used and cost, and what the prompt cache was worth."""

from __future__ import annotations

import pytest

from claude.prices import price_usd, pricing
from core.bundle import ModelSettings
from core.job import Usage
from engine.money.usage import Spend

PRICE = pricing(
    ModelSettings(model="claude-sonnet-4-5", price_input_usd=10.0, price_output_usd=50.0)
)


def spend(plain: int, read: int, written: int) -> Spend:
    usage = Usage("anthropic", "claude-sonnet-4-5", plain, 1_000, read, written)
    return Spend.of(usage, PRICE)


def test_the_share_is_of_all_input() -> None:
    assert (spend(100_000, 0, 300_000) + spend(0, 600_000, 0)).cached_share == 0.6


def test_reading_saves_nine_tenths_and_writing_costs_a_quarter() -> None:
    assert spend(0, 1_000_000, 0).saved_usd == pytest.approx(9.0)
    assert spend(0, 0, 1_000_000).saved_usd == pytest.approx(-2.5)
    assert spend(1_000_000, 0, 0).saved_usd == 0.0
    assert (spend(5, 1_000_000, 0) + spend(7, 0, 1_000_000)).saved_usd == pytest.approx(6.5)


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("anthropic", "claude-sonnet-4-5"),
        ("bedrock", "global.anthropic.claude-sonnet-4-5-20250929-v1:0"),
    ],
)
def test_the_price_list_knows_what_caching_saves(provider: str, model: str) -> None:
    read = Usage(provider, model, 0, 0, 100_000, 0)
    assert Spend.of(read, price_usd).saved_usd == pytest.approx(0.27)


def test_no_requests_no_savings() -> None:
    assert (Spend().cached_share, Spend().saved_usd) == (0.0, 0.0)
    empty = Spend.of(Usage("anthropic", "m"), PRICE)
    assert (empty.cached_share, empty.saved_usd) == (0.0, 0.0)


def test_requests_without_a_price_are_left_out_of_the_money() -> None:
    known = spend(0, 1_000_000, 0)
    unknown = Spend.of(Usage("anthropic", "no-such-model", 0, 0, 1_000_000), price_usd)
    assert (unknown.cached_share, unknown.saved_usd, unknown.unpriced) == (1.0, 0.0, 1)
    assert (unknown + known).saved_usd == known.saved_usd


def test_a_request_that_counts_less_than_nothing_counts_for_nothing() -> None:
    assert spend(-5, 0, 0) == Spend()
