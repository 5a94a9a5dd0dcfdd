"""The merge of a run: what succeeded goes into the target, and the journal has it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from core.events import CONTRACTS, Delivered, MergeIntended
from core.job import Manifest, TaskResult
from core.plan import Plan
from engine.delivery.merge import MergePlan, MergeSource, merge_over, merged_manifest, plan_merge
from engine.delivery.target import apply_merge, recover_target, refuse_target
from engine.delivery.target_check import absolute, manifest_of, which_delivered
from engine.run.attempt_store import verify_results, write_contracts
from engine.run.plan_event import repair_name
from engine.run.rundir import RunDir, RunFacts, known_deliveries, write_deliveries
from engine.run.session import Session, storing


@storing()
def deliver(session: Session, plan: Plan, results: Mapping[str, TaskResult]) -> MergePlan:
    """Merge the proven results of tasks into the run's target: all of it or nothing. Returns what
    was merged, as it lies there now, empty without results. Raises MergeError."""
    if not results:
        return MergePlan()
    merge = plan_merge(merge_sources(session.run, plan, results))
    return deliver_tree(session, _as_repaired(session, merge))


@storing()
def deliver_tree(session: Session, merge: MergePlan) -> MergePlan:
    """The same for what is merged already, such as a repaired tree; its files may be those of the
    target."""
    _replace_target(session, merge)
    session.emit(Delivered(session.facts.target, len(merge.files), merge.conflicts, merge.refused))
    target = Path(session.facts.target)
    return replace(merge, files=tuple(replace(f, source=target / f.path) for f in merge.files))


def _as_repaired(session: Session, merge: MergePlan) -> MergePlan:
    """With the repairs that were kept, if this is what the run delivered last: the best state stays
    delivered, whatever this session does."""
    run, view, tree = session.run, session.run_view, merge
    names = [repair_name(number) for number in sorted(set(view.kept_rounds))]
    found = verify_results(run, {n: view.jobs.succeeded.get(n, 0) for n in names}).results
    for name in names:
        if (result := found.get(name)) is None:  # it is damaged
            return merge
        source = MergeSource(name, run.attempt(result.key).files, result.manifest)
        tree = merge_over(tree, source)
    known = known_deliveries(run)
    return tree if merged_manifest(tree) in known else merge


def merge_sources(run: RunDir, plan: Plan, results: Mapping[str, TaskResult]) -> list[MergeSource]:
    """The contracts first, as the plan has them, then the tasks in the plan's order."""
    contracts = MergeSource(CONTRACTS, run.contracts, write_contracts(run, plan.contracts))
    tasks = [
        MergeSource(t.id, run.attempt(results[t.id].key).files, results[t.id].manifest)
        for t in plan.tasks
        if t.id in results
    ]
    return [contracts, *tasks]


def _replace_target(session: Session, merge: MergePlan) -> None:
    run, target = session.run, absolute(Path(session.facts.target))
    recover_target(target, run.run_id)
    before = last_delivery(run, session.facts)
    expected = merged_manifest(merge)
    if manifest_of(target) != expected:
        refuse_target(target, run.run_id, before)
    # What was there and what will be: after a crash in between, either may be found
    candidates = tuple(m for m in (before, expected) if m is not None)
    write_deliveries(run, candidates)
    session.emit(MergeIntended(str(target), len(expected.entries)))
    session.journal.commit()
    apply_merge(merge, target, run.run_id, before)


def last_delivery(run: RunDir, facts: RunFacts) -> Manifest | None:
    """What the target should hold if only this run has written to it; None before a delivery."""
    known = known_deliveries(run)
    return which_delivered(Path(facts.target), known) or (known[-1] if known else None)
