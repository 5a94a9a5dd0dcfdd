from __future__ import annotations

import pytest

from claude.simulation.mistakes.places import all_commands, all_texts, commands_of, tree_of
from claude.simulation.mistakes.project import Mistakes
from claude.simulation.mistakes.texts import leave
from claude.simulation.sample_projects import KEYWORDS, load_sample
from core.plan import plan_defects

FILES = ("mismatch", "broken_code", "missing_dependency", "bad_contract")
PLANS = ("flaky_check", "lying_check")
ALL = dict.fromkeys((*FILES, *PLANS, "cheat"), 1.0)
TODO = load_sample("todo")


@pytest.mark.parametrize("fault", FILES)
def test_a_mistake_is_made_in_one_place_which_the_seed_chooses(fault: str) -> None:
    made = [Mistakes({fault: 1.0}, seed).of_files(TODO) for seed in range(20)]
    assert made == [Mistakes({fault: 1.0}, seed).of_files(TODO) for seed in range(20)]
    assert len({frozenset(each) for each in made}) > 1
    assert all(text != tree_of(TODO)[path] for each in made for path, text in each.items())
    assert all(made)
    assert not Mistakes({fault: 0.0}, 0).of_files(TODO)


@pytest.mark.parametrize("name", KEYWORDS)
@pytest.mark.parametrize("seed", range(10))
def test_with_all_of_them_every_file_and_command_is_still_known_as_ours(
    name: str, seed: int
) -> None:
    sample, mistakes = load_sample(name), Mistakes(ALL, seed)
    known, tests = all_texts(sample), ["test_an_unknown_id_is_not_found"]
    made = [mistakes.of_files(sample)]
    made += [mistakes.repair(sample, tuple(known), number, tests) for number in (1, 2)]
    assert all(text in known[path] for each in made for path, text in each.items())
    plan = mistakes.of_plan(sample.plan)
    assert plan_defects(plan) == []
    assert set(commands_of(plan)) <= all_commands(sample.plan)


@pytest.mark.parametrize("fault", PLANS)
def test_one_command_of_the_plan_is_another(fault: str) -> None:
    for seed in range(10):
        plan = Mistakes({fault: 1.0}, seed).of_plan(TODO.plan)
        assert len(set(commands_of(TODO.plan)) - set(commands_of(plan))) == 1
        assert plan.contracts == TODO.plan.contracts


def test_a_bad_contract_is_in_the_plan_and_a_plan_that_is_not_ours_is_left_alone() -> None:
    mistakes = Mistakes(ALL, 0)
    plan = mistakes.of_plan(TODO.plan)
    spoiled = mistakes.of_files(TODO)
    changed = {c.path: c.content for c in plan.contracts if c not in TODO.plan.contracts}
    assert changed == {p: t for p, t in spoiled.items() if p in changed}
    assert "todo_app/contract.py" in changed
    other = TODO.plan.model_copy(update={"title": "Mine"})
    assert mistakes.of_plan(other) == other


def test_a_repairer_mends_what_it_owns_and_cheats_in_the_first_round_only() -> None:
    chances = {"broken_code": 1.0, "cheat": 1.0}
    mistakes = Mistakes(chances, 1)
    (broken,) = mistakes.of_files(TODO)
    owns = (broken, "tests/")
    failing = ["test_complete_sets_completed"]
    (path, text), *others = mistakes.repair(TODO, owns, 1, failing).items()
    assert (path, others) == ("tests/test_todos.py", [])
    assert text != tree_of(TODO)[path]
    mended = {broken: tree_of(TODO)[broken]}
    assert mistakes.repair(TODO, owns, 2, failing) == mended
    contract = "todo_app/contract.py"
    (path, text), *others = mistakes.repair(TODO, (broken, contract), 1, failing).items()
    assert (path, others) == (contract, [])
    assert tree_of(TODO)[path].startswith(text)
    assert Mistakes({"broken_code": 1.0}, 1).repair(TODO, owns, 1, failing) == mended


def test_a_repairer_that_owns_no_mistake_leaves_a_remark() -> None:
    mistakes = Mistakes({}, 0)
    path = "todo_app/web.py"
    owns = ("README.md", "todo_app/__init__.py", path)  # the second is a contract
    assert mistakes.repair(TODO, owns, 1, []) == {path: leave(tree_of(TODO)[path])}
    assert mistakes.repair(TODO, ("README.md",), 1, []) == {}
