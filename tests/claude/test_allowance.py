"""The worker's guard: what it lets out, how far it lowers an answer, and when it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from claude.allowance import (
    DOCUMENT_TOKENS,
    HIDDEN_TOKENS,
    IMAGE_TOKENS,
    LEAST_OUTPUT_TOKENS,
    Guard,
    guarded,
)
from claude.client.client import connect
from claude.client.types import Call, Hooks, Passthrough
from claude.limits.governor import Governor
from claude.prices import price_usd
from core.bundle import UNLIMITED, Allowance, Limits, ModelSettings, SimulationSettings
from core.credentials import Credentials
from core.errors import BudgetExceeded, ModelError
from core.job import Usage
from tests.fakes.scripted_claude import FakeClock

MODEL = ModelSettings()
USAGE = Usage("anthropic", MODEL.model, input_tokens=100, output_tokens=50)


def a_token_a_cent(usage: Usage) -> float | None:
    """Writing to the cache costs twice."""
    return (usage.total_tokens + usage.cache_write_tokens) / 100


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text}]}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}


def call(*messages: dict[str, Any], max_tokens: int = 8_000, **more: Any) -> Call:
    return Call(({"type": "text", "text": "Be good."},), messages, max_tokens, **more)


def guard(max_tokens: int | None = None, max_cost: float | None = None) -> Guard:
    return Guard(Allowance(max_tokens, max_cost), MODEL, a_token_a_cent)


def bound_of(sent: Call, before: Guard | None = None) -> int:
    """What the guard takes the input of a call for, seen in the output it leaves."""
    asked = before or guard(1_000_000)
    return 1_000_000 - asked._tokens - asked.admit(replace(sent, max_tokens=10**9)).max_tokens


def test_a_request_within_the_allowance_goes_out_as_it_is() -> None:
    sent = call(user("Hello."))
    assert guard(1_000_000, 100_000.0).admit(sent) == sent


def test_the_first_request_is_taken_for_a_token_a_byte() -> None:
    short, long = call(user("x")), call(user("x" * 1_001))
    assert bound_of(short) > HIDDEN_TOKENS
    assert bound_of(long) == bound_of(short) + 1_000
    assert bound_of(call(user("\N{PILE OF POO}" * 250))) >= bound_of(short) + 999


@pytest.mark.parametrize(
    "more",
    [
        {"tools": ({"name": "x" * 500},)},
        {"output_schema": {"type": "x" * 500}},
        {"tool_choice": {"type": "tool", "name": "x" * 500}},
    ],
)
def test_everything_that_is_sent_is_counted(more: dict[str, Any]) -> None:
    assert bound_of(call(user("x"), **more)) >= bound_of(call(user("x"))) + 500


def test_a_counted_conversation_is_bound_by_its_count_and_what_is_new() -> None:
    asked = guard(1_000_000)
    first = user("x" * 40_000)
    asked.admit(call(first))
    asked.spend(replace(USAGE, input_tokens=10_000, output_tokens=80))
    longer = call(first, assistant("y" * 5_000), user("z" * 100))
    bound = bound_of(longer, asked)
    assert 10_000 + 80 + 100 < bound < 10_000 + 80 + 100 + 250


def test_marks_of_the_cache_do_not_make_a_message_new() -> None:
    asked = guard(1_000_000)
    text = {"type": "text", "text": "x" * 40_000}
    marked = {**text, "cache_control": {"type": "ephemeral"}}
    asked.admit(call({"role": "user", "content": [marked]}))
    asked.spend(replace(USAGE, cache_write_tokens=10_000))
    assert bound_of(call({"role": "user", "content": [text]}), asked) == 10_100


def test_a_message_that_was_replaced_is_new_and_one_that_was_dropped_is_not_trusted() -> None:
    asked = guard(1_000_000)
    kept, old = user("k" * 12_000), user("o" * 40_000)
    asked.admit(call(old, kept))
    asked.spend(replace(USAGE, input_tokens=11_000))
    # what the old one took may not be subtracted, since nobody has counted it alone
    assert 11_000 < bound_of(call(user("(dropped)"), kept), asked) < 11_100
    # a message said twice is sent twice
    assert bound_of(call(old, old, kept), asked) > 11_000 + 40_000


def test_a_short_conversation_is_never_bound_by_a_longer_one() -> None:
    asked = guard(1_000_000)
    asked.admit(call(user("x" * 90_000)))
    asked.spend(replace(USAGE, input_tokens=80_000))
    assert bound_of(call(user("y")), asked) == bound_of(call(user("y")))


def test_a_retry_after_a_refusal_knows_what_was_counted_before_it() -> None:
    asked = guard(1_000_000)
    first = user("x" * 40_000)
    asked.admit(call(first))
    asked.spend(replace(USAGE, input_tokens=10_000))
    longer = call(first, assistant("y"), user("z"))
    bound = bound_of(longer, asked)
    assert bound_of(longer, asked) == bound < 11_000


def test_a_count_of_nothing_is_no_count() -> None:
    asked = guard(1_000_000)
    asked.admit(call(user("x" * 40_000)))
    asked.spend(Usage("anthropic", "m"))
    assert bound_of(call(user("x" * 40_000)), asked) > 40_000


def test_another_programs_fields_are_counted_and_its_replies_are_not_trusted() -> None:
    plain, more = Passthrough(), Passthrough({"metadata": {"user_id": "u" * 1_000}})
    assert (
        bound_of(call(user("x"), passthrough=more))
        > bound_of(call(user("x"), passthrough=plain)) + 1_000
    )
    asked = guard(1_000_000)
    first = user("x" * 40_000)
    asked.admit(call(first, passthrough=plain))
    asked.spend(replace(USAGE, input_tokens=10_000, output_tokens=80))
    bound = bound_of(call(first, assistant("y" * 5_000), passthrough=plain), asked)
    assert 15_000 < bound < 15_200


def test_a_count_under_other_terms_is_no_bound() -> None:
    first = user("x" * 40_000)
    for terms, low in (({"thinking": 1}, 10_000), ({"thinking": 2}, 40_000)):
        asked = guard(1_000_000)
        asked.admit(call(first, passthrough=Passthrough({"thinking": 1})))
        asked.spend(replace(USAGE, input_tokens=10_000))
        assert low <= bound_of(call(first, passthrough=Passthrough(terms)), asked) < low + 2_000


def test_images_and_documents_are_not_counted_by_their_bytes() -> None:
    source = {"type": "base64", "data": "A" * 40}
    plain = bound_of(call(user("x")))
    for kind, most in (("image", IMAGE_TOKENS), ("document", DOCUMENT_TOKENS)):
        asked = guard(10 * DOCUMENT_TOKENS)
        block = {"type": "tool_result", "content": [{"type": kind, "source": source}]}
        sent = call({"role": "user", "content": [block]}, max_tokens=10**9)
        bound = 10 * DOCUMENT_TOKENS - asked.admit(sent).max_tokens
        assert plain + most < bound < plain + most + 300
    assert bound_of(call({"role": "user", "content": [{"type": "image"}]})) < plain + 100


def test_an_answer_is_lowered_to_what_is_left_of_tokens() -> None:
    bound = bound_of(call(user("Hello.")))
    allowed = guard(bound + 2_000).admit(call(user("Hello.")))
    assert allowed == call(user("Hello."), max_tokens=2_000)


def test_an_answer_is_lowered_to_what_is_left_of_money_at_the_dearest_input() -> None:
    bound = bound_of(call(user("Hello.")))
    exact = (2 * bound + 2_000) / 100
    assert guard(None, exact).admit(call(user("Hello."))).max_tokens == 2_000
    assert guard(None, exact + 0.009).admit(call(user("Hello."))).max_tokens == 2_000


@pytest.mark.parametrize("missing", [1, 500, 10**6])
def test_an_answer_too_short_to_be_of_use_is_not_asked_for(missing: int) -> None:
    bound = bound_of(call(user("Hello.")))
    exact = bound + LEAST_OUTPUT_TOKENS
    assert guard(exact).admit(call(user("Hello."))).max_tokens == LEAST_OUTPUT_TOKENS
    with pytest.raises(BudgetExceeded, match="does not fit into what is left") as caught:
        guard(max(0, exact - missing)).admit(call(user("Hello.")))
    assert caught.value.exit_code == 4
    assert isinstance(caught.value, ModelError)
    assert "--max-cost" in caught.value.remedy
    money = (2 * bound + LEAST_OUTPUT_TOKENS) / 100
    with pytest.raises(BudgetExceeded, match=r"left of the budget: \$"):
        guard(None, max(0.0, money - missing / 100)).admit(call(user("Hello.")))


def test_who_asks_for_a_short_answer_may_have_it() -> None:
    bound = bound_of(call(user("Hello.")))
    brief = call(user("Hello."), max_tokens=1)
    assert guard(bound + 1).admit(brief) == brief
    with pytest.raises(BudgetExceeded):
        guard(bound).admit(brief)


def test_what_was_billed_is_gone() -> None:
    asked = guard(20_000)
    asked.spend(replace(USAGE, input_tokens=0, output_tokens=19_000))
    with pytest.raises(BudgetExceeded, match="1,000 tokens"):
        asked.admit(call(user("Hello.")))


def test_what_an_earlier_worker_of_the_attempt_spent_is_gone() -> None:
    earlier = [replace(USAGE, output_tokens=9_900)] * 2
    with pytest.raises(BudgetExceeded):
        Guard(Allowance(20_000), MODEL, a_token_a_cent, earlier).admit(call(user("Hello.")))


def test_money_cannot_be_guarded_without_a_price() -> None:
    asked = Guard(Allowance(None, 5.0), MODEL, lambda _: None)
    with pytest.raises(BudgetExceeded, match=MODEL.model) as caught:
        asked.admit(call(user("Hello.")))
    assert "--price-input" in caught.value.remedy


def test_the_dearer_tier_of_long_requests_is_seen() -> None:
    model = ModelSettings(model="claude-sonnet-4-5")
    asked = Guard(Allowance(None, 2.0), model, price_usd)
    asked.admit(call(user("x" * 180_000)))
    with pytest.raises(BudgetExceeded):
        asked.admit(call(user("x" * 379_000)))


# -- as hooks of a client


def test_without_a_cap_the_hooks_stay_what_they_were() -> None:
    hooks = Hooks()
    assert guarded(hooks, UNLIMITED, MODEL, a_token_a_cent) is hooks


def test_guarded_hooks_still_call_the_hooks_below() -> None:
    told: list[Usage] = []
    said: list[str] = []
    inner = Hooks(told.append, said.append)
    hooks = guarded(inner, Allowance(20_000), MODEL, a_token_a_cent, [USAGE])
    assert hooks.on_request(call(user("Hello."))).max_tokens == 8_000
    hooks.on_progress("working")
    hooks.on_usage(replace(USAGE, output_tokens=19_000))
    assert [u.output_tokens for u in told] == [19_000]
    assert said == ["working"]
    with pytest.raises(BudgetExceeded):
        hooks.on_request(call(user("Hello.")))


def test_an_answer_that_begins_uses_nothing() -> None:
    told: list[str] = []
    inner = Hooks(on_answer=lambda: told.append("begun"))
    hooks = guarded(inner, Allowance(20_000), MODEL, a_token_a_cent)
    before = hooks.on_request(call(user("Hello."))).max_tokens
    hooks.on_answer()
    assert hooks.on_request(call(user("Hello."))).max_tokens == before
    assert told == ["begun"]


def test_another_hook_is_called_first() -> None:
    shorter = Hooks(on_request=lambda sent: replace(sent, max_tokens=4_000))
    hooks = guarded(shorter, Allowance(100_000), MODEL, a_token_a_cent)
    assert hooks.on_request(call(user("Hello."))).max_tokens == 4_000


# -- under the real client


def test_tries_that_were_cut_and_billed_count_before_the_next_one() -> None:
    faulty = replace(MODEL, simulation=SimulationSettings(speed=0, faults="disconnect=1"))
    billed: list[Usage] = []
    cap = Allowance(max_tokens=30_000)
    hooks = guarded(Hooks(on_usage=billed.append), cap, faulty, a_token_a_cent)
    ask = call(user(f"<request>\n{'A shop. ' * 1_200}\n</request>"))
    with (
        connect(
            faulty,
            Credentials(),
            clock=FakeClock(),
            governor=Governor(),
            limits=Limits(request_retries=1_000),
            hooks=hooks,
        ) as claude,
        pytest.raises(BudgetExceeded),
    ):
        claude.send(ask)
    assert len(billed) > 1
    assert sum(usage.total_tokens for usage in billed) <= 30_000
