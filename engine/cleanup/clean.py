"""`clean`: lists what would go, and with --yes removes it, one run at a time: each is judged again
under its lock, and its directory goes last, so that what fails is found again."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from core.errors import BackendError, OrchestratorError, RunLocked, StorageError
from core.events import RunEnded
from core.job import JobKey
from core.wire import plain
from engine.cleanup.outstanding_jobs import STOP_S, EndRecorder, OutstandingJobs
from engine.cleanup.removal import finish_removal, remove_run
from engine.cleanup.run_backends import TimedBackend
from engine.cleanup.scan import (
    DAMAGED,
    HALF_REMOVED,
    CleanupItem,
    CleanupScan,
    is_plain,
    read_plain_run,
)
from engine.delivery.target import recover_target
from engine.run.jobs_view import JobsView
from engine.run.rundir import RunDir, RunFacts, locked
from engine.run.session import Session, announce, open_session, storing
from engine.views.format import clean, plural

_CHANGED = "it has changed meanwhile; clean again"


def clean_runs(scan: CleanupScan, write: Callable[[str], None], *, yes: bool) -> int:
    """List what there is to remove and, with `yes`, remove it; gives the exit code.

    Raises RunLocked when the run that was named is being worked on.
    """
    items, as_json = list(scan.items()), scan.backends.as_json
    if scan.named and (held := [i for i in items if i.state == "running"]):
        raise RunLocked(f"Run {held[0].run} is being worked on.", "Cancel it, then clean again.")
    write("".join(map(_as_json, items)) if as_json else render_items(items))
    going = [item for item in items if item.goes]
    if going and not yes and not as_json:
        write(f"Nothing was removed. Add --yes to remove {_sum(going)}.\n")
    done = [remove(scan, item) for item in going] if yes else []
    for after in done:
        write(_as_json(after, done=True) if as_json else _result(after))
    return 1 if any(item.trouble for item in (*items, *done)) else 0


def remove(scan: CleanupScan, item: CleanupItem) -> CleanupItem:
    """Do it; gives the item with what went wrong, if anything did."""
    try:
        with storing():
            return RunCleaner(scan, item).clean()
    except RunLocked as exc:
        return replace(item, left=str(exc))
    except StorageError as exc:
        return replace(item, trouble=exc.message)
    except OrchestratorError as exc:
        return replace(item, trouble=str(exc))


@dataclass(frozen=True, slots=True)
class RunCleaner:
    """Removes one item. Raises OrchestratorError, OSError; what is left is found by the next."""

    scan: CleanupScan
    item: CleanupItem
    stop_s: float = STOP_S

    def clean(self) -> CleanupItem:
        item = self.item
        if item.root is None:
            return self._orphan()
        if item.state == HALF_REMOVED:
            finish_removal(item.root)
            return item
        run = RunDir(item.root)
        if item.goes_whole:
            # a damaged run may have anything in the place of its lock
            with locked(run) if item.state != DAMAGED or is_plain(run.lock) else nullcontext():
                return self._whole(run)
        with open_session(run.read_facts(), run, [], self.scan.backends.clock) as session:
            return self._leftovers(session)

    def _orphan(self) -> CleanupItem:
        [name] = self.item.leftovers
        run = RunDir(self.scan.backends.work_dir / "runs" / self.item.run)
        if run.root.exists():
            return replace(self.item, left=_CHANGED)
        with self.scan.backends.open(run, name) as backend:
            self._stop_and_clean_up(backend, JobsView())
        return self.item

    def _whole(self, run: RunDir) -> CleanupItem:
        again = self.scan.run(run, held=True)
        if not again.goes_whole or not again.goes:
            return replace(again, left=again.left or _CHANGED)
        if again.state != DAMAGED:
            facts, run_view = read_plain_run(run)
            for name in again.leftovers:
                with self.scan.backends.open(run, name, facts) as backend:
                    self._stop_and_clean_up(backend, run_view.jobs, again.idle_s)
            self._settle_target(run, facts)
        remove_run(run.root)
        return again

    def _stop_and_clean_up(
        self, backend: TimedBackend, jobs: JobsView, idle_s: float = 0.0
    ) -> None:
        found = OutstandingJobs.find(backend, self.item.run, jobs, idle_s)
        if left := found.stop(self.stop_s + backend.backend.cancel_lag_s).running:
            tasks = ", ".join(sorted(clean(handle.key.task) for handle in left))
            raise BackendError(f"Jobs on {backend.name} did not stop: {tasks}.", "Clean again.")
        backend.cleanup(self.item.run)

    def _settle_target(self, run: RunDir, facts: RunFacts) -> None:
        """A delivery that was cut off may have put the user's own tree aside."""
        target = Path(facts.target)
        recover_target(target, run.run_id)
        if target.exists() and target.resolve().is_relative_to(run.root.resolve()):
            raise OrchestratorError(
                f"The target {target} lies in the run's directory.",
                "Move it out, then clean again.",
            )

    def _leftovers(self, session: Session) -> CleanupItem:
        """The run stays, and can be resumed: what it finished is collected first."""
        again = self.scan.run(session.run, held=True)
        if again.goes_whole or not again.goes:
            return replace(again, left=again.left or _CHANGED)
        for name in again.leftovers:
            with self.scan.backends.open(session.run, name, session.facts) as backend:
                if to_come := self._collect(session, backend, again.idle_s):
                    tasks = ", ".join(sorted(clean(key.task) for key in to_come))
                    return replace(again, left=f"results are still to come: {tasks}; resume it")
                backend.cleanup(again.run)
        return again

    def _collect(self, session: Session, backend: TimedBackend, idle_s: float) -> Sequence[JobKey]:
        """What ended comes to the disk and the journal; gives what is still to come."""
        backends, run_view = self.scan.backends, session.run_view
        jobs = OutstandingJobs.find(backend, session.run.run_id, run_view.jobs, idle_s)
        if jobs.running:
            return [handle.key for handle in jobs.running]
        if not (found := jobs.collect_ended(session.run, run_view.jobs.open)):
            return []
        last_end = run_view.ended or RunEnded(130, "interrupted")
        settings = backends.settings(session.facts)
        announce(session, settings.backend, settings.models(), settings.max_executors)
        budget = backends.budget(session.facts, run_view.jobs)
        to_come = EndRecorder(session, budget.is_credible).record(jobs, found)
        session.emit(replace(last_end, wall_s=0.0))
        session.journal.commit()
        return to_come


