"""Parts of plans whose every field a test may change; tests.fakes.plans makes whole ones."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from core.plan import Analysis, Contract, Criterion, Plan, Setup, Task

ANALYSIS = Analysis(complexity=3, rationale="Small.", recommended_executors=2, parallel_pays=True)


def task(name: str, *depends_on: str, **changes: Any) -> Task:
    fields: dict[str, Any] = {
        "id": name,
        "title": name.title(),
        "instructions": "Write it.",
        "depends_on": depends_on,
        "owns": (f"{name}.py",),
        "estimate": 10,
    }
    return Task(**(fields | changes))


def contract(path: str, content: str = "x = 1\n") -> Contract:
    return Contract(path=path, purpose="Names.", content=content)


def plan(*tasks: Task, **changes: Any) -> Plan:
    fields: dict[str, Any] = {
        "title": "A todo app",
        "summary": "Keeps todos.",
        "analysis": ANALYSIS,
        "tasks": tasks,
        "acceptance_criteria": (
            Criterion(text="It works.", served_by=tuple(t.id for t in tasks[:1])),
        ),
    }
    return Plan(**(fields | changes))


GOOD = plan(
    task("a", uses=("types.py",)),
    task("b", "a", uses=("types.py", "api.json"), checks=("python3 -m unittest",)),
    assumptions=("One person uses it.",),
    setup=Setup(
        tools=("python 3.12", "node 20"),
        install=("npm ci", "pip install -e ."),
        network="npm ci only",
        start="python3 -m todo",
    ),
    conventions=("Dates are ISO 8601.",),
    shared=("a.py",),
    reads=("lib/",),
    contracts=(contract("types.py"), contract("api.json", "{}")),
)
"""With a value in every field but the prompt."""

_texts = (
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
    | st.text(alphabet="'\"\\\n\r\t \x00\x7f\x85ab", max_size=40)
    | st.lists(st.sampled_from(["word", "\\", '"', "'", "", "tab\t"]), max_size=60).map(" ".join)
)
_codes = _texts.map(lambda text: text.replace("\0", ""))
_several = st.lists(_texts, max_size=3).map(tuple)


@st.composite
def any_plans(draw: st.DrawFn) -> Plan:
    """Plans without defects in whose texts anything may stand."""
    paths = [f"c{n}.py" for n in range(draw(st.integers(0, 3)))]
    names = [f"t{n}" for n in range(draw(st.integers(1, 4)))]
    tasks = [
        task(
            name,
            *draw(st.sets(st.sampled_from(names[:n]))) if n else (),
            title=draw(_texts | st.just(name)),
            instructions="Do " + draw(_texts),
            uses=tuple(draw(st.permutations(paths))[: draw(st.integers(0, 3))]),
            estimate=draw(st.integers(0, 10**6)),
            checks=draw(_several),
        )
        for n, name in enumerate(names)
    ]
    return plan(
        *tasks,
        prompt=draw(_texts),
        title=draw(_texts),
        summary=draw(_texts),
        assumptions=draw(_several),
        analysis=draw(st.sampled_from([ANALYSIS, Analysis()])),
        setup=Setup(tools=draw(_several), install=draw(_several), start=draw(_texts)),
        conventions=draw(_several),
        acceptance_criteria=tuple(
            Criterion(text=draw(_texts), served_by=("t0",), command=draw(_texts))
            for _ in range(draw(st.integers(0, 2)))
        ),
        contracts=tuple(
            Contract(path=path, purpose=draw(_texts), content=draw(_codes)) for path in paths
        ),
    )
