"""Changes of existing code by a simulation: a marked line here and there, since nobody read it."""

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from claude.simulation.placeholders import write_placeholders
from core.plan import Analysis, Contract, Criterion, Plan, Task
from core.simulation_notice import EXISTING_TITLE, simulation_notice

NOTE = "SIMULATED.md"
_MOST_CHANGED = 3
_LISTED = re.compile(r"^(.+) \(\d+ bytes\)$", re.MULTILINE)
_COMMENTS = {
    **dict.fromkeys((".py", ".toml", ".yml", ".yaml", ".sh", ".rb", ".cfg"), "# {}\n"),
    **dict.fromkeys((".js", ".mjs", ".ts", ".tsx", ".go", ".rs", ".java", ".c", ".cpp"), "// {}\n"),
    **dict.fromkeys((".md", ".html"), "<!-- {} -->\n"),
    ".css": "/* {} */\n",
}


def read_listing(text: str) -> frozenset[str]:
    """The paths that list_files has told."""
    return frozenset(_LISTED.findall(text))


def plan_change(listed: Iterable[str], failing: str = "") -> Plan:
    """A task for each of a few files that take a comment, and a note on what this is. The command
    that is `failing` becomes that of a criterion, and goes on failing."""
    able = (path for path in sorted(listed) if PurePosixPath(path).suffix in _COMMENTS)
    chosen = sorted(able, key=lambda path: (path.count("/"), path))[:_MOST_CHANGED]
    note = NOTE if NOTE not in listed else f"docs/{NOTE}"
    tasks = tuple(
        Task(
            id=f"change-{number}",
            title=f"Mark {path}",
            instructions="Add a comment at the end.",
            owns=(path,),
            uses=(note,),
            estimate=50,
        )
        for number, path in enumerate(chosen or [f"docs/about-{NOTE}"], start=1)
    )
    content = f"{simulation_notice(EXISTING_TITLE)}\n"
    return Plan(
        title=EXISTING_TITLE,
        summary="A comment at the end of a few files, to try the way that a change takes.",
        analysis=Analysis(
            complexity=1,
            rationale="Nobody has read the code.",
            recommended_executors=len(tasks),
        ),
        tasks=tasks,
        acceptance_criteria=(
            Criterion(
                text="The files that were there still work.",
                served_by=(tasks[0].id,),
                command=failing,
            ),
        ),
        contracts=(Contract(path=note, purpose="What this is", content=content),),
    )


def write_changes(task_id: str, owns: Iterable[str], listed: frozenset[str]) -> Mapping[str, str]:
    """What is added to each owned file that is there, and the whole of each that is not."""
    new = [path for path in owns if path not in listed and path != "./"]
    added = {path: _comment(path, task_id) for path in owns if path in listed}
    return {**added, **write_placeholders(task_id, new or ([] if added else [NOTE]))}


def _comment(path: str, task_id: str) -> str:
    text = f"Simulated: a change by the task {task_id}."
    return _COMMENTS.get(PurePosixPath(path).suffix, "\n").format(text)
