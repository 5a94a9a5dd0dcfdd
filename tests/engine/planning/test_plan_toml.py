"""Plans in TOML: any text comes back, and what is written is what a person would write."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given

from core.errors import PlanInvalid
from core.plan import USUAL_ESTIMATE, Analysis, Contract, Plan, Setup
from engine.planning.plan_toml import parse_toml_plan, render_toml_plan
from tests.fakes.plan_parts import any_plans, contract, plan, task
from tests.fakes.plans import plans


@given(any_plans() | plans())
def test_a_plan_comes_back_from_its_toml(made: Plan) -> None:
    assert parse_toml_plan(render_toml_plan(made), "x") == made


@given(any_plans())
def test_what_has_a_default_is_left_out(made: Plan) -> None:
    document = tomllib.loads(render_toml_plan(made))
    paths = [each["path"] for each in document.get("contracts", [])]
    assert document["version"] == 2
    assert ("analysis" in document) == (made.analysis != Analysis())
    assert ("setup" in document) == (made.setup != Setup())
    for each in document["tasks"]:
        assert each.get("depends_on") != []
        assert each.get("estimate") != USUAL_ESTIMATE
        assert each.get("title") != each["id"]
        assert "uses" not in each or each["uses"] != paths


def test_texts_are_blocks_that_can_be_read() -> None:
    instructions = "Write the rules for every kind of record. " * 5 + 'Say "no" to the rest.'
    content = 'PATTERN = r"\\d+"\nQUOTE = \'"\'\n'
    made = plan(
        task("a", instructions=instructions, checks=("test -s 'a b'", 'grep "x" a.py')),
        title="größer",
        contracts=(Contract(path="c.py", content=content), contract("d.py", "'''\n\\")),
    )
    assert (
        render_toml_plan(made)
        == r'''version = 2
title = "größer"
summary = "Keeps todos."

[analysis]
complexity = 3
rationale = "Small."
recommended_executors = 2

[[tasks]]
id = "a"
title = "A"
instructions = """\
Write the rules for every kind of record. Write the rules for every kind of record. Write the \
rules for every kind of record. Write the rules for every kind of record. Write the rules for \
every kind of record. Say \"no\" to the rest."""
owns = ["a.py"]
uses = []
estimate = 10
checks = ["test -s 'a b'", 'grep "x" a.py']

[[acceptance_criteria]]
text = "It works."
served_by = ["a"]

[[contracts]]
path = "c.py"
content = '''
        + """'''
PATTERN = r"\\d+"
QUOTE = '"'
'''

[[contracts]]
path = "d.py"
purpose = "Names."
content = \"\"\"
'''
\\\\\"\"\"
"""
    )


def test_a_long_list_has_a_line_for_each_of_its_items() -> None:
    assumptions = ("One person uses it. " * 3, "No sign-in.") * 2
    text = render_toml_plan(plan(task("a"), assumptions=assumptions))
    assert 'assumptions = [\n    "One person uses it. One' in text
    assert '\n    "No sign-in.",\n]\n' in text


SMALLEST = """
[[tasks]]
id = "store"
owns = ["store.py"]
instructions = '''
Keep todos in a file.
'''

[[tasks]]
id = "page"
owns = ["page.py"]
uses = []
instructions = "Show them."

[[contracts]]
path = "names.py"
content = '''
PORT = 8000
'''
"""


def test_a_person_may_leave_out_what_has_a_default() -> None:
    made = parse_toml_plan(SMALLEST, "plan.toml")
    store, page = made.tasks
    assert store.instructions == "Keep todos in a file.\n"
    assert (store.title, store.uses, store.estimate) == ("store", ("names.py",), USUAL_ESTIMATE)
    assert page.uses == ()
    assert made.contracts == (Contract(path="names.py", content="PORT = 8000\n"),)
    assert made.analysis == Analysis()


@pytest.mark.parametrize(
    ("text", "defect"),
    [
        ("tasks = [", "the document: Invalid TOML"),
        ('title = "\ud800"', "the document: Invalid"),
        ("a = " + "[" * 5_000, "the document: Invalid TOML"),
        ("[tasks]\nid = 'a'", "tasks: Input should be a valid array"),
        ("[[tasks]]\nid = 'a'", "tasks.0.instructions: Field required"),
        (SMALLEST.replace("owns", "own", 1), "tasks.0.own: Extra inputs are not permitted"),
        ("version = 1\n" + SMALLEST.replace("uses", "users"), "tasks.1.users: Extra inputs"),
        ("version = 9\n" + SMALLEST, "version: Input should be 2"),
        ("complexity = nan\n" + SMALLEST, "complexity: Extra inputs"),
        ("[analysis]\ncomplexity = nan\n" + SMALLEST, "analysis.complexity: Input should be a fin"),
        ("[analysis]\nparallel_pays = 2026-01-01\n" + SMALLEST, "analysis.parallel_pays: Input"),
        (SMALLEST.replace("page", "store"), "task id 'store' is used more than once"),
    ],
)
def test_what_is_no_plan_is_refused_with_the_place(text: str, defect: str) -> None:
    with pytest.raises(PlanInvalid, match=r"plan\.toml (is not a plan|breaks the rules)") as caught:
        parse_toml_plan(text, "plan.toml")
    assert any(d.startswith(defect) for d in caught.value.defects), caught.value.defects
