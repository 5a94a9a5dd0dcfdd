"""What a repair is given: the failing commands, the suspects, and which files it may write."""

from collections.abc import Iterable, Sequence
from string import Template
from typing import NamedTuple

from claude.prompts import load_prompt
from core.events import CONTRACTS, CheckEnded, Suspect
from core.paths import is_owned
from core.plan import Plan, Task
from engine.delivery.merge import MergePlan
from engine.run.plan_event import repair_name
from engine.verification.conventions import is_manifest, steers_tests
from engine.verification.repairs.trace import find_suspects, lacks_dependency

_MOST_SHOWN = 8
"""Failing commands; one repair seldom has more causes."""
_BYTES_PER_TOKEN = 4
_LEAST_TOKENS, _MOST_TOKENS = 2_000, 16_000


class RepairTask(NamedTuple):
    """Its `task` is `repair-N` in round N, and owns exact paths in the first."""

    task: Task
    suspects: tuple[Suspect, ...]


def plan_repair(
    number: int, failed: Sequence[CheckEnded], plan: Plan, merged: MergePlan, rejected: str
) -> RepairTask:
    """The task of round `number`; `rejected` is why the last round came to nothing, if it did."""
    suspects = find_suspects(failed, plan, merged)
    owns = _owned(suspects, failed, plan, merged, is_unclear=number > 1)
    size = sum(file.entry.size for file in merged.files if file.path in owns)
    contracts = [contract.path for contract in plan.contracts if is_owned(owns, contract.path)]
    text = Template(load_prompt("repair")).substitute(
        failures="".join(map(_shown, failed[:_MOST_SHOWN])),
        suspects="".join(f"- {suspect.path} ({suspect.owner})\n" for suspect in suspects),
        rejected=f"The last repair was discarded: {rejected}\n" if rejected else "",
        contracts=", ".join(contracts) or "none",
    )
    task = Task(
        id=repair_name(number),
        title=f"Repair, round {number}",
        instructions=text,
        owns=owns,
        estimate=min(max(size // _BYTES_PER_TOKEN, _LEAST_TOKENS), _MOST_TOKENS),
        checks=tuple(check.command for check in failed if check.phase == "check"),
    )
    return RepairTask(task, suspects)


def _owned(
    suspects: Iterable[Suspect],
    failed: Sequence[CheckEnded],
    plan: Plan,
    merged: MergePlan,
    *,
    is_unclear: bool,
) -> tuple[str, ...]:
    """The suspects and the contracts that their tasks use, and all that these tasks own where the
    cause is unclear."""
    files = [file.path for file in merged.files]
    blamed = {suspect.owner for suspect in suspects}
    tasks = [task for task in plan.tasks if task.id in blamed]
    wanted = [suspect.path for suspect in suspects]
    wanted += [path for task in tasks for path in task.uses]
    if lacks_dependency(failed, merged):
        wanted += filter(is_manifest, files)
    if is_unclear:
        contracts = {suspect.path for suspect in suspects if suspect.owner == CONTRACTS}
        users = [task for task in plan.tasks if not contracts.isdisjoint(task.uses)]
        wanted += [entry for task in (*tasks, *users) for entry in task.owns]
    there = {path for path in files if not steers_tests(path)}
    return tuple(path for path in dict.fromkeys(wanted) if path.endswith("/") or path in there)


def _shown(check: CheckEnded) -> str:
    return (
        f"<failed command={check.command!r} phase={check.phase!r} end={check.reason!r}>\n"
        f"{check.output}\n</failed>\n"
    )
