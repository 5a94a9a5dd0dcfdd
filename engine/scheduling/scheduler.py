"""The scheduler: one loop in one thread, the only place where a task's state changes. Each round
fills the free slots by one `submit` (engine.scheduling.launcher), asks for news by one `poll`,
fetches what ended by one `collect` (engine.scheduling.job_watch), and waits for answers, a wake or
the next thing that is due. Backends return facts; every decision leaves as an event."""

import heapq
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Any

from backends.base import Backend
from core.clock import Clock
from core.errors import BackendError, SubmitError
from core.events import (
    EventSink,
    JobIntended,
    JobSubmitted,
    Notice,
    TaskEnded,
    TaskRetry,
)
from core.job import JobHandle, JobKey, JobState, Outcome, Reason, TaskState
from core.plan import Definitions, Plan, promised_contracts
from core.plan.draft import ContractWritten
from engine.money.budget import Budget
from engine.run.jobs_view import JobsView
from engine.run.plan_event import plan_ready
from engine.scheduling.attempt import Attempt
from engine.scheduling.calls import Calls
from engine.scheduling.context import SchedulerContext
from engine.scheduling.job_end import End, ended
from engine.scheduling.job_watch import JobWatch
from engine.scheduling.launcher import Launcher
from engine.scheduling.log_follower import LogFollower
from engine.scheduling.retry_policy import RetryPolicy
from engine.scheduling.task_graph import TaskGraph
from engine.scheduling.timeouts import HOPELESS
from engine.scheduling.types import (
    AttemptStore,
    Pacing,
    PlanDelayed,
    PlanFailed,
    PlanSource,
    PlanWritten,
    RunOutcome,
    Stop,
    StopCause,
)

ENLARGED_AFTER_S = 0.5
_AT_ONCE = (StopCause.INTERRUPTED, StopCause.PLANNING)
"""Causes for which what runs is stopped too."""


