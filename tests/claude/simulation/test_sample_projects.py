"""The sample projects: valid plans whose files work, and the words that choose one."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from claude.simulation.prompt_cache import count_tokens
from claude.simulation.sample_projects import (
    KEYWORDS,
    SampleProject,
    choose_sample,
    find_sample_files,
    load_sample,
    plan_sample,
)
from core.paths import is_owned
from core.plan import plan_defects
from core.simulation_notice import SAMPLE_TITLES, simulation_notice

SAMPLES = Path(__file__).resolve().parents[3] / "claude" / "simulation" / "samples"


@pytest.mark.parametrize("name", KEYWORDS)
def test_the_plan_is_valid_and_its_tasks_write_exactly_the_files(name: str) -> None:
    sample = load_sample(name)
    assert plan_defects(sample.plan) == []
    assert all(task.estimate for task in sample.plan.tasks)
    on_disk = (SAMPLES / name / "files").rglob("*")
    paths = {p.relative_to(SAMPLES / name / "files").as_posix() for p in on_disk if p.is_file()}
    written = [path for files in sample.files.values() for path in files]
    assert sorted(written) == sorted(path for path in paths if not path.endswith(".pyc"))
    for task in sample.plan.tasks:
        assert sample.files[task.id]
        assert all(is_owned(task.owns, path) for path in sample.files[task.id])


def deliver(name: str, root: Path) -> SampleProject:
    """The whole sample as files below `root`."""
    sample = load_sample(name)
    tree = {contract.path: contract.content for contract in sample.plan.contracts}
    for files in sample.files.values():
        tree |= files
    for path, content in tree.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content, encoding="utf-8")
    return sample


def shell(command: str, root: Path) -> str:
    """What it prints; AssertionError when it fails."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        ["sh", "-c", command], cwd=root, env=env, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


@pytest.mark.slow  # starts many processes
@pytest.mark.parametrize("name", KEYWORDS)
def test_all_checks_and_criteria_of_the_plan_hold_for_the_files(name: str, tmp_path: Path) -> None:
    plan = deliver(name, tmp_path).plan
    before = sorted(tmp_path.rglob("*"))
    for task in plan.tasks:
        assert task.checks
        for command in task.checks:
            shell(command, tmp_path)
    commands = [criterion.command for criterion in plan.acceptance_criteria if criterion.command]
    assert "python3 -m unittest discover -s tests -t ." in commands
    for command in commands:
        shell(command, tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", KEYWORDS)
def test_the_plan_is_as_terse_as_one_of_life_and_its_estimates_are_what_is_written(
    name: str,
) -> None:
    sample = load_sample(name)
    assert 2 <= len(sample.plan.assumptions) <= 4
    for task in sample.plan.tasks:
        assert 30 <= len(task.instructions.split()) <= 80
        assert task.estimate == sum(map(count_tokens, sample.files[task.id].values()))
    for contract in sample.plan.contracts:
        documented = ast.Module | ast.ClassDef | ast.FunctionDef
        nodes = [n for n in ast.walk(ast.parse(contract.content)) if isinstance(n, documented)]
        assert not any("\n" in (ast.get_docstring(node) or "") for node in nodes)


def promised_modules(sample: SampleProject) -> dict[str, tuple[str, ast.Module]]:
    """By the module that a stub speaks of: the stub's path, and what it says."""
    found: dict[str, tuple[str, ast.Module]] = {}
    for contract in sample.plan.contracts:
        for part in re.split(r"^(?=# \S+\.py)", contract.content, flags=re.M):
            if contract.path.endswith(".pyi") and (head := re.match(r"# (\S+\.py)", part)):
                found[head[1]] = contract.path, ast.parse(part)
    return found


def imported(source: str) -> set[str]:
    """The paths of the modules that a module imports."""
    froms = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)]
    names = {str(node.module) for node in froms}
    names |= {f"{node.module}.{alias.name}" for node in froms for alias in node.names}
    return {f"{name.replace('.', '/')}.py" for name in names}


