"""Plans for tests: builders that fill in what does not matter, and strategies for hypothesis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import strategies as st

from core.plan import Analysis, Contract, Criterion, Plan, Task, topological_order

Depends = Mapping[str, Sequence[str]]


def make_task(
    task_id: str,
    depends_on: Sequence[str] = (),
    estimate: int = 1,
    owns: Sequence[str] = (),
    uses: Sequence[str] = (),
) -> Task:
    return Task(
        id=task_id,
        title=task_id.title(),
        instructions=f"Build {task_id}.",
        depends_on=tuple(depends_on),
        owns=tuple(owns) or (f"{task_id}/",),
        uses=tuple(uses),
        estimate=estimate,
    )


def make_plan(
    depends: Depends,
    estimates: Mapping[str, int] | None = None,
    contracts: Mapping[str, str] | None = None,
    uses: Depends | None = None,
) -> Plan:
    """A valid plan of tasks that each own the directory of their name, and use all contracts but
    where `uses` says otherwise."""
    weight, used = estimates or {}, uses or {}
    return Plan(
        title="Test",
        summary="A plan for a test.",
        analysis=Analysis(
            complexity=3, rationale="Given.", recommended_executors=2, parallel_pays=True
        ),
        contracts=tuple(
            Contract(path=path, purpose="Shared.", content=content)
            for path, content in (contracts or {}).items()
        ),
        tasks=tuple(
            make_task(name, needs, weight.get(name, 1), uses=used.get(name, tuple(contracts or ())))
            for name, needs in depends.items()
        ),
        acceptance_criteria=(Criterion(text="It works.", served_by=tuple(depends)[:1]),),
    )


def descendants(plan: Plan, roots: set[str]) -> set[str]:
    """All that depend on a root, directly or not; found by iterating to a fixed point."""
    found: set[str] = set()
    while True:
        more = {t.id for t in plan.tasks if (found | roots) & set(t.depends_on)} - found
        if not more:
            return found
        found |= more


@st.composite
def plans(draw: st.DrawFn, max_tasks: int = 8, max_estimate: int = 100) -> Plan:
    """Any DAG of up to `max_tasks` tasks, listed in any order."""
    count = draw(st.integers(1, max_tasks))
    depends: dict[str, list[str]] = {}
    for number in range(count):
        earlier = list(depends)
        needs = draw(st.lists(st.sampled_from(earlier), unique=True, max_size=3)) if earlier else []
        depends[f"t{number}"] = needs
    order = draw(st.permutations(sorted(depends)))
    estimates = draw(
        st.fixed_dictionaries({name: st.integers(0, max_estimate) for name in sorted(depends)})
    )
    return make_plan({name: depends[name] for name in order}, estimates)


def chain(length: int) -> Plan:
    """Tasks one after the other."""
    return make_plan({f"t{n}": [f"t{n - 1}"] if n else [] for n in range(length)})


def fan(width: int) -> Plan:
    """Tasks beside each other, which need nothing."""
    return make_plan({f"t{n}": [] for n in range(width)})


def ancestors(plan: Plan) -> dict[str, tuple[str, ...]]:
    """For each task, all it depends on directly or not, in topological order."""
    by_id = {t.id: t for t in plan.tasks}
    position = {name: n for n, name in enumerate(topological_order(plan))}
    found: dict[str, frozenset[str]] = {}
    for name in position:
        direct = by_id[name].depends_on
        found[name] = frozenset(direct).union(*(found[d] for d in direct))
    return {n: tuple(sorted(found[n], key=position.__getitem__)) for n in position}
