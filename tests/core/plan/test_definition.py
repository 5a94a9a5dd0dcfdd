"""What a task's work stands on: whatever changes it voids the result, and nothing else does."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from core.plan import Definitions, Plan, Setup, Task
from tests.fakes.growing_plans import shared_plans
from tests.fakes.plan_parts import contract, plan, task

CONTRACTS = (contract("api.py"), contract("types.py"), contract("other.py"))
A = task("a", uses=("types.py",))
B = task("b", "a", uses=("api.py",), checks=("make test",))
C = task("c")
PLAN = plan(A, B, C, contracts=CONTRACTS, assumptions=("One user.",), conventions=("UTC.",))


def digests(made: Plan) -> dict[str, str]:
    found = Definitions(made)
    return {t.id: found.of(t.id) for t in made.tasks}


def voided(made: Plan) -> set[str]:
    """The tasks of PLAN whose work does not stand in `made`."""
    before, now = digests(PLAN), digests(made)
    return {name for name, digest in before.items() if now.get(name) != digest}


def with_task(old: Task, **changes: Any) -> Plan:
    tasks = [t.model_copy(update=changes) if t is old else t for t in PLAN.tasks]
    return PLAN.model_copy(update={"tasks": tuple(tasks)})


def with_contract(path: str, **changes: Any) -> Plan:
    found = [c.model_copy(update=changes) if c.path == path else c for c in PLAN.contracts]
    return PLAN.model_copy(update={"contracts": tuple(found)})


@pytest.mark.parametrize(
    "changes",
    [
        {"instructions": "Otherwise."},
        {"owns": ("a.py", "z.py")},
        {"checks": ("false",)},
        {"uses": ()},
        {"depends_on": ("c",)},
    ],
)
def test_a_task_s_own_words_void_it_and_all_that_build_on_it(changes: dict[str, Any]) -> None:
    assert voided(with_task(A, **changes)) == {"a", "b"}


@pytest.mark.parametrize(
    ("path", "expected"), [("types.py", {"a", "b"}), ("api.py", {"b"}), ("other.py", set())]
)
def test_a_contract_voids_those_that_use_it_and_all_that_build_on_them(
    path: str, expected: set[str]
) -> None:
    assert voided(with_contract(path, content="x = 2\n")) == expected
    assert voided(with_contract(path, purpose="Said otherwise.")) == set()


@pytest.mark.parametrize(
    "changes",
    [
        {"assumptions": ("Many users.",)},
        {"setup": Setup(tools=("node 22",))},
        {"conventions": ("UTC.", "Tabs.")},
    ],
)
def test_what_holds_for_all_voids_all(changes: dict[str, Any]) -> None:
    assert voided(PLAN.model_copy(update=changes)) == {"a", "b", "c"}


@pytest.mark.parametrize("changes", [{"title": "Other"}, {"estimate": 99}])
def test_titles_and_estimates_void_nothing(changes: dict[str, Any]) -> None:
    assert voided(with_task(A, **changes)) == set()
    assert voided(PLAN.model_copy(update={"title": "Other", "summary": "Other."})) == set()


def test_the_order_of_parts_voids_nothing() -> None:
    turned = {"tasks": PLAN.tasks[::-1], "contracts": PLAN.contracts[::-1]}
    assert voided(PLAN.model_copy(update=turned)) == set()


def test_a_task_that_is_gone_or_new_voids_no_other() -> None:
    tasks = (*PLAN.tasks[:2], task("d", "b"))
    assert voided(PLAN.model_copy(update={"tasks": tasks})) == {"c"}


@given(shared_plans())
def test_it_is_the_same_whether_contracts_come_one_by_one_or_together(made: Plan) -> None:
    growing = Definitions(made.model_copy(update={"contracts": ()}))
    for each in reversed(made.contracts):
        growing.add(each)
    assert {t.id: growing.of(t.id) for t in made.tasks} == digests(made)


def test_a_chain_of_thousands_is_no_recursion() -> None:
    tasks = [task("t0"), *(task(f"t{n}", f"t{n - 1}") for n in range(1, 3_000))]
    found = Definitions(plan(*tasks))
    assert found.of("t2999") != found.of("t2998")
