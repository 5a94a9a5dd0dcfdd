from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import BudgetExceeded, PlanningFailed, UsageError
from core.plan import Plan, Task
from engine.planning.plan_toml import parse_toml_plan, render_toml_plan
from engine.views.approval import Approval, check_can_ask, edit_text
from engine.views.plain import Quiet


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


PLAN = Plan(
    title="One",
    prompt="Build it",
    tasks=(Task(id="a", title="a", instructions="Do it", owns=("a.py",)),),
    contracts=(),
)


class Person:
    """Types the answers, and edits with `edits`, which gets the text and gives another."""

    def __init__(self, *answers: str, edits: Callable[[str], str] = lambda text: text) -> None:
        self.screen = io.StringIO()
        self.kept: list[Plan] = []
        self.said: list[tuple[str, str]] = []
        self.seen: list[str] = []
        self.new_plan: Plan | Exception = PLAN
        self._edits = edits
        self.approval = Approval(
            Quiet(),
            lambda plan: f"plan {plan.title}",
            render_toml_plan,
            parse_toml_plan,
            self._replan,
            self.kept.append,
            self._edit,
            Terminal("".join(f"{answer}\n" for answer in answers)),
            self.screen,
        )

    def _replan(self, plan: Plan, feedback: str) -> Plan:
        self.said.append((plan.title, feedback))
        if isinstance(self.new_plan, Exception):
            raise self.new_plan
        return self.new_plan

    def _edit(self, text: str) -> str:
        self.seen.append(text)
        return self._edits(text)

    @property
    def asked(self) -> int:
        return self.screen.getvalue().count("Carry out this plan?")


def titled(title: str) -> Plan:
    return PLAN.model_copy(update={"title": title})


@pytest.mark.parametrize("answer", ["y", "Y", "yes", " YES "])
def test_yes_is_a_yes(answer: str) -> None:
    person = Person(answer)
    assert person.approval.ask(PLAN) is PLAN
    assert person.screen.getvalue().startswith("plan One\nCarry out this plan? y, n (Enter), ")


@pytest.mark.parametrize("answers", [(), ("",), ("n",), ("No",)])
def test_an_empty_line_and_the_end_of_input_are_a_no(answers: tuple[str, ...]) -> None:
    assert Person(*answers).approval.ask(PLAN) is None


@pytest.mark.parametrize("answer", ["yep", "q", "help"])
def test_one_unknown_word_is_asked_about_and_costs_nothing(answer: str) -> None:
    person = Person(answer, "y")
    assert person.approval.ask(PLAN) is PLAN
    assert (person.asked, person.said) == (2, [])


def test_a_line_goes_back_to_the_planner_and_its_plan_is_asked_about() -> None:
    person = Person("assumption 2 is wrong", "and smaller still", "y")
    person.new_plan = titled("Two")
    assert person.approval.ask(PLAN) is person.new_plan
    assert person.said == [("One", "assumption 2 is wrong"), ("Two", "and smaller still")]
    assert "plan Two" in person.screen.getvalue()


@pytest.mark.parametrize("error", [PlanningFailed("No valid plan."), BudgetExceeded("Too dear.")])
def test_where_no_other_plan_can_be_made_the_first_is_asked_about_again(error: Exception) -> None:
    person = Person("make it larger", "y")
    person.new_plan = error
    assert person.approval.ask(PLAN) is PLAN
    assert f"{error}\nThe plan is as it was." in person.screen.getvalue()


def test_an_edited_plan_is_kept_and_shown_again() -> None:
    person = Person("e", "y", edits=lambda text: text.replace("One", "Mine"))
    assert person.approval.ask(PLAN) == titled("Mine")
    assert person.kept == [titled("Mine")]
    assert "plan Mine" in person.screen.getvalue()


def test_an_editor_that_was_left_without_a_change_changes_nothing() -> None:
    person = Person("e", "y")
    assert person.approval.ask(PLAN) is PLAN
    assert person.kept == []
    shown = person.screen.getvalue()
    assert "The plan is unchanged.\nCarry out" in shown
    assert shown.count("plan One") == 1


def test_defects_of_an_edited_plan_are_named_and_can_be_put_right() -> None:
    edits = iter(["owns = ['/etc/passwd']", "owns = ['right.py']"])
    person = Person(
        "e", "e", "y", edits=lambda text: re.sub(r"^owns = .*$", next(edits), text, flags=re.M)
    )
    approved = person.approval.ask(PLAN)
    assert approved is not None
    assert approved.tasks[0].owns == ("right.py",)
    assert "is absolute" in person.screen.getvalue()
    assert "/etc/passwd" in person.seen[1]  # the work in the editor is not lost
    assert len(person.kept) == 1


def test_the_request_cannot_be_edited_away() -> None:
    person = Person(
        "e", "y", edits=lambda text: text.replace("Build it", "Other").replace("One", "A")
    )
    approved = person.approval.ask(PLAN)
    assert approved is not None
    assert approved.prompt == "Build it"


@pytest.mark.parametrize("variable", ["VISUAL", "EDITOR"])
def test_the_editor_of_the_person_is_used(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv(variable, "sed -i s/a/b/")
    assert edit_text("a = 1\n") == "b = 1\n"


@pytest.mark.parametrize("editor", ["false", "/no/such/editor"])
def test_an_editor_that_fails_is_told_and_the_plan_stays(
    editor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISUAL", editor)
    person = Person("e", "y", edits=edit_text)
    assert person.approval.ask(PLAN) is PLAN
    assert "could not be edited" in person.screen.getvalue()


@pytest.mark.parametrize("stdin", [None, io.StringIO("y\n")])
def test_approve_needs_a_terminal(stdin: io.StringIO | None, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--approve needs a terminal") as caught:
        check_can_ask(
            stdin, tmp_path / "plan.json", "Build it", lambda command: [f"--of-{command}"]
        )
    assert " plan 'Build it' --of-plan -o plan.json`" in caught.value.remedy
    assert " --plan plan.json --of-run`" in caught.value.remedy


def test_a_terminal_can_be_asked(tmp_path: Path) -> None:
    check_can_ask(Terminal(), tmp_path / "plan.json", "Build it", lambda _: [])
