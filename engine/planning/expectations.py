"""What is expected of Claude before it is asked, and once there is a plan: pace, forecast, and
whether parallel work pays."""

from dataclasses import dataclass, replace
from typing import Self

from claude.allowance import IMAGE_TOKENS
from claude.simulation.latency import Pace, usual_pace
from core.bundle import Models, ModelSettings
from core.context import Context
from core.events import ExpectedPace, Forecast, Part
from core.job import Manifest
from core.plan import Plan
from engine.money.usage import Price
from engine.planning.code_sizes import NO_CODE, CodeSizes
from engine.planning.comparison import Comparison, compare
from engine.planning.forecast import forecast
from engine.planning.history import History
from engine.planning.requests import (
    BYTES_A_TOKEN,
    MAP_BYTES,
    NOTHING_MORE,
    PlannerInput,
    Terms,
    byte_count,
    expected_planning,
    part_of,
    plan_tokens,
    unwritten_tokens,
)
from engine.run.run_view import RunView

USUAL_PLAN_TOKENS = 4_000
"""Of a plan, before any was made in this work directory."""


@dataclass(frozen=True, slots=True)
class Expectations:
    """Of one run, at these prices; `history` has what earlier runs met."""

    models: Models
    executors: int
    price: Price
    history: History = History()  # noqa: RUF009 - a frozen value
    context_bytes: int = 0
    """Of the texts that belong to the prompt."""
    given: PlannerInput = NOTHING_MORE
    """What the planner gets beside the prompt."""
    code: CodeSizes = NO_CODE
    """What executors change and read."""

    def given_more(self, context: Context, *, existing: bool = False) -> Self:
        """Where `context` belongs to the prompt, and the planner looks at `existing` code."""
        size = byte_count(context.text)
        seen = IMAGE_TOKENS * BYTES_A_TOKEN * len(context.images) + MAP_BYTES * existing
        return replace(self, context_bytes=size, given=PlannerInput(size + seen, existing))

    def of_code(self, manifest: Manifest) -> Self:
        """Where executors change and read these files."""
        return replace(self, code=CodeSizes.read(manifest, self.models.executor))

    def planning(self, prompt: str) -> Part:
        """What making a plan will take."""
        model = self.models.planner
        tokens = self.history.plan_tokens(model) or USUAL_PLAN_TOKENS
        return expected_planning(tokens, prompt, self._terms(model), self.given)

    def forecast(self, plan: Plan, planning: Part | None = None) -> Forecast:
        """What carrying out `plan` will take; `planning` is what making it took, None where it was
        given. It may lack contracts that are still being written."""
        model = self.models.executor
        simulated = model.simulation is not None
        figures = forecast(
            plan,
            self.executors,
            self._terms(model),
            planning=planning,
            comparison=self.compare(plan, planning) if len(plan.tasks) > 1 else None,
            unwritten_s=self._unwritten_s(plan, self._terms(self.models.planner)),
        )
        past = self.history.past_forecasts(simulated=simulated)
        if model.simulation is not None:
            return replace(figures, past=past, speed=model.simulation.speed)
        return replace(figures, pace=self._expected_pace(model), past=past)

    def compare(self, plan: Plan, planning: Part | None = None) -> Comparison:
        """Whether parallel work pays for `plan`; for a simulation, at the speed of life."""
        took, planner, executor = planning or Part(), self.models.planner, self.models.executor
        if executor.simulation is None:
            of_planner, of_executor = self._terms(planner), self._terms(executor)
        else:
            of_planner, of_executor = (
                Terms(model, usual_pace(None), self.price, self.context_bytes)
                for model in (planner, executor)
            )
            if planning is not None:
                tokens = plan_tokens(plan)
                expected = expected_planning(tokens, plan.prompt, of_planner, self.given)
                took = replace(took, seconds=expected.seconds)
        unwritten_s = self._unwritten_s(plan, of_planner)
        return compare(plan, self.executors, of_executor, took, unwritten_s)

    def begun(self, plan: Plan, seconds: float) -> Part:
        """What planning takes of which so much is written after `seconds`: tokens and dollars of
        the whole, and the time until tasks may begin."""
        tokens = plan_tokens(plan) + unwritten_tokens(plan)
        planner = self._terms(self.models.planner)
        expected = expected_planning(tokens, plan.prompt, planner, self.given)
        return replace(expected, seconds=seconds)

    @staticmethod
    def _unwritten_s(plan: Plan, planner: Terms) -> float:
        return unwritten_tokens(plan) * planner.pace.per_token_s

    def _terms(self, model: ModelSettings) -> Terms:
        return Terms(model, self._pace(model)[0], self.price, self.context_bytes, self.code)

    def _expected_pace(self, model: ModelSettings) -> ExpectedPace:
        pace, runs = self._pace(model)
        return ExpectedPace(pace.first_token_s, 1 / pace.per_token_s, runs)

    def _pace(self, model: ModelSettings) -> tuple[Pace, int]:
        """How fast the model is taken to be, and how many earlier runs met that."""
        met = self.history.pace(model) if model.simulation is None else None
        return met or (usual_pace(model.simulation), 0)


def planning_took(run_view: RunView, price: Price) -> Part | None:
    """What making a run's plan took. None where it was given: then all that was asked before the
    tasks was the preflight's, of one token each."""
    spent = run_view.planning_usage
    made = sum(usage.output_tokens for usage in spent) > len(spent)
    return part_of(run_view.planning_s, spent, price) if made else None
