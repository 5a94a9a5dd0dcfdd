"""The rules between the parts of a plan, which its models cannot check."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from graphlib import CycleError, TopologicalSorter

from core.paths import EVERYTHING, fold, owned_path_defect, path_defect
from core.plan.model import MOST_ESTIMATE, Plan

MAX_CONTRACT_CHARS = 1_000_000  # every executor that uses a contract reads all of it
_MOST_EXECUTORS = 100_000
_MOST_TOKENS = 20_000_000
TASK_ID = re.compile(r"[a-z][a-z0-9-]{0,31}")
_ADDED_ID = re.compile(r"(accept|merge|repair|reproduce|verify)-\d+")
_SEVERAL = "several tasks"
_ROOT = EVERYTHING.rstrip("/")


def plan_defects(plan: Plan) -> list[str]:
    """Every broken rule, one sentence each; empty for a valid plan."""
    paths = [contract.path for contract in plan.contracts]
    return [*_head_defects(plan, paths), *_contract_defects(plan), *_use_defects(plan)]


def head_defects(head: Plan) -> list[str]:
    """The same for a plan whose contracts are written in part: those that its tasks use will be."""
    written = [contract.path for contract in head.contracts]
    to_come = [path for path in promised_contracts(head) if path not in written]
    return [*_head_defects(head, [*written, *to_come]), *_contract_defects(head)]


def promised_contracts(plan: Plan) -> list[str]:
    """The paths of all contracts that the tasks use, in the order in which they are named."""
    return list(dict.fromkeys(path for task in plan.tasks for path in task.uses))


def _head_defects(plan: Plan, contracts: Sequence[str]) -> Iterator[str]:
    yield from _task_defects(plan)
    yield from _dependency_defects(plan)
    yield from _path_defects(contracts)
    yield from _shared_defects(plan, contracts)
    for path in plan.reads:
        if defect := owned_path_defect(path):
            yield f"{path!r} in reads {defect}"
    yield from _ownership_defects(plan, contracts)
    yield from _criteria_defects(plan)


def _task_defects(plan: Plan) -> Iterator[str]:
    if not plan.tasks:
        yield "the plan has no tasks"
    if sum(task.estimate for task in plan.tasks) > _MOST_TOKENS:
        yield f"the estimates are together more than {_MOST_TOKENS:,}"
    for name in _repeated([t.id for t in plan.tasks]):
        yield f"task id {name!r} is used more than once"
    for task in plan.tasks:
        if not TASK_ID.fullmatch(task.id):
            yield f"task id {task.id!r} does not match {TASK_ID.pattern}"
        if _ADDED_ID.fullmatch(task.id):
            yield f"task id {task.id!r} is one of those that a run gives to tasks of its own"
        if not task.owns:
            yield f"task {task.id!r} owns no path"
        if not task.instructions.strip():
            yield f"task {task.id!r} has no instructions"
        if not 0 <= task.estimate <= MOST_ESTIMATE:
            yield f"task {task.id!r} has an estimate that is not between 0 and {MOST_ESTIMATE:,}"
        for entry in task.owns:
            if defect := owned_path_defect(entry):
                yield f"task {task.id!r} owns {entry!r}, which {defect}"
    if not 1 <= plan.analysis.recommended_executors <= _MOST_EXECUTORS:
        yield f"analysis.recommended_executors is not between 1 and {_MOST_EXECUTORS:,}"
    if not 1 <= plan.analysis.complexity <= 10:
        yield "analysis.complexity is not between 1 and 10"


def _dependency_defects(plan: Plan) -> Iterator[str]:
    known = {t.id for t in plan.tasks}
    for task in plan.tasks:
        for name in task.depends_on:
            if name not in known:
                yield f"task {task.id!r} depends on {name!r}, which is not in the plan"
        for name in _repeated(task.depends_on):
            yield f"task {task.id!r} names the dependency {name!r} more than once"
        for path in _repeated(task.uses):
            yield f"task {task.id!r} names the contract {path!r} more than once"
    try:
        TopologicalSorter({t.id: t.depends_on for t in plan.tasks}).prepare()
    except CycleError as exc:
        # graphlib lists a cycle against the arrows: each entry depends on the one before it
        yield "dependencies form a cycle: " + " -> ".join(reversed(exc.args[1]))


def _path_defects(contracts: Sequence[str]) -> Iterator[str]:
    for path in contracts:
        if defect := path_defect(path):
            yield f"contract {path!r} {defect}"
    for path in _repeated([fold(path) for path in contracts]):
        yield f"contract {path!r} is listed more than once (case is ignored)"


def _shared_defects(plan: Plan, contracts: Sequence[str]) -> Iterator[str]:
    folded, owned = set(map(fold, contracts)), {e for task in plan.tasks for e in task.owns}
    for path in plan.shared:
        if defect := owned_path_defect(path):
            yield f"the shared file {path!r} {defect}"
        elif path.endswith("/"):
            yield f"{path!r} is shared, which only a file can be"
        elif fold(path) in folded:
            yield f"{path!r} is shared and a contract, which no task may change"
        elif path not in owned:
            yield f"{path!r} is shared, but no task owns it by its exact path"
    for path in _repeated([fold(path) for path in plan.shared]):
        yield f"{path!r} is shared more than once (case is ignored)"


def _contract_defects(plan: Plan) -> Iterator[str]:
    for contract in plan.contracts:
        if "\0" in contract.content or len(contract.content) > MAX_CONTRACT_CHARS:
            limit = f"{MAX_CONTRACT_CHARS:,} characters"
            yield f"contract {contract.path!r} is no text of at most {limit}"


def _use_defects(plan: Plan) -> Iterator[str]:
    written = {contract.path for contract in plan.contracts}
    for task in plan.tasks:
        for path in task.uses:
            if path not in written:
                yield f"task {task.id!r} uses {path!r}, which is no contract of the plan"


def _ownership_defects(plan: Plan, contracts: Sequence[str]) -> Iterator[str]:
    """Overlaps, found by walking up from each path: linear in the number of paths."""
    shared = {path: fold(path) for path in plan.shared}
    owner = dict.fromkeys(shared.values(), _SEVERAL)
    owner |= {fold(path): "a contract" for path in contracts}
    files = set(owner)
    for task in plan.tasks:
        for entry in task.owns:
            name = fold(entry.rstrip("/"))
            if shared.get(entry) == name and owner[name] == _SEVERAL:
                continue
            if not entry.endswith("/"):
                files.add(name)
            if (other := owner.setdefault(name, f"task {task.id!r}")) != f"task {task.id!r}":
                yield f"{entry!r} belongs to both {other} and task {task.id!r}"
        for entry in _repeated([fold(e.rstrip("/")) for e in task.owns]):
            yield f"task {task.id!r} owns {_shown(entry)} more than once (case is ignored)"
    for name, holder in owner.items():
        for parent in _parents(name):
            if parent in owner and (owner[parent] != holder or parent in files):
                yield f"{name!r} of {holder} lies below {_shown(parent)} of {owner[parent]}"
                break


def _criteria_defects(plan: Plan) -> Iterator[str]:
    known = {t.id for t in plan.tasks}
    for criterion in plan.acceptance_criteria:
        if not criterion.served_by:
            yield f"criterion {criterion.text!r} is served by no task"
        for name in criterion.served_by:
            if name not in known:
                yield f"criterion {criterion.text!r} names {name!r}, which is not in the plan"


def _shown(folded: str) -> str:
    return repr(EVERYTHING if folded == _ROOT else folded)


def _parents(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path
    if path != _ROOT:
        yield _ROOT


def _repeated(names: list[str] | tuple[str, ...]) -> list[str]:
    return sorted(name for name, times in Counter(names).items() if times > 1)
