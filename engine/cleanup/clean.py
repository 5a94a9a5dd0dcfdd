"""`clean`: says what would go, and with --yes removes it, one run at a time.

Each run is locked and judged again before anything is done to it. What it finished is brought in
before its backend forgets it; its directory goes last, so that what fails is found again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from backends.base import Backend
from core.errors import BackendError, OrchestratorError, RunLocked, StorageError
from core.events import RunEnded
from core.job import JobKey
from core.wire import plain
from engine.cleanup.outstanding_jobs import STOP_S, collect_ended, look, note_ends, stop
from engine.cleanup.removal import finish_removal, remove_run
from engine.cleanup.run_backends import RunBackends
from engine.cleanup.scan import (
    DAMAGED,
    HALF_REMOVED,
    CleanupItem,
    CleanupScan,
    is_plain,
    read_plain_run,
)
from engine.delivery.target import recover_target
from engine.pipeline import announce
from engine.run.jobs_view import JobsView
from engine.run.rundir import RunDir, RunFacts, locked
from engine.run.session import Session, open_session, storing
from engine.views.format import clean, plural

_UNITS = ((1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB"))
_CHANGED = "it has changed meanwhile"


def clean_named(
    name: str, reopening: RunBackends, say: Callable[[str], None], older_than_s: float, *, yes: bool
) -> int:
    """The command. Raises RunNotFound, and what `clean_runs` raises."""
    survey = CleanupScan(reopening.work_dir, reopening, reopening.clock, older_than_s).narrowed(
        name
    )
    return clean_runs(survey, say, yes=yes, as_json=reopening.as_json)


def clean_runs(survey: CleanupScan, say: Callable[[str], None], *, yes: bool, as_json: bool) -> int:
    """Say what there is to remove and, with `yes`, remove it; gives the exit code.

    Raises RunLocked when the run that was named is being worked on.
    """
    found = list(survey.findings())
    if survey.named and (held := [f for f in found if f.state == "running"]):
        raise RunLocked(f"Run {held[0].run} is being worked on.", "Cancel it, then clean again.")
    say("".join(map(_as_json, found)) if as_json else render_findings(found))
    going = [f for f in found if f.goes]
    if going and not yes and not as_json:
        say(f"Nothing was removed. Say --yes to remove {_sum(going)}.\n")
    done = [remove(survey, f) for f in going] if yes else []
    for after in done:
        say(_as_json(after, done=True) if as_json else _how_it_went(after))
    return 1 if any(f.trouble for f in (*found, *done)) else 0


def remove(survey: CleanupScan, found: CleanupItem) -> CleanupItem:
    """Do it; gives the finding with what went wrong, if anything did."""
    try:
        with storing():
            return Removal(survey, found).carry_out()
    except RunLocked as exc:
        return replace(found, left=str(exc))
    except StorageError as exc:
        return replace(found, trouble=exc.message)
    except OrchestratorError as exc:
        return replace(found, trouble=str(exc))


@dataclass(frozen=True, slots=True)
class Removal:
    """Of one finding. Raises OrchestratorError, OSError; what is left is found by the next."""

    survey: CleanupScan
    found: CleanupItem
    stop_s: float = STOP_S

    def carry_out(self) -> CleanupItem:
        found = self.found
        if found.root is None:
            return self._orphan()
        if found.state == HALF_REMOVED:
            finish_removal(found.root)
            return found
        run = RunDir(found.root)
        if found.goes_whole:
            # a damaged run may have anything in the place of its lock
            with locked(run) if found.state != DAMAGED or is_plain(run.lock) else nullcontext():
                return self._whole(run)
        with open_session(run.read_facts(), run, [], self.survey.clock) as session:
            return self._leftovers(session)

    def _orphan(self) -> CleanupItem:
        [name] = self.found.leftovers
        run = RunDir(self.survey.work_dir / "runs" / self.found.run)
        if run.root.exists():
            return replace(self.found, left=_CHANGED)
        with self.survey.reopening.backend(run, name) as backend:
            self._stop_and_forget(backend, JobsView())
        return self.found

    def _whole(self, run: RunDir) -> CleanupItem:
        again = self.survey.run(run, held=True)
        if not again.goes_whole or not again.goes:
            return replace(again, left=again.left or _CHANGED)
        if again.state != DAMAGED:
            facts, run_view = read_plain_run(run)
            for name in again.leftovers:
                with self.survey.reopening.backend(run, name, facts) as backend:
                    self._stop_and_forget(backend, run_view.jobs, again.idle_s)
            self._settle_target(run, facts)
        remove_run(run.root)
        return again

    def _stop_and_forget(self, backend: Backend, jobs: JobsView, idle_s: float = 0.0) -> None:
        asking = self.survey.asking
        remains = look(asking, backend, self.found.run, jobs, idle_s)
        patience_s = self.stop_s + backend.cancel_lag_s
        if left := stop(asking, backend, remains, patience_s).running:
            tasks = ", ".join(sorted(clean(handle.key.task) for handle in left))
            raise BackendError(f"Jobs on {backend.name} did not stop: {tasks}.", "Clean again.")
        self._forget(backend)

    def _forget(self, backend: Backend) -> None:
        asking = self.survey.asking
        asking.ask("cleanup", lambda: backend.cleanup(self.found.run), asking.cleanup_s)

    def _settle_target(self, run: RunDir, facts: RunFacts) -> None:
        """A delivery that was cut off may have put the user's own tree aside."""
        target = Path(facts.target)
        recover_target(target, run.run_id)
        if target.exists() and target.resolve().is_relative_to(run.root.resolve()):
            raise OrchestratorError(f"Its target {target} lies in it.", "Move the target away.")

    def _leftovers(self, session: Session) -> CleanupItem:
        """The run stays, and can be resumed: what it finished is brought in first."""
        again = self.survey.run(session.run, held=True)
        if again.goes_whole or not again.goes:
            return replace(again, left=again.left or _CHANGED)
        for name in again.leftovers:
            with self.survey.reopening.backend(session.run, name, session.facts) as backend:
                if to_come := self._take_in(session, backend, again.idle_s):
                    tasks = ", ".join(sorted(clean(key.task) for key in to_come))
                    return replace(again, left=f"results are still to come: {tasks}; resume it")
                self._forget(backend)
        return again

    def _take_in(self, session: Session, backend: Backend, idle_s: float) -> Sequence[JobKey]:
        """What ended comes to the disk and the journal; gives what is still to come."""
        asking, jobs = self.survey.asking, session.run_view.jobs
        remains = look(asking, backend, session.run.run_id, jobs, idle_s)
        if remains.running:
            return [handle.key for handle in remains.running]
        if not (found := collect_ended(asking, backend, session.run, jobs, remains)):
            return []
        ended = session.run_view.ended or RunEnded(130, "interrupted")
        settings = self.survey.reopening.settings(session.facts)
        announce(session, settings.backend, settings.model, settings.max_executors)
        to_come = note_ends(session, remains, found)
        session.emit(replace(ended, wall_s=0.0))
        session.journal.commit()
        return to_come


