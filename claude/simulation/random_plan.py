"""A plan of any number of small tasks, to try a queue or a cluster with: --sim-tasks."""

from collections.abc import Mapping

from claude.simulation.placeholders import write_placeholders
from claude.simulation.prompt_cache import CHARS_PER_TOKEN
from claude.simulation.seeded_random import draw
from core.plan import Analysis, Contract, Criterion, Plan, Task
from core.simulation_notice import random_plan_title, simulation_notice

_MIN_REACH = 40
_REACH = 1 / 8  # of the plan: how far back dependencies lie, so that more tasks are no more levels
_MAX_DEPENDENCIES = 3
_MAX_EXECUTORS = 50
_FEWEST_TOKENS, _MOST_TOKENS = 50, 1_500


def random_plan(seed: int, tasks: int) -> Plan:
    """A function of both numbers alone: a DAG of tasks that own one small file each."""
    title = random_plan_title(tasks)
    reach = max(_MIN_REACH, int(tasks * _REACH))
    made = tuple(_task(seed, number, reach) for number in range(tasks))
    notice = simulation_notice(title)
    criterion = Criterion(text="Every task writes its file.", served_by=(made[-1].id,))
    return Plan(
        title=title,
        summary="Small tasks that depend on each other at random, to try executors and queues.",
        analysis=Analysis(
            complexity=1,
            rationale="The tasks were drawn at random; they have no purpose but to be run.",
            parallel_pays=tasks > 1,
            recommended_executors=min(tasks, _MAX_EXECUTORS),
        ),
        tasks=made,
        acceptance_criteria=(criterion,),
        contracts=(Contract(path="README.md", purpose="What this is", content=f"{notice}\n"),),
    )


def write_random_file(seed: int, task_id: str) -> Mapping[str, str]:
    """The file of a task of the plan with that seed, as long as the task's estimate says."""
    path, chars = _path(task_id), _estimate(seed, task_id) * CHARS_PER_TOKEN
    first = write_placeholders(task_id, [path])[path]
    lines = [f"Line {number} of {task_id}.\n" for number in range(2, 2 + chars // 18)]
    return {path: "".join((first, *lines))[: chars - 1] + "\n"}


def _task(seed: int, number: int, reach: int) -> Task:
    task_id = _task_id(number)
    return Task(
        id=task_id,
        title=f"Task {number + 1}",
        instructions="Write the file that you own.",
        depends_on=_dependencies(seed, number, reach),
        owns=(_path(task_id),),
        estimate=_estimate(seed, task_id),
    )


def _path(task_id: str) -> str:
    return f"files/{task_id}.txt"


def _estimate(seed: int, task_id: str) -> int:
    span = _MOST_TOKENS - _FEWEST_TOKENS
    return _FEWEST_TOKENS + int(span * draw(seed, "estimate", task_id))


def _dependencies(seed: int, number: int, reach: int) -> tuple[str, ...]:
    """Less than one on average, so that no task needs the files of all those before it."""
    wanted = int((_MAX_DEPENDENCIES + 1) * draw(seed, "dependencies", number) ** 2)
    first, width = max(0, number - reach), min(number, reach)
    found = {first + int(width * draw(seed, "dependency", number, n)) for n in range(wanted)}
    return tuple(_task_id(other) for other in sorted(found) if other < number)


def _task_id(number: int) -> str:
    return f"task-{number + 1:05}"
