"""Plans: every broken rule is said, and what is computed from a plan is right."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import PlanInvalid
from core.plan import (
    Analysis,
    Contract,
    Criterion,
    Plan,
    Task,
    ancestors,
    longest_chain,
    parse_plan,
    plan_defects,
    remaining_path,
    render_brief,
    render_plan,
    topological_order,
)


def task(name: str, *depends_on: str, **changes: Any) -> Task:
    fields: dict[str, Any] = {
        "id": name,
        "title": name.title(),
        "instructions": "Write it.",
        "depends_on": depends_on,
        "owns": (f"{name}.py",),
        "checks": (),
        "estimate": 10,
    }
    return Task(**(fields | changes))


def plan(*tasks: Task, **changes: Any) -> Plan:
    fields: dict[str, Any] = {
        "title": "A todo app",
        "summary": "Keeps todos.",
        "analysis": Analysis(
            complexity=3, rationale="Small.", recommended_executors=2, parallel_pays=True
        ),
        "contracts": (),
        "tasks": tasks,
        "acceptance_criteria": (
            Criterion(text="It works.", served_by=tuple(t.id for t in tasks[:1])),
        ),
    }
    return Plan(**(fields | changes))


def contract(path: str) -> Contract:
    return Contract(path=path, purpose="Names.", content="x = 1\n")


GOOD = plan(task("a"), task("b", "a"), contracts=(contract("types.py"),))


def test_a_good_plan_has_no_defects_and_comes_back_from_its_json() -> None:
    assert plan_defects(GOOD) == []
    assert parse_plan(render_plan(GOOD), "plan.json") == GOOD
    assert GOOD.task("b").depends_on == ("a",)


def test_json_of_a_plan_can_be_edited_by_a_person() -> None:
    text = render_plan(plan(task("a", title="größer")))
    assert "größer" in text
    assert text.endswith("}\n")
    assert text.count("\n") > 20


def with_analysis(**changes: Any) -> Plan:
    analysis = GOOD.analysis.model_copy(update=changes)
    return plan(task("a"), analysis=analysis)


@pytest.mark.parametrize(
    ("broken", "defect"),
    [
        (plan(), "the plan has no tasks"),
        (plan(task("a"), task("a", owns=("x",))), "task id 'a' is used more than once"),
        (plan(task("A")), "task id 'A' does not match"),
        (plan(task("a" * 33)), "does not match"),
        (plan(task("../a", owns=("a",))), "task id '../a' does not match"),
        (plan(task("a\n", owns=("a",))), "does not match"),
        (plan(task("a", owns=())), "task 'a' owns no path"),
        (plan(task("a", instructions=" \n")), "task 'a' has no instructions"),
        (plan(task("a", estimate=-1)), "task 'a' has a negative estimate"),
        (plan(task("a", owns=("../x",))), "task 'a' owns '../x', which has a '..' part"),
        (plan(task("a", owns=("*.py",))), "wildcard"),
        (with_analysis(recommended_executors=0), "recommended_executors is less than 1"),
        (with_analysis(complexity=0), "complexity is not between 1 and 10"),
        (with_analysis(complexity=11), "complexity is not between 1 and 10"),
        (plan(task("a", "ghost")), "task 'a' depends on 'ghost', which is not in the plan"),
        (plan(task("a"), task("b", "a", "a")), "names the dependency 'a' more than once"),
        (plan(task("a", "a")), "dependencies form a cycle: a -> a"),
        (plan(task("a", "c"), task("b", "a"), task("c", "b")), "dependencies form a cycle"),
        (plan(task("a"), contracts=(contract("/x"),)), "contract '/x' is absolute"),
        (
            plan(task("a"), contracts=(contract("X"), contract("x"))),
            "contract 'x' is listed more than once",
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
        (plan(task("a", owns=("x", "x/y"))), "'x/y' of task 'a' lies below 'x' of task 'a'"),
        (plan(task("a"), acceptance_criteria=()), "the plan has no acceptance criteria"),
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
    broken = plan(task("a", "b", owns=("../x",)), task("b", "a"), acceptance_criteria=())
    assert len(plan_defects(broken)) == 3


def test_a_cycle_is_reported_along_the_dependencies() -> None:
    defects = plan_defects(plan(task("a", "b"), task("b", "c"), task("c", "a")))
    (cycle,) = [d.removeprefix("dependencies form a cycle: ") for d in defects if "cycle" in d]
    names = cycle.split(" -> ")
    needs = {"a": "b", "b": "c", "c": "a"}
    assert names[0] == names[-1]
    assert [needs[n] for n in names[:-1]] == names[1:]


def test_a_task_may_own_a_directory_and_files_below_it() -> None:
    assert plan_defects(plan(task("a", owns=("src/", "src/x.py", "README.md")))) == []


def test_directories_that_share_a_beginning_do_not_overlap() -> None:
    assert plan_defects(plan(task("a", owns=("src/",)), task("b", owns=("src2/", "src.py")))) == []


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "the document"),
        ("[]", "the document"),
        ("{" * 10_000, "the document"),
        ('{"x": "\udcff"}', "the document"),
        ("{}", "tasks"),
        (render_plan(GOOD).replace('"estimate": 10', '"estimate": "much"'), "tasks.0.estimate"),
        (render_plan(GOOD).replace('"checks"', '"cheks"'), "tasks.0.cheks"),
        (render_plan(GOOD).replace('"version": 1', '"version": 2'), "version"),
    ],
)
def test_what_is_no_plan_is_refused_with_the_place(text: str, where: str) -> None:
    with pytest.raises(PlanInvalid, match=r"plan\.json is not a plan") as caught:
        parse_plan(text, "plan.json")
    assert any(d.startswith(f"{where}: ") for d in caught.value.defects)


@st.composite
def graphs(draw: st.DrawFn) -> Plan:
    """Plans without cycles, listed in any order."""
    size = draw(st.integers(1, 9))
    names = [f"t{n}" for n in range(size)]
    tasks = [
        task(name, *draw(st.sets(st.sampled_from(names[:n]))) if n else (), estimate=draw(cost))
        for n, name in enumerate(names)
    ]
    return plan(*draw(st.permutations(tasks)))


cost = st.integers(0, 50)


@given(graphs())
def test_random_plans_have_no_defects_and_come_back(made: Plan) -> None:
    assert plan_defects(made) == []
    assert parse_plan(render_plan(made), "x") == made


@given(graphs())
def test_the_order_has_every_task_once_and_after_all_it_needs(made: Plan) -> None:
    order = topological_order(made)
    assert sorted(order) == sorted(t.id for t in made.tasks)
    for t in made.tasks:
        assert all(order.index(d) < order.index(t.id) for d in t.depends_on)


@given(graphs())
def test_of_all_tasks_that_could_come_next_the_first_of_the_plan_does(made: Plan) -> None:
    done: list[str] = []
    for name in topological_order(made):
        ready = [t.id for t in made.tasks if t.id not in done and set(t.depends_on) <= set(done)]
        assert name == ready[0]
        done.append(name)


def reachable(made: Plan, name: str) -> set[str]:
    return {d for n in made.task(name).depends_on for d in {n, *reachable(made, n)}}


@given(graphs())
def test_ancestors_are_all_that_is_needed_in_order(made: Plan) -> None:
    order = topological_order(made)
    found = ancestors(made)
    for t in made.tasks:
        assert set(found[t.id]) == reachable(made, t.id)
        assert list(found[t.id]) == sorted(found[t.id], key=order.index)


def longest(made: Plan, name: str) -> int:
    after = [longest(made, t.id) for t in made.tasks if name in t.depends_on]
    return max(1, made.task(name).estimate) + max(after, default=0)


@given(graphs())
def test_the_remaining_path_is_the_longest_way_to_the_end(made: Plan) -> None:
    assert remaining_path(made) == {t.id: longest(made, t.id) for t in made.tasks}


@given(graphs())
def test_the_longest_chain_goes_from_a_start_to_an_end_and_none_is_longer(made: Plan) -> None:
    chain = longest_chain(made)
    assert not made.task(chain[0]).depends_on
    assert not any(chain[-1] in t.depends_on for t in made.tasks)
    assert all(a in made.task(b).depends_on for a, b in pairwise(chain))
    weight = sum(max(1, made.task(name).estimate) for name in chain)
    assert weight == max(remaining_path(made).values())


def test_a_cycle_is_found_among_ten_thousand_tasks_without_recursion() -> None:
    chain = [task(f"t{n}", f"t{(n + 1) % 10_000}") for n in range(10_000)]
    assert any("cycle" in d for d in plan_defects(plan(*chain)))


def test_the_brief_is_the_same_for_the_same_plan_and_names_all_of_it() -> None:
    brief = render_brief(GOOD)
    assert brief == render_brief(GOOD.model_copy())
    for part in (
        "# A todo app",
        "- b: B (after a); writes b.py",
        "- types.py: Names.",
        "It works.",
    ):
        assert part in brief


def test_the_brief_of_a_large_plan_says_how_much_it_leaves_out() -> None:
    brief = render_brief(plan(*(task(f"t{n}") for n in range(70))))
    assert "- and 10 more" in brief
    assert "t69" not in brief
    assert "## Contracts\n- none" in brief


def test_a_plan_given_as_json_numbers_and_lists_is_frozen() -> None:
    made = parse_plan(json.dumps(json.loads(render_plan(GOOD))), "x")
    with pytest.raises(ValueError, match="frozen"):
        made.title = "other"
