"""The ledger of a run's budget: caps, what is reserved, and what has been spent. Pure.

Nothing starts without a reservation, which is settled when it is known what was used.
"""

import math
from collections.abc import Hashable, Iterable
from fractions import Fraction

from core.bundle import Allowance
from core.job import Amount, Usage
from engine.money.usage import Price


def amount_of(usages: Iterable[Usage], price: Price) -> Amount:
    """The sum of requests, each with its own price; those without one cost nothing here."""
    tokens, cost = 0, Fraction()
    for usage in usages:
        tokens += usage.total_tokens
        if usd := price(usage):
            cost += Fraction(usd)
    return Amount(tokens, float(cost))


class Ledger:
    """Reserved and settled together never pass the caps, as long as no one uses more than was
    reserved. Sums are exact, so that no order of events rounds past a cap."""

    def __init__(self, max_tokens: int | None = None, max_cost_usd: float | None = None) -> None:
        self.caps = Allowance(max_tokens, max_cost_usd)
        self._reserved: dict[Hashable, Amount] = {}
        self._tokens = 0
        self._cost = Fraction()
        self._settled_tokens = 0
        self._settled_cost = Fraction()

    def reserve(self, key: Hashable, amount: Amount) -> bool:
        """Set `amount` aside for `key`, in place of what it had; False, and nothing changes, when
        that does not fit."""
        had, caps = self._reserved.get(key, Amount()), self.caps
        tokens = self._tokens - had.tokens + amount.tokens
        if caps.max_tokens is not None and tokens > caps.max_tokens:
            return False
        if caps.max_cost_usd is not None:
            cost = self._cost - Fraction(had.cost_usd) + Fraction(amount.cost_usd)
            if cost > Fraction(caps.max_cost_usd):
                return False
        self.hold(key, amount)
        return True

    def hold(self, key: Hashable, amount: Amount) -> None:
        """Set aside, without a look at the caps, what is promised to `key` already."""
        self._take(self._reserved.pop(key, Amount()), -1)
        self._reserved[key] = amount
        self._take(amount, 1)

    def settle(self, key: Hashable, used: Amount) -> None:
        """`key` has used this much (more), and has nothing reserved any longer."""
        self._take(self._reserved.pop(key, Amount()), -1)
        self._take(used, 1)
        self._settled_tokens += used.tokens
        if used.cost_usd:
            self._settled_cost += Fraction(used.cost_usd)

    def reserved(self, key: Hashable) -> Amount | None:
        return self._reserved.get(key)

    @property
    def settled(self) -> Amount:
        return Amount(self._settled_tokens, float(self._settled_cost))

    @property
    def committed(self) -> Amount:
        """Settled and reserved together."""
        return Amount(self._tokens, float(self._cost))

    def left(self) -> Allowance:
        """What is neither used nor reserved; None where there is no cap."""
        tokens, cost = self.caps.max_tokens, self.caps.max_cost_usd
        return Allowance(
            None if tokens is None else max(0, tokens - self._tokens),
            None if cost is None else _rounded_down(max(Fraction(), Fraction(cost) - self._cost)),
        )

    def _take(self, amount: Amount, sign: int) -> None:
        self._tokens += sign * amount.tokens
        if amount.cost_usd:
            self._cost += sign * Fraction(amount.cost_usd)


def _rounded_down(exact: Fraction) -> float:
    near = float(exact)
    return math.nextafter(near, 0.0) if Fraction(near) > exact else near
