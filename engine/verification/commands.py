"""The commands that show whether a project works: those of its plan, else its own tests."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

from core.plan import Plan
from engine.delivery.merge import MergePlan

_TEST = re.compile(r"(tests/(.+/)?)?test_[^/]*\.py")
_NODE_TEST = re.compile(r"(.+/)?(test/[^/]+|[^/]+\.test)\.[cm]?js")
_PYTEST = re.compile(rb"^\s*(import|from) pytest\b", re.MULTILINE)


def find_commands(plan: Plan, merged: MergePlan) -> dict[str, tuple[str, ...]]:
    """Each command once, with the tasks that it is blamed on."""
    planned = planned_commands(plan)
    return planned or dict.fromkeys(_own_tests(merged), ())


def planned_commands(plan: Plan) -> dict[str, tuple[str, ...]]:
    """The checks of the tasks and the commands of the criteria."""
    found: dict[str, list[str]] = {}
    for task in plan.tasks:
        for command in filter(str.strip, task.checks):
            found.setdefault(command, []).append(task.id)
    for criterion in plan.acceptance_criteria:
        if criterion.command.strip():
            found.setdefault(criterion.command, list(criterion.served_by))
    return {command: tuple(dict.fromkeys(tasks)) for command, tasks in found.items()}


def _own_tests(merged: MergePlan) -> list[str]:
    """As far as they need no installation: a plan for one executor alone names no command."""
    files: Mapping[str, Path] = {file.path: file.source for file in merged.files}
    found = []
    tests = [path for path in files if _TEST.fullmatch(path)]
    if tests and not any(_PYTEST.search(files[path].read_bytes()) for path in tests):
        top = " -t ." if "tests/__init__.py" in files else ""
        if any("/" not in path for path in tests):
            found.append("python3 -m unittest discover")
        if any("/" in path for path in tests):
            found.append(f"python3 -m unittest discover -s tests{top}")
    if "package.json" not in files:
        found += ["node --test"] * any(_NODE_TEST.fullmatch(path) for path in files)
    elif _is_testable(files["package.json"]):
        found.append("npm test")
    return found


def _is_testable(manifest: Path) -> bool:
    try:
        found = json.loads(manifest.read_bytes())
        needs = any(found.get(name) for name in ("dependencies", "devDependencies"))
        return "test" in found.get("scripts", {}) and not needs
    except (ValueError, AttributeError, TypeError):
        return False
