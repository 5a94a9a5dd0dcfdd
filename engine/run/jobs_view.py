"""What has become of a run's jobs: resuming, the budget and the clean-up go on from here."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from core.events import JobEnded
from core.job import Amount, JobHandle, JobKey, Outcome, Usage

T = TypeVar("T")


@dataclass(slots=True)
class JobsView:
    """Changed by the RunView alone, as it applies events."""

    attempts: dict[str, int] = field(default_factory=dict)
    """Highest attempt of each task that was begun."""
    succeeded: dict[str, int] = field(default_factory=dict)
    """Tasks that are done, and by which attempt."""
    failures: dict[str, str] = field(default_factory=dict)
    """Message of the last attempt of tasks that are not done."""
    unreported: dict[str, str] = field(default_factory=dict)
    """Tasks whose job ended well without a TASK_ENDED after it, and the job's message."""
    open: dict[JobKey, JobHandle | None] = field(default_factory=dict)
    """Jobs intended (None) or submitted, whose end is not known."""
    spent: list[Usage] = field(default_factory=list)
    """Every request of planning and of ended attempts."""
    spent_by: dict[str, list[Usage]] = field(default_factory=dict)
    """Of each task, the requests of its ended attempts."""
    spent_at: float = 0.0
    """Unix time of the last end of an attempt that used something."""
    reserved: dict[JobKey, Amount] = field(default_factory=dict)
    """Reservations of jobs that are open, or ended without an account of what they used."""
    void: dict[str, int] = field(default_factory=dict)
    """The last attempt of each task that counts no longer, since the plan was corrected."""
    definitions: dict[str, str] = field(default_factory=dict)
    """Of each task as it was last begun: what its work stands on; "" where that was not kept."""

    def intend(self, key: JobKey, reservation: Amount | None, definition: str = "") -> None:
        self.definitions[key.task] = definition
        self.attempts[key.task] = max(key.attempt, self.attempts.get(key.task, 0))
        self.open.setdefault(key, None)
        if reservation is not None:
            self.reserved[key] = reservation

    def end(self, key: JobKey, end: JobEnded, at: float) -> None:
        self.open.pop(key, None)
        self.spent += end.usage
        self.spent_by.setdefault(key.task, []).extend(end.usage)
        if end.usage:
            self.spent_at = at
        if not end.unaccounted:
            self.reserved.pop(key, None)
        if self.is_void(key):
            return
        if end.cause == Outcome.OK:
            self.succeed(key)
            self.unreported[key.task] = end.message
        else:
            self.failures[key.task] = end.message

    def is_void(self, key: JobKey) -> bool:
        """Whether nothing counts of that attempt but what it used."""
        return 0 < key.attempt <= self.void.get(key.task, 0)

    def correct(self, planned: Collection[str], restarted: Collection[str]) -> None:
        """The plan has these tasks now; what was begun of the others, and of those that were
        `restarted`, is void."""
        for task in self.attempts:
            if task in restarted or task not in planned:
                self.restart(task)

    def restart(self, task: str) -> None:
        """What was begun of it is void."""
        if task in self.attempts:
            self.void[task] = self.attempts[task]
        for told in (self.succeeded, self.failures, self.unreported):
            told.pop(task, None)

    def select(self, keep: Callable[[str], bool]) -> JobsView:
        """Of the tasks to `keep` only, by id: what a scheduler is to know."""

        def kept(told: Mapping[str, T]) -> dict[str, T]:
            return {task: value for task, value in told.items() if keep(task)}

        return JobsView(
            kept(self.attempts),
            kept(self.succeeded),
            kept(self.failures),
            kept(self.unreported),
            {key: handle for key, handle in self.open.items() if keep(key.task)},
            spent_at=self.spent_at,
            definitions=kept(self.definitions),
        )

    def succeed(self, key: JobKey) -> None:
        if self.is_void(key):
            return
        self.succeeded[key.task] = key.attempt
        self.failures.pop(key.task, None)
        self.unreported.pop(key.task, None)
