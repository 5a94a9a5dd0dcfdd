"""Reads a planner's answer while it is written: tells what is complete, and ends the answer where
it shows that parallel work does not pay."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from claude.client.types import Hooks, Reader
from core.plan import (
    Analysis,
    Contract,
    Plan,
    Task,
    head_defects,
    makespan_tokens,
    promised_contracts,
)
from core.plan.draft import (
    AnswerBegan,
    ContractWritten,
    DraftEvent,
    HeadWritten,
    Part,
    PlanDraft,
)
from core.worker.planning import Parallel

CHARS_A_TOKEN = 4
USUAL_CONTRACT_TOKENS = 600
WORTH_IT = 0.8
"""Parallel work has to be at least that much shorter than one executor alone."""
MOST_ALONE_TOKENS = 50_000
"""More than that is too much for one conversation, however it compares."""
_MARKERS = ("__init__.py", "py.typed")
"""Files of Python whose being there says all."""


FindDefects = Callable[[Plan], Iterator[str]]
"""What is wrong with a plan of a planner, besides the rules for every plan."""


@dataclass(frozen=True)
class PlanningHooks(Hooks):
    """`on_draft` hears what of the plan is complete while it is being written."""

    on_draft: Callable[[DraftEvent], None] = lambda _: None


class DraftReader:
    """For a planner whose tasks `executors` will work on at once, and whose plan has `defects`.
    `draft` is what there is of the last answer; `is_cut` where that was ended, so that one executor
    builds the whole."""

    def __init__(
        self,
        executors: int,
        parallel: Parallel,
        on_progress: Callable[[str], None],
        on_draft: Callable[[DraftEvent], None],
        defects: FindDefects,
    ) -> None:
        self._executors = executors
        self._parallel = parallel
        self._on_progress = on_progress
        self._on_draft = on_draft
        self._defects = defects
        self.draft = PlanDraft()
        self.is_cut = False
        self._judged: set[str] = set()
        self._contracts: list[Contract] = []
        self._is_begun = False
        """Whether its tasks may begin."""
        self.beginning = ""
        """JSON of the members that an earlier answer has given, which the next goes on from."""
        self._is_inside = True
        """Whether the brace that opens the answer was read."""

    def open(self) -> Reader:
        """A reader for one answer, which is read from its start."""
        self.draft, self.is_cut = PlanDraft(), False
        self._is_inside = not self.beginning
        if self.beginning:
            self.draft.feed(open_beginning(self.beginning))
        self._judged.clear()
        self._contracts.clear()
        self._is_begun = False
        self._on_draft(AnswerBegan())
        return self._read

    def _read(self, piece: str) -> bool:
        if not self._is_inside:
            _, brace, piece = piece.partition("{")
            self._is_inside = bool(brace)
        for name, part in self.draft.feed(piece):
            self._report(name, part)
            if isinstance(part, Contract):
                self._take_contract(part)
            elif isinstance(part, Analysis):
                self.is_cut |= self._parallel is Parallel.AUTO and not part.parallel_pays
        if self._is_first("tasks") and self._parallel is Parallel.AUTO:
            begun = self.draft.begun
            self.is_cut |= not (head_defects(begun) or parallel_pays(begun, self._executors))
        if self._is_first("acceptance_criteria") and not self.is_cut:
            head = self.draft.head()
            if head is not None and self._is_sound(head):
                self._is_begun = True
                self._on_draft(HeadWritten(head))
        return self.is_cut

    def _take_contract(self, contract: Contract) -> None:
        """Once tasks may begin, none is told of that breaks a rule, or comes after one that does:
        the plan will be another."""
        self._contracts.append(contract)
        head = self.draft.head()
        if not self._is_begun or (head is not None and self._is_sound(head)):
            self._on_draft(ContractWritten(contract))

    def _is_sound(self, head: Plan) -> bool:
        """Whether all that is written keeps the rules."""
        begun = head.model_copy(update={"contracts": tuple(self._contracts)})
        return not (head_defects(begun) or any(self._defects(begun)))

    def _is_first(self, member: str) -> bool:
        """Whether that member of the plan is complete, and was not a piece before."""
        if member in self._judged or not self.draft.is_complete(member):
            return False
        self._judged.add(member)
        return True

    def _report(self, name: str, part: Part) -> None:
        if (line := describe_part(name, part)) is not None:
            tokens = self.draft.chars // CHARS_A_TOKEN
            self._on_progress(f"{line} ({tokens:,} tokens of the plan)")


def open_beginning(beginning: str) -> str:
    """The JSON of a beginning, ready for the members that follow."""
    return f"{beginning.removesuffix('}')},"


def parallel_pays(begun: Plan, executors: int) -> bool:
    """Whether what is left of planning and the tasks in parallel are much shorter than all tasks
    in a row, in output tokens, which take the time. What is written of the plan is spent."""
    alone = sum(task.estimate for task in begun.tasks)
    if any(task.estimate <= 0 for task in begun.tasks):
        return True  # nobody knows
    if alone > MOST_ALONE_TOKENS and len(begun.tasks) > 1:
        return True
    rest = USUAL_CONTRACT_TOKENS * len(promised_contracts(begun))
    return rest + makespan_tokens(begun, executors) <= WORTH_IT * alone


def describe_part(name: str, part: Part) -> str | None:
    """A part of the plan in one line for people; None where it is not worth one."""
    match part:
        case Task():
            return f"task {part.id}: {part.title}, about {part.estimate:,} tokens"
        case Contract():
            return f"contract {part.path}: {part.purpose}".rstrip(": ")
        case Analysis():
            pays = "parallel work pays" if part.parallel_pays else "one executor is enough"
            return f"complexity {part.complexity} of 10, {pays}"
        case str() if name in ("title", "assumptions"):
            return f"{'assumes' if name == 'assumptions' else name}: {part}"
    return None


def planner_defects(plan: Plan, failing: str = "") -> Iterator[str]:
    """Rules that hold for a planner, but not for a person who edits a plan. `failing` is a command
    that fails, which the request wants mended."""
    if not plan.acceptance_criteria:
        yield "the plan has no acceptance criteria"
    if failing and failing not in (criterion.command for criterion in plan.acceptance_criteria):
        yield f"no criterion has the command {failing!r}, which the request reports as failing"
    for contract in plan.contracts:
        is_marker = PurePosixPath(contract.path).name in _MARKERS
        if not contract.content.strip() and not is_marker:
            yield f"contract {contract.path!r} has no content; write the whole file"
    for task in plan.tasks:
        if task.estimate == 0:
            yield f"task {task.id!r} has no estimate; say how many output tokens it will take"
