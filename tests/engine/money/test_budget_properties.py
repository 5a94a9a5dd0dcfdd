"""The cap holds whatever happens, in whatever order: in the ledger, and in whole runs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from claude.allowance import Guard
from claude.client.types import Call
from core.bundle import Allowance, ModelSettings
from core.errors import BudgetExceeded, SubmitError
from core.events import Kind, Progress, event_at
from core.job import Amount, JobKey, JobState, JobStatus, Outcome, TaskState, Usage
from core.plan import Plan
from engine.money.budget import Budget, CostEstimate, open_budget
from engine.money.ledger import Ledger
from engine.run.run_view import replay
from engine.scheduling.types import PlanFailed, PlanNews, PlanWritten, StopCause
from engine.scheduling.virtual_backend import VirtualEnd
from tests.fakes.growing_plans import Moment, ScriptedSource
from tests.fakes.plans import make_plan, plans
from tests.fakes.virtual_run import COSTLY_PREFIX, PACING, RUN, Crash, Faults, World, always

CAP_TOKENS, CAP_USD = 1_000, 1.0
dollars = st.floats(0, 1.2, allow_nan=False)
amounts = st.builds(Amount, st.integers(0, 1_200), dollars)


class LedgerMachine(RuleBasedStateMachine):
    """Workers that respect their allowance, in any interleaving, some of which never answer."""

    def __init__(self) -> None:
        super().__init__()
        self.budget = Ledger(CAP_TOKENS, CAP_USD)
        self.under_way: dict[int, Amount] = {}
        self.settled: list[Amount] = []
        self.count = 0

    @rule(amount=amounts)
    def launch(self, amount: Amount) -> None:
        self.count += 1
        if self.budget.reserve(self.count, amount):
            self.under_way[self.count] = amount

    @rule()
    def launch_with_what_is_left(self) -> None:
        left = self.budget.left()
        assert left.max_tokens is not None
        assert left.max_cost_usd is not None
        self.count += 1
        amount = Amount(left.max_tokens, left.max_cost_usd)
        assert self.budget.reserve(self.count, amount)
        self.under_way[self.count] = amount

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), part=st.floats(0, 1))
    def end(self, data: st.DataObject, part: float) -> None:
        key = data.draw(st.sampled_from(sorted(self.under_way)))
        reserved = self.under_way.pop(key)
        used = Amount(int(reserved.tokens * part), reserved.cost_usd * part)
        self.budget.settle(key, used)
        self.settled.append(used)

    @invariant()
    def settled_and_reserved_never_pass_the_cap(self) -> None:
        known = [*self.settled, *self.under_way.values()]
        assert sum(a.tokens for a in known) <= CAP_TOKENS
        assert sum(Fraction(a.cost_usd) for a in known) <= Fraction(CAP_USD)
        assert self.budget.committed.tokens == sum(a.tokens for a in known)

    @invariant()
    def what_is_settled_is_what_was_used(self) -> None:
        assert self.budget.settled.tokens == sum(a.tokens for a in self.settled)


TestLedger = LedgerMachine.TestCase


# -- a worker under its allowance


@dataclass(frozen=True)
class Turn:
    """`said` is how much of what it may the model says, in parts; `billed` tries fail before."""

    added: int
    said: float
    cut_tries: int


turns = st.lists(
    st.builds(Turn, st.integers(0, 4_000), st.floats(0, 1), st.integers(0, 2)), max_size=8
)
MODEL = ModelSettings()


def price(usage: Usage) -> float:
    """Dearer past a threshold, as long contexts are, and for writing to the cache."""
    tier = 2.0 if usage.total_tokens - usage.output_tokens > 5_000 else 1.0
    weighed = usage.input_tokens + 1.25 * usage.cache_write_tokens + 0.1 * usage.cache_read_tokens
    return tier * (3.0 * weighed + 15.0 * usage.output_tokens) / 1e6


@given(turns, st.integers(0, 60_000) | st.none(), st.floats(0, 0.5) | st.none(), st.data())
def test_a_worker_never_uses_more_than_its_allowance(
    plan: list[Turn], max_tokens: int | None, max_cost: float | None, data: st.DataObject
) -> None:
    allowance = Allowance(max_tokens, max_cost)
    guard = Guard(allowance, MODEL, price)
    used: list[Usage] = []
    messages: list[dict[str, object]] = []
    context = 0  # what the model's own count of it is
    for turn in plan:
        text = "x" * turn.added
        messages.append({"role": "user", "content": text})
        context += data.draw(st.integers(0, turn.added))
        for _ in range(turn.cut_tries + 1):
            call = Call(({"type": "text", "text": "Be good."},), tuple(messages), 8_000)
            try:
                allowed = guard.admit(call)
            except BudgetExceeded:
                break
            output = int(allowed.max_tokens * turn.said)
            cached = data.draw(st.integers(0, context))
            usage = Usage("anthropic", "m", context - cached, output, 0, cached)
            used.append(usage)
            guard.spend(usage)
        else:
            messages.append({"role": "assistant", "content": "y" * output})
            context += output
            continue
        break
    assert max_tokens is None or sum(u.total_tokens for u in used) <= max_tokens
    spent = sum(Fraction(price(u)) for u in used)
    assert max_cost is None or spent <= Fraction(max_cost)


# -- whole runs


def by_token(usage: Usage) -> float | None:
    return usage.total_tokens / 1000


@dataclass(frozen=True)
class Habit:
    """How an attempt ends, and which part of its allowance it has used by then."""

    end: VirtualEnd
    part: float
    tells: bool


habits = st.builds(
    Habit,
    st.one_of(
        st.builds(VirtualEnd, duration_s=st.integers(0, 100).map(float)),
        st.just(VirtualEnd(3.0, outcome=Outcome.BUDGET)),
        st.just(VirtualEnd(3.0, outcome=Outcome.DEFECT)),
        st.just(VirtualEnd(3.0, status=JobStatus(JobState.FAILED), outcome=None)),
        st.just(VirtualEnd(refused=SubmitError("Refused."))),
    ),
    st.floats(0, 1),
    st.booleans(),
)


class Spending:
    """Makes workers of a world use a part of their allowance, and tell of it or not."""

    def __init__(self, habit_of: Callable[[JobKey], Habit]) -> None:
        self.habit_of = habit_of
        self.world: World | None = None

    def script(self, key: JobKey) -> VirtualEnd:
        assert self.world is not None
        habit, given = self.habit_of(key), self.world.store.allowances[key]
        used = (Usage("p", "m", int((given.max_tokens or 0) * habit.part)),)
        if habit.tells:
            self.world.store.used[key] = used
        return replace(habit.end, usage=used)


@st.composite
def spending_worlds(draw: st.DrawFn) -> tuple[World, int, dict[str, CostEstimate]]:
    plan: Plan = draw(plans(max_tasks=6))
    chosen = {t.id: draw(st.lists(habits, min_size=1, max_size=4)) for t in plan.tasks}
    spending = Spending(lambda key: chosen[key.task][(key.attempt - 1) % len(chosen[key.task])])
    prefix = draw(st.none() | st.just(COSTLY_PREFIX))
    pacing = replace(PACING, max_executors=draw(st.integers(1, 4)), cold_prefix=prefix)
    world = World(plan, spending.script, Faults(), pacing, max_attempts=draw(st.integers(1, 3)))
    spending.world = world
    needs = {}
    for task in plan.tasks:
        low, likely, high = sorted(draw(st.integers(1, 400)) for _ in range(3))
        needs[task.id] = CostEstimate(Amount(low), Amount(likely), Amount(high))
    return world, draw(st.integers(0, 2_000)), needs


def check_cap(world: World, cap: int) -> None:
    """At no line of the journal is more settled and reserved than the cap."""
    for lines in range(len(world.journal) + 1):
        history = replay(RUN, world.journal[:lines]).jobs
        known = sum(u.total_tokens for u in history.spent)
        assert known + sum(a.tokens for a in history.reserved.values()) <= cap


def open_world(world: World, cap: int, needs: dict[str, CostEstimate]) -> Budget:
    budget = open_budget(cap, None, replay(RUN, world.journal).jobs, by_token)
    budget.expect(needs)
    world.budget = budget
    return budget


@settings(deadline=None)
@given(spending_worlds())
def test_runs_end_within_their_cap_and_say_so(
    drawn: tuple[World, int, dict[str, CostEstimate]],
) -> None:
    world, cap, needs = drawn
    open_world(world, cap, needs)
    outcome = world.run()
    check_cap(world, cap)
    assert all(state.final for state in outcome.states.values())
    cancelled = [t for t, state in outcome.states.items() if state is TaskState.CANCELLED]
    if cancelled:
        assert outcome.stop is not None
        assert outcome.stop.cause is StopCause.BUDGET
        (option, more) = outcome.stop.resume_with.split()
        assert option == "--max-tokens"
        assert int(more) > cap


@settings(deadline=None)
@given(spending_worlds(), st.integers(0, 3_000))
def test_a_raised_cap_is_kept_by_both_sessions_together(
    drawn: tuple[World, int, dict[str, CostEstimate]], more: int
) -> None:
    world, cap, needs = drawn
    open_world(world, cap, needs)
    world.run()
    open_world(world, cap + more, needs)
    world.run()
    check_cap(world, cap + more)


@settings(deadline=None)
@given(spending_worlds(), st.data())
def test_a_session_that_dies_leaves_nothing_uncounted(
    drawn: tuple[World, int, dict[str, CostEstimate]], data: st.DataObject
) -> None:
    world, cap, needs = drawn
    world.crash_after_line = data.draw(st.integers(1, 12))
    open_world(world, cap, needs)
    with suppress(Crash):
        world.run()
    world.crash_after_line = None
    check_cap(world, cap)
    open_world(world, cap, needs)
    world.run()
    check_cap(world, cap)


# -- a planner that spends while executors do


@settings(deadline=None)
@given(spending_worlds(), st.integers(0, 1_500), st.data())
def test_planner_and_executors_together_never_pass_the_cap(
    drawn: tuple[World, int, dict[str, CostEstimate]], most: int, data: st.DataObject
) -> None:
    world, cap, needs = drawn
    budget = open_world(world, cap, needs)
    allowance = budget.hold_planning(Amount(most)).max_tokens or 0
    assert allowance == min(cap, max(most, cap // 2))
    charge = budget.charging(
        lambda usage: world.journal.append(event_at(world.clock.time(), Progress(usage=usage)))
    )
    requests = data.draw(st.lists(st.tuples(st.integers(0, 300), st.floats(0, 1)), max_size=4))
    moments, left = list[Moment](), allowance
    for at, part in sorted(requests):
        used = int(left * part)  # the planner's guard lets no more through
        left -= used
        moments.append((float(at), Usage("p", "m", used)))
    ends_at = float(data.draw(st.integers(300, 500)))
    ends: list[PlanNews] = [PlanWritten(world.plan), PlanFailed("why")]
    end = data.draw(st.sampled_from(ends))

    def hear(news: PlanNews | Usage) -> None:
        if isinstance(news, Usage):
            charge(news)
        elif isinstance(news, PlanWritten):
            budget.planning_ended()

    source = ScriptedSource(world.clock, [*moments, (ends_at, end)], hear)
    outcome = world.run(source=source)
    check_cap(world, cap)
    assert all(state.final for state in outcome.states.values())


def test_what_was_set_aside_for_planning_is_free_once_there_is_a_plan() -> None:
    plan = make_plan({"a": ()})
    need = CostEstimate(Amount(600), Amount(600), Amount(600))
    world = World(plan, always())
    budget = open_world(world, 1_000, {"a": need})
    budget.hold_planning(Amount(500))

    def hear(_: PlanNews | Usage) -> None:
        budget.planning_ended()

    outcome = world.run(source=ScriptedSource(world.clock, [(40.0, PlanWritten(plan))], hear))
    assert outcome.succeeded == {"a": 1}
    assert [e.at for e in world.events(Kind.JOB_INTENDED)] == [40.0]
