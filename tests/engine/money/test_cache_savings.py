"""What the prompt cache was worth."""

from __future__ import annotations

import pytest

from claude.prices import price_usd, pricing
from core.bundle import ModelSettings
from core.job import Usage
from engine.money.cache_savings import cache_savings, saved_usd

PRICE = pricing(
    ModelSettings(model="claude-sonnet-4-5", price_input_usd=10.0, price_output_usd=50.0)
)


def usage(plain: int, read: int, written: int) -> Usage:
    return Usage("anthropic", "claude-sonnet-4-5", plain, 1_000, read, written)


def test_the_share_is_of_all_input() -> None:
    both = [usage(100_000, 0, 300_000), usage(0, 600_000, 0)]
    assert cache_savings(both, PRICE).share == 0.6


def test_reading_saves_nine_tenths_and_writing_costs_a_quarter() -> None:
    assert saved_usd(usage(0, 1_000_000, 0), PRICE) == pytest.approx(9.0)
    assert saved_usd(usage(0, 0, 1_000_000), PRICE) == pytest.approx(-2.5)
    assert saved_usd(usage(1_000_000, 0, 0), PRICE) == 0.0
    both = [usage(5, 1_000_000, 0), usage(7, 0, 1_000_000)]
    assert cache_savings(both, PRICE).saved_usd == pytest.approx(6.5)


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("anthropic", "claude-sonnet-4-5"),
        ("bedrock", "global.anthropic.claude-sonnet-4-5-20250929-v1:0"),
    ],
)
def test_the_price_list_knows_what_caching_saves(provider: str, model: str) -> None:
    read = Usage(provider, model, 0, 0, 100_000, 0)
    assert saved_usd(read, price_usd) == pytest.approx(0.27)


def test_no_requests_no_savings() -> None:
    assert cache_savings([], PRICE) == (0.0, None)
    assert cache_savings([Usage("anthropic", "m")], PRICE) == (0.0, 0.0)


def test_requests_without_a_price_are_left_out_of_the_money() -> None:
    known = usage(0, 1_000_000, 0)
    unknown = Usage("anthropic", "no-such-model", 0, 0, 1_000_000)
    assert cache_savings([unknown], price_usd) == (1.0, None)
    assert cache_savings([unknown, known], price_usd) == (1.0, saved_usd(known, price_usd))
