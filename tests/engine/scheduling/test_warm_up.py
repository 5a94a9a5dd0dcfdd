from __future__ import annotations

from core.job import JobKey
from engine.scheduling.warm_up import WarmUp

FIRST, SECOND = JobKey("r", "a", 1), JobKey("r", "b", 1)


def test_one_goes_first_and_the_others_when_it_has_used_something() -> None:
    warm_up = WarmUp(True, 30.0)
    assert warm_up.room(4, 0.0) == 1
    warm_up.begun(FIRST, 0.0)
    assert warm_up.room(3, 1.0) == 0
    assert warm_up.waits(1.0)
    assert warm_up.due == 30.0
    warm_up.seen(FIRST)
    assert warm_up.room(3, 1.0) == 3
    assert not warm_up.waits(1.0)
    assert warm_up.due is None


def test_the_wait_has_an_end() -> None:
    warm_up = WarmUp(True, 30.0)
    warm_up.begun(FIRST, 5.0)
    assert warm_up.room(3, 34.9) == 0
    assert warm_up.room(3, 35.0) == 3
    assert not warm_up.waits(35.0)


def test_news_of_others_is_none() -> None:
    warm_up = WarmUp(True, 30.0)
    warm_up.begun(FIRST, 0.0)
    warm_up.begun(SECOND, 20.0)
    warm_up.seen(SECOND)
    assert warm_up.room(3, 1.0) == 0
    assert warm_up.due == 30.0


def test_who_need_not_wait_does_not() -> None:
    assert WarmUp(False, 30.0).room(4, 0.0) == 4
    warm_up = WarmUp(True, 30.0)
    warm_up.is_over()
    assert warm_up.room(4, 0.0) == 4
    assert WarmUp(True, 30.0).room(0, 0.0) == 0
