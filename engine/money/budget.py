"""What the scheduler asks before it spends: what each task needs, and whether the run has it.

Lives as long as a session, over a ledger that knows the sessions before. Pure.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from core.bundle import UNLIMITED, Allowance
from core.errors import UsageError
from core.job import Amount, JobKey, Usage
from engine.money.ledger import Ledger, amount_of
from engine.money.usage import Price
from engine.run.jobs_view import JobsView


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """What one attempt is expected to take, from the least that is worth a try."""

    low: Amount
    likely: Amount
    high: Amount


_PLANNING = "planning"
NOTHING = CostEstimate(Amount(), Amount(), Amount())


class Budget:
    """Admits attempts and settles them when they end."""

    def __init__(self, ledger: Ledger | None = None, price: Price = lambda _: None) -> None:
        self._ledger = ledger or Ledger()
        self.price = price
        self._needs: dict[str, CostEstimate] = {}
        self._enlarged: dict[str, CostEstimate] = {}
        self._given: dict[str, Amount] = {}

    def expect(self, needs: Mapping[str, CostEstimate]) -> None:
        """What an attempt of each task will take; one that is not named takes nothing."""
        self._needs = dict(needs)

    def left(self) -> Allowance:
        """What is neither used nor reserved; None where there is no cap."""
        return self._ledger.left()

    def charging(self, report: Callable[[Usage], None]) -> Callable[[Usage], None]:
        """`report`, for requests that belong to no attempt: they are spent as they come."""

        def spent(usage: Usage) -> None:
            amount, held = amount_of((usage,), self.price), self._ledger.reserved(_PLANNING)
            self._ledger.settle(usage, amount)
            if held is not None:
                self._ledger.hold(_PLANNING, held.less(amount))
            report(usage)

        return spent

    def hold_planning(self, most: Amount) -> Allowance:
        """Set aside `most` for a planner that works beside executors, or half of what is left if
        that is more, so that a plan may be corrected several times; what it may use."""
        left, tokens, cost_usd = self._ledger.left(), most.tokens, most.cost_usd
        if left.max_tokens is not None:
            tokens = min(left.max_tokens, max(tokens, left.max_tokens // 2))
        if left.max_cost_usd is not None:
            cost_usd = min(left.max_cost_usd, max(cost_usd, left.max_cost_usd / 2))
        self._ledger.hold(_PLANNING, Amount(tokens, cost_usd))
        return self._capped(Amount(tokens, cost_usd))

    def planning_ended(self) -> None:
        self._ledger.settle(_PLANNING, Amount())

    def admit(self, key: JobKey) -> bool:
        """Reserve what the attempt may take at most; True as well for what is reserved already."""
        is_reserved = self._ledger.reserved(key) is not None
        return is_reserved or self._ledger.reserve(key, self._need(key.task).high)

    def squeeze(self, key: JobKey) -> bool:
        """Reserve all that is left, if the attempt may come through with it."""
        left, need = self._ledger.left(), self._need(key.task)
        low, high = need.low, need.high
        amount = Amount(
            high.tokens if left.max_tokens is None else min(left.max_tokens, high.tokens),
            high.cost_usd if left.max_cost_usd is None else min(left.max_cost_usd, high.cost_usd),
        )
        enough = amount.tokens >= low.tokens and amount.cost_usd >= low.cost_usd
        return enough and self._ledger.reserve(key, amount)

    def _need(self, task: str) -> CostEstimate:
        return self._enlarged.get(task) or self._needs.get(task, NOTHING)

    def reservation(self, key: JobKey) -> Amount:
        return self._ledger.reserved(key) or Amount()

    def allowance(self, key: JobKey) -> Allowance:
        """The reservation as the worker gets it: only what is capped."""
        return self._capped(self.reservation(key))

    def _capped(self, amount: Amount) -> Allowance:
        caps = self._ledger.caps
        return Allowance(
            None if caps.max_tokens is None else amount.tokens,
            None if caps.max_cost_usd is None else amount.cost_usd,
        )

    def is_credible(self, key: JobKey, usage: Sequence[Usage]) -> bool:
        """Whether an attempt may have used that: its worker keeps to its reservation, where there
        is a cap, and asks for nothing that has no price."""
        if self._ledger.reserved(key) is None:
            return True
        most, used = self.allowance(key), amount_of(usage, self.price)
        priced = all(self.price(each) is not None for each in usage)
        return _fits(used, most) and (priced or most.max_cost_usd is None)

    def settle(self, key: JobKey, usage: Iterable[Usage] | None) -> None:
        """The attempt is over. Without an account of it, its whole reservation is spent."""
        reserved = self._given[key.task] = self.reservation(key)
        self._ledger.settle(key, reserved if usage is None else amount_of(usage, self.price))

    def enlarge(self, task: str) -> bool:
        """The task's last reservation was too small: it needs twice that. False when the budget
        cannot hold it even with nothing else reserved."""
        given, caps, settled = self._given.get(task), self._ledger.caps, self._ledger.settled
        if given is None or caps == UNLIMITED:
            return False
        twice = given.times(2)
        if not _fits(settled + twice, caps):
            return False
        self._enlarged[task] = CostEstimate(twice, twice, twice)
        return True

    def forget(self, tasks: Iterable[str]) -> None:
        """These are other tasks now: what their attempts ran short of says nothing."""
        for task in tasks:
            self._enlarged.pop(task, None)

    def why_short(self) -> str:
        """Words for people, when nothing more can be launched."""
        caps, used = self._ledger.caps, self._ledger.committed
        parts = []
        if caps.max_cost_usd is not None:
            parts.append(f"${used.cost_usd:.4f} of ${caps.max_cost_usd:.4f}")
        if caps.max_tokens is not None:
            parts.append(f"{used.tokens:,} of {caps.max_tokens:,} tokens")
        needed = " and ".join(parts)
        return f"The budget does not allow more: {needed} are spent or reserved." if needed else ""

    def raised(self, tasks: Iterable[str]) -> str:
        """The options with which `tasks` should come through after all."""
        return self.raised_for([self._need(task) for task in tasks])

    def raised_for(self, needs: Sequence[CostEstimate]) -> str:
        """The same for what is likely to be taken, and room for the largest reservation."""
        caps = self._ledger.caps
        used = sum((need.likely for need in needs), self._ledger.committed)
        options = []
        if caps.max_cost_usd is not None:
            room = max((need.high.cost_usd for need in needs), default=0.0)
            wanted = max(used.cost_usd + room, caps.max_cost_usd)
            options.append(f"--max-cost {math.ceil(wanted * 100 + 1) / 100:.2f}")
        if caps.max_tokens is not None:
            more = max((need.high.tokens for need in needs), default=0)
            options.append(f"--max-tokens {max(used.tokens + more, caps.max_tokens + 1)}")
        return " ".join(options)


def _fits(amount: Amount, caps: Allowance) -> bool:
    tokens_fit = caps.max_tokens is None or amount.tokens <= caps.max_tokens
    return tokens_fit and (caps.max_cost_usd is None or amount.cost_usd <= caps.max_cost_usd)


def open_budget(
    max_tokens: int | None, max_cost_usd: float | None, jobs: JobsView, price: Price
) -> Budget:
    """The budget of a run as earlier sessions left it.

    Raises UsageError when a request of theirs has no price and there is a cap on the cost.
    """
    unpriced = next((u for u in jobs.spent if price(u) is None), None)
    if max_cost_usd is not None and unpriced is not None:
        raise UsageError(
            f"--max-cost cannot be kept: the cost of {unpriced.model!r} earlier in this run is"
            " unknown.",
            "Give --price-input and --price-output, in US dollars per million tokens.",
        )
    return earlier_budget(max_tokens, max_cost_usd, jobs, price)


def earlier_budget(
    max_tokens: int | None, max_cost_usd: float | None, jobs: JobsView, price: Price
) -> Budget:
    """The same, requests without a price counted as free. What jobs that ended without an account
    have reserved is spent."""
    ledger = Ledger(max_tokens, max_cost_usd)
    ledger.settle("earlier", amount_of(jobs.spent, price))
    for key, amount in jobs.reserved.items():
        if key in jobs.open:
            ledger.hold(key, amount)
        else:
            ledger.settle(key, amount)
    return Budget(ledger, price)
