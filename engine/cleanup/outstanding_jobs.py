"""What a backend still has of a run that no scheduler works on: looked at, stopped, brought in.

Nothing is removed from a backend before what it finished is on this disk and in the journal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from backends.base import Backend
from core.bundle import read_spent
from core.clock import Clock
from core.errors import BackendError, CollectError, OrchestratorError
from core.events import JobEnded, TaskEnded
from core.job import (
    JobHandle,
    JobKey,
    JobState,
    JobStatus,
    Outcome,
    Reason,
    TaskResult,
    TaskState,
)
from engine.run.jobs_view import JobsView
from engine.run.rundir import RunDir
from engine.run.session import Session
from engine.scheduling.calls import ThreadedCalls
from engine.scheduling.retry_policy import NEVER_STARTED, End, end_of
from engine.views.format import plural

T = TypeVar("T")

STOP_S = 60.0
"""How long jobs have to stop; Slurm leaves them 30 s between its two signals."""
TIDY_STOP_S = 15.0
"""How long the end of a session waits for jobs that were slow to stop when it was interrupted."""
_LOOKS_S = (0.1, 5.0)
_GONE = JobStatus(JobState.LOST, Reason.MISSING)
_NEVER_SENT = JobStatus(JobState.LOST, Reason.LAUNCH, message="it was not handed over")
_STOPPED = "It was stopped when the run was cancelled."


@dataclass(frozen=True, slots=True)
class Asking:
    """Calls of a backend that come to an end: one that hangs, or breaks, is a BackendError."""

    clock: Clock
    answer_s: float = 60.0
    cleanup_s: float = 300.0

    def ask(self, what: str, call: Callable[[], T], limit_s: float | None = None) -> T:
        answers: list[T | Exception] = []
        calls, limit_s = ThreadedCalls(self.clock), limit_s or self.answer_s
        until = self.clock.monotonic() + limit_s
        calls.start(what, call, answers.append)
        try:
            while not answers and (left_s := until - self.clock.monotonic()) > 0:
                calls.wait(left_s)
        finally:
            calls.close()
        if not answers:
            raise BackendError(f"There was no answer to {what} within {limit_s:g} s.", "Try later.")
        if not isinstance(found := answers[0], Exception):
            return found
        if isinstance(found, OrchestratorError):
            raise found
        # against the contract; but other runs and backends have nothing to do with it
        raise BackendError(f"{what} failed: {type(found).__name__}: {found}.") from found


@dataclass(frozen=True, slots=True)
class OutstandingJobs:
    """Jobs that the backend knows or the journal has open, and where each stands."""

    handles: Mapping[JobKey, JobHandle] = field(default_factory=dict)
    statuses: Mapping[JobKey, JobStatus] = field(default_factory=dict)
    fresh: Mapping[JobKey, float] = field(default_factory=dict)
    """Until when, in the clock's monotonic seconds, a job may only seem to be missing."""

    @property
    def running(self) -> list[JobHandle]:
        """Those that may still run: where nobody can tell, too."""
        return [h for key, h in self.handles.items() if not self.statuses[key].state.final]

    @property
    def ended(self) -> list[JobHandle]:
        """Those that may have left something."""
        states = ((h, self.statuses[key]) for key, h in self.handles.items())
        return [h for h, s in states if s.state.final and not _is_missing(s)]


def _is_missing(status: JobStatus) -> bool:
    return status.state is JobState.LOST and status.reason is Reason.MISSING


def look(
    asking: Asking, backend: Backend, run_id: str, jobs: JobsView, idle_s: float = 0.0
) -> OutstandingJobs:
    """Ask the backend once for all jobs of the run. Raises BackendError.

    A job that is missing counts as one that may run while the run has been idle for less than the
    backend's grace: it may not show yet.
    """
    handles = {
        key: handle
        for key, handle in jobs.open.items()
        if handle is not None and handle.key == key and handle.backend == backend.name
    }
    fresh = dict.fromkeys(handles, asking.clock.monotonic() + backend.grace_s - idle_s)
    for handle in asking.ask("reattach", lambda: backend.reattach(run_id)):
        if handle.key.run == run_id:
            handles[handle.key] = handle
    return _poll(asking, backend, OutstandingJobs(handles, fresh=fresh))


def _poll(asking: Asking, backend: Backend, remains: OutstandingJobs) -> OutstandingJobs:
    handles = list(remains.handles.values())
    found = asking.ask("poll", lambda: backend.poll(handles)) if handles else {}
    now, unknown = asking.clock.monotonic(), JobStatus(JobState.UNKNOWN)
    statuses = {key: found.get(key, unknown) for key in remains.handles}
    for key, until in remains.fresh.items():
        if _is_missing(statuses[key]) and now < until:
            statuses[key] = unknown
    return replace(remains, statuses=statuses)


