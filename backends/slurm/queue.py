"""A run's jobs in Slurm: the queue's list, the accounting database, the cluster's configuration.

A command that fails is a BackendError with Slurm's own words, except where the answer is optional.
"""

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cached_property

from backends.slurm import commands
from backends.slurm.arrays import JobArrays
from backends.slurm.commands import ClusterConfig
from backends.slurm.host import ClusterHost, CommandResult
from backends.slurm.states import JobRecord
from core.errors import BackendError
from core.job import JobHandle, JobKey

log = logging.getLogger(__name__)


class SlurmQueue:
    """`name` is that of the run's jobs. `records` holds the jobs of each key as of the last
    refresh, the one that counts first."""

    def __init__(self, host: ClusterHost, arrays: JobArrays, name: str) -> None:
        self._host = host
        self._arrays = arrays
        self._name = name
        self.records: dict[JobKey, list[JobRecord]] = {}

    def refresh(self, keys: Sequence[JobKey]) -> None:
        """List the run's jobs once, and see what those of `keys` have left on disk."""
        result = self._host.poll(commands.build_squeue(self._name), keys)
        self.records = self._by_key(commands.parse_squeue(checked("squeue", result)))
        if any(key not in self.records and not self._host.trace(key).has_result for key in keys):
            # a site's plugin may have changed the name, too
            self.records = self._by_key(self.list_all()) | self.records

    def _by_key(self, records: Iterable[JobRecord]) -> dict[JobKey, list[JobRecord]]:
        found: dict[JobKey, list[JobRecord]] = {}
        for record in sorted(self._ours(records), key=lambda r: r.precedence, reverse=True):
            if (key := self._arrays.key_of(record)) is not None:
                found.setdefault(key, []).append(record)
        return found

    def _ours(self, records: Iterable[JobRecord]) -> Iterator[JobRecord]:
        """The run's. An id alone proves nothing: a controller that lost its state reuses it."""
        run_dir = self._host.run_dir
        for r in records:
            if r.name == self._name or r.run_dir == run_dir or self._arrays.named_by(r):
                yield r

    def list_all(self) -> list[JobRecord]:
        """All jobs of this user."""
        result = self._host.run(commands.build_squeue())
        return list(commands.parse_squeue(checked("squeue", result)))

    def listed_ids(self, native_ids: Collection[str]) -> set[str]:
        """Those of the ids that are jobs of the run and listed now."""
        return {record.native_id for record in self._ours(self.list_all())} & set(native_ids)

    def record_of(self, key: JobKey) -> JobRecord | None:
        """The job that counts for a key; None where every job that is listed lost the claim."""
        records = self.records.get(key)
        return records[0] if records and not records[0].lost_claim else None

    def query_accounting(self, handles: Sequence[JobHandle]) -> dict[JobKey, JobRecord]:
        """What sacct reports of jobs that squeue does not list. Whether it works is found out
        once; many clusters have no database."""
        keys = {
            native_id: h.key
            for h in handles
            for native_id in (h.native_id, *self._arrays.native_ids(h.key))
            if commands.is_native_id(native_id)
        }
        if not keys or not self._has_sacct:
            return {}
        try:
            output = checked("sacct", self._host.run(commands.build_sacct(sorted(keys))))
        except BackendError as exc:  # the result on disk is enough
            log.debug("%s", exc)
            self._has_sacct = False
            return {}
        found = commands.parse_sacct(output)
        ours = [r for r in found if r.native_id in keys and not r.lost_claim]
        return {keys[r.native_id]: r for r in sorted(ours, key=lambda r: r.precedence)}

    @cached_property
    def _has_sacct(self) -> bool:
        return self.config.has_accounting and not self._host.missing_commands(["sacct"])

    @cached_property
    def config(self) -> ClusterConfig:
        result = self._host.run(["scontrol", "show", "config"])
        return commands.parse_config(checked("scontrol", result))

    def cancel(self, native_ids: Sequence[str]) -> None:
        """Ask Slurm to end jobs; those that have ended already are no error."""
        if not native_ids:
            return
        result = self._host.run(["scancel", *native_ids])
        if result.exit_code != 0 and not commands.concerns_ended_jobs(result.stderr):
            raise BackendError(f"scancel failed: {result.error}.", "Try again later.")


def checked(name: str, result: CommandResult) -> str:
    """The output of a command. Raises BackendError when it failed."""
    if result.exit_code != 0:
        check_reachable(name, result)
        raise BackendError(f"{name} failed: {result.error}.", "Check the cluster: scontrol ping.")
    return result.stdout


def check_reachable(name: str, result: CommandResult) -> None:
    """Raises BackendError when the controller did not answer, as opposed to refusing."""
    if commands.is_unreachable(result.stderr):
        remedy = "Check the cluster: scontrol ping."
        raise BackendError(f"{name} could not reach the Slurm controller: {result.error}.", remedy)