class Scheduler:
    """Runs one plan on one backend; `run` once. `interrupt` may be called from anywhere.

    `earlier` is what has become of the run's jobs before this session; what stands on another plan
    does not count. With a `source` the plan's contracts are still being written.
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
        budget: Budget | None = None,
        source: PlanSource | None = None,
    ) -> None:
        earlier = earlier or JobsView()
        self._plan = plan
        self._tasks = {t.id: t for t in plan.tasks}
        self._source = source
        self._is_delayed = False
        """Whether the plan is being written anew, so that nothing may start meanwhile."""
        self._definitions = Definitions(plan)
        self._begun = dict(earlier.definitions)
        """What each task's last attempt stands on."""
        outdated = set() if source else self._outdated(plan, self._definitions)
        self._context = SchedulerContext(run_id, backend, calls, clock, pacing, sink)
        self._store = store
        self._policy = policy
        self._budget = budget or Budget()
        self._succeeded = {t: n for t, n in earlier.succeeded.items() if t not in outdated}
        self._failures = {t: why for t, why in earlier.failures.items() if t not in outdated}
        self._unreported = dict(earlier.unreported)
        unwritten = promised_contracts(plan) if source else ()
        self._graph = TaskGraph(plan, self._succeeded, unwritten)
        self._outdated_jobs = {key for key in earlier.open if key.task in outdated}
        self._open_jobs = dict(earlier.open)
        self._number = dict(earlier.attempts)
        """The last attempt of each task, in all sessions."""
        self._tries = dict.fromkeys(self._tasks, 0)
        """Attempts of each task in this session."""
        self._retries: list[tuple[float, str]] = []
        self._stop: Stop | None = None
        self._stopped_at = 0.0
        self._interrupted = False
        self._is_short = False
        """Whether the next ready task does not fit the budget as it stands."""
        self._watch = JobWatch(self._context, store.destination, self._settle)
        self._launcher = Launcher(
            self._context, self._tasks, store, commit, self._succeeded, self._failures
        )
        self._log_follower = LogFollower(self._context, self._watch.active, self._launcher.warm_up)

    def interrupt(self) -> None:
        """Stop launching, cancel what runs, and end soon. From any thread or a signal handler."""
        self._interrupted = True
        self._context.calls.wake()

    def run(self) -> RunOutcome:
        """Until every task is final, or the run is stopped.

        Raises BackendError when the backend stays out of health; the journal can be resumed then.
        """
        context, watch = self._context, self._watch
        context.backend.on_change(self._on_change)
        if self._source is not None:
            self._source.on_news(context.calls.wake)
        self._report_successes()
        self._heed_interrupt()
        while not self._over():
            self._grow()
            self._reattach()
            self._resume_due()
            watch.poll()
            watch.review(self._stop, self._stopped_at, interrupted=self._interrupted)
            watch.collect()
            self._launch()
            self._log_follower.look()
            context.health.check_hanging()
            context.calls.wait(self._pause_s())
            self._heed_interrupt()
        for task in self._graph.cancel_rest():
            self._end_task(task, TaskState.CANCELLED, "")
        return RunOutcome(
            dict(self._graph.states), dict(self._succeeded), dict(self._failures), self._stop
        )

    def _over(self) -> bool:
        if self._graph.finished or self._stop is None:
            return self._graph.finished and (self._source is None or self._stop is not None)
        interrupted = self._stop.cause in _AT_ONCE
        patient_until = self._stopped_at + self._context.pacing.interrupt_grace_s
        return not self._watch.active or (interrupted and self._context.now() >= patient_until)

    def _on_change(self, *keys: JobKey) -> None:
        self._watch.changed(*keys)
        self._context.calls.wake()

    # -- taking up an earlier session's work

    def _report_successes(self) -> None:
        """The journal's last lines may have been lost between a job's end and its task's."""
        for task, message in self._unreported.items():
            if task in self._succeeded:
                self._end_task(task, TaskState.SUCCEEDED, message)

    def _reattach(self) -> None:
        """Earlier jobs are asked for once, before anything starts."""
        context = self._context
        waits = context.calls.busy("reattach") or context.now() < self._launcher.after
        if self._open_jobs and self._stop is None and not waits:
            call = partial(context.backend.reattach, context.run_id)
            context.call("reattach", call, self._reattached)

    def _reattached(self, answer: Any) -> None:
        backend = self._context.backend
        if self._context.health.failed("reattach", answer):
            self._launcher.hold(backend.pace.first_s)
            return
        known = {handle.key: handle for handle in answer}
        wanted = set(filter(self._is_wanted, self._open_jobs))
        for key, journaled in self._open_jobs.items():
            # what another backend had was stopped there before this one was asked
            ours = journaled if journaled and journaled.backend == backend.name else None
            handle = known.get(key, ours)
            if handle is not None and key in wanted:
                self._adopt(handle)
            elif handle is not None:
                self._watch.abandoned.append(handle)
            elif key in wanted:
                self._number[key.task] -= 1  # the same key goes out again, so that it runs once
        self._open_jobs.clear()

    def _is_wanted(self, key: JobKey) -> bool:
        latest = key.attempt == self._number.get(key.task)
        is_ready = self._graph.states.get(key.task) is TaskState.READY
        return latest and is_ready and key not in self._outdated_jobs

    def _adopt(self, handle: JobHandle) -> None:
        now = self._context.now()
        self._graph.adopt(handle.key.task)
        attempt = self._watch.active[handle.key] = Attempt(handle.key, now, may_have_run=True)
        self._watch.handed_over(attempt, handle)
        self._launcher.warm_up.is_over()

    # -- a plan that is still being written

    def _grow(self) -> None:
        if self._source is None or self._context.calls.busy("submit"):
            return  # the thread that submits reads what is changed here
        for news in self._source.take():
            match news:
                case ContractWritten(contract):
                    self._store.add_contract(contract)
                    self._definitions.add(contract)
                    self._graph.contract_written(contract.path)
                case PlanDelayed():
                    self._is_delayed = True
                case PlanWritten(plan):
                    self._source, self._is_delayed, self._is_short = None, False, False
                    self._take_plan(plan)
                case PlanFailed(message):
                    self._source, self._interrupted = None, True
                    self._halt(Stop(StopCause.PLANNING, message))

    def _take_plan(self, plan: Plan) -> None:
        """Go on with `plan`: what was begun and stands on the same keeps its result."""
        before, definitions = self._graph.states, Definitions(plan)
        outdated = self._outdated(plan, definitions)
        is_other = bool(outdated) or plan.tasks != self._plan.tasks
        for task in outdated:
            self._succeeded.pop(task, None)
            self._failures.pop(task, None)
            self._tries.pop(task, None)
            del self._begun[task]
        for attempt in self._watch.active.values():
            if attempt.key.task in outdated:
                self._watch.supersede(attempt)
        self._retries = [(at, task) for at, task in self._retries if task not in outdated]
        heapq.heapify(self._retries)
        self._plan, self._definitions = plan, definitions
        self._tasks.update((task.id, task) for task in plan.tasks)
        self._tries = dict.fromkeys((task.id for task in plan.tasks), 0) | self._tries
        self._store.take_plan(plan)
        self._graph = TaskGraph(plan, self._succeeded)
        self._carry_over({task: state for task, state in before.items() if task not in outdated})
        if is_other:
            self._announce_plan(before, outdated)

    def _carry_over(self, states: Mapping[str, TaskState]) -> None:
        """Tasks that are under way, wait for their next attempt or have failed stay so."""
        for task, state in states.items():
            if state in (TaskState.ACTIVE, TaskState.WAITING, TaskState.FAILED):
                self._graph.adopt(task)
            if state is TaskState.WAITING:
                self._graph.wait(task)
            elif state is TaskState.FAILED:
                self._graph.fail(task)

    def _announce_plan(self, before: Mapping[str, TaskState], outdated: Collection[str]) -> None:
        now = self._graph.states
        restarted = [t for t, state in now.items() if t in before and before[t].final > state.final]
        restarted += [task for task in outdated if task in now and task not in restarted]
        self._context.emit(plan_ready(self._plan, restarted))
        kept = [task for task in self._begun if task in now]
        text = f"The plan was corrected; kept: {_named(kept)}; starts anew: {_named(restarted)}."
        self._context.emit(Notice(text))

    def _outdated(self, plan: Plan, definitions: Definitions) -> set[str]:
        """Tasks that were begun, and stand on something else in `plan` or are not in it."""
        known = {task.id for task in plan.tasks}
        return {
            task
            for task, begun in self._begun.items()
            if task not in known or (begun and begun != definitions.of(task))
        }

    # -- launching

    def _launch(self) -> None:
        if self._launches_are_held():
            return
        batch = [*self._launcher.take_unsent(), *map(self._intend, self._start())]
        if batch:
            self._launcher.submit(batch, lambda: self._interrupted, partial(self._submitted, batch))

    def _launches_are_held(self) -> bool:
        is_held = self._is_delayed or self._launcher.is_held
        return bool(self._open_jobs) or is_held or self._stop is not None

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
        graph, budget, room = self._graph, self._budget, self._room()
        if room <= 0 or not graph.ready:
            return []
        started = graph.start(room, lambda task: budget.admit(self._next_key(task)))
        self._is_short = len(started) < room and graph.ready > 0
        is_over = not (started or self._watch.active or self._retries or self._source)
        if self._is_short and is_over:
            # no attempt is left whose settlement could free more: what there is, or nothing
            started = graph.start_any(lambda task: budget.squeeze(self._next_key(task)))
            if not started:
                self._halt(self._short_of_budget())
        return started

    def _next_key(self, task: str) -> JobKey:
        return JobKey(self._context.run_id, task, self._number.get(task, 0) + 1)

    def _intend(self, task: str) -> Attempt:
        key, now = self._next_key(task), self._context.now()
        self._number[task] = key.attempt
        self._tries[task] += 1
        definition = self._begun[task] = self._definitions.of(task)
        self._context.emit(JobIntended(self._budget.reservation(key), definition), key)
        self._launcher.warm_up.begun(now)
        attempt = self._watch.active[key] = Attempt(key, now, allowance=self._budget.allowance(key))
        return attempt

    def _submitted(self, batch: list[Attempt], answer: Any) -> None:
        context = self._context
        if isinstance(answer, BackendError) and (self._stop or self._interrupted):
            self._put_back(batch)
            return
        if context.health.failed("submit", answer):
            self._launcher.try_later(batch, answer)
            return
        for attempt, handle in zip(batch, answer, strict=True):
            if isinstance(handle, SubmitError):
                cause = Reason.LAUNCH if handle.retryable else Reason.UNSCHEDULABLE
                self._settle(attempt, End(cause, str(handle)))
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
        if self._interrupted and not (self._stop and self._stop.cause in _AT_ONCE):
            self._halt(Stop(StopCause.INTERRUPTED, "The run was interrupted."))
            self._context.emit(Notice("Interrupted: stopping what runs; the run can be resumed."))

    def _halt(self, stop: Stop) -> None:
        """Start nothing more."""
        self._stop, self._stopped_at = stop, self._context.now()
        self._watch.polls.news |= stop.cause in HOPELESS  # which jobs are still queued
        self._put_back(self._launcher.take_unsent())

    def _short_of_budget(self, why: str = "") -> Stop:
        """The stop for want of budget, with how to go on; `why` where it is not the run's own."""
        resume_with = self._budget.raised(self._graph.unfinished())
        return Stop(StopCause.BUDGET, self._budget.why_short() or why, resume_with)

    # -- deciding

    def _settle(self, attempt: Attempt, end: End) -> None:
        """One attempt is over: the task succeeds, waits for its next try, or fails."""
        task, reason = attempt.key.task, attempt.cancel_reason
        del self._watch.active[attempt.key]
        if attempt.status.state is JobState.LOST and attempt.handle is not None:
            # it may be there after all, and spend money unseen
            self._watch.abandoned.append(attempt.handle)
        if reason and (end.result is None or end.cause == Outcome.INTERRUPTED):
            end = reason.end(end)
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
        if self._interrupted or (reason and end.cause == Outcome.INTERRUPTED):
            self._graph.wait(task)
        else:
            self._judge(task, end)

    def _account(self, attempt: Attempt, end: End) -> None:
        key = attempt.key
        data = ended(
            key,
            attempt.status,
            end,
            reported=self._store.spent,
            is_credible=self._budget.is_credible,
            duration_s=self._context.now() - attempt.at_work_from,
            never_ran=attempt.never_ran if attempt.cancel_reason else None,
        )
        self._budget.settle(key, None if data.unaccounted else data.usage)
        self._is_short = False
        self._launcher.job_ended(end.result.throttled if end.result else 0)
        self._context.emit(data, key)

    def _judge(self, task: str, end: End) -> None:
        if end.cause == Outcome.BUDGET:
            self._judge_budget(task, end)
            return
        verdict = self._policy.judge(end.cause, self._tries[task])
        if verdict.stops_run:
            self._graph.wait(task)
            if self._stop is None:
                self._halt(Stop(StopCause(end.cause), end.message))
        elif verdict.delay_s is None:
            blocked = self._graph.fail(task)
            self._end_task(task, TaskState.FAILED, end.message)
            for name in blocked:
                self._end_task(name, TaskState.BLOCKED, f"It depends on {task!r}, which failed.")
        else:
            if end.cause == Outcome.RATE_LIMITED:
                self._launcher.hold(verdict.delay_s)
            self._try_again(task, end, verdict.delay_s)

    def _judge_budget(self, task: str, end: End) -> None:
        """Its reservation was too small: again with twice that, which is no try of the task's."""
        if self._budget.enlarge(task):
            self._tries[task] -= 1
            self._try_again(task, end, ENLARGED_AFTER_S)
            return
        self._graph.wait(task)
        if self._stop is None:
            self._halt(self._short_of_budget(end.message))

    def _try_again(self, task: str, end: End, delay_s: float) -> None:
        self._graph.wait(task)
        heapq.heappush(self._retries, (self._context.now() + delay_s, task))
        key = JobKey(self._context.run_id, task, self._number[task])
        self._context.emit(TaskRetry(str(end.cause), round(delay_s, 3), end.message), key)

    def _resume_due(self) -> None:
        while self._retries and self._retries[0][0] <= self._context.now() and not self._stop:
            self._graph.resume(heapq.heappop(self._retries)[1])

    def _end_task(self, task: str, state: TaskState, message: str) -> None:
        if state is not TaskState.SUCCEEDED and message:
            self._failures.setdefault(task, message)
        key = JobKey(self._context.run_id, task, self._number.get(task, 0))
        self._context.emit(TaskEnded(state, message), key)

    # -- time

    def _pause_s(self) -> float:
        """How long nothing can be due; what is due already waits for a call under way."""
        now = self._context.now()
        if self._over() or self._could_launch() or self._watch.has_news:
            return 0.0
        due = [when for when in self._due_times() if when > now]
        return min(due, default=now + self._context.pacing.call_notice_s) - now

    def _due_times(self) -> Iterator[float]:
        context = self._context
        if self._retries:
            yield self._retries[0][0]
        yield self._launcher.after
        yield from self._watch.due_times()
        if context.calls.overdue(0.0):  # some call is under way, and may hang
            yield context.now() + context.pacing.call_notice_s
        for when in (self._log_follower.due, self._launcher.warm_up.due):
            if when is not None:
                yield when
        if self._stop:
            yield self._stopped_at + context.pacing.interrupt_grace_s


def _named(tasks: Collection[str]) -> str:
    return ", ".join(sorted(tasks)) or "none"
