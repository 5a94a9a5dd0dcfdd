"""The scheduler: one loop in one thread, the only place where a task's state changes.

Each round fills the free slots by one `submit` (engine.scheduling.launcher), asks for news by one
`poll`, fetches what ended by one `collect`, and then waits for answers, a wake from the backend,
or the next thing that is due. Backends return facts (engine.scheduling.attempt keeps them per
attempt), the graph holds the tasks, the retry policy judges failures, and every decision leaves
as an event.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from backends.base import Backend
from core.clock import Clock
from core.errors import CollectError
from core.events import EventSink, JobEnded, JobStateChanged, Notice, TaskEnded, TaskRetry
from core.job import JobKey, JobState, JobStatus, Outcome, TaskResult, TaskState
from core.plan import Plan
from engine.money.budget import Budget
from engine.run.jobs_view import JobsView
from engine.scheduling.attempt import Attempt
from engine.scheduling.calls import Calls
from engine.scheduling.launcher import Launcher
from engine.scheduling.log_follower import LogFollower
from engine.scheduling.queue_report import QueueReport
from engine.scheduling.reattach import Reattachment
from engine.scheduling.retry_policy import NEVER_STARTED, End, RetryPolicy, end_of
from engine.scheduling.shared_state import Desk
from engine.scheduling.task_graph import TaskGraph
from engine.scheduling.timeouts import HOPELESS, Timeouts
from engine.scheduling.types import AttemptStore, Pacing, RunOutcome, Stop, StopCause

ENLARGED_AFTER_S = 0.5


class Scheduler:
    """Runs one plan on one backend; `run` once. `interrupt` may be called from anywhere."""

    def __init__(
        self,
        run_id: str,
        plan: Plan,
        *,
        backend: Backend,
        store: AttemptStore,
        sink: EventSink,
        calls: Calls,
        clock: Clock,
        policy: RetryPolicy,
        pacing: Pacing,
        earlier: JobsView | None = None,
        commit: Callable[[], None] = lambda: None,
        budget: Budget | None = None,
    ) -> None:
        earlier = earlier or JobsView()
        tasks = {t.id: t for t in plan.tasks}
        self._unreported = dict(earlier.unreported)
        self._store = store
        self._policy = policy
        desk = self._desk = Desk(
            run_id,
            backend,
            calls,
            clock,
            pacing,
            sink,
            TaskGraph(plan, earlier.succeeded),
            succeeded=dict(earlier.succeeded),
            number=dict(earlier.attempts),
            messages=dict(earlier.failures),
            tries=dict.fromkeys(tasks, 0),
        )
        launcher = self._launcher = Launcher(
            desk,
            tasks,
            store,
            budget or Budget(),
            commit,
            settle=self._settle,
            halt=self._halt,
        )
        self._reattachment = Reattachment(desk, launcher, dict(earlier.open))
        self._log_follower = LogFollower(desk, launcher.warm_up)
        self._timeouts = Timeouts(desk)
        self._queue_report = QueueReport(desk)

    def interrupt(self) -> None:
        """Stop launching, cancel what runs, and end soon. From any thread or a signal handler."""
        self._desk.interrupted = True
        self._desk.calls.wake()

    def run(self) -> RunOutcome:
        """Until every task is final, or the run is stopped.

        Raises BackendError when the backend stays out of health; the journal can be resumed then.
        """
        desk = self._desk
        desk.backend.on_change(self._on_change)
        self._report_successes()
        self._heed_interrupt()
        while not self._over():
            self._reattachment.take_up()
            self._resume_due()
            self._launcher.launch()
            self._poll()
            self._timeouts.look()
            self._collect()
            self._log_follower.look()
            desk.health.check_hanging()
            desk.calls.wait(self._pause_s())
            self._heed_interrupt()
        for task in desk.graph.cancel_rest():
            self._end_task(task, TaskState.CANCELLED, "")
        return RunOutcome(
            dict(desk.graph.states), dict(desk.succeeded), dict(desk.messages), desk.stop
        )

    def _over(self) -> bool:
        desk = self._desk
        if desk.graph.finished:
            return True
        if desk.stop is None:
            return False
        interrupted = desk.stop.cause is StopCause.INTERRUPTED
        grace_is_over = desk.now() >= desk.stopped_at + desk.pacing.interrupt_grace_s
        return not desk.active or (interrupted and grace_is_over)

    # -- taking up an earlier session's work

    def _report_successes(self) -> None:
        """The journal's last lines may have been lost between a job's end and its task's."""
        for task, message in self._unreported.items():
            if task in self._desk.succeeded:
                self._end_task(task, TaskState.SUCCEEDED, message)

    # -- watching

    def _on_change(self) -> None:
        self._desk.polls.news = True
        self._desk.calls.wake()

    def _poll(self) -> None:
        desk = self._desk
        if desk.calls.busy("poll") or not desk.polls.due(desk.now()):
            return
        asked = [a for a in desk.active.values() if a.can_be_polled]
        if asked:
            desk.polls.news = False
            handles = [a.handle for a in asked if a.handle]
            call = partial(desk.backend.poll, handles)
            desk.calls.start("poll", call, partial(self._polled, asked))

    def _polled(self, asked: list[Attempt], answer: Any) -> None:
        desk = self._desk
        changed = False
        if not desk.health.failed("poll", answer):
            unknown = JobStatus(JobState.UNKNOWN)
            for attempt in asked:
                if attempt.key in desk.active:
                    changed |= self._observe(attempt, answer.get(attempt.key, unknown))
        desk.polls.answered(desk.now(), changed)
        self._queue_report.tell()

    def _observe(self, attempt: Attempt, status: JobStatus) -> bool:
        desk = self._desk
        before = attempt.status.state
        if not attempt.observe(status, desk.now(), desk.backend.grace_s):
            return False
        desk.emit(JobStateChanged(status.state, status.reason, status.message), attempt.key)
        return status.state is not before  # other words of a queue are no reason to ask more often

    def _collect(self) -> None:
        desk = self._desk
        if desk.calls.busy("collect"):
            return
        ended = [a for a in desk.active.values() if a.to_collect(desk.now())]
        handles = [a.handle for a in ended if a.handle]
        if handles:
            call = partial(desk.backend.collect, handles, self._store.destination)
            desk.calls.start("collect", call, partial(self._collected, ended))

    def _collected(self, ended: list[Attempt], answer: Any) -> None:
        desk = self._desk
        again_at = desk.now() + desk.pacing.recollect_s
        lost = desk.health.failed("collect", answer)
        for attempt in ended:
            if attempt.key not in desk.active:
                continue
            found = None if lost else answer.get(attempt.key)
            if isinstance(found, TaskResult):
                self._settle(attempt, end_of(attempt.status, found))
            elif lost or self._may_still_come(attempt, found):
                attempt.collect_at = again_at
            else:
                self._settle(attempt, end_of(attempt.status, None))

    def _may_still_come(self, attempt: Attempt, found: CollectError | None) -> bool:
        if found is not None:
            attempt.status = attempt.explained(str(found))
        if attempt.given_up:
            return False
        waited = self._desk.now() - (attempt.ended_at or 0.0)
        return (found is None or found.retryable) and waited < self._desk.backend.grace_s

    # -- stopping

    def _heed_interrupt(self) -> None:
        desk = self._desk
        if desk.interrupted and not (desk.stop and desk.stop.cause is StopCause.INTERRUPTED):
            self._halt(Stop(StopCause.INTERRUPTED, "The run was interrupted."))
            desk.emit(Notice("Interrupted: stopping what runs; the run can be resumed."))

    def _halt(self, stop: Stop) -> None:
        """Start nothing more."""
        desk = self._desk
        desk.stop, desk.stopped_at = stop, desk.now()
        desk.polls.news |= stop.cause in HOPELESS  # which jobs are still queued
        self._launcher.drop_unsent()

    # -- deciding

    def _settle(self, attempt: Attempt, end: End) -> None:
        """One attempt is over: the task succeeds, waits for its next try, or fails."""
        desk = self._desk
        task = attempt.key.task
        del desk.active[attempt.key]
        if attempt.status.state is JobState.LOST and attempt.handle is not None:
            desk.strays.append(attempt.handle)  # it may be there after all, and spend money unseen
        if attempt.unwanted and (end.result is None or end.cause == Outcome.INTERRUPTED):
            end = attempt.unwanted.end(end)
        self._report_end(attempt, end)
        if end.ok:
            desk.succeeded[task] = attempt.key.attempt
            desk.messages.pop(task, None)
            desk.graph.succeed(task)
            self._end_task(task, TaskState.SUCCEEDED, end.message)
            return
        desk.messages[task] = end.message
        if desk.interrupted or (attempt.unwanted and end.cause == Outcome.INTERRUPTED):
            desk.graph.wait(task)
        else:
            self._judge(task, end)

    def _judge(self, task: str, end: End) -> None:
        desk = self._desk
        if end.cause == Outcome.BUDGET:
            self._judge_budget(task, end)
            return
        verdict = self._policy.judge(end.cause, desk.tries[task])
        if verdict.stops_run:
            desk.graph.wait(task)
            if desk.stop is None:
                self._halt(Stop(StopCause(end.cause), end.message))
        elif verdict.delay_s is None:
            blocked = desk.graph.fail(task)
            self._end_task(task, TaskState.FAILED, end.message)
            for name in blocked:
                self._end_task(name, TaskState.BLOCKED, f"It depends on {task!r}, which failed.")
        else:
            if end.cause == Outcome.RATE_LIMITED:
                self._launcher.hold(verdict.delay_s)
            self._try_again(task, end, verdict.delay_s)

    def _judge_budget(self, task: str, end: End) -> None:
        """Its reservation was too small: again with twice that, which is no try of the task's."""
        desk = self._desk
        if self._launcher.enlarge(task):
            desk.tries[task] -= 1
            self._try_again(task, end, ENLARGED_AFTER_S)
            return
        desk.graph.wait(task)
        if desk.stop is None:
            self._halt(self._launcher.short_of_budget(end.message))

    def _try_again(self, task: str, end: End, delay_s: float) -> None:
        desk = self._desk
        desk.graph.wait(task)
        heapq.heappush(desk.retries, (desk.now() + delay_s, task))
        key = JobKey(desk.run_id, task, desk.number[task])
        desk.emit(TaskRetry(str(end.cause), round(delay_s, 3), end.message), key)

    def _resume_due(self) -> None:
        desk = self._desk
        while desk.retries and desk.retries[0][0] <= desk.now() and not desk.stop:
            desk.graph.resume(heapq.heappop(desk.retries)[1])

    def _report_end(self, attempt: Attempt, end: End) -> None:
        told = end.result.usage if end.result else self._store.spent(attempt.key)
        usage = told if end.result else self._launcher.credible(attempt.key, told)
        never_ran = attempt.never_ran if attempt.unwanted else end.cause in NEVER_STARTED
        accounted = end.result is not None or bool(usage) or never_ran
        throttled = end.result.throttled if end.result else 0
        self._launcher.account(attempt.key, usage if accounted else None, throttled)
        self._desk.emit(
            JobEnded(
                cause=str(end.cause),
                state=attempt.status.state,
                message=end.message,
                usage=tuple(usage),
                files=len(end.result.manifest.entries) if end.result else 0,
                duration_s=round(self._desk.now() - attempt.at_work_from, 3),
                unaccounted=not accounted,
            ),
            attempt.key,
        )

    def _end_task(self, task: str, state: TaskState, message: str) -> None:
        desk = self._desk
        if state is not TaskState.SUCCEEDED and message:
            desk.messages.setdefault(task, message)
        key = JobKey(desk.run_id, task, desk.number.get(task, 0))
        desk.emit(TaskEnded(state, message), key)

    # -- time

    def _pause_s(self) -> float:
        """How long nothing can be due; what is due already waits for a call under way."""
        desk = self._desk
        now = desk.now()
        if self._launcher.possible or (desk.polls.news and self._could_poll()):
            return 0.0
        due = [when for when in self._due_times() if when > now]
        return min(due, default=now + desk.pacing.call_notice_s) - now

    def _could_poll(self) -> bool:
        return not self._desk.calls.busy("poll") and any(
            a.can_be_polled for a in self._desk.active.values()
        )

    def _due_times(self) -> Iterator[float]:
        desk = self._desk
        pacing = desk.pacing
        if desk.retries:
            yield desk.retries[0][0]
        yield self._launcher.after
        yield from self._timeouts.due_times()
        yield desk.polls.at
        if desk.calls.overdue(0.0):  # some call is under way, and may hang
            yield desk.now() + pacing.call_notice_s
        for when in (self._log_follower.due, self._launcher.warm_up.due):
            if when is not None:
                yield when
        if desk.stop:
            yield desk.stopped_at + pacing.interrupt_grace_s
