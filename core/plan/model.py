"""The Plan: what the planner returns, a person may edit, and the scheduler runs.

The models check shapes; core.plan.rules lists the broken rules between the parts.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

PLAN_VERSION = 2
USUAL_ESTIMATE = 3_000
"""Output tokens of a task whose plan does not say."""
MOST_ESTIMATE = 1_000_000
"""More is no task for one executor, and would take for ever to forecast."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Analysis(_Part):
    """What the planner thinks of the job as a whole."""

    complexity: int = Field(default=5, description="1 (one small file) to 10 (a large system)")
    rationale: str = Field(default="", description="Why it is split like this, or not at all")
    parallel_pays: bool = Field(
        default=True, description="Whether several executors beat one that works alone"
    )
    recommended_executors: int = Field(
        default=1, description="How many tasks can run at once at the widest point"
    )


class Setup(_Part):
    """What the project needs to be installed and started."""

    tools: tuple[str, ...] = Field(default=(), description="With versions, such as 'python 3.12'")
    install: tuple[str, ...] = Field(
        default=(), description="Commands that install what the project needs, run after the merge"
    )
    network: str = Field(default="", description="Which step needs a network; 'none' if none does")
    start: str = Field(default="", description="The command that starts the product")


class Task(_Part):
    """A node of the DAG."""

    id: str = Field(description="Lower-case letters, digits and dashes; begins with a letter")
    title: str = Field(default="", description="A few words")
    instructions: str = Field(description="What its executor cannot know otherwise")
    depends_on: tuple[str, ...] = Field(
        default=(), description="Ids of tasks whose finished files this one has to read"
    )
    owns: tuple[str, ...] = Field(
        description="Exact files, or 'dir/' for all below it, that this task alone writes"
    )
    uses: tuple[str, ...] = Field(
        default=(), description="Paths of the contracts that it implements or builds upon"
    )
    estimate: int = Field(default=USUAL_ESTIMATE, description="Output tokens of all its files")
    checks: tuple[str, ...] = Field(
        default=(), description="Commands that fail when this task's work does not work"
    )


class Criterion(_Part):
    """An acceptance criterion and the tasks that serve it."""

    text: str = Field(description="One observable fact")
    served_by: tuple[str, ...] = Field(description="Ids of tasks")
    command: str = Field(default="", description="A command that shows it, if one can; or empty")


class Contract(_Part):
    """A frozen interface file that tasks share; written before the tasks that use it start."""

    path: str = Field(description="Relative path of the file in the project")
    purpose: str = Field(default="", description="What the tasks agree on here, in a few words")
    content: str = Field(description="The whole file: exact names, types, ports and keys")


class Plan(_Part):
    """The whole plan. `version` is that of this format, `prompt` is set by the program.

    The order of the fields is the order in which a planner writes them: what decides whether work
    pays comes first, and what is longest and frees tasks one by one comes last.
    """

    version: Literal[2] = 2
    prompt: str = Field(default="", description="What the plan was made for")
    title: str = Field(default="", description="The project's name in a few words")
    summary: str = Field(default="", description="What will be built, in one or two sentences")
    assumptions: tuple[str, ...] = Field(
        default=(), description="What the request leaves open, and how it was decided"
    )
    analysis: Analysis = Analysis()
    setup: Setup = Setup()
    conventions: tuple[str, ...] = Field(
        default=(), description="What all tasks keep to: versions, compiler settings, style"
    )
    shared: tuple[str, ...] = Field(
        default=(), description="Existing files that more than one task owns, by exact path"
    )
    reads: tuple[str, ...] = Field(
        default=(),
        description="Existing files, or 'dir/', that executors have to see besides their own",
    )
    tasks: tuple[Task, ...]
    acceptance_criteria: tuple[Criterion, ...] = ()
    contracts: tuple[Contract, ...] = ()

    def task(self, task_id: str) -> Task:
        return next(t for t in self.tasks if t.id == task_id)