# -- what is said


def render_findings(found: Sequence[CleanupItem]) -> str:
    going, staying = [f for f in found if f.goes], [f for f in found if f.left or f.trouble]
    lines = ["To be removed:"] if going else ["There is nothing to remove."]
    for finding in going:
        lines += _what_goes(finding)
    if staying:
        lines.append("Left as it is:")
    lines += [f"  {_name(f)}  {clean(f.trouble or f.left, 1_000)}" for f in staying]
    return "\n".join(lines) + "\n"


def _what_goes(found: CleanupItem) -> Iterator[str]:
    delivered = "delivered" if found.delivered else "never delivered"
    facts = [found.state]
    if found.root is not None:
        facts += [f"idle for {age_in_words(found.idle_s)}", delivered] if found.prompt else []
        facts.append(size_in_words(found.size_bytes))
    yield f"  {_name(found)}  {', '.join(facts)}"
    if found.prompt:
        yield f"    {clean(found.prompt, 74)}"
    if found.goes_whole:
        yield f"    its directory {clean(found.root, 4_096)}"
    if found.running:
        yield f"    {plural(found.running, 'job')} that may still run, which will be cancelled"
    for name, phrases in found.leftovers.items():
        yield from (f"    {clean(name)}: {clean(phrase)}" for phrase in phrases)


def _how_it_went(found: CleanupItem) -> str:
    if not (why := found.trouble or found.left):
        return f"Removed {_name(found)}: {_sum([found])}.\n"
    return f"Not removed: {_name(found)}: {clean(why, 1_000)}\n"


def _name(found: CleanupItem) -> str:
    return clean(found.run) or "runs without a directory"


def _sum(found: Sequence[CleanupItem]) -> str:
    whole = [f for f in found if f.goes_whole]
    leftovers = sum(len(phrases) for f in found for phrases in f.leftovers.values())
    parts = []
    if whole:
        size = size_in_words(sum(f.size_bytes for f in whole))
        parts.append(f"{plural(len(whole), 'run')} ({size})")
    if leftovers or not whole:
        parts.append(plural(leftovers, "leftover"))
    return " and ".join(parts)


def _as_json(found: CleanupItem, *, done: bool = False) -> str:
    """One line. `action` is removes, leaves or fails before, removed, left or failed after."""
    words = ("removed", "left", "failed") if done else ("removes", "leaves", "fails")
    action = words[2] if found.trouble else words[0] if found.goes else words[1]
    return json.dumps({"action": action, **plain(found)}) + "\n"


def size_in_words(size_bytes: int) -> str:
    """950 bytes, 1.2 kB, 3.4 MB."""
    for size, unit in _UNITS:
        if size_bytes >= size:
            return f"{size_bytes / size:.1f} {unit}"
    return plural(size_bytes, "byte")


def age_in_words(seconds: float) -> str:
    """5 minutes, 3 hours, 9 days."""
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            return plural(int(seconds // size), unit)
    return "less than a minute"
