"""What a person is told about a simulated run: what it delivers, and what it cannot do."""

import re

SAMPLE_TITLES = ("Todo List", "Word Count", "Shop")
"""The titles of the plans in claude/simulation/samples/."""
EXISTING_TITLE = "Simulated change"
"""That of every change to existing code."""
_RANDOM_TITLE = "Random plan of "
_NOT_FOR_A_SAMPLE = (
    "fix debug explain describe change modify update refactor improve optimize review"
    " why what how who when where which is are does do did"
)


def random_plan_title(tasks: int) -> str:
    return f"{_RANDOM_TITLE}{tasks:,} task{'s' if tasks > 1 else ''}"


def is_random_plan(plan_title: str) -> bool:
    return plan_title.startswith(_RANDOM_TITLE)


def simulation_notice(plan_title: str) -> str:
    """One sentence on what the simulation delivers for the plan, and one on why."""
    if plan_title in SAMPLE_TITLES:
        delivered = f'the sample project "{plan_title.lower()}"'
    elif plan_title == EXISTING_TITLE:
        delivered = "a comment at the end of a few files"
    elif is_random_plan(plan_title):
        delivered = f"a {plan_title[0].lower()}{plan_title[1:]}"
    else:
        delivered = f'the plan "{plan_title}" with sample or placeholder files'
    return f"Simulated: {delivered}. Your prompt was not read by Claude; --real does that."


def limitation_notice(prompt: str) -> str:
    """A sentence for a prompt that asks for something other than a new project, else ""."""
    words = [word for word in re.findall("[a-z]+", prompt.lower()) if word != "please"]
    if prompt.rstrip().endswith("?") or (words and words[0] in _NOT_FOR_A_SAMPLE.split()):
        return (
            "A simulation cannot answer questions or change existing code; it delivers a sample"
            " project."
        )
    return ""
