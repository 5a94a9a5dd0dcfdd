"""Showing a plan and its forecast, and asking whether to go on, or with which other plan."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from core.errors import BudgetExceeded, OrchestratorError, PlanInvalid, PlanningFailed, UsageError
from core.plan import Plan
from core.program import program_line
from engine.views.types import View

_QUESTION = "Carry out this plan? y, n (Enter), e (edit), or a change: "
_HINT = "Answer y, n or e, or say in more than one word what to change. Enter alone means no."
_LONGEST_PROMPT = 200
_UNCHANGED = "The plan is unchanged."


def check_can_ask(
    stdin: TextIO | None,
    plan: Path,
    prompt: str,
    same_options: Callable[[str], Sequence[str]],
    unasked: str = "",
) -> None:
    """Raises UsageError when the question of --approve could not be answered; `plan` is where the
    run's plan is, if it has one, and `same_options` those that another command needs to do as this
    one. `unasked` goes before a command that would ask otherwise."""
    if stdin is None or not stdin.isatty():
        asked = prompt if len(prompt) <= _LONGEST_PROMPT else "PROMPT"
        write = program_line("plan", asked, *same_options("plan"), "-o", "plan.json")
        given = str(plan) if plan.exists() else "plan.json"
        run = unasked + program_line("--plan", given, *same_options("run"))
        remedy = f"Write the plan with `{write}`, review it and run it with `{run}`."
        if plan.exists():
            remedy = f"Go on in a terminal, or review {plan} and start a run of it with `{run}`."
        raise UsageError("--approve needs a terminal, and standard input is not one.", remedy)


def edit_text(text: str) -> str:
    """The text as it comes back from $VISUAL or $EDITOR. Raises UsageError."""
    import click

    try:
        return click.edit(text, extension=".toml", require_save=False) or ""
    except (click.ClickException, UnicodeDecodeError) as exc:
        remedy = "Name an editor that works here in VISUAL or EDITOR."
        raise UsageError(f"The plan could not be edited: {exc}.", remedy) from exc


@dataclass
class Approval:
    """Asks in a loop. `write` gives a plan as the text that is edited, `read` reads it back;
    `replan` has another plan made out of one and a line about it, `keep` stores one that was
    edited. The question goes to the stream that `view` leaves free."""

    view: View
    render: Callable[[Plan], str]
    write: Callable[[Plan], str]
    read: Callable[[str, str], Plan]
    replan: Callable[[Plan, str], Plan]
    keep: Callable[[Plan], None]
    edit: Callable[[str], str] = edit_text
    stdin: TextIO | None = None
    screen: TextIO | None = None
    _draft: str = field(default="", init=False)
    """What was edited and is no plan yet."""

    def ask(self, plan: Plan) -> Plan | None:
        """The plan to carry out; None where the person wants none. Raises what `replan` raises, but
        where no other plan could be made, the question is asked again."""
        text = self.render(plan)
        while True:
            answer = self._answer(text)
            try:
                match answer.lower():
                    case "y" | "yes":
                        return plan
                    case "" | "n" | "no":
                        return None
                    case "e" | "edit":
                        edited = self._edited(plan)
                        if edited is plan:
                            text = _UNCHANGED
                            continue
                        plan = edited
                    case _ if " " in answer:
                        plan, self._draft = self.replan(plan, answer), ""
                    case _:
                        text = _HINT
                        continue
            except (UsageError, PlanningFailed, BudgetExceeded) as exc:
                text = f"{_told(exc)}\nThe plan is as it was."
                if self._draft:
                    text += " With e you go on where you left the editor."
            else:
                text = self.render(plan)

    def _answer(self, text: str) -> str:
        stdin, screen = self.stdin or sys.stdin, self.screen or self.view.question_stream()
        with self.view.suspended():
            screen.write(f"{text}\n{_QUESTION}")
            screen.flush()
            return stdin.readline().strip()

    def _edited(self, plan: Plan) -> Plan:
        """Raises UsageError, and PlanInvalid with every defect."""
        before = self.write(plan)
        with self.view.suspended():
            text = self.edit(self._draft or before)
        if text.strip() == before.strip():
            self._draft = ""
            return plan
        self._draft = text
        edited = self.read(text, "The edited plan").model_copy(update={"prompt": plan.prompt})
        self.keep(edited)
        self._draft = ""
        return edited


def _told(exc: OrchestratorError) -> str:
    """Its message, as an error's is shown; an invalid plan is right there to be corrected."""
    remedy = "" if isinstance(exc, PlanInvalid) else exc.remedy
    return f"{exc.message}" + (f"\n  {remedy}" if remedy else "")