@pytest.mark.parametrize("name", ["todo", "shop"])
def test_a_task_uses_the_contracts_of_the_modules_that_it_writes_or_imports(name: str) -> None:
    sample = load_sample(name)
    stubs = {module: path for module, (path, _) in promised_modules(sample).items()}
    contract_of = stubs | {contract.path: contract.path for contract in sample.plan.contracts}
    for task in sample.plan.tasks:
        modules = {p: t for p, t in sample.files[task.id].items() if p.endswith(".py")}
        met = set(modules).union(*map(imported, modules.values()))
        names = {contract_of[path] for path in met if path in contract_of}
        assert set(task.uses) == names or (not modules and len(task.uses) == 1), task.id


def signatures(module: ast.Module) -> dict[str, str]:
    """The functions of a module with the names and defaults of their parameters, and the fields of
    its classes."""
    scopes = [("", module.body)]
    scopes += [(f"{n.name}.", n.body) for n in module.body if isinstance(n, ast.ClassDef)]
    found: dict[str, str] = {}
    for prefix, body in scopes:
        for node in body:
            if isinstance(node, ast.FunctionDef):
                for each in ast.walk(node.args):
                    if isinstance(each, ast.arg):
                        each.annotation = None
                found[prefix + node.name] = ast.unparse(node.args)
            elif isinstance(node, ast.AnnAssign) and prefix:
                found[prefix + ast.unparse(node.target)] = ast.unparse(node.annotation)
    return found


@pytest.mark.parametrize(("name", "promises"), [("todo", 30), ("shop", 50)])
def test_what_a_stub_promises_is_in_the_module(name: str, promises: int) -> None:
    sample = load_sample(name)
    tree = {path: text for files in sample.files.values() for path, text in files.items()}
    count = 0
    for module, (_, stub) in promised_modules(sample).items():
        written, promised = signatures(ast.parse(tree[module])), signatures(stub)
        text = {k: v.replace("HTTPStatus.OK", "200") for k, v in written.items()}
        assert {k: text.get(k) for k in promised} == promised
        count += len(promised)
    assert count >= promises


@pytest.mark.parametrize("name", ["todo", "shop"])
def test_no_task_waits_for_what_a_contract_says(name: str) -> None:
    """Of the whole graph only the start-up waits, for what the command line prints."""
    plan = load_sample(name).plan
    assert {task.id: task.depends_on for task in plan.tasks if task.depends_on} == {"app": ("cli",)}
    assert plan.analysis.recommended_executors == len(plan.tasks) - 1


@pytest.mark.parametrize("name", KEYWORDS)
def test_the_readme_says_at_its_top_what_was_simulated(name: str) -> None:
    sample = load_sample(name)
    (readme,) = (files["README.md"] for files in sample.files.values() if "README.md" in files)
    assert readme.splitlines()[0] == simulation_notice(sample.plan.title)


def test_the_samples_are_those_whose_titles_are_known() -> None:
    assert {path.name for path in SAMPLES.iterdir()} == set(KEYWORDS)
    assert tuple(load_sample(name).plan.title for name in KEYWORDS) == SAMPLE_TITLES
    single = load_sample("word_count").plan
    assert (len(single.tasks), single.analysis.parallel_pays) == (1, False)


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("Build a todo list app with add/delete/complete", "todo"),
        ("A TODO-LIST!", "todo"),
        ("", "todo"),
        ("🐍 ünïcode", "todo"),
        ("fix the bug in my code", "todo"),
        ("Write a script that counts words in a file", "word_count"),
        ("a function that prints hello", "word_count"),
        ("Write a script for my todo notes and tasks", "todo"),
        ("Create a landing page for a coffee shop", "shop"),
        ("a library for books with a web page", "shop"),
    ],
)
def test_the_sample_is_the_one_whose_words_are_nearest_to_the_prompt(
    prompt: str, name: str
) -> None:
    assert choose_sample(prompt) == name
    assert plan_sample(prompt) is load_sample(name).plan


@pytest.mark.parametrize("title", ["", "Todo", "todo list", "Random plan of 3 tasks"])
def test_a_plan_of_another_title_has_no_sample(title: str) -> None:
    assert find_sample_files(title, ["tests/__init__.py"]) == {}
    assert find_sample_files("Todo List", []) == load_sample("todo").files


def test_a_plan_whose_title_was_edited_is_known_by_its_contracts() -> None:
    contracts = [contract.path for contract in load_sample("shop").plan.contracts]
    assert find_sample_files("Mine", ["more.py", *contracts]) == load_sample("shop").files
