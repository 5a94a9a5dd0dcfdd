"""What Slurm's commands say of a run's jobs: its list, its accounting database, its configuration.

A command that fails is a BackendError in Slurm's own words; what is only asked for to know more is
left out where it does not work.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence

from backends.slurm.arrays import JobArrays
from backends.slurm.commands import (
    ClusterConfig,
    build_sacct,
    build_scancel,
    build_squeue,
    is_about_ended_jobs,
    is_native_id,
    is_out_of_reach,
    parse_config,
    parse_sacct,
    parse_squeue,
    words_of,
)
from backends.slurm.host import ClusterHost, CommandResult
from backends.slurm.states import Row
from core.errors import BackendError
from core.job import JobHandle, JobKey

log = logging.getLogger(__name__)


class SlurmQueue:
    """`name` is that of the run's jobs. `rows` is how the last look found them: by key, and of
    several jobs of one key the one that tells comes first."""

    def __init__(self, site: ClusterHost, batches: JobArrays, name: str) -> None:
        self._site = site
        self._batches = batches
        self._name = name
        self._known_config: ClusterConfig | None = None
        self._has_sacct: bool | None = None
        self.rows: dict[JobKey, list[Row]] = {}

    def look(self, keys: Sequence[JobKey]) -> None:
        """See all jobs of the run once, and what those of `keys` have left on disk."""
        done = self._site.look(build_squeue(self._name), keys)
        self.rows = self._by_key(parse_squeue(checked("squeue", done)))
        if any(key not in self.rows and not self._site.trace(key).has_result for key in keys):
            # a site's plugin may have changed the name, too
            self.rows = self._by_key(self.listed()) | self.rows

    def _by_key(self, rows: Iterable[Row]) -> dict[JobKey, list[Row]]:
        found: dict[JobKey, list[Row]] = {}
        for row in sorted(self._ours(rows), key=lambda row: row.order, reverse=True):
            if (key := self._batches.key_of(row)) is not None:
                found.setdefault(key, []).append(row)
        return found

    def _ours(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Those of the run. A number alone does not tell: a controller that has lost its state, or
        whose cluster was made anew, gives it once more."""
        here = self._site.run_dir
        for row in rows:
            if row.name == self._name or row.run_dir == here or self._batches.named_by(row):
                yield row

    def listed(self) -> list[Row]:
        """All jobs of this user."""
        return list(parse_squeue(checked("squeue", self._site.run(build_squeue()))))

    def those_of(self, native_ids: Collection[str]) -> set[str]:
        """Which of these are jobs of the run that are listed now."""
        return {row.native_id for row in self._ours(self.listed())} & set(native_ids)

    def telling(self, key: JobKey) -> Row | None:
        """The job that stands for a key; none, where all that is listed found its attempt taken."""
        rows = self.rows.get(key)
        return rows[0] if rows and not rows[0].found_taken else None

    def account(self, handles: Sequence[JobHandle]) -> dict[JobKey, Row]:
        """What sacct knows of jobs that squeue does not list. Whether it works here is found out
        once; many clusters have no database."""
        ids = {
            native_id: h.key
            for h in handles
            for native_id in (h.native_id, *self._batches.native_ids(h.key))
            if is_native_id(native_id)
        }
        if not ids or not self._can_account():
            return {}
        try:
            printed = checked("sacct", self._site.run(build_sacct(sorted(ids))))
        except BackendError as exc:  # the result on disk tells without it
            log.debug("%s", exc)
            self._has_sacct = False
            return {}
        rows = [r for r in parse_sacct(printed) if r.native_id in ids and not r.found_taken]
        return {ids[row.native_id]: row for row in sorted(rows, key=lambda row: row.order)}

    def _can_account(self) -> bool:
        if self._has_sacct is None:
            known = self.config().has_accounting
            self._has_sacct = known and not self._site.missing_commands(["sacct"])
        return self._has_sacct

    def config(self) -> ClusterConfig:
        """The cluster's, asked for once."""
        if self._known_config is None:
            done = self._site.run(["scontrol", "show", "config"])
            self._known_config = parse_config(checked("scontrol", done))
        return self._known_config

    def cancel(self, native_ids: Sequence[str]) -> None:
        """Ask for the end of jobs; of those that have ended there is nothing to ask."""
        if not native_ids:
            return
        done = self._site.run(build_scancel(native_ids))
        if done.exit_code != 0 and not is_about_ended_jobs(done.stderr):
            raise BackendError(f"scancel failed: {words_of(done.stderr)}.", "Try again later.")


def checked(name: str, done: CommandResult) -> str:
    """What a command printed. Raises BackendError when it failed."""
    if done.exit_code != 0:
        check_reach(name, done)
        raise BackendError(f"{name} failed: {words_of(done.stderr)}.", "See how Slurm is.")
    return done.stdout


def check_reach(name: str, done: CommandResult) -> None:
    """Raises BackendError when the cluster could not be asked, rather than said no."""
    if is_out_of_reach(done.stderr):
        raise BackendError(
            f"{name} does not reach the controller: {words_of(done.stderr)}.",
            "See how the cluster is: scontrol ping.",
        )
