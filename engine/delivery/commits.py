"""A change to existing code, delivered as a branch with a commit for each task, or into a directory
that is no repository."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from core.errors import MergeError
from core.events import CONTRACTS, Conflict, Delivered, MergeIntended
from core.job import Manifest, TaskResult
from core.plan import Plan
from engine.delivery.change import Change, Part
from engine.delivery.merge import MergedFile, MergePlan
from engine.repository.base import BaseRecord
from engine.repository.branch import (
    ChangedFile,
    CommitStep,
    commit_steps,
    commit_versions,
    how_to_compare,
    how_to_take,
)
from engine.repository.lfs import paths_for_lfs
from engine.repository.plain import replace_files
from engine.repository.run_branches import branch_name, version_name
from engine.run.rundir import write_deliveries
from engine.run.session import Session

_KINDS = {CONTRACTS: "Contracts", "merge": "Merge", "repair": "Repair"}


def deliver_change(
    session: Session,
    base: BaseRecord,
    plan: Plan,
    change: Change,
    results: Mapping[str, TaskResult],
) -> MergePlan:
    """All of it or nothing. Returns the whole tree. Raises MergeError."""
    run, tree = session.run, change.tree
    if not change.files and not change.deleted(base):
        raise MergeError(
            "The tasks have changed nothing.", "Say more exactly what is to be different."
        )
    write_deliveries(run, (Manifest(tuple(file.entry for file in change.files)),))
    session.emit(MergeIntended(base.directory, len(change.files)))
    session.journal.commit()
    delivered = Delivered(
        base.directory,
        len(change.files),
        tree.conflicts,
        tree.refused,
        len(change.deleted(base)),
        made_anew=tree.made_anew,
    )
    if base.is_plain:
        replace_files(run, base, [_stored(f) for f in change.files], change.deleted(base))
        delivered = replace(delivered, undo=True)
    else:
        commit = commit_steps(run, base, [*steps_of(session, plan, change.parts, results)])
        tree = _with_branches(session, base, plan, change, results)
        branch, take = branch_name(run.run_id), how_to_take(base, run.run_id)
        delivered = replace(
            delivered, conflicts=tree.conflicts, branch=branch, commit=commit, take=take
        )
        new = {file.path for file in change.files} - set(base.manifest.paths)
        delivered = replace(delivered, not_in_lfs=tuple(paths_for_lfs(base, commit, new)))
    session.emit(delivered)
    return tree


def _with_branches(
    session: Session,
    base: BaseRecord,
    plan: Plan,
    change: Change,
    results: Mapping[str, TaskResult],
) -> MergePlan:
    """The tree, whose conflicts name the branches of the tasks that have lost in them."""
    run, losers = session.run, {conflict.owners[1] for conflict in change.tree.conflicts}
    versions = {
        task: [*steps_of(session, plan, parts, results)]
        for task, parts in change.versions.items()
        if task in losers
    }
    there = commit_versions(run, base, versions)

    def named(conflict: Conflict) -> Conflict:
        if (task := conflict.owners[1]) not in there:
            return conflict
        look = how_to_compare(base, run.run_id, task, conflict.path)
        return replace(conflict, kept_as=version_name(run.run_id, task), look=look)

    return replace(change.tree, conflicts=tuple(map(named, change.tree.conflicts)))


def steps_of(
    session: Session, plan: Plan, parts: Iterable[Part], results: Mapping[str, TaskResult]
) -> Iterator[CommitStep]:
    """The commit of each owner; `results` are theirs."""
    titles = {task.id: task.title or task.id for task in plan.tasks}
    for part in parts:
        result = results.get(part.owner)
        subject = titles.get(part.owner) or (
            f"{_KINDS.get(part.owner.partition('-')[0], 'Repair')}: {plan.title}"
        )
        models = dict.fromkeys(usage.model for usage in result.usage) if result else ()
        cost = session.run_view.cost_of(part.owner)
        yield CommitStep(
            subject=subject,
            body="\n\n".join(filter(None, (result.message if result else "", part.note))),
            trailers=(
                ("Orchestrator-Run", session.run.run_id),
                ("Orchestrator-Task", part.owner),
                *(("Orchestrator-Model", model) for model in models),
                *([("Orchestrator-Cost", cost)] if cost else []),
            ),
            files=tuple(_stored(file) for file in part.files),
            deleted=part.deleted,
            when=session.facts.created,
        )


def _stored(file: MergedFile) -> ChangedFile:
    entry = file.entry
    return ChangedFile(file.path, file.source, entry.sha256, entry.size, entry.mode)
