"""Plans that grow in virtual time: their parts come at given moments, and they may be corrected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from core.events import Kind, event_at
from core.job import Usage
from core.plan import Contract, Plan, Task
from core.plan.draft import ContractWritten
from engine.run.plan_event import plan_ready
from engine.scheduling.types import PlanDelayed, PlanNews, PlanWritten
from engine.scheduling.virtual_backend import VirtualClock
from tests.fakes.plans import make_plan, plans
from tests.fakes.virtual_run import World

Moment = tuple[float, PlanNews | Usage]


class ScriptedSource:
    """A PlanSource whose news comes at moments of virtual time, as does what the planner used;
    `hear` sees each as it is taken."""

    def __init__(
        self,
        clock: VirtualClock,
        moments: Sequence[Moment],
        hear: Callable[[PlanNews | Usage], None] = lambda _: None,
    ) -> None:
        self._there: list[PlanNews | Usage] = []
        self._hear = hear
        self._wake: Callable[[], None] = lambda: None
        for at, news in moments:
            clock.call_at(at, lambda news=news: self._arrive(news))  # type: ignore[misc]

    def _arrive(self, news: PlanNews | Usage) -> None:
        self._there.append(news)
        self._wake()

    def take(self) -> list[PlanNews]:
        taken, self._there = self._there, []
        for news in taken:
            self._hear(news)
        return [news for news in taken if not isinstance(news, Usage)]

    def on_news(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        wake()


@dataclass(frozen=True)
class Growth:
    """`plan` as it was begun, and `final` as it is in the end, from the moment `whole_at`."""

    plan: Plan
    final: Plan
    arrives: dict[str, float]
    """When the contracts of `plan` come, by path; those that never do are left out."""
    whole_at: float
    delayed_at: float | None = None

    @property
    def head(self) -> Plan:
        return self.plan.model_copy(update={"contracts": ()})

    @property
    def moments(self) -> list[Moment]:
        contract = {c.path: c for c in self.plan.contracts}
        found: list[Moment] = [
            (at, ContractWritten(contract[path])) for path, at in self.arrives.items()
        ]
        if self.delayed_at is not None:
            found.append((self.delayed_at, PlanDelayed()))
        return sorted([*found, (self.whole_at, PlanWritten(self.final))], key=lambda m: m[0])

    def begin(self, world: World, **more: Any) -> ScriptedSource:
        """What a run does before its scheduler."""
        announce(world, self.head)
        return ScriptedSource(world.clock, self.moments, **more)


def announce(world: World, plan: Plan) -> None:
    world.plan = plan
    world.store.take_plan(plan)
    world.emit(event_at(world.clock.time(), plan_ready(plan)))


def definitions_begun(world: World) -> dict[tuple[str, int], str]:
    """By task and attempt, what it stood on when it was begun, by the journal."""
    intents = [e for e in world.journal if e.kind is Kind.JOB_INTENDED]
    return {(e.task, e.attempt): getattr(e.data, "definition", "") for e in intents}


PATHS = tuple(f"c{n}.py" for n in range(4))


@st.composite
def shared_plans(draw: st.DrawFn, max_tasks: int = 6) -> Plan:
    """Any DAG, whose tasks use some of up to four contracts."""
    drawn = draw(plans(max_tasks=max_tasks))
    paths = PATHS[: draw(st.integers(0, len(PATHS)))]
    some = st.lists(st.sampled_from(paths), unique=True) if paths else st.just([])
    return make_plan(
        {t.id: t.depends_on for t in drawn.tasks},
        {t.id: t.estimate for t in drawn.tasks},
        dict.fromkeys(paths, "X = 1\n"),
        {t.id: draw(some) for t in drawn.tasks},
    )


@st.composite
def growths(draw: st.DrawFn) -> Growth:
    """A plan that comes as it was begun."""
    plan = draw(shared_plans())
    arrives = {c.path: float(draw(st.integers(0, 300))) for c in plan.contracts}
    last = max(arrives.values(), default=0.0)
    return Growth(plan, plan, arrives, last + draw(st.integers(0, 300)))


@st.composite
def corrected_growths(draw: st.DrawFn) -> Growth:
    """A plan that turns out otherwise: after any of its contracts it is delayed, or it ends
    without a word; then another one comes."""
    plan = draw(shared_plans())
    order = draw(st.permutations(plan.contracts))
    known = order[: draw(st.integers(0, len(order)))]
    arrives, at = dict[str, float](), 0.0
    for contract in known:
        at += draw(st.integers(0, 150))
        arrives[contract.path] = at
    delayed_at = at + draw(st.integers(0, 150)) if draw(st.booleans()) else None
    whole_at = (at if delayed_at is None else delayed_at) + draw(st.integers(0, 300))
    return Growth(plan, draw(corrections(plan)), arrives, whole_at, delayed_at)


@st.composite
def corrections(draw: st.DrawFn, plan: Plan) -> Plan:
    """The plan with some tasks and contracts changed, left out or added."""
    touched = st.sampled_from(["same", "same", "same", "other", "estimate", "out"])
    fates = {task.id: draw(touched) for task in plan.tasks}
    kept = [t for t in plan.tasks if fates[t.id] != "out"] or list(plan.tasks[:1])
    names = {t.id for t in kept}
    tasks = [_corrected(task, fates[task.id], names) for task in kept]
    for number in range(draw(st.integers(0, 2))):
        needs = draw(st.lists(st.sampled_from([t.id for t in tasks]), unique=True, max_size=2))
        added = tasks[0].model_copy(
            update={"id": f"new{number}", "depends_on": tuple(needs), "owns": (f"new{number}/",)}
        )
        tasks.append(added)
    contracts = [c if draw(st.booleans()) else _rewritten(c) for c in plan.contracts]
    criteria = (plan.acceptance_criteria[0].model_copy(update={"served_by": (tasks[0].id,)}),)
    found = {"tasks": tuple(tasks), "contracts": contracts, "acceptance_criteria": criteria}
    return Plan.model_validate(plan.model_dump() | {k: _dumped(v) for k, v in found.items()})


def _corrected(task: Task, fate: str, names: set[str]) -> Task:
    changed: dict[str, Any] = {"depends_on": tuple(n for n in task.depends_on if n in names)}
    if fate == "other":
        changed["instructions"] = "Build it otherwise."
    elif fate == "estimate":
        changed["estimate"] = task.estimate + 1
    return task.model_copy(update=changed)


def _rewritten(contract: Contract) -> Contract:
    return contract.model_copy(update={"content": "X = 2\n"})


def _dumped(parts: Sequence[Any]) -> list[Any]:
    return [part.model_dump() for part in parts]
