from __future__ import annotations

import socket
from dataclasses import replace

import pytest

from claude.prices import price_usd
from core.job import Usage

SONNET = Usage("anthropic", "claude-sonnet-4-5", input_tokens=1_000, output_tokens=100)
GLOBAL = "global.anthropic.claude-sonnet-4-5-20250929-v1:0"


def price(usage: Usage) -> float:
    cost_usd = price_usd(usage)
    assert cost_usd is not None
    return cost_usd


@pytest.mark.parametrize(
    "usage",
    [
        SONNET,
        replace(SONNET, model="claude-sonnet-5-5"),
        replace(SONNET, provider="bedrock", model=GLOBAL),
        replace(SONNET, provider="bedrock", model=GLOBAL.replace("global", "eu")),
    ],
)
def test_the_default_models_have_a_price(usage: Usage) -> None:
    assert 0 < price(usage) < 1


@pytest.mark.parametrize(
    "usage",
    [
        replace(SONNET, model="no-such-model"),
        replace(SONNET, model=""),
        replace(SONNET, provider="bedrock", model="no.such.model"),
        replace(SONNET, provider="elsewhere"),
    ],
)
def test_what_the_list_does_not_know_has_no_price(usage: Usage) -> None:
    assert price_usd(usage) is None


def test_reading_from_the_cache_is_cheaper_than_input_and_writing_dearer() -> None:
    plain = price(replace(SONNET, input_tokens=10_000))
    read = price(replace(SONNET, input_tokens=0, cache_read_tokens=10_000))
    written = price(replace(SONNET, input_tokens=0, cache_write_tokens=10_000))
    assert read < plain < written


def test_cached_tokens_are_not_paid_for_twice() -> None:
    both = price(replace(SONNET, cache_read_tokens=5_000))
    alone = price(replace(SONNET, input_tokens=0, output_tokens=0, cache_read_tokens=5_000))
    assert both == pytest.approx(price(SONNET) + alone)


def test_one_long_request_costs_more_than_its_parts() -> None:
    long, part = replace(SONNET, input_tokens=300_000), replace(SONNET, input_tokens=100_000)
    assert price(replace(long, output_tokens=0)) > 3 * price(replace(part, output_tokens=0))


def test_the_provider_decides_the_price() -> None:
    regional = replace(SONNET, provider="bedrock", model=GLOBAL.replace("global", "eu"))
    assert price(replace(SONNET, provider="bedrock", model=GLOBAL)) < price(regional)


def test_nothing_used_costs_nothing() -> None:
    assert price(Usage("anthropic", "claude-sonnet-5-5")) == 0


def test_a_price_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert price(SONNET) > 0
