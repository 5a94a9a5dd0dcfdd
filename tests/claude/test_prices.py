from __future__ import annotations

import socket
from dataclasses import replace

import pytest

from claude.prices import check_priced, kept_pricing, price_usd, pricing, settle_prices
from core.bundle import Models, ModelSettings
from core.errors import UsageError
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


# -- prices that are given


GIVEN = ModelSettings(model="no-such-model", price_input_usd=4.0, price_output_usd=20.0)


def test_given_prices_beat_the_list_and_cover_the_cache() -> None:
    cost = pricing(GIVEN)
    assert cost(Usage("p", "m", input_tokens=1_000_000)) == 4.0
    assert cost(Usage("p", "m", output_tokens=1_000_000)) == 20.0
    assert cost(Usage("p", "m", cache_read_tokens=1_000_000)) == pytest.approx(0.4)
    assert cost(Usage("p", "m", cache_write_tokens=1_000_000)) == 5.0
    assert pricing(replace(GIVEN, model=SONNET.model))(SONNET) == pytest.approx(0.006)


@pytest.mark.parametrize("usage", [SONNET, replace(SONNET, model="no-such-model")])
def test_without_given_prices_the_list_holds(usage: Usage) -> None:
    assert pricing(ModelSettings())(usage) == price_usd(usage)


def test_a_run_is_priced_by_what_it_has_kept() -> None:
    assert kept_pricing({"price_input": 4, "price_output": 20.0})(SONNET) == pytest.approx(0.006)


@pytest.mark.parametrize(
    "kept",
    [{}, {"price_input": None, "price_output": None}, {"price_input": "4", "price_output": [1]}],
)
def test_a_run_that_has_kept_no_prices_is_priced_by_the_list(kept: dict[str, object]) -> None:
    assert kept_pricing(kept)(SONNET) == price_usd(SONNET)


def test_a_model_without_a_price_is_refused_with_what_to_do() -> None:
    check_priced([ModelSettings()], 1.0)
    check_priced([GIVEN], 1.0)
    check_priced([ModelSettings("bedrock", "no-such-model")], None)
    with pytest.raises(UsageError, match="'no-such-model' on bedrock") as caught:
        check_priced([ModelSettings(), ModelSettings("bedrock", "no-such-model")], 1.0)
    assert caught.value.exit_code == 2
    assert "--price-input and --price-output" in caught.value.remedy


def test_prices_given_for_one_model_do_not_make_another_one_cheaper() -> None:
    """What a session before asked of it stays as dear as it was, so that a cap still holds."""
    cheap = ModelSettings(model="of-my-own", price_input_usd=0.01, price_output_usd=0.01)
    kept = {
        "provider": "anthropic",
        "model": "of-my-own",
        "price_input": 0.01,
        "price_output": 0.01,
    }
    for priced in (pricing(cheap), kept_pricing(kept)):
        assert priced(SONNET) == price(SONNET)
        assert priced(replace(SONNET, model="of-my-own")) == pytest.approx(1.1e-5)
        assert priced(replace(SONNET, model="nobody-knows")) == pytest.approx(1.1e-5)


def test_prices_given_for_a_known_model_beat_the_list() -> None:
    dear = ModelSettings(model=SONNET.model, price_input_usd=100, price_output_usd=100)
    assert pricing(dear)(SONNET) == pytest.approx(0.11)


# -- one model that plans and another that executes


KNOWN = replace(GIVEN, model=SONNET.model)


@pytest.mark.parametrize("models", [Models(KNOWN, GIVEN), Models(GIVEN, KNOWN)])
def test_given_prices_stay_with_the_one_model_that_has_none(models: Models) -> None:
    settled = settle_prices(models)
    by_model = {model.model: model.price_input_usd for model in settled.each}
    assert by_model == {SONNET.model: None, "no-such-model": 4.0}
    own = replace(SONNET, model="no-such-model")
    kept = {
        "provider": "anthropic",
        "model": SONNET.model,
        "planner_model": models.planner.model,
        "executor_model": models.executor.model,
        "price_input": 4.0,
        "price_output": 20.0,
    }
    for cost in (pricing(*settled.each), kept_pricing(kept)):
        assert cost(SONNET) == price_usd(SONNET)
        assert cost(own) == pytest.approx(0.006)
    check_priced(settled.each, 1.0)


def test_two_listed_models_have_their_own_prices() -> None:
    planner, executor = ModelSettings(model="claude-opus-5-5"), ModelSettings()
    models = Models(planner, executor)
    assert settle_prices(models) == models
    costs = [pricing(*models.each)(replace(SONNET, model=m.model)) for m in models.each]
    assert costs == [price_usd(replace(SONNET, model=m.model)) for m in models.each]
    assert costs[0] != costs[1]


@pytest.mark.parametrize(
    ("other", "words", "remedy"),
    [
        (replace(GIVEN, model="neither-this"), "neither has one", "a model with a known price"),
        (replace(KNOWN, model="claude-sonnet-5-5"), "both have one", "Leave them out"),
    ],
)
def test_prices_that_could_be_of_either_model_are_refused(
    other: ModelSettings, words: str, remedy: str
) -> None:
    first = GIVEN if "neither" in words else KNOWN
    with pytest.raises(UsageError, match=words) as caught:
        settle_prices(Models(first, other))
    assert remedy in caught.value.remedy
    assert first.model in caught.value.message
    assert other.model in caught.value.message


def test_one_model_for_both_keeps_the_prices_given_even_if_it_is_listed() -> None:
    models = Models(replace(KNOWN, effort="high"), KNOWN)
    assert settle_prices(models) == models
    assert pricing(*models.each)(SONNET) == pytest.approx(0.006)
