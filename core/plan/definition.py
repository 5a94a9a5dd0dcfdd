"""What a task's work stands on: as long as that is the same, its result stays good."""

import hashlib
import json

from core.plan.model import Contract, Plan


class Definitions:
    """Digests of a plan's tasks. One is settled once all contracts are known that the task uses,
    and those that the tasks before it use: they are asked for when a task begins."""

    def __init__(self, plan: Plan) -> None:
        self._tasks = {task.id: task for task in plan.tasks}
        self._contracts: dict[str, str] = {}
        common = (plan.assumptions, plan.setup.model_dump(), plan.conventions)
        self._common = _digest(common)
        self._found: dict[str, str] = {}
        for contract in plan.contracts:
            self.add(contract)

    def add(self, contract: Contract) -> None:
        self._contracts[contract.path] = _digest(contract.content)

    def of(self, task_id: str) -> str:
        """In hex. Estimates, titles and the order of tasks do not count."""
        stack = [task_id]
        while stack:
            task = self._tasks[stack[-1]]
            if missing := [name for name in task.depends_on if name not in self._found]:
                stack += missing
                continue
            stack.pop()
            own = task.instructions, sorted(task.owns), sorted(task.checks)
            contracts = [(path, self._contracts.get(path, "")) for path in sorted(task.uses)]
            before = [(name, self._found[name]) for name in sorted(task.depends_on)]
            self._found[task.id] = _digest((task.id, own, contracts, before, self._common))
        return self._found[task_id]


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]
