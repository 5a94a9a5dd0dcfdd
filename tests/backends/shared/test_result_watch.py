"""Tests for backends.shared.result_watch: who is woken, how long, and that it ends."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from backends.shared import result_watch
from backends.shared.result_watch import WAKES_A_JOB, ResultWatch
from core.job import JobKey

FIRST, SECOND = (JobKey("run", task, 1) for task in ("first", "second"))


class Woken:
    """Keeps who was woken; `wait` is until there are so many more wakes."""

    def __init__(self) -> None:
        self.keys: list[JobKey] = []
        self._news = threading.Condition()

    def __call__(self, *keys: JobKey) -> None:
        with self._news:
            self.keys += keys
            self._news.notify_all()

    def wait(self, more: int, within_s: float = 20.0) -> bool:
        with self._news:
            wanted = len(self.keys) + more
            return self._news.wait_for(lambda: len(self.keys) >= wanted, timeout=within_s)


class Looks:
    """Finds news of the jobs in `news`; `wait` is until there was another look, begun later."""

    def __init__(self, *news: JobKey) -> None:
        self.news = set(news)
        self.errors = 0
        self._looked = threading.Semaphore(0)

    def __call__(self, keys: Sequence[JobKey]) -> list[JobKey]:
        self._looked.release()
        if self.errors:
            self.errors -= 1
            raise OSError("away")
        return [key for key in keys if key in self.news]

    def wait(self) -> None:
        while self._looked.acquire(blocking=False):
            pass
        for _ in range(2):
            assert self._looked.acquire(timeout=20)


def test_news_wakes_for_its_job_again_and_again_until_that_is_dropped() -> None:
    woken, looks = Woken(), Looks()
    watch = ResultWatch(looks, woken, every_s=0.02)
    try:
        watch.add([FIRST, SECOND])
        looks.wait()
        assert not woken.keys
        looks.news.add(SECOND)
        assert woken.wait(2)
        watch.drop(SECOND)
        looks.wait()
        before = len(woken.keys)
        looks.wait()
        assert len(woken.keys) == before
        assert set(woken.keys) == {SECOND}
    finally:
        watch.stop()


def test_one_that_was_stopped_looks_no_more() -> None:
    watch = ResultWatch(Looks(), Woken())
    watch.stop()
    watch.add([FIRST])
    watch.stop()
    assert not [t for t in threading.enumerate() if t.name == "results"]


def test_a_look_that_waits_is_ended_with_the_watch() -> None:
    begun, ended = threading.Event(), threading.Event()

    def look(keys: Sequence[JobKey]) -> list[JobKey]:
        begun.set()
        assert ended.wait(20)
        return []

    watch = ResultWatch(look, Woken(), every_s=0.001)
    watch.add([FIRST])
    assert begun.wait(20)
    watch.stop(ended.set)
    assert not [t for t in threading.enumerate() if t.name == "results"]


def test_a_job_that_does_not_end_after_its_result_wakes_some_times_only() -> None:
    woken, looks = Woken(), Looks(SECOND)
    watch = ResultWatch(looks, woken, every_s=0.001)
    try:
        watch.add([FIRST, SECOND])
        assert woken.wait(WAKES_A_JOB)
        for _ in range(5):
            looks.wait()
        assert len(woken.keys) == WAKES_A_JOB
    finally:
        watch.stop()


def test_after_an_outage_the_looks_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(result_watch, "AFTER_ERROR_S", 0.01)
    woken, looks = Woken(), Looks(FIRST)
    looks.errors = 2
    watch = ResultWatch(looks, woken, every_s=0.001)
    try:
        watch.add([FIRST])
        assert woken.wait(1)
        assert looks.errors == 0
    finally:
        watch.stop()
