"""Attempts on this machine's disk: request bundles before a job, what it left after."""

import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

from core.bundle import (
    UNLIMITED,
    Allowance,
    AttemptDir,
    BaseRef,
    ContractFile,
    Limits,
    ModelSettings,
    Request,
    check_files,
    read_spent,
    read_unchecked_result,
    write_request,
)
from core.check_request import CheckJob
from core.errors import BundleError, InputsDamaged
from core.job import Job, JobKey, Manifest, ManifestEntry, Outcome, TaskResult, Usage
from core.plan import Contract, Plan, Task, contracts_below, render_brief
from core.workspace.confined import read_regular, remove_tree
from engine.run.rundir import RunDir


def write_contracts(run: RunDir, contracts: Iterable[Contract]) -> Manifest:
    """Lay down the plan's contracts as files, in place of what is there; gives what they are."""
    remove_tree(run.contracts)
    run.contracts.mkdir()
    entries: list[ManifestEntry] = []
    for contract in contracts:
        path, data = run.contracts / contract.path, contract.content.encode()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        entries.append(ManifestEntry(contract.path, len(data), digest, 0o644))
    return Manifest(tuple(sorted(entries, key=lambda entry: entry.path)))


@dataclass(frozen=True, slots=True)
class GivenBase:
    """The existing code that a run changes: the archive for its jobs, what is in it, and what is
    there besides."""

    ref: BaseRef
    manifest: Manifest
    unsent: Manifest = field(default_factory=Manifest)


class BaseSupply(Protocol):
    """Of existing code, whose files are those of `manifest`. Its methods raise OSError."""

    manifest: Manifest

    def given(self, plan: Plan) -> GivenBase:
        """What the tasks of a plan get."""

    def whole(self) -> GivenBase:
        """For jobs that need all of it: checks."""


@dataclass(frozen=True, slots=True)
class _Source:
    """What a task has left below `files`, and what it has `deleted`."""

    task: str
    files: str
    manifest: Manifest
    deleted: tuple[str, ...]


class DiskStore:
    """The AttemptStore of real runs: everything lies in the run directory."""

    is_whole: ClassVar[bool] = False
    """Whether inputs are the whole project."""

    def __init__(
        self,
        run: RunDir,
        plan: Plan,
        prompt: str,
        model: ModelSettings,
        limits: Limits,
        checks: CheckJob | None = None,
        base: GivenBase | None = None,
    ) -> None:
        self._run = run
        self._base = base
        self._existing = frozenset(base.manifest.paths if base else ())
        self._prompt = prompt
        self._model = model
        self._limits = limits
        self._checks = checks
        self.take_plan(plan)

    def take_plan(self, plan: Plan) -> None:
        self._brief = render_brief(plan)
        self._depends_on = {t.id: t.depends_on for t in plan.tasks}
        self._inherited: dict[str, tuple[_Source, ...]] = {}
        """What `_sources` has found; ancestors of a task that was prepared change no more."""
        self._contracts: dict[str, Contract] = {}
        self._digests: dict[str, str] = {}
        for contract in plan.contracts:
            self.add_contract(contract)
        self._common = frozenset.intersection(*(frozenset(t.uses) for t in plan.tasks))
        self._used = contracts_below(plan)

    def add_contract(self, contract: Contract) -> None:
        self._contracts[contract.path] = contract
        self._digests[contract.path] = hashlib.sha256(contract.content.encode()).hexdigest()

    @property
    def destination(self) -> Path:
        return self._run.tasks

    def prepare(
        self,
        task: Task,
        key: JobKey,
        previous_failure: str,
        succeeded: Mapping[str, int],
        allowance: Allowance = UNLIMITED,
    ) -> Job:
        attempt = self._run.attempt(key)
        contracts = self.contracts_of(task)
        deleted = self.deleted_before(task, succeeded)
        if is_new := _begin_request(attempt):
            self.write_inputs(task, contracts, succeeded, str(attempt.inputs))
        # one that never went out is written anew: options may have been given again since
        if is_new or not attempt.claim.exists():
            request = Request(
                key=key,
                prompt=self._prompt,
                brief=self._brief,
                task=task,
                contracts=contracts,
                model=self._model,
                limits=self._limits,
                previous_failure=previous_failure,
                allowance=allowance,
                checks=self._checks,
                is_whole=self.is_whole,
                base=self._base.ref if self._base else None,
                deleted=deleted,
            )
            write_request(attempt, request)
        return Job(key, attempt.root, self._limits.timeout_s, asks_model=self._checks is None)

    def write_inputs(
        self,
        task: Task,
        contracts: Sequence[ContractFile],
        succeeded: Mapping[str, int],
        inputs: str,
    ) -> None:
        """Lay the files that an attempt is given below `inputs`. Raises InputsDamaged."""
        for path in (file.path for file in contracts):
            write_input(inputs, path, self._contracts[path].content.encode(), 0o644)
        for source in self._sources(task.id, succeeded):
            _copy_result(source, inputs)
            for path in source.deleted:
                Path(inputs, path).unlink(missing_ok=True)

    def deleted_before(self, task: Task, succeeded: Mapping[str, int]) -> tuple[str, ...]:
        """The files of the base that its ancestors have removed. Raises InputsDamaged."""
        if self._base is None:
            return ()
        deleted: dict[str, None] = {}
        for source in self._sources(task.id, succeeded):
            deleted |= dict.fromkeys(source.deleted)
            for path in source.manifest.paths:
                deleted.pop(path, None)
        return tuple(deleted)

    def contracts_of(self, task: Task) -> tuple[ContractFile, ...]:
        """Those that the task uses, those that only the tasks before it use, since their files may
        build upon them, and those that replace existing files, which every task would see as they
        were."""
        used = self._used[task.id]
        return tuple(
            ContractFile(
                path=path,
                sha256=self._digests[path],
                purpose=self._contracts[path].purpose,
                is_used=path in task.uses,
                is_common=path in self._common,
            )
            for path in self._contracts
            if path in used or path in self._existing
        )

    def spent(self, key: JobKey) -> tuple[Usage, ...]:
        return tuple(read_spent(self._run.attempt(key)))

    def _sources(self, task: str, succeeded: Mapping[str, int]) -> tuple[_Source, ...]:
        """What the task's ancestors have left, in topological order. Raises InputsDamaged."""
        stack = [task]
        while stack:
            direct = self._depends_on[stack[-1]]
            if missing := [name for name in direct if name not in self._inherited]:
                stack += missing
            else:
                found = (path for name in direct for path in self._left_by(name, succeeded))
                self._inherited[stack.pop()] = tuple(dict.fromkeys(found))
        return self._inherited[task]

    def _left_by(self, task: str, succeeded: Mapping[str, int]) -> tuple[_Source, ...]:
        key = JobKey(self._run.run_id, task, succeeded[task])
        attempt = self._run.attempt(key)
        try:
            result = _read_finished(attempt, key)
        except BundleError as exc:
            raise _damaged(task, exc.message) from exc
        source = _Source(task, str(attempt.files), result.manifest, result.deleted)
        return (*self._inherited[task], source)


