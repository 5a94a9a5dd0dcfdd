"""The merge of a run: what succeeded goes into the target, and the journal has it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from core.events import CONTRACTS, Delivered, MergeIntended
from core.job import Manifest, TaskResult
from core.plan import Plan
from engine.delivery.change import (
    MERGE_TASK,
    Change,
    Part,
    make_change,
)
from engine.delivery.commits import deliver_change, steps_of
from engine.delivery.lock_files import with_lock_files
from engine.delivery.merge import MergePlan, MergeSource, merge_over, merged_manifest, plan_merge
from engine.delivery.target import apply_merge, expected_manifest, recover_target, refuse_target
from engine.delivery.target_check import absolute, manifest_of, which_delivered
from engine.repository.base import BaseRecord, read_base
from engine.repository.branch import CommitStep
from engine.repository.history import without_history, write_history
from engine.run.attempt_store import verify_results, write_contracts
from engine.run.plan_event import repair_name
from engine.run.rundir import RunDir, RunFacts, known_deliveries, write_deliveries
from engine.run.session import Session, storing

_MARKER = re.compile(rb"^(<<<<<<<|>>>>>>>|\|\|\|\|\|\|\|)", re.MULTILINE)


@storing()
def deliver(session: Session, plan: Plan, results: Mapping[str, TaskResult]) -> MergePlan:
    """Merge the proven results of tasks into the run's target: all of it or nothing. Returns what
    was merged, as it lies there now, empty without results. Raises MergeError."""
    if not results:
        return MergePlan()
    if (base := read_base(session.run)) is not None:
        merges, repairs = _merge_result(session), _kept_repairs(session)
        change = _make_change(session, base, plan, results, merges, repairs)
        delivered = Manifest(tuple(file.entry for file in change.files))
        if repairs and delivered not in known_deliveries(session.run):
            change = _make_change(session, base, plan, results, merges, {})
        return deliver_change(session, base, plan, change, {**results, **merges, **repairs})
    merge = plan_merge(merge_sources(session.run, plan, results))
    tree = _as_repaired(session, merge)
    return deliver_tree(session, tree, _history(session, plan, results, tree))


@storing()
def change_of(session: Session, plan: Plan, results: Mapping[str, TaskResult]) -> Change | None:
    """What the tasks change in existing code, as it is merged without anybody's help; None for a
    new project."""
    if (base := read_base(session.run)) is None or not results:
        return None
    return _merged(session, base, plan, results, {})


@storing()
def settled_change_of(
    session: Session, plan: Plan, results: Mapping[str, TaskResult]
) -> Change | None:
    """The same with what MERGE_TASK has made of conflicts."""
    if (base := read_base(session.run)) is None or not results:
        return None
    return _merged(session, base, plan, results, _merge_result(session))


@storing()
def deliver_repaired(session: Session, plan: Plan, tree: MergePlan, task: str) -> MergePlan:
    """The same for a tree that the repair `task` has changed."""
    base, succeeded = read_base(session.run), session.run_view.jobs.succeeded
    tasks = {name: succeeded[name] for t in plan.tasks if (name := t.id) in succeeded}
    results = verify_results(session.run, tasks).results
    if base is None:
        return deliver_tree(session, tree, _history(session, plan, results, tree, task))
    merges, repairs = _merge_result(session), _kept_repairs(session, task)
    change = _make_change(session, base, plan, results, merges, repairs)
    return deliver_change(session, base, plan, change, {**results, **merges, **repairs})


@storing()
def deliver_tree(
    session: Session, merge: MergePlan, history: Sequence[CommitStep] = ()
) -> MergePlan:
    """The same for what is merged already, with these commits; its files may be those of the
    target."""
    _replace_target(session, merge, history)
    session.emit(Delivered(session.facts.target, len(merge.files), merge.conflicts, merge.refused))
    target = Path(session.facts.target)
    return replace(merge, files=tuple(replace(f, source=target / f.path) for f in merge.files))


def _as_repaired(session: Session, merge: MergePlan) -> MergePlan:
    """With the repairs that were kept, if this is what the run delivered last: the best state stays
    delivered, whatever this session does."""
    tree = merge
    for name, result in _kept_repairs(session).items():
        tree = merge_over(tree, _source(session.run, name, result))
    known = known_deliveries(session.run)
    return tree if merged_manifest(tree) in map(without_history, known) else merge


def _history(
    session: Session, plan: Plan, results: Mapping[str, TaskResult], merge: MergePlan, *more: str
) -> list[CommitStep]:
    """The commits that lead to `merge`, one of each owner; none unless they are wanted."""
    if not session.facts.settings.get("git"):
        return []
    kept = _kept_repairs(session, *more)
    change = _by_owner(plan, plan_merge(merge_sources(session.run, plan, results)))
    for name, result in kept.items():
        change = change.over(_source(session.run, name, result))
    if merged_manifest(change.tree) != merged_manifest(merge):
        change = _by_owner(plan, merge)
    return [*steps_of(session, plan, change.parts, {**results, **kept})]


def _by_owner(plan: Plan, tree: MergePlan) -> Change:
    """The contracts first, then the tasks as the plan has them."""
    owners = dict.fromkeys((CONTRACTS, *(t.id for t in plan.tasks), *(f.owner for f in tree.files)))
    parts = (Part(o, tuple(f for f in tree.files if f.owner == o), ()) for o in owners)
    return Change(tree, tuple(parts))


def _kept_repairs(session: Session, *more: str) -> dict[str, TaskResult]:
    """The results of the repairs that were kept, in order, and of `more`; none if one is damaged,
    since the others build upon it."""
    view = session.run_view
    names = [repair_name(number) for number in sorted(set(view.proof.kept_rounds))]
    names += [name for name in more if name not in names]
    found = verify_results(session.run, {n: view.jobs.succeeded.get(n, 0) for n in names}).results
    return {name: found[name] for name in names} if found.keys() >= set(names) else {}


def _make_change(
    session: Session,
    base: BaseRecord,
    plan: Plan,
    results: Mapping[str, TaskResult],
    merges: Mapping[str, TaskResult],
    repairs: Mapping[str, TaskResult],
) -> Change:
    """What is delivered: lock files made anew, and `repairs`, are laid over what was merged."""
    change = with_lock_files(session.run, _merged(session, base, plan, results, merges))
    for name, result in repairs.items():
        change = change.over(_source(session.run, name, result))
    return change


def _merged(
    session: Session,
    base: BaseRecord,
    plan: Plan,
    results: Mapping[str, TaskResult],
    merges: Mapping[str, TaskResult],
) -> Change:
    """What the tasks change; `merges`, of MERGE_TASK, count where there is something to merge."""
    run = session.run
    change = make_change(run, base, merge_sources(run, plan, results), plan.shared)
    for name, result in merges.items() if change.marked else ():
        change = change.settled(_without_markers(_source(run, name, result)))
    return change


def _merge_result(session: Session) -> dict[str, TaskResult]:
    """That of MERGE_TASK, if it has one."""
    number = session.run_view.jobs.succeeded.get(MERGE_TASK)
    return verify_results(session.run, {MERGE_TASK: number}).results if number else {}


def _without_markers(source: MergeSource) -> MergeSource:
    entries = source.manifest.entries
    left = (e for e in entries if not _MARKER.search((source.root / e.path).read_bytes()))
    return replace(source, manifest=Manifest(tuple(left)), deleted=())


def _source(run: RunDir, owner: str, result: TaskResult) -> MergeSource:
    return MergeSource(owner, run.attempt(result.key).files, result.manifest, result.deleted)


def merge_sources(run: RunDir, plan: Plan, results: Mapping[str, TaskResult]) -> list[MergeSource]:
    """The contracts first, as the plan has them, then the tasks in the plan's order."""
    contracts = MergeSource(CONTRACTS, run.contracts, write_contracts(run, plan.contracts))
    tasks = [_source(run, t.id, results[t.id]) for t in plan.tasks if t.id in results]
    return [contracts, *tasks]


def _replace_target(session: Session, merge: MergePlan, steps: Sequence[CommitStep]) -> None:
    run, target = session.run, absolute(Path(session.facts.target))
    recover_target(target, run.run_id)
    before = last_delivery(run, session.facts)
    history = write_history(run, steps) if steps and merge.files else None
    expected = expected_manifest(merge, history)
    if manifest_of(target) != expected:
        refuse_target(target, run.run_id, before)
    # What was there and what will be: after a crash in between, either may be found
    candidates = tuple(m for m in (before, expected) if m is not None)
    write_deliveries(run, candidates)
    session.emit(MergeIntended(str(target), len(merge.files)))
    session.journal.commit()
    apply_merge(merge, target, run.run_id, before, history=history)


def last_delivery(run: RunDir, facts: RunFacts) -> Manifest | None:
    """What the target should hold if only this run has written to it; None before a delivery."""
    known = known_deliveries(run)
    return which_delivered(Path(facts.target), known) or (known[-1] if known else None)
