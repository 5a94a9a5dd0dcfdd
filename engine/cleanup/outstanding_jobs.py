"""The jobs that a backend still has of a run no scheduler works on: found, stopped, collected, and
removed only once what they finished is on this disk and in the journal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from core.bundle import read_spent
from core.errors import CollectError, OrchestratorError
from core.events import TaskEnded
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
from engine.cleanup.run_backends import TimedBackend
from engine.run.jobs_view import JobsView
from engine.run.rundir import RunDir
from engine.run.session import Session
from engine.scheduling.job_end import End, IsCredible, end_of, ended
from engine.views.format import plural

STOP_S = 60.0
"""How long jobs have to stop; Slurm leaves them 30 s between its two signals."""
RELEASE_STOP_S = 15.0
"""How long the end of a session waits for jobs that were slow to stop when it was interrupted."""
_GONE = JobStatus(JobState.LOST, Reason.MISSING)
_NEVER_SENT = JobStatus(JobState.LOST, Reason.LAUNCH, message="it was not handed over")
_CANCELLED = "It was stopped when the run was cancelled."


@dataclass(frozen=True, slots=True)
class OutstandingJobs:
    """Jobs that the backend knows or the journal has open, and where each stands."""

    backend: TimedBackend
    handles: Mapping[JobKey, JobHandle] = field(default_factory=dict)
    statuses: Mapping[JobKey, JobStatus] = field(default_factory=dict)
    visible_at: Mapping[JobKey, float] = field(default_factory=dict)
    """Until when, in the clock's monotonic seconds, a job may only seem to be missing."""
    were_queued: frozenset[JobKey] = frozenset()
    """Those that were queued when they were asked to stop."""

    @classmethod
    def find(
        cls, backend: TimedBackend, run_id: str, jobs: JobsView, idle_s: float = 0.0
    ) -> OutstandingJobs:
        """Ask the backend once for all jobs of the run. Raises BackendError.

        A job that is missing counts as one that may run while the run has been idle for less than
        the backend's grace: it may not be visible yet.
        """
        handles = {
            key: handle
            for key, handle in jobs.open.items()
            if handle is not None and handle.key == key and handle.backend == backend.name
        }
        visible_at = backend.clock.monotonic() + backend.backend.grace_s - idle_s
        grace = dict.fromkeys(handles, visible_at)
        for handle in backend.call("reattach", lambda b: b.reattach(run_id)):
            if handle.key.run == run_id:
                handles[handle.key] = handle
        return cls(backend, handles, visible_at=grace)._polled()

    @property
    def running(self) -> list[JobHandle]:
        """Those that may still run, unknown ones included."""
        return [h for key, h in self.handles.items() if not self.statuses[key].state.final]

    @property
    def ended(self) -> list[JobHandle]:
        """Those that may have left something."""
        states = ((h, self.statuses[key]) for key, h in self.handles.items())
        return [h for h, s in states if s.state.final and not is_missing(s)]

    def _polled(self) -> OutstandingJobs:
        handles = list(self.handles.values())
        found = self.backend.call("poll", lambda b: b.poll(handles)) if handles else {}
        now, unknown = self.backend.clock.monotonic(), JobStatus(JobState.UNKNOWN)
        statuses = {key: found.get(key, unknown) for key in self.handles}
        for key, until in self.visible_at.items():
            if is_missing(statuses[key]) and now < until:
                statuses[key] = unknown
        return replace(self, statuses=statuses)

    def stop(self, patience_s: float = STOP_S) -> OutstandingJobs:
        """Cancel what runs and wait for its end, for `patience_s` at most and the time that the
        backend needs to show it. Raises BackendError."""
        if not (handles := self.running):
            return self
        clock, pause_s = self.backend.clock, 0.1
        self.backend.call("cancel", lambda b: b.cancel(handles))
        until = clock.monotonic() + patience_s
        queued = (key for key, status in self.statuses.items() if status.state is JobState.QUEUED)
        asked = replace(self, were_queued=frozenset(queued))
        while (now := asked._polled()).running:
            if (left_s := until - clock.monotonic()) <= 0:
                break
            clock.sleep(min(pause_s, left_s))
            pause_s = min(5.0, pause_s * 2)
        return now

    def collect_ended(
        self, run: RunDir, open_jobs: Mapping[JobKey, JobHandle | None]
    ) -> dict[JobKey, TaskResult | CollectError]:
        """Bring what ended, and the journal has open, to this disk. Raises BackendError."""
        handles = [h for h in self.ended if h.key in open_jobs]
        if not handles:
            return {}
        return self.backend.call("collect", lambda b: b.collect(handles, run.tasks))


def is_missing(status: JobStatus) -> bool:
    return status.state is JobState.LOST and status.reason is Reason.MISSING


