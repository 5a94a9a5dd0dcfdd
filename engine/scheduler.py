"""The scheduler: one loop in one thread, the only place where a task's state changes.

Each round fills the free slots by one `submit`, asks for news by one `poll`, fetches what ended by
one `collect`, and then waits for answers, a wake from the backend, or the next thing that is due.
Backends return facts (engine.watch keeps them per attempt), the board holds the tasks, the retry
policy judges failures, and every decision leaves as an event.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from backends.base import Backend, LogChunk
from core.clock import Clock
from core.errors import BackendError, CollectError, SubmitError
from core.events import Event, EventSink, Kind
from core.job import Job, JobHandle, JobKey, JobState, JobStatus, Outcome, Reason, TaskResult
from core.plan import Plan
from core.wire import plain
from engine.board import Board, TaskState
from engine.calls import Calls
from engine.journal import History
from engine.reach import Reach
from engine.retry_policy import End, RetryPolicy, end_of
from engine.terms import AttemptStore, Pacing, RunOutcome, Stop, StopCause
from engine.watch import Attempt, PollTimer, parse_progress

log = logging.getLogger(__name__)


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
        history: History | None = None,
        commit: Callable[[], None] = lambda: None,
    ) -> None:
        history = history or History()
        self._run_id = run_id
        self._tasks = {t.id: t for t in plan.tasks}
        self._backend = backend
        self._store = store
        self._sink = sink
        self._calls = calls
        self._clock = clock
        self._policy = policy
        self._pacing = pacing
        self._history = history
        self._commit = commit
        self._board = Board(plan, history.succeeded)
        self._succeeded = dict(history.succeeded)
        self._number = dict(history.attempts)
        self._tries = dict.fromkeys(self._tasks, 0)
        self._messages = dict(history.failures)
        self._active: dict[JobKey, Attempt] = {}
        self._unsent: list[Attempt] = []
        self._strays: list[JobHandle] = []
        self._retries: list[tuple[float, str]] = []
        self._taken_up = not history.open
        self._launch_after = 0.0
        self._polls = PollTimer(backend.pace)
        self._follow_at = 0.0
        self._cancel_after = 0.0
        self._interrupted = False
        self._stop: Stop | None = None
        self._stop_at = 0.0
        self._reach = Reach(
            backend.name,
            calls,
            clock,
            lambda text: self._emit(Kind.NOTICE, text=text),
            notice_s=pacing.call_notice_s,
            give_up_s=pacing.give_up_s,
        )

    def interrupt(self) -> None:
        """Stop launching, cancel what runs, and end soon. From any thread or a signal handler."""
        self._interrupted = True
        self._calls.wake()

    def run(self) -> RunOutcome:
        """Until every task is final, or the run is stopped.

        Raises BackendError when the backend stays out of reach; the journal can be resumed then.
        """
        self._backend.on_change(self._on_change)
        self._tell_untold()
        self._heed_interrupt()
        while not self._over():
            self._take_up()
            self._resume_due()
            self._launch()
            self._poll()
            self._collect()
            self._cancel()
            self._follow()
            self._reach.check_hanging()
            self._calls.wait(self._pause_s())
            self._heed_interrupt()
        for task in self._board.cancel_rest():
            self._end_task(task, TaskState.CANCELLED, "")
        return RunOutcome(
            dict(self._board.states), dict(self._succeeded), dict(self._messages), self._stop
        )

    def _over(self) -> bool:
        if self._board.finished:
            return True
        if self._stop is None:
            return False
        interrupted = self._stop.cause is StopCause.INTERRUPTED
        grace_is_over = self._now() >= self._stop_at + self._pacing.interrupt_grace_s
        return not self._active or (interrupted and grace_is_over)

    # -- taking up an earlier session's work

    def _tell_untold(self) -> None:
        """The journal's last lines may have been lost between a job's end and its task's."""
        for task, message in self._history.untold.items():
            if task in self._succeeded:
                self._end_task(task, TaskState.SUCCEEDED, message)

    def _take_up(self) -> None:
        waits = self._calls.busy("reattach") or self._now() < self._launch_after
        if not (self._taken_up or self._stop or waits):
            call = partial(self._backend.reattach, self._run_id)
            self._calls.start("reattach", call, self._reattached)

    def _reattached(self, answer: Any) -> None:
        if self._reach.failed("reattach", answer):
            self._hold_launches(self._backend.pace.first_s)
            return
        self._taken_up = True
        known = {handle.key: handle for handle in answer}
        for key, journaled in self._history.open.items():
            self._adopt(key, known.get(key, journaled))

    def _adopt(self, key: JobKey, handle: JobHandle | None) -> None:
        latest = key.attempt == self._number.get(key.task)
        wanted = latest and self._board.states.get(key.task) is TaskState.READY
        if wanted and handle is not None:
            self._board.adopt(key.task)
            self._active[key] = Attempt(key, self._now(), handle)
        elif wanted:
            # Intended, and no trace of it: the same key goes out again, so that it runs once
            self._number[key.task] -= 1
        elif handle is not None:
            self._strays.append(handle)

    # -- launching

    def _launch(self) -> None:
        if self._launches_held():
            return
        batch, self._unsent = self._unsent, []
        for task in self._board.start(self._pacing.max_executors - len(self._active)):
            batch.append(self._intend(task))
        if batch:
            submitted = partial(self._submitted, batch)
            self._calls.start("submit", partial(self._submit, batch), submitted)

    def _intend(self, task: str) -> Attempt:
        self._number[task] = self._number.get(task, 0) + 1
        self._tries[task] += 1
        key = JobKey(self._run_id, task, self._number[task])
        self._emit(Kind.JOB_INTENDED, key)
        attempt = self._active[key] = Attempt(key, self._now())
        return attempt

    def _submit(self, batch: Sequence[Attempt]) -> list[JobHandle | SubmitError]:
        """On the submit thread. The journal is durable first, so that a bundle on disk always is
        one of an intent that is known, made of results that are."""
        self._commit()
        jobs = [self._prepare(attempt.key) for attempt in batch]
        if self._interrupted:
            raise BackendError("The run was interrupted before the jobs were handed over.")
        return self._backend.submit(jobs)

    def _prepare(self, key: JobKey) -> Job:
        failure = self._messages.get(key.task, "")
        return self._store.prepare(self._tasks[key.task], key, failure, self._succeeded)

    def _submitted(self, batch: list[Attempt], answer: Any) -> None:
        if isinstance(answer, BackendError) and (self._stop or self._interrupted):
            self._put_back(batch)
            return
        if self._reach.failed("submit", answer):
            self._unsent = batch
            self._hold_launches(self._backend.pace.first_s)
            return
        for attempt, handle in zip(batch, answer, strict=True):
            if isinstance(handle, SubmitError):
                cause = Reason.LAUNCH if handle.retryable else Reason.UNSCHEDULABLE
                self._settle(attempt, End(cause, str(handle)))
            else:
                attempt.handle = handle
                self._emit(Kind.JOB_SUBMITTED, attempt.key, handle=plain(handle))
        self._polls.soon(self._now())

    def _hold_launches(self, seconds: float) -> None:
        self._launch_after = max(self._launch_after, self._now() + seconds)

    def _launches_held(self) -> bool:
        early = not self._taken_up or self._now() < self._launch_after
        return early or self._stop is not None or self._calls.busy("submit")

    def _put_back(self, batch: Sequence[Attempt]) -> None:
        """Not to be sent in this session. In the journal they stay intended, so that the next one
        finds them or sends them under the same key."""
        for attempt in batch:
            del self._active[attempt.key]
            self._board.wait(attempt.key.task)

    # -- watching

    def _on_change(self) -> None:
        self._polls.news = True
        self._calls.wake()

    def _poll(self) -> None:
        if self._calls.busy("poll") or not self._polls.due(self._now()):
            return
        asked = [a for a in self._active.values() if a.can_be_polled]
        if asked:
            self._polls.news = False
            handles = [a.handle for a in asked if a.handle]
            call = partial(self._backend.poll, handles)
            self._calls.start("poll", call, partial(self._polled, asked))

    def _polled(self, asked: list[Attempt], answer: Any) -> None:
        changed = False
        if not self._reach.failed("poll", answer):
            unknown = JobStatus(JobState.UNKNOWN)
            for attempt in asked:
                if attempt.key in self._active:
                    changed |= self._observe(attempt, answer.get(attempt.key, unknown))
        self._polls.answered(self._now(), changed)
        for attempt in asked:
            if attempt.missing_since is not None:
                self._polls.no_later(attempt.missing_since + self._backend.grace_s, self._now())

    def _observe(self, attempt: Attempt, status: JobStatus) -> bool:
        if not attempt.observe(status, self._now(), self._backend.grace_s):
            return False
        self._emit(
            Kind.JOB_STATE,
            attempt.key,
            state=status.state,
            reason=status.reason,
            message=status.message,
        )
        return True

    def _collect(self) -> None:
        if self._calls.busy("collect"):
            return
        ended = [a for a in self._active.values() if a.to_collect(self._now())]
        handles = [a.handle for a in ended if a.handle]
        if handles:
            call = partial(self._backend.collect, handles, self._store.destination)
            self._calls.start("collect", call, partial(self._collected, ended))

    def _collected(self, ended: list[Attempt], answer: Any) -> None:
        again_at = self._now() + self._pacing.recollect_s
        lost = self._reach.failed("collect", answer)
        for attempt in ended:
            if attempt.key not in self._active:
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
        waited = self._now() - (attempt.ended_at or 0.0)
        return (found is None or found.retryable) and waited < self._backend.grace_s

    def _follow(self) -> None:
        every = self._pacing.progress_s
        if every is None or self._now() < self._follow_at or self._calls.busy("logs"):
            return
        asked = [(a, a.handle) for a in self._active.values() if a.handle and a.is_running]
        self._follow_at = self._now() + every
        if asked:
            wanted = [(handle, attempt.cursor) for attempt, handle in asked]
            call = partial(self._read_logs, wanted)
            self._calls.start("logs", call, partial(self._followed, asked))

    def _read_logs(self, wanted: list[tuple[JobHandle, str]]) -> list[LogChunk]:
        return [self._backend.logs(handle, cursor) for handle, cursor in wanted]

    def _followed(self, asked: list[tuple[Attempt, JobHandle]], answer: Any) -> None:
        if isinstance(answer, Exception):
            log.debug("no logs: %s", answer)
            return
        for (attempt, _), chunk in zip(asked, answer, strict=True):
            attempt.cursor = chunk.cursor
            if attempt.key in self._active:  # what has ended has told all that it used
                for line in chunk.lines:
                    self._emit(Kind.PROGRESS, attempt.key, **parse_progress(line))

    # -- stopping

    def _heed_interrupt(self) -> None:
        if self._interrupted and not (self._stop and self._stop.cause is StopCause.INTERRUPTED):
            self._halt(Stop(StopCause.INTERRUPTED, "The run was interrupted."))
            self._emit(Kind.NOTICE, text="Interrupted: stopping what runs; the run can be resumed.")

    def _halt(self, stop: Stop) -> None:
        """Start nothing more."""
        self._stop, self._stop_at = stop, self._now()
        batch, self._unsent = self._unsent, []
        self._put_back(batch)

    def _cancel(self) -> None:
        now = self._now()
        for attempt in list(self._active.values()):
            if self._interrupted:
                attempt.unwanted = attempt.unwanted or Outcome.INTERRUPTED
            elif attempt.runs_over(now, self._pacing.task_timeout_s, self._pacing.timeout_margin_s):
                attempt.unwanted = Reason.TIMEOUT
            if attempt.ignores_cancel(now, self._pacing.cancel_grace_s):
                status = JobStatus(JobState.LOST, message="it did not stop when asked to")
                self._settle(attempt, end_of(status, None))
        unwanted = [a for a in self._active.values() if a.unwanted and a.can_be_cancelled]
        handles = [a.handle for a in unwanted if a.handle] + self._strays
        if not handles:
            self._reach.forget("cancel")
        elif now >= self._cancel_after and not self._calls.busy("cancel"):
            call = partial(self._backend.cancel, handles)
            self._calls.start("cancel", call, partial(self._cancelled, unwanted))

    def _cancelled(self, asked: list[Attempt], answer: Any) -> None:
        now = self._now()
        if self._reach.failed("cancel", answer):
            self._cancel_after = now + self._backend.pace.first_s
            return
        self._strays = []
        for attempt in asked:
            attempt.cancel_asked_at = now
        self._polls.soon(now)

    # -- deciding

    def _settle(self, attempt: Attempt, end: End) -> None:
        """One attempt is over: the task succeeds, waits for its next try, or fails."""
        task = attempt.key.task
        del self._active[attempt.key]
        if attempt.unwanted and (end.result is None or end.cause == Outcome.INTERRUPTED):
            end = End(attempt.unwanted, attempt.why_unwanted(end), end.result)
        self._report_end(attempt, end)
        if end.ok:
            self._succeeded[task] = attempt.key.attempt
            self._messages.pop(task, None)
            self._board.succeed(task)
            self._end_task(task, TaskState.SUCCEEDED, end.message)
            return
        self._messages[task] = end.message
        if self._interrupted:
            self._board.wait(task)
        else:
            self._judge(task, end)

    def _judge(self, task: str, end: End) -> None:
        verdict = self._policy.judge(end.cause, self._tries[task])
        if verdict.stops_run:
            self._board.wait(task)
            if self._stop is None:
                self._halt(Stop(StopCause(end.cause), end.message))
        elif verdict.delay_s is None:
            blocked = self._board.fail(task)
            self._end_task(task, TaskState.FAILED, end.message)
            for name in blocked:
                self._end_task(name, TaskState.BLOCKED, f"It depends on {task!r}, which failed.")
        else:
            self._board.wait(task)
            due = self._now() + verdict.delay_s
            heapq.heappush(self._retries, (due, task))
            if end.cause == Outcome.RATE_LIMITED:
                self._hold_launches(verdict.delay_s)
            self._emit(
                Kind.TASK_RETRY,
                JobKey(self._run_id, task, self._number[task]),
                reason=str(end.cause),
                delay_s=round(verdict.delay_s, 3),
                message=end.message,
            )

    def _resume_due(self) -> None:
        while self._retries and self._retries[0][0] <= self._now() and not self._stop:
            self._board.resume(heapq.heappop(self._retries)[1])

    def _report_end(self, attempt: Attempt, end: End) -> None:
        usage = end.result.usage if end.result else self._store.spent(attempt.key)
        self._emit(
            Kind.JOB_ENDED,
            attempt.key,
            cause=str(end.cause),
            state=attempt.status.state,
            message=end.message,
            usage=[plain(u) for u in usage],
            files=len(end.result.manifest.entries) if end.result else 0,
            duration_s=round(self._now() - attempt.begun_at, 3),
        )

    def _end_task(self, task: str, state: TaskState, message: str) -> None:
        if state is not TaskState.SUCCEEDED and message:
            self._messages.setdefault(task, message)
        key = JobKey(self._run_id, task, self._number.get(task, 0))
        self._emit(Kind.TASK_ENDED, key, state=state, message=message)

    # -- time

    def _now(self) -> float:
        return self._clock.monotonic()

    def _pause_s(self) -> float:
        """How long nothing can be due; what is due already waits for a call under way."""
        now = self._now()
        if self._could_launch() or (self._polls.news and self._could_poll()):
            return 0.0
        due = [when for when in self._due_times() if when > now]
        return min(due, default=now + self._pacing.call_notice_s) - now

    def _could_launch(self) -> bool:
        free = len(self._active) < self._pacing.max_executors
        waiting = bool(self._unsent) or (self._board.has_ready and free)
        return waiting and not self._launches_held()

    def _could_poll(self) -> bool:
        return not self._calls.busy("poll") and any(a.can_be_polled for a in self._active.values())

    def _due_times(self) -> Iterator[float]:
        pacing = self._pacing
        if self._retries:
            yield self._retries[0][0]
        yield self._launch_after
        yield self._cancel_after
        yield self._polls.at
        if self._calls.overdue(0.0):  # some call is under way, and may hang
            yield self._now() + pacing.call_notice_s
        if pacing.progress_s is not None:
            yield self._follow_at
        if self._stop:
            yield self._stop_at + pacing.interrupt_grace_s
        for attempt in self._active.values():
            yield from attempt.due_times(
                pacing.task_timeout_s, pacing.timeout_margin_s, pacing.cancel_grace_s
            )

    def _emit(self, kind: Kind, key: JobKey | None = None, **data: Any) -> None:
        task, attempt = (key.task, key.attempt) if key else ("", 0)
        self._sink.emit(Event(kind, self._clock.time(), task, attempt, data))
