"""Early start: the plan is written on a thread of its own, and tasks begin while it is."""

import queue
import threading
from collections.abc import Callable
from typing import Self

from claude.planning.draft_reader import PlanningHooks
from core.clock import Clock, StoppableClock
from core.events import AnswerProgress
from core.job import Usage
from core.plan import Plan
from core.plan.draft import AnswerBegan, ContractWritten, DraftEvent, HeadWritten
from engine.scheduling.types import PlanDelayed, PlanFailed, PlanNews, PlanWritten

STOP_S = 2.0
"""How long a planner that is told to stop may take to tell what it used."""

Ask = Callable[[Clock, PlanningHooks], Plan]
"""Has the plan made; raises what the planner raises."""
_Item = Usage | str | AnswerProgress | DraftEvent | Plan | BaseException


class BackgroundPlanning:
    """A PlanSource. Inside `with` the planner works; all its news is taken in by the thread that
    asks for it: `charge` and `report` are called there. `written` gets the whole plan first.

    `head` is what tasks may begin on, `plan` the whole; `error` is why there will be none.
    """

    def __init__(
        self,
        ask: Ask,
        charge: Callable[[Usage], None],
        report: Callable[[str | AnswerProgress], None],
        written: Callable[[Plan], None],
    ) -> None:
        self.head: Plan | None = None
        self.plan: Plan | None = None
        self.error: BaseException | None = None
        self._ask = ask
        self._clock = StoppableClock(reason="Planning was stopped.")
        self._charge, self._report, self._written = charge, report, written
        # its put may be called anywhere, also in a signal handler
        self._inbox: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._wake: Callable[[], None] = lambda: None
        self._is_delayed = False
        self._early: list[ContractWritten] = []
        """Contracts that were written before the head was."""
        self._thread = threading.Thread(target=self._work, name="planner", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._clock.stop()
        self._thread.join(STOP_S)
        self.take()

    def wait_for_tasks(self) -> Plan:
        """The head of the plan as soon as tasks may begin, or the whole plan where that comes
        first. Raises what the planner raised."""
        while self.head is None and not self._is_over:
            self._handle(self._inbox.get())
        if self.error is not None:
            raise self.error
        found = self.plan or self.head
        assert found is not None  # noqa: S101 - one of the three there is
        return found

    def on_news(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        wake()

    def take(self) -> list[PlanNews]:
        news: list[PlanNews] = [*self._early]
        self._early.clear()
        while not self._inbox.empty():
            news += self._handle(self._inbox.get())
        return news

    @property
    def _is_over(self) -> bool:
        return self.plan is not None or self.error is not None

    def _handle(self, item: _Item) -> list[PlanNews]:
        match item:
            case Usage():
                self._charge(item)
            case str() | AnswerProgress():
                self._report(item)
            case AnswerBegan() if self.head is None:
                self._early.clear()
            case AnswerBegan():
                self._is_delayed = True
                return [PlanDelayed()]
            case HeadWritten(head) if self.head is None:
                self.head = head
            case ContractWritten() if not self._is_delayed:
                if self.head is not None:
                    return [item]
                self._early.append(item)
            case Plan():
                self.plan = item
                self._written(item)
                return [PlanWritten(item)]
            case BaseException():
                self.error = item
                return [PlanFailed(str(item))]
        return []

    def _work(self) -> None:
        """On the planner's thread."""
        put = self._put
        hooks = PlanningHooks(on_usage=put, on_progress=put, on_answering=put, on_draft=put)
        try:
            self._put(self._ask(self._clock, hooks))
        except BaseException as exc:  # noqa: BLE001 - a thread's end: raised where it is waited for
            self._put(exc)

    def _put(self, item: _Item) -> None:
        self._inbox.put(item)
        self._wake()
