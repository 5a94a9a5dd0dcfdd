"""PlannerAgent: prompt -> Plan. Ask, validate, send the defects back, at most three times.

Structured output holds the model to the plan's shape; where a provider refuses it, a forced tool
call with the same schema does. Rules between the parts are core.plan's; a planner's own are here.
The answer is read while it is written: where it shows that parallel work does not pay, it is cut
there, and one executor gets the whole; of a short request this is asked first, by a smaller
question, and the plan goes on from that answer. Existing code the planner may look at before it
answers; a plan for it is never cut, since its tasks have to say what they change.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from typing import Any

from claude.allowance import guarded
from claude.client.client import connect
from claude.client.types import Block, Call, Claude, Hooks, Reply
from claude.engines.api import mark_cached
from claude.engines.looking import Looking
from claude.limits.governor import Governor
from claude.planning.answer import SUBMIT_PLAN, join_answers, read_answer, read_beginning
from claude.planning.draft_reader import (
    DraftReader,
    PlanningHooks,
    planner_defects,
)
from claude.planning.schema import Members, build_schema
from claude.preflight import try_models
from claude.prices import check_priced, pricing
from claude.prompts import (
    PLAN_GOES_ON,
    load_planner_prompt,
    load_prompt,
    render_defects,
    render_feedback,
    render_images,
    render_repository,
    render_request,
)
from core.clock import Clock
from core.context import NO_CONTEXT, Context
from core.credentials import Credentials
from core.errors import PlanningFailed, RequestRejected
from core.plan import ExistingCode, Plan, build_single_task_plan
from core.plan.draft import DraftEvent
from core.worker.planning import NO_FAILURE, Failure, Parallel, PlanningRequest, Revision
from core.workspace.confined import ConfinedTree

SHORT_CHARS = 200
"""A request of so many may be about one script, for which the planner's whole text is too dear."""
_SCHEMA_WORDS = ("output_config", "output_format", "output format", "schema", "structured")

_ALWAYS = (
    "The person wants the work split among several executors: `parallel_pays` is true, and the plan"
    " has at least two tasks, unless nothing can be split."
)

_PICTURES = (
    "Executors do not see the images. What matters of them (layout, texts, colours, sizes) has to"
    " stand in the instructions, criteria or contracts. Your answer is not cut: if one executor is"
    " enough, write a plan of one task."
)


@dataclass
class PlannerAgent:
    """Plans with `claude`, for `executors` that work at once; `on_progress` takes lines for people.

    `surroundings` tells what executors can do where they will run. For existing code, `repository`
    is the map of it, `root` where it may be looked at, `log` what tells of a path's commits,
    `left_out` what is not there to be written, `part_limit` how much of it executors get where that
    is not the whole, and `failure` how the command ended there that the prompt reports as failing.
    `context` belongs to the prompt.
    """

    claude: Claude
    _: KW_ONLY
    executors: int = 5
    parallel: Parallel = Parallel.AUTO
    surroundings: str = ""
    repository: str = ""
    root: Path | None = None
    log: Callable[[str], str] | None = None
    left_out: Sequence[str] = ()
    part_limit: str = ""
    failure: Failure = NO_FAILURE
    context: Context = NO_CONTEXT
    max_repairs: int = 3
    max_tokens: int = 32_000
    on_progress: Callable[[str], None] = lambda _: None
    on_draft: Callable[[DraftEvent], None] = lambda _: None
    _structured: bool = field(default=True, init=False)
    _reader: DraftReader = field(init=False)
    _looking: Looking | None = field(init=False)
    _existing: ExistingCode = field(init=False)

    def __post_init__(self) -> None:
        # whoever works alone gets neither: the plan has to say what matters of them
        needs_whole = bool(self.repository or self.context.images)
        cuts = Parallel.ALWAYS if needs_whole else self.parallel
        self._reader = DraftReader(
            self.executors, cuts, self.on_progress, self.on_draft, self._defects
        )
        files = ConfinedTree(self.root).scan().files if self.root else []
        self._existing = ExistingCode((path for path, _ in files), self.left_out)
        self._looking = Looking(self.root, self.on_progress, self.log) if self.root else None

    def plan(self, prompt: str, revisions: Sequence[Revision] = ()) -> Plan:
        """A plan that can be run; `revisions` are those that the person wanted changed. Raises
        PlanningFailed with the defects of the last one, and ModelError."""
        always = _ALWAYS if self.parallel is Parallel.ALWAYS else ""
        repository = render_repository(self.repository) if self.repository else ""
        request = render_request(self.context.added_to(prompt))
        pictures = _PICTURES if self.context.images else ""
        given = (repository, request, self.failure.told, self.surroundings, always, pictures)
        messages = [_message("user", "\n".join(filter(None, given)))]
        messages[0]["content"][:0] = render_images(self.context.images)
        for revision in revisions:
            messages.append(_message("assistant", revision.plan))
            messages.append(_message("user", render_feedback(revision.feedback)))
        wishes = [revision.feedback for revision in revisions]
        defects: tuple[str, ...] = ()
        is_short = len(messages) == 1 and self._is_short(self.context.added_to(prompt))
        for repair in range(self.max_repairs + 1):
            again = f", repair {repair} of {self.max_repairs}" if repair else ""
            self.on_progress(f"asking for a plan{again}")
            reply = self._ask_in_two(messages) if is_short and not repair else self._ask(messages)
            while self._looking and (looked := self._looking.follow(reply)):
                messages += looked
                reply = self._ask(messages)
            if self._reader.is_cut:
                return build_single_task_plan(prompt, self._reader.draft.begun, wishes)
            answer = read_answer(reply, self.max_tokens, self._defects)
            if answer.plan is not None:
                return answer.plan.model_copy(update={"prompt": prompt})
            defects = answer.defects
            self.on_progress(f"the plan has {len(defects)} defect(s), first: {defects[0]}")
            messages.append(_message("assistant", answer.text))
            messages.append(_message("user", render_defects(defects)))
        message = f"No valid plan after {self.max_repairs} repairs. Defects of the last:"
        raise PlanningFailed(
            "\n".join([message, *(f"  - {defect}" for defect in defects)]),
            "Describe more exactly what you want, or write a plan and pass it with --plan.",
        )

    def _defects(self, plan: Plan) -> Iterator[str]:
        yield from planner_defects(plan, self.failure.command)
        yield from self._existing.defects(plan)

    def _is_short(self, request: str) -> bool:
        """Whether it is first asked if a plan pays."""
        is_open = self.parallel is Parallel.AUTO and not (self.repository or self.context.images)
        return is_open and len(request) <= SHORT_CHARS

    def _ask_in_two(self, messages: list[Block]) -> Reply:
        """Ask how the plan begins, and where that does not end it, for the rest."""
        reply = self._ask(messages, Members.BEGINNING)
        if self._reader.is_cut or not (beginning := read_beginning(reply)):
            return reply
        messages += (_message("assistant", beginning), _message("user", PLAN_GOES_ON))
        self._reader.beginning = beginning
        try:
            return join_answers(beginning, self._ask(messages, Members.REST))
        finally:
            self._reader.beginning = ""

    def _ask(self, messages: list[Block], members: Members = Members.ALL) -> Reply:
        schema = build_schema(members, existing=bool(self.repository), part=bool(self.part_limit))
        looks = self._looking.schemas if self._looking else ()
        may_look = self._looking is not None and not self._looking.is_over()
        if self._structured:
            # once it has looked, the tools stay: the conversation has calls of them
            choice = {"tool_choice": {"type": "none"}} if looks and not may_look else {}
            try:
                call = self._call(messages, members, output_schema=schema, tools=looks, **choice)
                return self.claude.send(call)
            except RequestRejected as exc:
                if not any(word in exc.message.lower() for word in _SCHEMA_WORDS):
                    raise
                self._structured = False
                self.on_progress("structured output is refused here; using a tool call instead")
        description = "Hand in the plan."
        tool = {"name": SUBMIT_PLAN, "description": description, "input_schema": schema}
        forced = {"type": "any"} if may_look else {"type": "tool", "name": SUBMIT_PLAN}
        call = self._call(messages, members, tools=(*looks, tool), tool_choice=forced)
        return self.claude.send(call)

    def _call(self, messages: list[Block], members: Members, **more: Any) -> Call:
        if members is Members.BEGINNING:
            instructions = load_prompt("planner_first")
        else:
            existing = bool(self.repository)
            instructions = load_planner_prompt(existing=existing, limit=self.part_limit)
        return Call(
            system=({"type": "text", "text": instructions},),
            # each turn that looks is sent all before it
            messages=tuple(mark_cached(messages) if self._looking else messages),
            max_tokens=self.max_tokens,
            open_reader=self._reader.open,
            **more,
        )