@dataclass(frozen=True, slots=True)
class EndRecorder:
    """Journals the ends of jobs as the scheduler does; the next session goes on from there."""

    session: Session
    is_credible: IsCredible

    def record(
        self,
        jobs: OutstandingJobs,
        found: Mapping[JobKey, TaskResult | CollectError],
        stopped: frozenset[JobKey] = frozenset(),
    ) -> list[JobKey]:
        """What became of collected jobs; gives those whose result is still to come.

        `stopped` are those that were asked to stop and did.
        """
        to_come: list[JobKey] = []
        for key, answer in found.items():
            status = jobs.statuses[key]
            if end := _end_of(status, answer, stopped=key in stopped):
                left_queue = key in jobs.were_queued and status.state is JobState.CANCELLED
                never_ran = left_queue and not self.session.run.attempt(key).claim.exists()
                self._record_end(key, status, end, never_ran=never_ran or None)
            else:
                to_come.append(key)
        for key in sorted(stopped - found.keys()):
            if key in self.session.run_view.jobs.open:  # and is gone without a trace
                self._record_end(key, jobs.statuses[key], End(Outcome.INTERRUPTED, _CANCELLED))
        self.session.journal.commit()
        return to_come

    def record_missing(
        self, found: Iterable[OutstandingJobs], *, settled: bool, moved: bool = False
    ) -> None:
        """The ends of open jobs that none of the run's backends, as they were `found`, knows.

        Not `settled`: one that was only intended may not be visible yet. Later it was never handed
        over, and has used nothing, unless the run has `moved` to where that cannot be known.
        """
        looked = list(found)
        for key, handle in sorted(self.session.run_view.jobs.open.items()):
            seen = [jobs.statuses[key] for jobs in looked if key in jobs.statuses]
            if all(map(is_missing, seen)) and (settled or handle is not None):
                status = _GONE if moved or handle is not None else _NEVER_SENT
                self._record_end(key, status, end_of(status, None))
        self.session.journal.commit()

    def record_void(self) -> None:
        """The ends of jobs only intended that nobody wants, once none can come any more."""
        jobs = self.session.run_view.jobs
        unsent = [key for key, handle in jobs.open.items() if handle is None and jobs.is_void(key)]
        for key in sorted(unsent):
            self._record_end(key, _NEVER_SENT, end_of(_NEVER_SENT, None))
        self.session.journal.commit()

    def _record_end(
        self, key: JobKey, status: JobStatus, end: End, never_ran: bool | None = None
    ) -> None:
        data = ended(
            key,
            status,
            end,
            reported=lambda key: tuple(read_spent(self.session.run.attempt(key))),
            is_credible=self.is_credible,
            duration_s=end.result.duration_s if end.result else 0.0,
            never_ran=never_ran,
        )
        self.session.emit(data, key)
        if self.session.run_view.jobs.is_void(key):
            return
        if end.ok or end.cause == Outcome.INTERRUPTED:
            state = TaskState.SUCCEEDED if end.ok else TaskState.CANCELLED
            self.session.emit(TaskEnded(state, end.message), key)


def _end_of(status: JobStatus, answer: TaskResult | CollectError, *, stopped: bool) -> End | None:
    """None while the result is still to come."""
    if isinstance(answer, TaskResult):
        if stopped and answer.outcome is Outcome.INTERRUPTED:
            return End(Outcome.INTERRUPTED, _CANCELLED, answer)
        return end_of(status, answer)
    if stopped:
        return End(Outcome.INTERRUPTED, _CANCELLED)
    if answer.retryable:
        return None
    return End(end_of(status, None).cause, status.message or str(answer))


def abandon(session: Session, backend: TimedBackend) -> str:
    """Of a run whose directory is gone: stop and remove all that the backend has, for which there
    is no place any more. Says what may be left, and what to do about it."""
    run = session.run
    try:
        OutstandingJobs.find(backend, run.run_id, session.run_view.jobs).stop(RELEASE_STOP_S)
        backend.cleanup(run.run_id)
    except (OrchestratorError, KeyboardInterrupt) as exc:
        chosen = session.run_view.header.backend  # nothing else tells of it any more
        command = run.command("clean", "--yes", "--backend", chosen)
        why = f" ({exc})" if str(exc) else ""
        return f"Jobs of it may still be on {backend.name}{why}: remove them with `{command}`."
    return ""


def release(
    session: Session,
    backend: TimedBackend,
    is_credible: IsCredible,
    patience_s: float = RELEASE_STOP_S,
) -> None:
    """At the end of a session: leave nothing on the backend. What still runs is stopped; what
    cannot be removed becomes a notice.

    Ctrl-C meanwhile skips the rest and does not change how the run ended.
    """
    run_id, command = session.run.run_id, session.run.command
    remedy = f"Remove it later with `{command('clean', '--yes')}`."
    try:
        before = OutstandingJobs.find(backend, run_id, session.run_view.jobs)
        after = before.stop(patience_s)
        if running := after.running:
            tasks = ", ".join(sorted(h.key.task for h in running))
            still = f"{plural(len(running), 'job')} may still run ({tasks})"
            session.notice(f"{still}. Stop them with `{command('cancel')}`.")
            return
        found = after.collect_ended(session.run, session.run_view.jobs.open)
        stopped = frozenset(handle.key for handle in before.running)
        recorder = EndRecorder(session, is_credible)
        if recorder.record(after, found, stopped):
            session.notice(f"A result is still to come. Fetch it with `{command('resume')}`.")
            return
        backend.cleanup(run_id)
        recorder.record_void()
    except OrchestratorError as exc:
        failed = f"What {backend.name} holds of the run could not be removed"
        session.notice(f"{failed}: {exc} {remedy}")
    except KeyboardInterrupt:
        session.notice(f"Interrupted: {backend.name} may still hold parts of the run. {remedy}")
