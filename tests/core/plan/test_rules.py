"""Plans: every broken rule is said, of a whole plan and of one whose contracts are to come."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import PlanInvalid
from core.paths import EVERYTHING
from core.plan import (
    Contract,
    Criterion,
    Plan,
    head_defects,
    parse_plan,
    plan_defects,
    promised_contracts,
    render_plan,
)
from tests.fakes.plan_parts import ANALYSIS, GOOD, any_plans, contract, plan, task


def with_analysis(**changes: Any) -> Plan:
    return plan(task("a"), analysis=ANALYSIS.model_copy(update=changes))


@pytest.mark.parametrize(
    ("broken", "defect"),
    [
        (plan(), "the plan has no tasks"),
        (plan(task("a"), task("a", owns=("x",))), "task id 'a' is used more than once"),
        (plan(task("A")), "task id 'A' does not match"),
        *(
            (plan(task(f"{name}-1")), "one of those that a run gives to tasks of its own")
            for name in ("accept", "merge", "repair", "reproduce", "verify")
        ),
        (plan(task("a" * 33)), "does not match"),
        (plan(task("../a", owns=("a",))), "task id '../a' does not match"),
        (plan(task("a\n", owns=("a",))), "does not match"),
        (plan(task("a", owns=())), "task 'a' owns no path"),
        (plan(task("a", instructions=" \n")), "task 'a' has no instructions"),
        *(
            (plan(task("a", estimate=n)), "task 'a' has an estimate that is not between 0 and 1,0")
            for n in (-1, 10**6 + 1, 10**400)
        ),
        (
            plan(*(task(f"t{n}", estimate=10**6) for n in range(21))),
            "the estimates are together more than 20,000,000",
        ),
        (plan(task("a", owns=("../x",))), "task 'a' owns '../x', which has a '..' part"),
        (plan(task("a", owns=("*.py",))), "wildcard"),
        (with_analysis(recommended_executors=0), "recommended_executors is not between 1 and "),
        (with_analysis(complexity=0), "complexity is not between 1 and 10"),
        (with_analysis(complexity=11), "complexity is not between 1 and 10"),
        (plan(task("a", "ghost")), "task 'a' depends on 'ghost', which is not in the plan"),
        (plan(task("a"), task("b", "a", "a")), "names the dependency 'a' more than once"),
        (plan(task("a", "a")), "dependencies form a cycle: a -> a"),
        (plan(task("a", "c"), task("b", "a"), task("c", "b")), "dependencies form a cycle"),
        (
            plan(task("a", uses=("x.py",)), contracts=(contract("y.py"),)),
            "task 'a' uses 'x.py', which is no contract of the plan",
        ),
        (
            plan(task("a", uses=("X",)), contracts=(contract("x"),)),
            "task 'a' uses 'X', which is no contract of the plan",
        ),
        (
            plan(task("a", uses=("x", "x")), contracts=(contract("x"),)),
            "task 'a' names the contract 'x' more than once",
        ),
        (plan(task("a"), contracts=(contract("/x"),)), "contract '/x' is absolute"),
        (
            plan(task("a"), contracts=(contract("X"), contract("x"))),
            "contract 'x' is listed more than once",
        ),
        (
            plan(task("a"), contracts=(contract("x", "nul \0"),)),
            "contract 'x' is no text of at most 1,000,000 characters",
        ),
        (
            plan(task("a"), contracts=(contract("x", "x" * 1_000_001),)),
            "contract 'x' is no text of at most 1,000,000 characters",
        ),
        (
            plan(task("a"), contracts=(contract("x"), contract("x/y"))),
            "'x/y' of a contract lies below 'x' of a contract",
        ),
        (
            plan(task("a", owns=("api/",)), contracts=(contract("api/t.py"),)),
            "'api/t.py' of a contract lies below 'api' of task 'a'",
        ),
        (
            plan(task("a", owns=("T.py",)), contracts=(contract("t.py"),)),
            "'T.py' belongs to both a contract and task 'a'",
        ),
        (
            plan(task("a", owns=("x/y",)), contracts=(contract("x"),)),
            "'x/y' of task 'a' lies below 'x' of a contract",
        ),
        (
            plan(task("a", owns=("Src/",)), task("b", owns=("src",))),
            "'src' belongs to both task 'a' and task 'b'",
        ),
        (
            plan(task("a", owns=("src/",)), task("b", owns=("src/deep/x.py",))),
            "'src/deep/x.py' of task 'b' lies below 'src' of task 'a'",
        ),
        (plan(task("a", owns=("x", "X"))), "task 'a' owns 'x' more than once"),
        (plan(task("a", owns=(EVERYTHING, EVERYTHING))), "task 'a' owns './' more than once"),
        (plan(task("a", owns=("x", "x/y"))), "'x/y' of task 'a' lies below 'x' of task 'a'"),
        (
            plan(task("a", owns=(EVERYTHING,)), task("b")),
            "'b.py' of task 'b' lies below './' of task 'a'",
        ),
        (
            plan(task("a", owns=(EVERYTHING,)), task("b", owns=("deep/down/",))),
            "'deep/down' of task 'b' lies below './' of task 'a'",
        ),
        (
            plan(task("a", owns=(EVERYTHING,)), task("b", owns=(EVERYTHING,))),
            "'./' belongs to both task 'a' and task 'b'",
        ),
        (
            plan(task("a", owns=(EVERYTHING,)), contracts=(contract("api/t.py"),)),
            "'api/t.py' of a contract lies below './' of task 'a'",
        ),
        (
            plan(task("a"), acceptance_criteria=(Criterion(text="C", served_by=()),)),
            "criterion 'C' is served by no task",
        ),
        (
            plan(task("a"), acceptance_criteria=(Criterion(text="C", served_by=("z",)),)),
            "criterion 'C' names 'z', which is not in the plan",
        ),
    ],
)
def test_a_broken_rule_is_reported_and_refused(broken: Plan, defect: str) -> None:
    assert defect in "\n".join(plan_defects(broken))
    with pytest.raises(PlanInvalid, match=r"plan\.json breaks the rules") as caught:
        parse_plan(render_plan(broken), "plan.json")
    assert list(caught.value.defects) == plan_defects(broken)


def test_all_broken_rules_are_reported_at_once() -> None:
    broken = plan(task("a", "b", owns=("../x",), uses=("z",)), task("b", "a"))
    assert len(plan_defects(broken)) == 3


def test_a_cycle_is_reported_along_the_dependencies() -> None:
    defects = plan_defects(plan(task("a", "b"), task("b", "c"), task("c", "a")))
    (cycle,) = [d.removeprefix("dependencies form a cycle: ") for d in defects if "cycle" in d]
    names = cycle.split(" -> ")
    needs = {"a": "b", "b": "c", "c": "a"}
    assert names[0] == names[-1]
    assert [needs[n] for n in names[:-1]] == names[1:]


@pytest.mark.parametrize(
    "fine",
    [
        GOOD,
        plan(task("a"), acceptance_criteria=()),
        plan(task("a"), contracts=(contract("nobody/uses.me"),)),
        plan(task("a", owns=("src/", "src/x.py", "README.md"))),
        plan(task("a", owns=("src/",)), task("b", owns=("src2/", "src.py"))),
        plan(task("a", owns=(EVERYTHING,))),
        plan(task("a", owns=(EVERYTHING, "src/", "README.md"))),
    ],
)
def test_what_keeps_the_rules_has_no_defect(fine: Plan) -> None:
    assert plan_defects(fine) == []
    assert head_defects(fine) == []


def test_a_cycle_is_found_among_ten_thousand_tasks_without_recursion() -> None:
    chain = [task(f"t{n}", f"t{(n + 1) % 10_000}") for n in range(10_000)]
    assert any("cycle" in d for d in plan_defects(plan(*chain)))


# -- a plan whose contracts are not written yet


def test_contracts_are_promised_in_the_order_in_which_tasks_name_them() -> None:
    made = plan(task("a", uses=("z", "b")), task("b", uses=("a", "z")))
    assert promised_contracts(made) == ["z", "b", "a"]


@pytest.mark.parametrize(
    ("head", "defect"),
    [
        (plan(task("a", uses=("../x",))), "contract '../x' has a '..' part"),
        (plan(task("a", uses=("X",)), task("b", uses=("x",))), "contract 'x' is listed more"),
        (plan(task("a", uses=("a.py",))), "'a.py' belongs to both a contract and task 'a'"),
        (plan(task("a", uses=("x", "x"))), "names the contract 'x' more than once"),
        (
            plan(task("a", owns=(EVERYTHING,), uses=("x",))),
            "'x' of a contract lies below './' of task 'a'",
        ),
    ],
)
def test_what_tasks_use_is_judged_before_it_is_written(head: Plan, defect: str) -> None:
    assert defect in "\n".join(head_defects(head))


entries = st.sampled_from(["a", "A", "a/", "a/b", "b", "../x", EVERYTHING, "c.py"])


@st.composite
def crooked_plans(draw: st.DrawFn) -> Plan:
    """Mostly broken ones, all of whose contracts are used and used ones are written."""
    names = draw(st.lists(st.sampled_from(["t", "u", "U"]), min_size=1, max_size=3))
    tasks = [
        task(
            name,
            *draw(st.lists(st.sampled_from([*names, "ghost"]), max_size=2)),
            owns=tuple(draw(st.lists(entries, max_size=3))),
            uses=tuple(draw(st.lists(st.sampled_from(["x", "X", "a/b", "/z"]), max_size=3))),
            estimate=draw(st.integers(-1, 1)),
        )
        for name in names
    ]
    head = plan(
        *tasks,
        acceptance_criteria=(
            Criterion(text="C", served_by=tuple(draw(st.lists(st.sampled_from([*names, "z"]))))),
        ),
    )
    written = tuple(contract(path) for path in promised_contracts(head))
    return head.model_copy(update={"contracts": written})


@given(crooked_plans())
def test_but_for_the_contracts_themselves_a_head_is_judged_as_the_whole_plan(made: Plan) -> None:
    assert head_defects(made.model_copy(update={"contracts": ()})) == plan_defects(made)


@given(any_plans())
def test_whose_whole_plan_is_good_the_head_is_good(made: Plan) -> None:
    assert plan_defects(made) == []
    head = made.model_copy(update={"contracts": ()})
    assert head_defects(head) == []
    unwritten = [d for d in plan_defects(head) if "which is no contract of the plan" not in d]
    assert unwritten == []


def test_a_contract_is_a_file_with_a_purpose_that_may_be_left_out() -> None:
    assert Contract(path="x", content="").purpose == ""


def sharing(*shared: str, **changes: Any) -> Plan:
    """Two tasks that both own app/routes.py."""
    own = {"a": ("app/routes.py", "a.py"), "b": ("app/routes.py", "b.py")} | changes
    return plan(*(task(name, owns=owns) for name, owns in own.items()), shared=shared)


def test_a_shared_file_is_owned_by_several_tasks() -> None:
    assert plan_defects(sharing("app/routes.py")) == []
    assert head_defects(sharing("app/routes.py")) == []
    assert plan_defects(sharing()) == ["'app/routes.py' belongs to both task 'a' and task 'b'"]


def test_what_is_to_be_read_is_named_by_path() -> None:
    assert plan_defects(plan(task("a"), reads=("src/", "./", "b.py"))) == []
    assert plan_defects(plan(task("a"), reads=("*.py",))) == [
        "'*.py' in reads has a wildcard; name exact files, or a directory with a trailing slash"
    ]


@pytest.mark.parametrize(
    ("shared", "owns", "defect"),
    [
        (("../x",), {}, "the shared file '../x' has a '..' part"),
        (("app/*.py",), {}, "the shared file 'app/*.py' has a wildcard"),
        (("app/",), {}, "'app/' is shared, which only a file can be"),
        (("other.py",), {}, "'other.py' is shared, but no task owns it by its exact path"),
        (("app/routes.py", "App/Routes.py"), {}, "'app/routes.py' is shared more than once"),
        (("app/routes.py",), {"c": ("app/",)}, "'app/routes.py' of several tasks lies below 'app'"),
        (("app/routes.py",), {"c": ("App/routes.py",)}, "belongs to both several tasks and task"),
        (("app/routes.py",), {"c": ("app/routes.py/x",)}, "lies below 'app/routes.py' of several"),
    ],
)
def test_only_an_exact_file_can_be_shared(
    shared: tuple[str, ...], owns: dict[str, Any], defect: str
) -> None:
    assert any(defect in found for found in plan_defects(sharing(*shared, **owns)))


def test_a_contract_is_not_shared() -> None:
    path = "app/routes.py"
    made = sharing(path).model_copy(update={"contracts": (contract(path),)})
    assert f"{path!r} is shared and a contract, which no task may change" in plan_defects(made)
