"""The planner on its own thread: what the deciding thread learns of it, and when."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from claude.planning.draft_reader import PlanningHooks
from core.clock import Clock
from core.errors import Interrupted, PlanningFailed
from core.job import Usage
from core.plan import Plan
from core.plan.draft import AnswerBegan, ContractWritten, DraftEvent, HeadWritten
from engine.planning.early_start import BackgroundPlanning
from engine.scheduling.types import PlanDelayed, PlanFailed, PlanNews, PlanWritten
from tests.fakes.plan_parts import GOOD, contract

HEAD = GOOD.model_copy(update={"contracts": ()})
FIRST, SECOND = (ContractWritten(c) for c in GOOD.contracts)
USAGE = Usage("p", "m", 10, 5)
Step = Callable[[PlanningHooks], None] | threading.Event


def tell(event: DraftEvent) -> Step:
    return lambda hooks: hooks.on_draft(event)


class Planning:
    """A planner that does these steps, waiting at an event, and then returns or raises."""

    def __init__(self, *steps: Step, ends: Plan | BaseException = GOOD) -> None:
        self.charged: list[Usage] = []
        self.told: list[str] = []
        self.written: list[Plan] = []
        self.threads: set[str] = set()
        self._steps, self._ends = steps, ends
        self.background = BackgroundPlanning(
            self._ask,
            self._note(self.charged),
            self._note(self.told),
            self._note(self.written),
        )

    def _note(self, found: list) -> Callable[[object], None]:  # type: ignore[type-arg]
        def note(item: object) -> None:
            self.threads.add(threading.current_thread().name)
            found.append(item)

        return note

    def _ask(self, clock: Clock, hooks: PlanningHooks) -> Plan:
        for step in self._steps:
            if isinstance(step, threading.Event):
                while not step.is_set():
                    clock.sleep(0.001)
            else:
                step(hooks)
        if isinstance(self._ends, BaseException):
            raise self._ends
        return self._ends

    def news(self) -> list[PlanNews]:
        """All that comes until the plan's end."""
        came, found = threading.Semaphore(0), list[PlanNews]()
        self.background.on_news(came.release)
        while self.background.plan is None and self.background.error is None:
            came.acquire()
            found += self.background.take()
        return found


def test_tasks_may_begin_on_the_head_and_contracts_follow() -> None:
    rest = threading.Event()
    planning = Planning(tell(AnswerBegan()), tell(HeadWritten(HEAD)), rest, tell(FIRST))
    with planning.background as background:
        assert background.wait_for_tasks() == HEAD
        assert (background.plan, background.take()) == (None, [])
        rest.set()
        assert planning.news() == [FIRST, PlanWritten(GOOD)]
    assert planning.written == [background.plan] == [GOOD]


def test_where_the_plan_comes_first_it_is_whole() -> None:
    planning = Planning(tell(AnswerBegan()), tell(FIRST))
    with planning.background as background:
        assert background.wait_for_tasks() == GOOD
        assert background.plan == GOOD


def test_contracts_that_came_before_the_head_are_not_lost() -> None:
    planning = Planning(tell(AnswerBegan()), tell(FIRST), tell(HeadWritten(HEAD)), tell(SECOND))
    with planning.background as background:
        assert background.wait_for_tasks() == HEAD
        assert [n for n in planning.news() if n != PlanWritten(GOOD)] == [FIRST, SECOND]


def test_what_an_answer_wrote_that_was_begun_anew_is_forgotten_while_nothing_has_begun() -> None:
    parts: list[DraftEvent] = [FIRST, AnswerBegan(), HeadWritten(HEAD), SECOND]
    planning = Planning(tell(AnswerBegan()), *map(tell, parts))
    with planning.background as background:
        background.wait_for_tasks()
        assert planning.news() == [SECOND, PlanWritten(GOOD)]


def test_an_answer_that_is_begun_anew_delays_the_plan_and_its_parts_count_no_more() -> None:
    other = ContractWritten(contract("types.py", "x = 2\n"))
    again = HEAD.model_copy(update={"title": "Other"})
    parts: list[DraftEvent] = [
        HeadWritten(HEAD),
        FIRST,
        AnswerBegan(),
        HeadWritten(again),
        other,
    ]
    planning = Planning(tell(AnswerBegan()), *map(tell, parts))
    with planning.background as background:
        assert background.wait_for_tasks() == HEAD
        assert planning.news() == [FIRST, PlanDelayed(), PlanWritten(GOOD)]
        assert background.head == HEAD


def test_what_is_used_and_said_is_told_by_the_thread_that_asks() -> None:
    planning = Planning(
        lambda hooks: hooks.on_progress("asking"), lambda hooks: hooks.on_usage(USAGE)
    )
    with planning.background as background:
        background.wait_for_tasks()
    assert (planning.told, planning.charged) == (["asking"], [USAGE])
    assert planning.threads == {threading.current_thread().name}


def test_an_error_before_the_head_is_raised_where_tasks_are_waited_for() -> None:
    planning = Planning(ends=PlanningFailed("No valid plan.", ""))
    with pytest.raises(PlanningFailed, match="No valid plan"), planning.background as background:
        background.wait_for_tasks()
    assert not planning.written


def test_an_error_after_the_head_is_news_and_kept() -> None:
    planning = Planning(tell(HeadWritten(HEAD)), ends=PlanningFailed("No valid plan.", ""))
    with planning.background as background:
        background.wait_for_tasks()
        assert planning.news() == [PlanFailed("No valid plan.")]
    assert isinstance(background.error, PlanningFailed)


def test_leaving_stops_the_planner_and_takes_in_what_it_used() -> None:
    never = threading.Event()

    def work(clock: Clock, hooks: PlanningHooks) -> Plan:
        hooks.on_draft(HeadWritten(HEAD))
        try:
            while not never.is_set():
                clock.sleep(0.001)
        finally:
            hooks.on_usage(USAGE)
        return GOOD

    charged = list[Usage]()
    with BackgroundPlanning(work, charged.append, lambda _: None, lambda _: None) as background:
        background.wait_for_tasks()
    assert isinstance(background.error, Interrupted)
    assert charged == [USAGE]


def test_a_plan_that_is_whole_just_when_it_is_stopped_is_kept() -> None:
    planning = Planning(tell(HeadWritten(HEAD)))
    with planning.background as background:
        background.wait_for_tasks()
        background._thread.join()
    assert planning.written == [GOOD]