@dataclass(frozen=True, slots=True)
class Verified:
    """Results that are on disk and match their manifests, and tasks whose results are not."""

    results: dict[str, TaskResult]
    damaged: dict[str, str]


def verify_results(run: RunDir, succeeded: Mapping[str, int]) -> Verified:
    """Prove again what the journal says is done, since days may have passed."""
    results, damaged = {}, {}
    for task, number in succeeded.items():
        key = JobKey(run.run_id, task, number)
        try:
            result = _read_finished(run.attempt(key), key)
            check_files(run.attempt(key), result)
            results[task] = result
        except BundleError as exc:
            damaged[task] = str(exc)
    return Verified(results, damaged)


def _read_finished(attempt: AttemptDir, key: JobKey) -> TaskResult:
    """What a task left that succeeded, its files unchecked. Raises BundleError."""
    result = read_unchecked_result(attempt, key)
    if result.outcome is not Outcome.OK:
        raise BundleError(f"{attempt.result_json} tells of a task that did not succeed.")
    return result


def _begin_request(attempt: AttemptDir) -> bool:
    """Whether there is a request to write; what a crash left of one before is removed."""
    root, request = attempt.root, attempt.request
    for path in (root.parent, root):
        with suppress(FileExistsError):
            os.mkdir(path)
    try:
        os.mkdir(request)
    except FileExistsError:
        if attempt.task_json.exists():
            return False
        shutil.rmtree(request)
        os.mkdir(request)
    os.mkdir(attempt.inputs)
    return True


def _copy_result(source: _Source, target: str) -> None:
    """Copies, never links: a worker may change its inputs in place. Raises InputsDamaged where a
    file is not as the task left it."""
    made = {""}
    for entry in source.manifest.entries:
        data = _content(source, entry)
        folder = entry.path.rpartition("/")[0]
        if folder not in made:
            os.makedirs(f"{target}/{folder}", exist_ok=True)
            made.add(folder)
        _write_file(f"{target}/{entry.path}", data, entry.mode)


def _content(source: _Source, entry: ManifestEntry) -> bytes:
    path = f"{source.files}/{entry.path}"
    try:
        data = read_regular(Path(path), entry.size)
    except OSError as exc:
        raise _damaged(source.task, f"{path}: {exc.strerror}") from exc
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise _damaged(source.task, f"{path} does not match the manifest")
    return data


def _damaged(task: str, why: str) -> InputsDamaged:
    return InputsDamaged(
        f"The result of {task!r} was damaged after the task ended: {why.rstrip('.')}."
    )


def write_input(inputs: str, path: str, content: bytes, mode: int) -> None:
    """A file at `path` below `inputs`, with the directories above it."""
    if "/" in path:
        Path(inputs, path).parent.mkdir(parents=True, exist_ok=True)
    _write_file(f"{inputs}/{path}", content, mode)


def _write_file(path: str, content: bytes, mode: int) -> None:
    fd = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, mode)
    with open(fd, "wb") as stream:
        stream.write(content)
