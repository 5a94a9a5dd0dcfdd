"""What is told of a queue, when it is news and how often at most; and how many jobs are asked
about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from backends.base import PollPace
from core.events import Kind
from core.job import JobHandle, JobKey, JobStatus
from engine.scheduling.job_watch import NEWS_S
from engine.scheduling.virtual_backend import VirtualBackend, VirtualEnd
from tests.fakes.events import data_of
from tests.fakes.plans import make_plan
from tests.fakes.virtual_run import PACING, Faults, FaultyBackend, Window, World, always


def told(world: World) -> list[tuple[float, list[list[object]]]]:
    return [(e.at, data_of(e)["waits"]) for e in world.events(Kind.QUEUE)]


def world(count: int, *disguises: Window, ends: VirtualEnd | None = None) -> World:
    plan = make_plan({f"t{n}": () for n in range(count)})
    end = ends or VirtualEnd(queued_s=500)
    pacing = replace(PACING, max_executors=count)
    return World(plan, always(end), Faults(disguises=disguises), pacing=pacing)


def says(begin: float, end: float, task: str, message: str, what: str = "QUEUED") -> Window:
    return Window(what, begin, end, task, message)


def test_jobs_that_wait_for_the_same_are_told_of_once_with_their_number() -> None:
    many = world(200, *(says(0, 500, f"t{n}", "Priority") for n in range(200)))
    many.run()
    assert told(many) == [(0, [["Priority", 200, False]])]


def test_a_new_reason_is_news_and_one_that_goes_or_comes_back_is_not() -> None:
    changing = world(
        2,
        *(says(0, 100, "t0", "Priority"), says(100, 200, "t0", "Resources")),
        *(says(200, 300, "t0", "Priority"), says(0, 500, "t1", "Priority")),
    )
    changing.run()
    assert [sorted(waits) for _, waits in told(changing)] == [
        [["Priority", 2, False]],
        [["Priority", 1, False], ["Resources", 1, False]],
    ]


def test_a_job_that_cannot_start_is_news_even_in_the_same_words_or_none() -> None:
    held = world(
        2,
        *(says(0, 100, "t0", "Held"), says(0, 500, "t1", "Held")),
        says(100, 300, "t0", "Held", "STUCK"),
        says(300, 500, "t0", "", "STUCK"),
    )
    held.run()
    assert [sorted(waits) for _, waits in told(held)] == [
        [["Held", 2, False]],
        [["Held", 1, False], ["Held", 1, True]],
        [["", 1, True], ["Held", 1, False]],
    ]


def test_a_queue_that_tells_each_job_its_place_is_news_once_a_minute_at_most() -> None:
    places = (says(n * 10, n * 10 + 10, "t0", f"place {50 - n}") for n in range(50))
    moving = world(1, *places)
    moving.run()
    times = [at for at, _ in told(moving)]
    assert len(times) >= 5
    assert min(b - a for a, b in pairwise(times)) >= NEWS_S


def test_a_queue_that_says_nothing_and_jobs_that_run_are_no_news() -> None:
    silent = world(3)
    silent.run()
    assert told(silent) == []
    running = world(3, says(0, 50, "t0", "Priority"), ends=VirtualEnd(duration_s=10))
    running.run()
    assert told(running) == [(0, [["Priority", 1, False]])]


class Asked(FaultyBackend):
    """Counts the jobs of each poll; its pace is slow, so that wakes decide."""

    pace = PollPace(100.0, 100.0)

    def poll(self, handles: Sequence[JobHandle]) -> dict[JobKey, JobStatus]:
        self.called["asked"] += len(handles)
        return super().poll(handles)


def test_a_wake_that_names_a_job_asks_about_that_one_alone() -> None:
    many = replace(world(200), backend_type=Asked, timeline=[], journal=[])
    many.backend.inner = VirtualBackend(
        many.clock, lambda key: VirtualEnd(1.0 + int(key.task[1:]) / 10)
    )
    assert len(many.run().succeeded) == 200
    assert many.clock.monotonic() == 20.9
    assert many.backend.called["poll"] <= 202
    assert many.backend.called["asked"] <= 3 * 200


def test_what_no_wake_named_is_seen_when_it_is_time_to_ask_about_all() -> None:
    quiet = world(2, ends=VirtualEnd(duration_s=5))
    quiet = replace(quiet, backend_type=Asked, faults=Faults(silent=True), timeline=[], journal=[])
    assert len(quiet.run().succeeded) == 2
    assert quiet.clock.monotonic() == 100
