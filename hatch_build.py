"""Build hook: puts the program into one private folder of the wheel.

Force-include alone would take ignored files too, and copy everything into an editable install,
where the copies would become stale; so the files are listed here, one by one.
"""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = "parallel_task_orchestrator/_app"
ROOMS = ("backends", "claude", "core", "docker", "engine")
MODULES = (
    "orchestrator",
    "config",
    "planner_agent",
    "executor_agent",
    "docker_planner",
    "docker_executor",
    "batch_executor",
)


class PrivateFolder(BuildHookInterface):  # type: ignore[type-arg]  # hatchling names no bound for it
    """Runs for the wheel target; an editable install uses the checkout itself."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        root = Path(self.root)
        files = [root / f"{name}.py" for name in MODULES]
        files += [path for room in ROOMS for path in sorted((root / room).rglob("*"))]
        for path in files:
            relative = path.relative_to(root).as_posix()
            if path.is_file() and not self.build_config.path_is_excluded(relative):
                build_data["force_include"][str(path)] = f"{FOLDER}/{relative}"