def stop(
    asking: Asking, backend: Backend, remains: OutstandingJobs, patience_s: float = STOP_S
) -> OutstandingJobs:
    """Cancel what runs and wait for its end, for `patience_s` at most. Raises BackendError."""
    if not (handles := remains.running):
        return remains
    clock, (pause_s, most_s) = asking.clock, _LOOKS_S
    asking.ask("cancel", lambda: backend.cancel(handles))
    until = clock.monotonic() + patience_s
    while (remains := _poll(asking, backend, remains)).running:
        if (left_s := until - clock.monotonic()) <= 0:
            break
        clock.sleep(min(pause_s, left_s))
        pause_s = min(most_s, pause_s * 2)
    return remains


def collect_ended(
    asking: Asking, backend: Backend, run: RunDir, jobs: JobsView, remains: OutstandingJobs
) -> dict[JobKey, TaskResult | CollectError]:
    """Bring what ended, and the journal has open, to this disk. Raises BackendError."""
    handles = [h for h in remains.ended if h.key in jobs.open]
    if not handles:
        return {}
    return asking.ask("collect", lambda: backend.collect(handles, run.tasks))


def note_ends(
    session: Session,
    remains: OutstandingJobs,
    found: Mapping[JobKey, TaskResult | CollectError],
    stopped: frozenset[JobKey] = frozenset(),
) -> list[JobKey]:
    """Journal what became of jobs; gives those whose result is still to come.

    `stopped` are those that were asked to stop and did.
    """
    to_come: list[JobKey] = []
    for key, answer in found.items():
        result = answer if isinstance(answer, TaskResult) else None
        status = remains.statuses[key]
        if result is None and key not in stopped and isinstance(answer, CollectError):
            if answer.retryable:
                to_come.append(key)
                continue
            end = End(end_of(status, None).cause, status.message or str(answer))
        elif result is None or (key in stopped and result.outcome is Outcome.INTERRUPTED):
            end = End(Outcome.INTERRUPTED, _STOPPED, result)
        else:
            end = end_of(status, result)
        _note_end(session, key, status, end)
    for key in sorted(stopped - found.keys()):
        if key in session.run_view.jobs.open:  # and is gone without a trace
            end = End(Outcome.INTERRUPTED, _STOPPED)
            _note_end(session, key, remains.statuses[key], end)
    session.journal.commit()
    return to_come


def note_gone(
    session: Session, found: Sequence[OutstandingJobs], *, settled: bool, moved: bool = False
) -> None:
    """Journal the end of open jobs that none of the run's backends, as they were `found`, knows.

    Not `settled`: one that was only intended may not show yet. Later it was never handed over, and
    has used nothing, unless the run has `moved` to where nobody can tell.
    """
    for key, handle in sorted(session.run_view.jobs.open.items()):
        seen = [r.statuses[key] for r in found if key in r.statuses]
        if all(map(_is_missing, seen)) and (settled or handle is not None):
            status = _GONE if moved or handle is not None else _NEVER_SENT
            _note_end(session, key, status, end_of(status, None))
    session.journal.commit()


def _note_end(session: Session, key: JobKey, status: JobStatus, end: End) -> None:
    """As the scheduler reports it; the next session takes the task up from there."""
    result = end.result
    usage = result.usage if result else tuple(read_spent(session.run.attempt(key)))
    data = JobEnded(
        cause=str(end.cause),
        state=status.state,
        message=end.message,
        usage=usage,
        files=len(result.manifest.entries) if result else 0,
        duration_s=round(result.duration_s, 3) if result else 0.0,
        unaccounted=not (result or usage or end.cause in NEVER_STARTED),
    )
    session.emit(data, key)
    if end.ok or end.cause == Outcome.INTERRUPTED:
        state = TaskState.SUCCEEDED if end.ok else TaskState.CANCELLED
        session.emit(TaskEnded(state, end.message), key)


def release(
    session: Session, backend: Backend, asking: Asking, patience_s: float = TIDY_STOP_S
) -> None:
    """At the end of a session: leave nothing on the backend. What still runs is wanted no more and
    stopped; what cannot be removed is told.

    Ctrl-C meanwhile skips the rest and does not change how the run ended.
    """
    run_id = session.run.run_id
    later = f"'clean {run_id}' removes it."
    try:
        jobs = session.run_view.jobs
        before = look(asking, backend, run_id, jobs)
        remains = stop(asking, backend, before, patience_s)
        if running := remains.running:
            tasks = ", ".join(sorted(h.key.task for h in running))
            told = f"{plural(len(running), 'job')} may still run ({tasks})"
            session.notice(f"{told}: 'cancel {run_id}' stops what runs.")
            return
        found = collect_ended(asking, backend, session.run, jobs, remains)
        stopped = frozenset(handle.key for handle in before.running)
        if note_ends(session, remains, found, stopped):
            session.notice(f"A result is still to come; 'resume {run_id}' fetches it.")
            return
        asking.ask("cleanup", lambda: backend.cleanup(run_id), asking.cleanup_s)
    except OrchestratorError as exc:
        what = f"What {backend.name} holds of the run could not be removed"
        session.notice(f"{what}: {exc} Later, {later}")
    except KeyboardInterrupt:
        session.notice(f"Interrupted: {backend.name} may hold something of the run; {later}")
