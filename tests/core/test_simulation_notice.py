"""What a person is told about a simulated run."""

from __future__ import annotations

import pytest

from core.simulation_notice import limitation_notice, random_plan_title, simulation_notice


@pytest.mark.parametrize(
    ("title", "delivered"),
    [
        ("Todo List", 'the sample project "todo list"'),
        (random_plan_title(2_000), "a random plan of 2,000 tasks"),
        (random_plan_title(1), "a random plan of 1 task"),
        ("My own plan", 'the plan "My own plan" with sample or placeholder files'),
    ],
)
def test_the_notice_says_what_is_delivered(title: str, delivered: str) -> None:
    expected = f"Simulated: {delivered}. Your prompt was not read by Claude; --real does that."
    assert simulation_notice(title) == expected


@pytest.mark.parametrize(
    "prompt",
    [
        "fix the bug in my code",
        "Please refactor main.py",
        "what is 2+2",
        "What's new",
        "Can you add tests to my parser?\n",
        "?",
    ],
)
def test_a_prompt_for_something_else_than_a_new_project_gets_a_notice(prompt: str) -> None:
    assert "cannot answer questions or change existing code" in limitation_notice(prompt)


@pytest.mark.parametrize(
    "prompt", ["Build a todo list app", "a library for books", "", "🐍", "2+2"]
)
def test_a_prompt_for_a_project_gets_none(prompt: str) -> None:
    assert limitation_notice(prompt) == ""