# -- output


def render_items(items: Sequence[CleanupItem]) -> str:
    going, staying = [i for i in items if i.goes], [i for i in items if i.left or i.trouble]
    lines = ["To be removed:"] if going else ["There is nothing to remove."]
    for item in going:
        lines += _removal(item)
    if staying:
        lines.append("Left as it is:")
    lines += [f"  {_name(i)}  {clean(i.trouble or i.left, 1_000)}" for i in staying]
    return "\n".join(lines) + "\n"


def _removal(item: CleanupItem) -> Iterator[str]:
    delivered = "delivered" if item.delivered else "never delivered"
    facts = [item.state]
    if item.root is not None:
        facts += [f"idle for {age_in_words(item.idle_s)}", delivered] if item.prompt else []
        facts.append(size_in_words(item.size_bytes))
    yield f"  {_name(item)}  {', '.join(facts)}"
    if item.prompt:
        yield f"    {clean(item.prompt, 74)}"
    if item.goes_whole:
        yield f"    its directory {clean(item.root, 4_096)}"
    if item.running:
        yield f"    {plural(item.running, 'job')} that may still run, to be cancelled"
    for name, phrases in item.leftovers.items():
        yield from (f"    {clean(name)}: {clean(phrase)}" for phrase in phrases)


def _result(item: CleanupItem) -> str:
    if not (why := item.trouble or item.left):
        return f"Removed {_name(item)}: {_sum([item])}.\n"
    return f"Not removed: {_name(item)}: {clean(why, 1_000)}\n"


def _name(item: CleanupItem) -> str:
    return clean(item.run) or "runs without a directory"


def _sum(items: Sequence[CleanupItem]) -> str:
    whole = [item for item in items if item.goes_whole]
    leftovers = sum(len(phrases) for item in items for phrases in item.leftovers.values())
    parts = []
    if whole:
        size = size_in_words(sum(item.size_bytes for item in whole))
        parts.append(f"{plural(len(whole), 'run')} ({size})")
    if leftovers or not whole:
        parts.append(plural(leftovers, "leftover"))
    return " and ".join(parts)


def _as_json(item: CleanupItem, *, done: bool = False) -> str:
    """One line. `action` is removes, leaves or fails before, removed, left or failed after."""
    words = ("removed", "left", "failed") if done else ("removes", "leaves", "fails")
    action = words[2] if item.trouble else words[0] if item.goes else words[1]
    return json.dumps({"action": action, **plain(item)}) + "\n"


def size_in_words(size_bytes: int) -> str:
    """950 bytes, 1.2 kB, 3.4 MB."""
    for size, unit in ((1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")):
        if size_bytes >= size:
            return f"{size_bytes / size:.1f} {unit}"
    return plural(size_bytes, "byte")


def age_in_words(seconds: float) -> str:
    """5 minutes, 3 hours, 9 days."""
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            return plural(int(seconds // size), unit)
    return "less than a minute"
