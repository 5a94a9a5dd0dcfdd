"""Manifests of packages and workflows of CI: what they name has to be there."""

import json
import posixpath
import re
import tomllib
from collections.abc import Iterator
from typing import Any

from claude.engines.syntax import MAX_DOTS, find_fault
from engine.verification.config_files.tree import Tree
from engine.verification.config_files.yaml_text import items, load_yaml, mapping

WORKFLOW = re.compile(r"(.+/)?\.github/workflows/[^/]+\.ya?ml")
_RUN_FILE = re.compile(
    r"^(?:node|tsx|ts-node|bun)(?: --?[\w-]+(?:=\S+)?)* ([\w./-]+\.[cm]?[jt]sx?)"
)
_RUN_SCRIPT = re.compile(r"^(?:npm|pnpm|yarn|bun) run ([\w:.-]+)")
_COMMANDS = re.compile(r"\s*(?:&&|\|\||;)\s*")
_ENTRY = re.compile(r"([\w.]+):([\w.]+)")


def find_syntax_faults(path: str, text: str, _tree: Tree) -> Iterator[str]:
    """Of JSON, TOML or YAML."""
    if path.endswith((".yaml", ".yml")):
        load_yaml(text)
    elif (fault := find_fault(path, text)) is not None:
        yield f"no valid {fault.language}: line {fault.line}: {fault.message}"


def find_package_faults(path: str, text: str, tree: Tree) -> Iterator[str]:
    """Of package.json."""
    yield from (faults := list(find_syntax_faults(path, text, tree)))
    package = {} if faults else json.loads(text)
    if not isinstance(package, dict):
        yield "it is no object"
        return
    base, scripts = posixpath.dirname(path), package.get("scripts")
    scripts = scripts if isinstance(scripts, dict) else {}
    for name, script in scripts.items():
        for command in _COMMANDS.split(str(script)):
            file, other = _RUN_FILE.match(command), _RUN_SCRIPT.match(command)
            if file and not tree.has(file[1], base):
                yield f"scripts.{name}: {file[1]} is not in the project"
            if other and other[1] not in scripts:
                yield f"scripts.{name}: there is no script {other[1]}"
    named = package.get("bin")
    for file in named.values() if isinstance(named, dict) else [named]:
        if isinstance(file, str) and not tree.has(file, base):
            yield f"bin: {file} is not in the project"


def find_pyproject_faults(path: str, text: str, tree: Tree) -> Iterator[str]:
    yield from (faults := list(find_syntax_faults(path, text, tree)))
    if faults or any(line.count(".") > MAX_DOTS for line in text.splitlines()):
        return
    project = tomllib.loads(text).get("project", {})
    for table in ("scripts", "gui-scripts"):
        named: Any = project.get(table) if isinstance(project, dict) else None
        for name, entry in (named if isinstance(named, dict) else {}).items():
            if found := _ENTRY.fullmatch(str(entry)):
                yield from (
                    f"{table}.{name}: {f}" for f in _faults_of_entry(found[1], found[2], tree)
                )


def _faults_of_entry(module: str, function: str, tree: Tree) -> Iterator[str]:
    place = module.replace(".", "/")
    ends = (f"{place}.py", f"{place}/__init__.py")
    files = [path for path in tree.paths if f"/{path}".endswith(tuple(f"/{end}" for end in ends))]
    if not files:
        yield f"the module {module} is not in the project"
    name = function.partition(".")[0]
    if files and not any(re.search(rf"\b{name}\b", tree.texts.get(path, name)) for path in files):
        yield f"{module} has no {name}"


def find_workflow_faults(_path: str, text: str, _tree: Tree) -> Iterator[str]:
    """Of a workflow of GitHub's."""
    documents = load_yaml(text)
    if not documents:
        return
    top = mapping(documents[0])
    if "on" not in top:
        yield "it does not say on what it runs"
    jobs = mapping(top.get("jobs"))
    if not jobs:
        yield "it has no jobs"
    for name, job in jobs.items():
        steps = items(mapping(job).get("steps"))
        if not steps and "uses" not in mapping(job):
            yield f"the job {name} has no steps"
        for number, step in enumerate(steps, 1):
            if mapping(step).keys().isdisjoint({"run", "uses"}):
                yield f"the job {name}: step {number} does nothing"
