from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from core.job import JobKey
from engine.scheduling.alarms import Alarms
from engine.scheduling.attempt import Attempt


def attempt(task: str) -> Attempt:
    return Attempt(JobKey("r", task, 1), 0.0)


def test_an_attempt_is_due_once_at_its_time() -> None:
    alarms, one = Alarms(), attempt("a")
    alarms.set(one, 5.0)
    assert alarms.next_at() == 5
    assert alarms.due(4.9) == {}
    assert alarms.due(5.0) == {one.key: one}
    assert alarms.due(100.0) == {}
    assert alarms.next_at() is None


def test_a_new_time_takes_the_place_of_the_one_before() -> None:
    alarms, one, other = Alarms(), attempt("a"), attempt("b")
    alarms.set(one, 5.0)
    alarms.set(other, 7.0)
    alarms.set(one, 9.0)
    assert alarms.next_at() == 7
    alarms.set(other, None)
    assert alarms.next_at() == 9
    alarms.set(one, 2.0)
    assert alarms.due(100.0) == {one.key: one}
    assert alarms.next_at() is None


@given(st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.integers(0, 20)), max_size=40))
def test_of_all_times_that_were_set_the_last_of_each_counts(
    given: list[tuple[str, int | None]],
) -> None:
    alarms, attempts, last = Alarms(), {task: attempt(task) for task in "abc"}, dict[str, int]()
    for task, when in given:
        alarms.set(attempts[task], when)
        last.pop(task, None)
        if when is not None:
            last[task] = when
        assert alarms.next_at() == min(last.values(), default=None)
    assert {key.task for key in alarms.due(10.0)} == {t for t, when in last.items() if when <= 10}
