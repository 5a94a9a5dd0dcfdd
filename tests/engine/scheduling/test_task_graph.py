from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.job import TaskState
from core.plan import Plan
from engine.scheduling.task_graph import TaskGraph
from tests.fakes.plans import descendants, make_plan, plans

DIAMOND = make_plan({"top": (), "left": ("top",), "right": ("top",), "end": ("left", "right")})


def test_only_tasks_without_dependencies_may_start_at_first() -> None:
    board = TaskGraph(DIAMOND)
    assert board.start(10) == ["top"]
    assert board.start(10) == []


def test_a_task_starts_when_its_last_dependency_has_succeeded() -> None:
    board = TaskGraph(DIAMOND)
    board.start(1)
    board.succeed("top")
    assert board.start(10) == ["left", "right"]
    board.succeed("left")
    assert board.ready == 0
    board.succeed("right")
    assert board.start(10) == ["end"]
    board.succeed("end")
    assert board.finished


def test_the_longest_remaining_path_goes_first_and_ties_keep_the_plans_order() -> None:
    plan = make_plan(
        {"small": (), "long": (), "tail": ("long",), "also-small": ()},
        {"small": 5, "long": 3, "tail": 10, "also-small": 5},
    )
    assert TaskGraph(plan).start(3) == ["long", "small", "also-small"]


def test_no_more_tasks_start_than_asked_for() -> None:
    board = TaskGraph(make_plan({"a": (), "b": (), "c": ()}))
    assert board.start(0) == []
    assert board.start(-2) == []
    assert board.start(2) == ["a", "b"]
    assert board.start(2) == ["c"]


def test_a_failed_task_blocks_its_descendants_and_nothing_else() -> None:
    board = TaskGraph(make_plan({"a": (), "b": (), "a2": ("a",), "a3": ("a2", "b"), "b2": ("b",)}))
    board.start(2)
    assert sorted(board.fail("a")) == ["a2", "a3"]
    board.succeed("b")
    assert board.start(5) == ["b2"]
    board.succeed("b2")
    assert board.finished
    assert board.states == {
        "a": TaskState.FAILED,
        "b": TaskState.SUCCEEDED,
        "a2": TaskState.BLOCKED,
        "a3": TaskState.BLOCKED,
        "b2": TaskState.SUCCEEDED,
    }


def test_a_task_blocked_once_is_not_blocked_again_by_another_failure() -> None:
    board = TaskGraph(make_plan({"a": (), "b": (), "c": ("a", "b")}))
    board.start(2)
    assert board.fail("a") == ["c"]
    assert board.fail("b") == []
    assert board.finished


def test_a_waiting_task_is_started_again_only_when_resumed() -> None:
    board = TaskGraph(make_plan({"a": ()}))
    board.start(1)
    board.wait("a")
    assert board.start(1) == []
    board.resume("a")
    assert board.start(1) == ["a"]


def test_an_adopted_task_is_not_started_a_second_time() -> None:
    board = TaskGraph(make_plan({"a": (), "b": ()}))
    board.adopt("a")
    assert board.start(5) == ["b"]
    board.wait("a")
    board.resume("a")
    assert board.start(5) == ["a"]
    assert board.start(5) == []


def test_those_that_may_start_are_counted_however_others_came_to_run() -> None:
    board = TaskGraph(make_plan({"a": (), "b": (), "c": (), "d": (), "e": ("a",)}))
    assert board.ready == 4
    board.adopt("a")
    assert board.ready == 3
    assert board.start_any(lambda task: task == "c") == ["c"]
    assert board.ready == 2
    assert board.start(1) == ["b"]
    board.wait("b")
    assert board.ready == 1
    board.succeed("a")
    board.resume("b")
    assert board.ready == 3
    assert board.start(9) == ["b", "d", "e"]
    assert board.ready == 0


def test_tasks_that_succeeded_before_are_finished_and_free_their_dependents() -> None:
    board = TaskGraph(DIAMOND, {"top", "left"})
    assert board.states["left"] is TaskState.SUCCEEDED
    assert board.start(5) == ["right"]


def test_a_task_waits_for_an_unfinished_ancestor_behind_a_finished_one() -> None:
    chain = make_plan({"a": (), "b": ("a",), "c": ("b",), "d": ("c", "a")})
    board = TaskGraph(chain, {"b"})
    assert board.start(5) == ["a"]
    board.succeed("a")
    assert board.states["b"] is TaskState.SUCCEEDED
    assert board.start(5) == ["c"]


def test_an_unfinished_ancestor_that_fails_blocks_what_is_behind_a_finished_task() -> None:
    board = TaskGraph(make_plan({"a": (), "b": ("a",), "c": ("b",)}), {"b"})
    board.start(1)
    assert board.fail("a") == ["c"]
    assert board.finished
    assert board.states["b"] is TaskState.SUCCEEDED


def test_cancelling_the_rest_leaves_final_states_alone() -> None:
    board = TaskGraph(DIAMOND)
    board.start(1)
    board.succeed("top")
    board.start(1)
    assert board.cancel_rest() == ["left", "right", "end"]
    assert board.states["top"] is TaskState.SUCCEEDED
    assert board.finished
    assert board.cancel_rest() == []
    assert board.start(5) == []


@pytest.mark.parametrize("change", ["succeed", "fail", "wait", "resume", "adopt"])
def test_a_change_that_does_not_fit_the_state_is_refused(change: str) -> None:
    board = TaskGraph(make_plan({"a": (), "b": ("a",)}))
    with pytest.raises(ValueError, match="'b' is PENDING"):
        getattr(board, change)("b")


@given(plan=plans(), data=st.data())
def test_any_order_of_ends_leads_every_task_to_one_final_state(
    plan: Plan, data: st.DataObject
) -> None:
    before = data.draw(st.sets(st.sampled_from([t.id for t in plan.tasks])))
    board = TaskGraph(plan, before)
    needs = {t.id: set(t.depends_on) for t in plan.tasks}
    active: list[str] = []
    failed: set[str] = set()
    while not board.finished:
        for task in board.start(data.draw(st.integers(1, 3))):
            assert all(board.states[name] is TaskState.SUCCEEDED for name in needs[task])
            active.append(task)
        assert active, "the board is stuck"
        task = active.pop(data.draw(st.integers(0, len(active) - 1)))
        if data.draw(st.booleans()):
            board.succeed(task)
        else:
            board.fail(task)
            failed.add(task)
    blocked = {name for name, state in board.states.items() if state is TaskState.BLOCKED}
    assert blocked == descendants(plan, failed) - before
    assert all(board.states[name] is TaskState.SUCCEEDED for name in before)
