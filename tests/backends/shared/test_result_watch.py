"""Tests for backends.shared.result_watch: who is woken, how long, and that it ends."""

from __future__ import annotations

import threading

from backends.shared.result_watch import WAKES_A_JOB, ResultWatch
from core.job import JobKey

FIRST, SECOND = (JobKey("run", task, 1) for task in ("first", "second"))


class Woken:
    """Counts wakes; `wait` is until there are so many more."""

    def __init__(self) -> None:
        self._count = 0
        self._news = threading.Condition()

    def __call__(self) -> None:
        with self._news:
            self._count += 1
            self._news.notify_all()

    def wait(self, more: int, within_s: float = 20.0) -> bool:
        with self._news:
            wanted = self._count + more
            return self._news.wait_for(lambda: self._count >= wanted, timeout=within_s)


def test_a_result_wakes_again_and_again_until_its_job_is_dropped() -> None:
    woken, results, looked = Woken(), set[JobKey](), threading.Event()

    def has_result(key: JobKey) -> bool:
        looked.set()
        return key in results

    watch = ResultWatch(has_result, woken)
    try:
        watch.add([FIRST, SECOND])
        assert looked.wait(20)
        assert not woken.wait(1, within_s=1.2), "there is no result yet"
        results.add(SECOND)
        assert woken.wait(2)
        watch.drop(SECOND)
        woken.wait(1, within_s=1.2)  # a look may have been under way
        assert not woken.wait(1, within_s=1.2)
    finally:
        watch.stop()


def test_one_that_was_stopped_looks_no_more() -> None:
    looks: list[JobKey] = []

    def has_result(key: JobKey) -> bool:
        looks.append(key)
        return False

    watch = ResultWatch(has_result, Woken())
    watch.stop()
    watch.add([FIRST])
    watch.stop()
    assert looks == []
    assert not [t for t in threading.enumerate() if t.name == "results"]


def test_a_job_that_does_not_end_after_its_result_wakes_for_some_seconds_only() -> None:
    woken, looks = Woken(), threading.Semaphore(0)

    def has_result(key: JobKey) -> bool:
        looks.release()
        return key == SECOND

    watch = ResultWatch(has_result, woken, every_s=0.001)
    try:
        watch.add([FIRST, SECOND])
        assert woken.wait(WAKES_A_JOB)
        for _ in range(5):
            assert looks.acquire(timeout=20)
        assert not woken.wait(1, within_s=0.2)
    finally:
        watch.stop()
