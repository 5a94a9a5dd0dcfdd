"""What follows from a plan's dependencies and estimates. Pure."""

import heapq
from graphlib import TopologicalSorter

from core.plan.model import Plan


def topological_order(plan: Plan) -> list[str]:
    """Task ids, each after all it depends on; ties in the plan's order."""
    sorter = TopologicalSorter({t.id: t.depends_on for t in plan.tasks})
    sorter.prepare()
    position = {t.id: n for n, t in enumerate(plan.tasks)}
    order: list[str] = []
    ready: list[int] = []
    while sorter.is_active():
        for name in sorter.get_ready():
            heapq.heappush(ready, position[name])
        order.append(plan.tasks[heapq.heappop(ready)].id)
        sorter.done(order[-1])
    return order


def contracts_below(plan: Plan) -> dict[str, frozenset[str]]:
    """For each task the contracts that it uses, or one that it depends on: their files may build
    upon them."""
    by_id = {t.id: t for t in plan.tasks}
    found: dict[str, frozenset[str]] = {}
    for name in topological_order(plan):
        task = by_id[name]
        found[name] = frozenset(task.uses).union(*(found[d] for d in task.depends_on))
    return found


def remaining_path(plan: Plan) -> dict[str, int]:
    """For each task the estimated tokens of the longest path from its start to the plan's end."""
    by_id = {t.id: t for t in plan.tasks}
    longest = dict.fromkeys(by_id, 0)
    for name in reversed(topological_order(plan)):
        longest[name] += max(1, by_id[name].estimate)
        for dependency in by_id[name].depends_on:
            longest[dependency] = max(longest[dependency], longest[name])
    return longest


def longest_chain(plan: Plan) -> list[str]:
    """The tasks of the longest path, in order: no number of executors is faster than these."""
    by_id, weight = {t.id: t for t in plan.tasks}, remaining_path(plan)
    behind: dict[str, list[str]] = {name: [] for name in by_id}
    for task in plan.tasks:
        for name in task.depends_on:
            behind[name].append(task.id)
    chain: list[str] = []
    next_ones = [t.id for t in plan.tasks]
    while next_ones:
        chain.append(max(next_ones, key=weight.__getitem__))
        next_ones = behind[chain[-1]]
    return chain


def makespan_tokens(plan: Plan, executors: int) -> int:
    """Output tokens from the plan's start to its end, when each executor writes one task at a time
    and the longest remaining path goes first, as the scheduler has it."""
    longest = remaining_path(plan)
    rank = {t.id: (-longest[t.id], n) for n, t in enumerate(plan.tasks)}
    estimate = {t.id: max(1, t.estimate) for t in plan.tasks}
    waiting = {t.id: len(t.depends_on) for t in plan.tasks}
    dependents: dict[str, list[str]] = {t.id: [] for t in plan.tasks}
    for task in plan.tasks:
        for name in task.depends_on:
            dependents[name].append(task.id)
    ready = [(rank[name], name) for name, count in waiting.items() if not count]
    heapq.heapify(ready)
    running: list[tuple[int, str]] = []
    now = 0
    while ready or running:
        while ready and len(running) < max(1, executors):
            _, name = heapq.heappop(ready)
            heapq.heappush(running, (now + estimate[name], name))
        now = running[0][0]
        while running and running[0][0] == now:  # who ends together leaves room together
            for name in dependents[heapq.heappop(running)[1]]:
                waiting[name] -= 1
                if not waiting[name]:
                    heapq.heappush(ready, (rank[name], name))
    return now