AskForPlan = Callable[[PlanningRequest, Credentials, Governor, Clock, Hooks], Plan]
"""ask_for_plan, or one that has the plan made elsewhere."""


def plan_alone(
    request: PlanningRequest,
    credentials: Credentials,
    clock: Clock,
    hooks: Hooks,
    warn: Callable[[str], None],
    ask: AskForPlan,
) -> Plan:
    """Try the provider, then `ask` for a plan, both together within the allowance. Raises as
    `check_priced`, `try_models` and `ask_for_plan` do."""
    if request.parallel is Parallel.NEVER:
        return _plan_without_asking(request)
    governor = Governor()
    check_priced([request.model], request.allowance.max_cost_usd)
    spent = try_models([request.model], credentials, clock=clock, governor=governor, warn=warn)
    for usage in spent:
        hooks.on_usage(usage)
    return ask(replace(request, spent=spent), credentials, governor, clock, hooks)


def ask_for_plan(
    request: PlanningRequest,
    credentials: Credentials,
    governor: Governor,
    clock: Clock,
    hooks: Hooks,
) -> Plan:
    """The plan that was asked for, by a client of its own. Raises as PlannerAgent.plan does, and
    BudgetExceeded."""
    model, limits = request.model, request.limits
    watched = guarded(hooks, request.allowance, model, pricing(model), request.spent)
    if request.parallel is Parallel.NEVER:
        return _plan_without_asking(request)
    with connect(
        model, credentials, clock=clock, governor=governor, limits=limits, hooks=watched
    ) as claude:
        return PlannerAgent(
            claude,
            executors=request.executors,
            parallel=request.parallel,
            surroundings=request.surroundings,
            repository=request.repository,
            root=Path(request.root) if request.root else None,
            log=hooks.file_log,
            left_out=request.left_out,
            part_limit=request.part_limit,
            failure=request.failure,
            context=request.context,
            on_progress=hooks.on_progress,
            on_draft=hooks.on_draft if isinstance(hooks, PlanningHooks) else lambda _: None,
        ).plan(request.prompt, request.revisions)


def _plan_without_asking(request: PlanningRequest) -> Plan:
    wishes = [revision.feedback for revision in request.revisions]
    return build_single_task_plan(
        request.prompt,
        wishes=wishes,
        existing=bool(request.repository),
        failing=request.failure.command,
    )


def _message(role: str, text: str) -> Block:
    return {"role": role, "content": [{"type": "text", "text": text}]}
