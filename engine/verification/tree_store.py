"""The AttemptStore of tasks whose inputs are a whole merged tree."""

from collections.abc import Mapping, Sequence

from core.bundle import UNLIMITED, Allowance, ContractFile, Limits, ModelSettings
from core.check_request import CheckJob
from core.errors import InputsDamaged
from core.job import Job, JobKey, Manifest
from core.paths import is_owned
from core.plan import Plan, Task
from engine.delivery.merge import MergedFile
from engine.delivery.merged_file import read_as_judged
from engine.repository.map.file_index import FileIndex
from engine.run.attempt_store import DiskStore, GivenBase, write_input
from engine.run.rundir import RunDir


class TreeStore(DiskStore):
    """For one `task`. `files` are the tree, each proven against its digest when it is copied. Of
    the contracts of `plan`, the run's, those that the task owns are files like any other to it."""

    is_whole = True

    def __init__(
        self,
        run: RunDir,
        plan: Plan,
        prompt: str,
        model: ModelSettings,
        limits: Limits,
        files: Sequence[MergedFile],
        task: Task,
        checks: CheckJob | None = None,
        base: GivenBase | None = None,
    ) -> None:
        super().__init__(run, plan, prompt, model, limits, checks, base)
        self._plan, self._files, self._task = plan, files, task
        given = base.manifest.entries if base else ()
        self._given = {(entry.path, entry.sha256, entry.mode) for entry in given}
        self._unsent = self._of_no_use(base.unsent) if base else frozenset()

    def prepare(
        self,
        task: Task,
        key: JobKey,
        previous_failure: str,
        succeeded: Mapping[str, int],
        allowance: Allowance = UNLIMITED,
    ) -> Job:
        return super().prepare(self._task, key, previous_failure, succeeded, allowance)

    def contracts_of(self, task: Task) -> tuple[ContractFile, ...]:
        digests = {file.path: file.entry.sha256 for file in self._files}
        return tuple(
            ContractFile(c.path, digests[c.path], c.purpose, is_used=c.path in task.uses)
            for c in self._plan.contracts
            if c.path in digests and not is_owned(task.owns, c.path)
        )

    def write_inputs(
        self,
        task: Task,
        contracts: Sequence[ContractFile],
        succeeded: Mapping[str, int],
        inputs: str,
    ) -> None:
        for file in self._files:
            content = file.path, file.entry.sha256, file.entry.mode
            if content in self._given or content in self._unsent:
                continue  # it comes with the base, or not at all
            if (data := read_as_judged(file)) is None:
                raise InputsDamaged(
                    f"{file.path} was changed before {task.id} could read it.",
                    "Leave the delivered files alone until the run has ended, and resume it.",
                )
            write_input(inputs, file.path, data, file.entry.mode)

    def _of_no_use(self, unsent: Manifest) -> frozenset[tuple[str, str, int]]:
        """Without what the task owns or names."""
        task, index = self._task, FileIndex(unsent.paths)
        named = {*task.owns, *index.named_in(task.instructions)}
        named.update(index.named_in("\n".join(task.checks)))
        left = (entry for entry in unsent.entries if entry.path not in named)
        return frozenset((entry.path, entry.sha256, entry.mode) for entry in left)

    def deleted_before(self, task: Task, succeeded: Mapping[str, int]) -> tuple[str, ...]:
        there = {file.path for file in self._files}
        return tuple(path for path, _, _ in sorted(self._given) if path not in there)
