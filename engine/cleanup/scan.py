"""What there is to clean: every run is looked at and judged, and nothing is changed. What could
still be work or money is left, unless it is named."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from core.errors import OrchestratorError
from core.paths import path_defect
from engine.cleanup.outstanding_jobs import OutstandingJobs
from engine.cleanup.removal import ASIDE, half_removed, tree_size
from engine.cleanup.run_backends import RunBackends, used_backends
from engine.run.jobs_view import JobsView
from engine.run.run_view import RunView, read_run_view
from engine.run.rundir import RunDir, RunFacts, find_run, is_locked, matching_ids
from engine.views.format import plural

WEEK_S = 7 * 86_400.0
DAMAGED = "damaged"
HALF_REMOVED = "half removed"
GONE = "gone"


@dataclass(frozen=True, slots=True)
class CleanupItem:
    """A run as `clean` sees it; `goes_whole` with its directory, else only its leftovers go.

    `left` is why nothing of it goes, `trouble` what could not be looked at or done. `state` is as
    `runs` says it. `leftovers` are phrases by backend. `idle_s` is since its last event.
    """

    run: str
    root: Path | None = None
    state: str = GONE
    prompt: str = ""
    idle_s: float = 0.0
    size_bytes: int = 0
    delivered: bool = False
    leftovers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    running: int = 0
    goes_whole: bool = False
    left: str = ""
    trouble: str = ""

    @property
    def goes(self) -> bool:
        found = self.goes_whole or self.running or any(self.leftovers.values())
        return bool(found) and not self.left and not self.trouble


def read_plain_run(run: RunDir) -> tuple[RunFacts, RunView]:
    """Raises BundleError, and OSError where something else lies in the place of a file."""
    for path in (run.facts, run.journal, run.lock):
        if os.path.lexists(path) and not is_plain(path):
            raise OSError(f"{path.name} is not a regular file")
    return run.read_facts(), read_run_view(run)


@dataclass(frozen=True, slots=True)
class CleanupScan:
    """Looks at runs and changes nothing. `named` is the id that stood on the command line."""

    backends: RunBackends
    older_than_s: float = WEEK_S
    named: str = ""

    def narrowed(self, name: str) -> CleanupScan:
        """To the run that `name` means; "" means all. Raises RunNotFound, listing what there is."""
        if not name:
            return self
        work_dir, ids = self.backends.work_dir, {run.run_id for run in self.run_dirs()}
        ids |= {path.name.rpartition(".")[0] for path in half_removed(work_dir)}
        if not (meant := matching_ids(ids, name)):
            for backend in self.backend_names():
                with suppress(OrchestratorError):
                    meant |= matching_ids(self._known_to(backend), name)
        if len(meant) != 1:  # "last", or the error
            return replace(self, named=find_run(work_dir, name).run_id)
        return replace(self, named=meant.pop())

    def items(self) -> Iterator[CleanupItem]:
        """Every run there is, then those whose directory is gone."""
        runs = self.run_dirs()
        for run in runs:
            if self._is_meant(run.run_id):
                yield self.run(run)
        for path in half_removed(self.backends.work_dir):
            if self._is_meant(path.name.rpartition(".")[0]):
                size = tree_size(path)
                yield CleanupItem(path.name, path, HALF_REMOVED, size_bytes=size, goes_whole=True)
        if self.named not in {run.run_id for run in runs}:
            yield from self._orphans()

    def _is_meant(self, run_id: str) -> bool:
        return self.named in ("", run_id)

    def run_dirs(self) -> list[RunDir]:
        """Also those without a run.json, or with a damaged one."""
        try:
            entries = sorted((self.backends.work_dir / "runs").iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [RunDir(path) for path in entries if path.is_dir() and path.name != ASIDE]

    def run(self, run: RunDir, *, held: bool = False) -> CleanupItem:
        """`held`: by this process."""
        item = CleanupItem(run.run_id, run.root, size_bytes=tree_size(run.root))
        if not held and is_plain(run.lock) and is_locked(run):
            return replace(item, state="running", left="a process works on it; cancel it first")
        try:
            facts, run_view = read_plain_run(run)
        except (OSError, OrchestratorError) as exc:
            return self._damaged(item, run.root, exc)
        item = replace(
            item,
            state=run_view.state,
            prompt=facts.prompt,
            idle_s=self.backends.clock.time() - max(facts.created, run_view.last_at),
            delivered=run_view.delivered_files is not None,
        )
        checked = ("docker",) if run.checked_in_docker.exists() else ()
        for name in dict.fromkeys((*used_backends(facts, run_view), *checked)):
            if not item.trouble:
                item = self._asked(item, run, name, run_view.jobs, facts)
        return self._judged(item, run_view)

    def _damaged(self, item: CleanupItem, root: Path, exc: Exception) -> CleanupItem:
        idle_s = self.backends.clock.time() - root.stat().st_mtime
        item = replace(item, state=DAMAGED, idle_s=idle_s)
        if self.named or (idle_s >= self.older_than_s and _is_bare(root)):
            return replace(item, goes_whole=True)
        reason = str(exc).rstrip(".")
        left = f"it cannot be read ({reason}); {self._removal(item)}"
        return replace(item, left=left)

    def _asked(
        self, item: CleanupItem, run: RunDir, name: str, jobs: JobsView, facts: RunFacts | None
    ) -> CleanupItem:
        """With what the backend `name` has of it; `facts` None: the run cannot be resumed."""
        try:
            with self.backends.open(run, name, facts) as backend:
                running = OutstandingJobs.find(backend, item.run, jobs, item.idle_s).running
                phrases = backend.call("leftovers", lambda b: b.leftovers(item.run))
        except OrchestratorError as exc:
            return replace(item, trouble=f"{name}: {exc}")
        leftovers = {**item.leftovers, name: tuple(phrases)}
        return replace(item, leftovers=leftovers, running=item.running + len(running))

    def _judged(self, item: CleanupItem, run_view: RunView) -> CleanupItem:
        if item.trouble:
            return item
        if self.named:
            return replace(item, goes_whole=True)
        if item.running:
            jobs = f"{plural(item.running, 'job')} of it may still run"
            return replace(item, left=f"{jobs}; resume it, cancel it, or {self._removal(item)}")
        if item.idle_s < self.older_than_s:
            return item
        if item.delivered or run_view.ended is not None:
            return replace(item, goes_whole=True)
        if any(item.leftovers.values()):
            return item
        return replace(item, left=f"it never ended; resume it, cancel it, or {self._removal(item)}")

    def _orphans(self) -> Iterator[CleanupItem]:
        """Runs of which only a backend knows."""
        for name in self.backend_names():
            try:
                ids = self._known_to(name)
            except OrchestratorError as exc:
                yield CleanupItem("", state=name, trouble=f"{name}: {exc}")
                continue
            for run_id in filter(self._is_meant, ids):
                yield self._asked(CleanupItem(run_id), self._place(run_id), name, JobsView(), None)

    def backend_names(self) -> list[str]:
        """All that some run here was carried out on, and the one chosen."""
        names = {self.backends.chosen}
        for run in self.run_dirs():
            with suppress(OSError, OrchestratorError):
                names.update(used_backends(*read_plain_run(run)))
        return sorted(names)

    def _known_to(self, name: str) -> list[str]:
        """Ids of runs without a directory. Raises BackendError, UsageError."""
        with self.backends.open(self._place("unknown"), name) as backend:
            ids = backend.call("known_runs", lambda b: b.known_runs(self.backends.work_dir))
        here = {run.run_id for run in self.run_dirs()}  # after asking: a run is first a directory
        return sorted(i for i in set(ids) - here if path_defect(i) is None and "/" not in i)

    def _removal(self, item: CleanupItem) -> str:
        return f"remove it with `{self._place(item.run).command('clean', '--yes')}`"

    def _place(self, run_id: str) -> RunDir:
        return RunDir(self.backends.work_dir / "runs" / run_id)


def is_plain(path: Path) -> bool:
    """Whether it is a regular file: a link leads elsewhere, opening a FIFO waits."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _is_bare(root: Path) -> bool:
    """A run that was killed as it was begun: nothing has been put there."""
    return set(os.listdir(root)) <= {"tasks"} and not any(root.glob("tasks/*"))
