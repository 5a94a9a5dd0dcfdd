"""The scheduler: one loop in one thread, the only place where a task's state changes. Each round
fills the free slots by one `submit` (engine.scheduling.launcher), asks for news by one `poll`,
fetches what ended by one `collect` (engine.scheduling.job_watch), and waits for answers, a wake or
the next thing that is due. Backends return facts; every decision leaves as an event."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from backends.base import Backend
from core.clock import Clock
from core.errors import BackendError, InputsDamaged, SubmitError
from core.events import EventSink, JobIntended, JobSubmitted, Notice, TaskEnded, TaskRetry
from core.job import JobKey, Outcome, Reason, TaskState
from core.plan import Plan
from core.plan.draft import ContractWritten
from engine.money.budget import Budget
from engine.run.jobs_view import JobsView
from engine.scheduling.attempt import Attempt
from engine.scheduling.calls import Calls
from engine.scheduling.context import SchedulerContext
from engine.scheduling.growing_plan import GrowingPlan
from engine.scheduling.job_end import End
from engine.scheduling.job_watch import JobWatch
from engine.scheduling.launcher import Launcher
from engine.scheduling.log_follower import LogFollower
from engine.scheduling.reattach import EarlierJobs, FoundJobs
from engine.scheduling.retry_policy import RetryPolicy
from engine.scheduling.stopping import Stopping
from engine.scheduling.task_graph import TaskGraph
from engine.scheduling.timeouts import HOPELESS
from engine.scheduling.tries import Tries
from engine.scheduling.types import (
    AttemptStore,
    Pacing,
    PlanFailed,
    PlanSource,
    PlanWritten,
    RunOutcome,
    Stop,
    StopCause,
)

ENLARGED_AFTER_S = 0.5


class Scheduler:
    """Runs one plan on one backend; `run` once. `interrupt` may be called from anywhere.

    `earlier` is what has become of the run's jobs before this session; what stands on another plan
    does not count. With a `source` the plan's contracts are still being written. `check` raises
    what keeps the run from going on.
    """

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
        check: Callable[[], None] = lambda: None,
        budget: Budget | None = None,
        source: PlanSource | None = None,
    ) -> None:
        earlier = earlier or JobsView()
        self._growing = GrowingPlan(plan, earlier.definitions, source)
        outdated = self._growing.outdated
        self._context = SchedulerContext(run_id, backend, calls, clock, pacing, sink)
        self._store = store
        self._policy = policy
        self._check = check
        self._budget = budget or Budget()
        self._succeeded = {t: n for t, n in earlier.succeeded.items() if t not in outdated}
        self._failures = {t: why for t, why in earlier.failures.items() if t not in outdated}
        self._unreported = dict(earlier.unreported)
        self._graph = TaskGraph(plan, self._succeeded, self._growing.unwritten)
        self._earlier = EarlierJobs(
            self._context, dict(earlier.open), self._is_wanted, self._reattached
        )
        self._tries = Tries(run_id, earlier.attempts)
        self._stopping = Stopping(self._context)
        self._is_short = False
        """Whether the next ready task does not fit the budget as it stands."""
        self._watch = JobWatch(self._context, store.destination, self._settle)
        self._launcher = Launcher(
            self._context, self._growing.tasks, store, commit, self._succeeded, self._failures
        )
        self._log_follower = LogFollower(self._context, self._watch.active, self._launcher)

    def interrupt(self) -> None:
        """Stop launching, cancel what runs, and end soon. From any thread or a signal handler."""
        self._stopping.is_asked = True
        self._context.calls.wake()

    def run(self) -> RunOutcome:
        """Until every task is final, or the run is stopped.

        Raises BackendError when the backend stays out of health; the journal can be resumed then.
        """
        context, watch, stopping = self._context, self._watch, self._stopping
        context.backend.on_change(watch.changed)
        if self._growing.source is not None:
            self._growing.source.on_news(context.calls.wake)
        if self._growing.outdated & self._graph.states.keys():
            for data in self._growing.announcement():
                context.emit(data)
        self._report_successes()
        self._heed_interrupt()
        while not self._over():
            self._grow()
            if stopping.stop is None:
                self._earlier.ask()
            self._resume_due()
            watch.poll()
            watch.review(stopping.stop, stopping.since, interrupted=stopping.is_asked)
            watch.collect()
            self._launch()
            self._log_follower.look()
            context.health.check_hanging()
            context.calls.wait(self._pause_s())
            self._check()
            self._heed_interrupt()
        stop = stopping.stop
        if stop is not None and stop.cause is StopCause.BUDGET:  # now that all is settled
            stop = replace(stop, resume_with=self._budget.raised(self._graph.unfinished()))
        for task in self._graph.cancel_rest():
            self._end_task(task, TaskState.CANCELLED, "")
        return RunOutcome(
            dict(self._graph.states), dict(self._succeeded), dict(self._failures), stop
        )

    def _over(self) -> bool:
        if self._stopping.is_at_once:
            return not (self._watch.active and self._stopping.is_patient)
        # a stopped run waits for its plan too, which decides what counts of the results, and one
        # that is finished for the jobs of tasks that a correction has replaced
        has_ended = self._stopping.stop is not None or self._graph.finished
        return has_ended and not self._watch.active and self._growing.source is None

    # -- taking up an earlier session's work

    def _report_successes(self) -> None:
        """The journal's last lines may have been lost between a job's end and its task's."""
        for task, message in self._unreported.items():
            if task in self._succeeded:
                self._end_task(task, TaskState.SUCCEEDED, message)

    def _reattached(self, found: FoundJobs) -> None:
        for handle in found.adopted:
            self._graph.adopt(handle.key.task)
            self._watch.adopt(handle)
            self._launcher.warm_up.is_over()
        for handle in found.strays:
            if handle.key.task in self._growing.outdated:  # void: of its end only the usage counts
                self._watch.supersede(self._watch.adopt(handle))
            else:
                self._watch.abandoned.append(handle)
        for key in found.unsent:
            self._tries.take_back(key)

    def _is_wanted(self, key: JobKey) -> bool:
        is_ready = self._graph.states.get(key.task) is TaskState.READY
        is_latest = key == self._tries.last_key(key.task)
        return is_latest and is_ready and key.task not in self._growing.outdated

    # -- a plan that is still being written

    def _grow(self) -> None:
        if self._context.calls.busy("submit"):
            return  # the thread that submits reads what is changed here
        for news in self._growing.take():
            match news:
                case ContractWritten(contract):
                    self._store.add_contract(contract)
                    self._graph.contract_written(contract.path)
                case PlanWritten(plan):
                    self._is_short = False
                    self._take_plan(plan)
                case PlanFailed(message) if not self._stopping.is_at_once:
                    self._stopping.is_asked = True
                    self._halt(Stop(StopCause.PLANNING, message))

    def _take_plan(self, plan: Plan) -> None:
        """Go on with `plan`: what was begun and stands on the same keeps its result."""
        correction = self._growing.correct(plan, self._graph.states, self._succeeded)
        self._graph, outdated = correction.graph, self._growing.outdated
        self._store.take_plan(plan)
        self._tries.restart(outdated)
        self._budget.forget(outdated)
        for task in correction.void:
            self._succeeded.pop(task, None)
            self._failures.pop(task, None)
        for attempt in self._watch.active.values():
            if attempt.key.task in outdated:
                self._watch.supersede(attempt)
        for attempt in self._launcher.drop_superseded():
            del self._watch.active[attempt.key]  # may be there all the same: it stays intended
        for data in correction.announcements:
            self._context.emit(data)
        for task, failed in correction.blocked.items():
            self._end_blocked(task, failed)

    # -- launching

    def _launch(self) -> None:
        if self._launches_are_held():
            return
        batch = [*self._launcher.take_unsent(), *map(self._intend, self._start())]
        if batch:
            then, stopping = partial(self._submitted, batch), self._stopping
            self._launcher.submit(batch, lambda: stopping.is_asked, then)

    def _launches_are_held(self) -> bool:
        is_held = self._growing.is_delayed or self._launcher.is_held
        return bool(self._earlier.open) or is_held or self._stopping.stop is not None

    def _could_launch(self) -> bool:
        """Whether `_launch` would do something."""
        if self._launches_are_held():
            return False
        ready = self._graph.ready > 0 and not self._is_short
        return bool(self._launcher.unsent) or (ready and self._room() > 0)

    def _room(self) -> int:
        return self._launcher.room(len(self._watch.active), self._graph.ready)

    def _start(self) -> list[str]:
        """Ready tasks, now active, whose reservations stand."""
        graph, budget, next_key = self._graph, self._budget, self._tries.next_key
        if (room := self._room()) <= 0 or not graph.ready:
            return []
        started = graph.start(room, lambda task: budget.admit(next_key(task)))
        self._is_short = len(started) < room and graph.ready > 0
        waits = self._tries.next_at is not None or self._growing.source is not None
        if self._is_short and not (started or self._watch.active or waits):
            # no attempt is left whose settlement could free more: what there is, or nothing
            started = graph.start_any(lambda task: budget.squeeze(next_key(task)))
            if not started:
                self._halt(self._short_of_budget())
        return started

    def _intend(self, task: str) -> Attempt:
        key, now = self._tries.next_key(task), self._context.now()
        self._tries.begin(key)
        definition = self._growing.begin(task)
        self._context.emit(JobIntended(self._budget.reservation(key), definition), key)
        self._launcher.warm_up.begun(now)
        attempt = self._watch.active[key] = Attempt(key, now, allowance=self._budget.allowance(key))
        return attempt

    def _submitted(self, batch: list[Attempt], answer: Any) -> None:
        context = self._context
        if isinstance(answer, BackendError) and (self._stopping.stop or self._stopping.is_asked):
            self._put_back(batch)
            return
        if context.health.failed("submit", answer):
            self._launcher.try_later(batch, answer)
            return
        for attempt, handle in zip(batch, answer, strict=True):
            if isinstance(handle, InputsDamaged) and self._stopping.stop is None:
                self._halt(Stop(StopCause.DAMAGED, str(handle)))
            if isinstance(handle, SubmitError):
                cause = Reason.LAUNCH if handle.retryable else Reason.UNSCHEDULABLE
                self._watch.end(attempt, End(cause, str(handle)))
            else:
                self._watch.handed_over(attempt, handle)
                context.emit(JobSubmitted(handle), attempt.key)
        self._watch.polls.soon(context.now())

    def _put_back(self, batch: list[Attempt]) -> None:
        """Not to be sent in this session. In the journal they stay intended, so that the next one
        finds them or sends them under the same key."""
        for attempt in batch:
            del self._watch.active[attempt.key]
            self._graph.wait(attempt.key.task)

    # -- stopping

    def _heed_interrupt(self) -> None:
        if self._stopping.is_asked and not self._stopping.is_at_once:
            self._halt(Stop(StopCause.INTERRUPTED, "The run was interrupted."))
            self._context.emit(Notice("Interrupted: stopping what runs; the run can be resumed."))

    def _halt(self, stop: Stop) -> None:
        """Start nothing more."""
        self._stopping.halt(stop)
        self._watch.polls.news |= stop.cause in HOPELESS  # which jobs are still queued
        self._put_back(self._launcher.take_unsent())

    def _short_of_budget(self, why: str = "") -> Stop:
        """The stop for want of budget; `why` where it is not the run's own."""
        return Stop(StopCause.BUDGET, self._budget.why_short() or why)

    # -- deciding

    def _settle(self, attempt: Attempt, end: End) -> None:
        """One attempt is over: the task succeeds, waits for its next try, or fails."""
        task, reason = attempt.key.task, attempt.cancel_reason
        self._account(attempt, end)
        if attempt.is_superseded:
            return
        if end.ok:
            self._succeeded[task] = attempt.key.attempt
            self._failures.pop(task, None)
            self._graph.succeed(task)
            self._end_task(task, TaskState.SUCCEEDED, end.message)
            return
        self._failures[task] = end.message
        if self._stopping.is_asked or (reason and end.cause == Outcome.INTERRUPTED):
            self._graph.wait(task)
        else:
            self._judge(task, end)

    def _account(self, attempt: Attempt, end: End) -> None:
        context, budget = self._context, self._budget
        data = attempt.ended(end, context.now(), self._store.spent, budget.is_credible)
        budget.settle(attempt.key, None if data.unaccounted else data.usage)
        self._is_short = False
        self._launcher.job_ended(attempt, end)
        context.emit(data, attempt.key)

    def _judge(self, task: str, end: End) -> None:
        if end.cause == Outcome.BUDGET:
            self._judge_budget(task, end)
            return
        verdict = self._policy.judge(end.cause, self._tries[task])
        none_begins = end.cause == Reason.LAUNCH and self._launcher.is_trial
        if verdict.stops_run or (verdict.delay_s is None and none_begins):
            self._graph.wait(task)
            if self._stopping.stop is None:
                self._halt(Stop(StopCause(end.cause), end.message))
        elif verdict.delay_s is None:
            blocked = self._graph.fail(task)
            self._end_task(task, TaskState.FAILED, end.message)
            for name in blocked:
                self._end_blocked(name, task)
        else:
            if end.cause == Outcome.RATE_LIMITED:
                self._launcher.hold(verdict.delay_s)
            self._try_again(task, end, verdict.delay_s)

    def _judge_budget(self, task: str, end: End) -> None:
        """Its reservation was too small: again with twice that, which is no try of the task's."""
        if self._budget.enlarge(task):
            self._tries.forgive(task)
            self._try_again(task, end, ENLARGED_AFTER_S)
            return
        self._graph.wait(task)
        if self._stopping.stop is None:
            self._halt(self._short_of_budget(end.message))

    def _try_again(self, task: str, end: End, delay_s: float) -> None:
        self._graph.wait(task)
        self._tries.retry_at(self._context.now() + delay_s, task)
        retry = TaskRetry(str(end.cause), round(delay_s, 3), end.message)
        self._context.emit(retry, self._tries.last_key(task))

    def _resume_due(self) -> None:
        for task in () if self._stopping.stop else self._tries.due(self._context.now()):
            self._graph.resume(task)

    def _end_blocked(self, task: str, failed: str) -> None:
        self._end_task(task, TaskState.BLOCKED, f"It depends on {failed!r}, which failed.")

    def _end_task(self, task: str, state: TaskState, message: str) -> None:
        if state is not TaskState.SUCCEEDED and message:
            self._failures.setdefault(task, message)
        self._context.emit(TaskEnded(state, message), self._tries.last_key(task))

    # -- time

    def _pause_s(self) -> float:
        """How long nothing can be due; what is due already waits for a call under way."""
        if self._over() or self._could_launch() or self._watch.has_news:
            return 0.0
        return self._context.pause_s(
            (
                self._tries.next_at,
                self._launcher.after,
                self._launcher.warm_up.due,
                self._earlier.after,
                self._log_follower.due,
                self._stopping.patient_until,
                *self._watch.due_times(),
            )
        )
