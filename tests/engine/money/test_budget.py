"""The ledger and the budget, case by case."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from core.bundle import Allowance
from core.errors import UsageError
from core.job import Amount, JobKey, Usage
from engine.money.budget import Budget, CostEstimate, open_budget
from engine.money.ledger import Ledger, amount_of
from engine.run.jobs_view import JobsView

USAGE = Usage("anthropic", "m", input_tokens=600, output_tokens=400)
A1, A2, B1 = JobKey("r", "a", 1), JobKey("r", "a", 2), JobKey("r", "b", 1)


def by_token(usage: Usage) -> float | None:
    return usage.total_tokens / 1000


def need(low: float, high: float) -> CostEstimate:
    """In dollars; a thousand tokens each."""
    sizes = [Amount(int(size * 1000), size) for size in (low, (low + high) / 2, high)]
    return CostEstimate(*sizes)


def budget(
    max_cost: float | None = None, max_tokens: int | None = None, **needs: CostEstimate
) -> Budget:
    made = Budget(Ledger(max_tokens, max_cost), by_token)
    made.expect(needs)
    return made


# -- the ledger


def test_a_reservation_takes_its_part_until_it_is_settled() -> None:
    budget = Ledger(1_000, 1.0)
    assert budget.reserve("a", Amount(600, 0.5))
    assert budget.left() == Allowance(400, 0.5)
    budget.settle("a", Amount(100, 0.25))
    assert budget.left() == Allowance(900, 0.75)
    assert budget.settled == budget.committed == Amount(100, 0.25)


@pytest.mark.parametrize("amount", [Amount(601, 0.1), Amount(1, 0.51), Amount(601, 0.51)])
def test_what_does_not_fit_by_either_cap_changes_nothing(amount: Amount) -> None:
    budget = Ledger(1_000, 1.0)
    assert budget.reserve("a", Amount(400, 0.5))
    assert not budget.reserve("b", amount)
    assert budget.left() == Allowance(600, 0.5)
    assert budget.reserved("b") is None


def test_reserving_again_replaces_what_the_key_had() -> None:
    budget = Ledger(1_000)
    assert budget.reserve("a", Amount(800))
    assert budget.reserve("a", Amount(1_000))
    assert not budget.reserve("a", Amount(1_001))
    assert budget.reserved("a") == Amount(1_000)


def test_without_caps_everything_fits_and_nothing_is_left_to_tell() -> None:
    budget = Ledger()
    assert budget.reserve("a", Amount(10**15, 1e12))
    assert budget.left() == Allowance(None, None)


def test_what_passes_its_reservation_is_on_the_books_all_the_same() -> None:
    budget = Ledger(100)
    budget.reserve("a", Amount(50))
    budget.settle("a", Amount(170))
    assert budget.settled.tokens == 170
    assert budget.left().max_tokens == 0


def test_ten_dimes_are_a_dollar() -> None:
    budget = Ledger(None, 0.3)
    assert budget.reserve("a", Amount(0, 0.1))
    # 0.1 + 0.2 is more than 0.3 in floating point, and in truth as these numbers are stored
    assert not budget.reserve("b", Amount(0, 0.2))
    left = budget.left().max_cost_usd
    assert left is not None
    assert budget.reserve("b", Amount(0, left))


def test_requests_are_priced_one_by_one() -> None:
    def tiered(usage: Usage) -> float:
        return usage.input_tokens * (2.0 if usage.input_tokens > 200 else 1.0)

    parts = [Usage("p", "m", input_tokens=150)] * 2
    assert amount_of(parts, tiered) == Amount(300, 300.0)
    assert amount_of([Usage("p", "m", input_tokens=300)], tiered) == Amount(300, 600.0)


def test_what_has_no_price_still_has_tokens() -> None:
    assert amount_of([USAGE], lambda _: None) == Amount(1_000, 0.0)


# -- the budget


def test_a_launch_reserves_the_high_side() -> None:
    asked = budget(1.0, a=need(0.2, 0.6))
    assert asked.admit(A1)
    assert asked.allowance(A1) == Allowance(None, 0.6)
    assert asked.left() == Allowance(None, 0.4)


def test_a_worker_hears_only_of_what_is_capped() -> None:
    free, tokens = budget(a=need(1, 2)), budget(max_tokens=5_000, a=need(1, 2))
    assert free.admit(A1)
    assert free.allowance(A1) == Allowance()
    assert tokens.admit(A1)
    assert tokens.allowance(A1) == Allowance(2_000, None)


def test_what_is_left_will_do_when_it_covers_the_low_side() -> None:
    asked = budget(1.0, a=need(0.2, 0.75), b=need(0.25, 0.6))
    assert asked.admit(A1)
    assert not asked.admit(B1)
    assert asked.squeeze(B1)
    assert asked.allowance(B1) == Allowance(None, 0.25)


def test_less_than_the_low_side_is_not_worth_a_try() -> None:
    asked = budget(1.0, a=need(0.2, 0.75), b=need(0.26, 0.6))
    assert asked.admit(A1)
    assert not asked.squeeze(B1)
    assert asked.left() == Allowance(None, 0.25)


def test_tokens_and_money_have_to_be_there_both() -> None:
    assert not budget(9.0, 199, a=need(0.2, 0.5)).squeeze(A1)
    assert budget(9.0, 200, a=need(0.2, 0.5)).squeeze(A1)


def test_what_is_reserved_already_is_not_reserved_again() -> None:
    asked = budget(1.0, a=need(0.4, 0.6))
    assert asked.admit(A1)
    assert asked.admit(A1)
    assert asked.left() == Allowance(None, 0.4)


def test_an_end_is_settled_at_what_its_requests_cost() -> None:
    asked = budget(4.0, a=need(1, 3))
    asked.admit(A1)
    asked.settle(A1, [USAGE, replace(USAGE, output_tokens=900)])
    assert asked.left() == Allowance(None, 1.5)


def test_an_end_without_an_account_costs_its_whole_reservation() -> None:
    asked = budget(4.0, a=need(1, 3))
    asked.admit(A1)
    asked.settle(A1, None)
    assert asked.left() == Allowance(None, 1.0)


def test_an_attempt_that_was_too_tight_gets_twice_as_much_or_nothing() -> None:
    asked = budget(10.0, a=need(1, 2))
    asked.admit(A1)
    asked.settle(A1, [replace(USAGE, output_tokens=1_400)])
    assert asked.enlarge("a")
    assert not asked._ledger.reserve("other", Amount(0, 8.1))
    assert asked.admit(A2)
    assert asked.allowance(A2) == Allowance(None, 4.0)
    asked.settle(A2, [replace(USAGE, output_tokens=3_400)])
    assert not asked.enlarge("a")  # 8 of the 4 that are left


def test_twice_as_much_is_never_squeezed_into_less() -> None:
    asked = budget(5.0, a=need(1, 2), b=need(1, 1.5))
    asked.admit(A1)
    asked.settle(A1, [])
    assert asked.enlarge("a")
    asked.admit(B1)
    assert not asked.admit(A2)
    assert not asked.squeeze(A2)
    asked.settle(B1, [])
    assert asked.admit(A2)


def test_nothing_is_enlarged_without_a_cap_or_a_first_try() -> None:
    free = budget(a=need(1, 2))
    free.admit(A1)
    free.settle(A1, [])
    assert not free.enlarge("a")
    assert not budget(5.0, a=need(1, 2)).enlarge("a")
    tokens = budget(max_tokens=3_999, a=need(1, 2))
    tokens.admit(A1)
    tokens.settle(A1, [])
    assert not tokens.enlarge("a")


def test_planning_is_charged_as_it_is_told() -> None:
    asked, told = budget(3.0, 9_000), list[Usage]()
    spent = asked.charging(told.append)
    spent(USAGE)
    spent(USAGE)
    assert told == [USAGE, USAGE]
    assert asked.left() == Allowance(7_000, 1.0)


def test_a_planner_beside_executors_has_what_it_may_need_or_half_of_what_is_left() -> None:
    asked = budget(3.0, 9_000)
    assert asked.hold_planning(Amount(6_000, 1.0)) == Allowance(6_000, 1.5)
    assert asked.left() == Allowance(3_000, 1.5)
    assert budget(3.0, 9_000).hold_planning(Amount(20_000, 9.0)) == Allowance(9_000, 3.0)
    assert budget().hold_planning(Amount(20_000, 9.0)) == Allowance()


def test_what_a_planner_used_is_no_longer_set_aside_and_the_rest_is_free_in_the_end() -> None:
    asked = budget(3.0, 9_000)
    asked.hold_planning(Amount(6_000, 1.5))
    asked.charging(lambda _: None)(USAGE)
    assert asked.left() == Allowance(3_000, 1.5)
    asked.planning_ended()
    assert asked.left() == Allowance(8_000, 2.0)


def test_a_reservation_that_was_enlarged_stays_so_when_the_plan_is_whole() -> None:
    asked = budget(None, 9_000, a=need(1, 1))
    key = JobKey("r", "a", 1)
    assert asked.admit(key)
    given = asked.reservation(key).tokens
    asked.settle(key, ())
    assert asked.enlarge("a")
    asked.expect({"a": need(1, 1)})
    assert asked.admit(JobKey("r", "a", 2))
    assert asked.reservation(JobKey("r", "a", 2)).tokens == 2 * given


def test_the_raise_covers_what_is_likely_and_the_largest_reservation() -> None:
    asked = budget(1.0, 1_000, a=need(1, 3), b=need(2, 4))
    assert asked.raised(["a", "b"]) == "--max-cost 9.01 --max-tokens 9000"
    assert asked.why_short() == (
        "The budget does not allow more: $0.0000 of $1.0000 and 0 of 1,000 tokens"
        " are spent or reserved."
    )


def test_the_raise_always_is_one() -> None:
    asked = budget(5.0, 5_000, a=need(1, 1))
    assert asked.raised(["a"]) == "--max-cost 5.01 --max-tokens 5001"
    assert asked.raised([]) == "--max-cost 5.01 --max-tokens 5001"
    assert budget().raised(["a"]) == budget().why_short() == ""


# -- over sessions


def test_earlier_sessions_count_by_what_is_known_of_them() -> None:
    history = JobsView(
        spent=[USAGE, USAGE],
        open={A1: None},
        reserved={A1: Amount(500, 0.5), B1: Amount(250, 0.25)},
    )
    asked = open_budget(10_000, 4.0, history, by_token)
    assert asked.left() == Allowance(7_250, 1.25)
    assert asked.admit(A1)  # still under way: its reservation stands
    asked.settle(A1, [])
    assert asked.left() == Allowance(7_750, 1.75)
    asked.expect({"b": need(0, 0)})
    asked.settle(B1, [])  # over, and nobody knows what it used: that stays spent
    assert asked.left() == Allowance(7_750, 1.75)


def told(tokens: int) -> list[Usage]:
    return [Usage("p", "m", tokens)]


@pytest.mark.parametrize("caps", [{"max_tokens": 5_000}, {"max_cost": 5.0}])
def test_an_attempt_is_believed_up_to_its_reservation(caps: dict[str, Any]) -> None:
    asked = budget(**caps, a=need(1, 2))
    assert asked.is_credible(A1, told(9_999))  # nothing was reserved to hold it to
    assert asked.admit(A1)
    assert asked.is_credible(A1, [])
    assert asked.is_credible(A1, told(1_000) * 2)
    assert not asked.is_credible(A1, [*told(1_000) * 2, *told(1)])


def test_without_a_cap_there_is_no_bound_to_hold_an_attempt_to() -> None:
    asked = budget(a=need(1, 2))
    assert asked.admit(A1)
    assert asked.is_credible(A1, told(9_999))


def test_under_a_cap_on_the_cost_no_worker_asks_for_what_has_no_price() -> None:
    for max_cost, believed in ((4.0, False), (None, True)):
        asked = Budget(Ledger(5_000, max_cost), lambda _: None)
        assert asked.admit(A1)
        asked.expect({"a": need(1, 2)})
        assert asked.is_credible(A1, [Usage("p", "unheard of", 0)]) is believed


def test_money_spent_at_an_unknown_price_cannot_be_capped() -> None:
    history = JobsView(spent=[USAGE])
    with pytest.raises(UsageError, match="'m'") as caught:
        open_budget(None, 4.0, history, lambda _: None)
    assert "--price-input" in caught.value.remedy
    assert open_budget(5_000, None, history, lambda _: None).left() == Allowance(4_000, None)


def test_what_is_left_is_never_rounded_up() -> None:
    budget = Ledger(None, 1.0)
    budget.settle("a", Amount(0, 1e-17))
    left = budget.left().max_cost_usd
    assert left is not None
    assert Fraction(left) <= 1 - Fraction(1e-17)
