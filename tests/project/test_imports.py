"""Imports run downward only, do nothing, and keep heavy packages out until they are used."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENTRIES = ("orchestrator", "docker_planner", "docker_executor", "batch_executor")
AGENTS = ("planner_agent", "executor_agent")
WORKER_FREE = ("click", "rich", "docker", "engine", "backends")

# What each room may import of the project.
MAY = {
    "core": {"core"},
    "claude": {"core", "claude"},
    "planner_agent": {"core", "claude"},
    "executor_agent": {"core", "claude"},
    "docker_planner": {"core", "claude", *AGENTS},
    "docker_executor": {"core", "claude", *AGENTS},
    "batch_executor": {"core", "claude", *AGENTS},
    "config": {"core", *(f"backends.{b}.settings" for b in ("batch", "parallelcluster", "slurm"))},
    "backends": {"core", "backends", "executor_agent"},
    "engine": {"core", "backends.base", "engine", *AGENTS},
    "orchestrator": {"core", "config", "backends", "claude", "engine", *AGENTS},
    "parallel_task_orchestrator": {"parallel_task_orchestrator"},
    "hatch_build": set(),
}
# Files that reach further, each for its reason.
REACHING = {
    "engine/cli/options.py": {"config"},  # makes the command line from the declared settings
    # looks at everything that can be chosen
    "engine/cli/doctor.py": {"backends", "config", "claude.engines", "claude.preflight"},
    # opens the backends that runs were carried out on, as they were then
    "engine/cleanup/run_backends.py": {"backends", "config"},
    "engine/planning/preflight.py": {"backends", "claude", "config"},
    "engine/planning/forecast.py": {
        "engine.scheduling.virtual_backend"
    },  # runs the real scheduler in virtual time
}
OURS = {name.partition(".")[0] for names in MAY.values() for name in names} | set(MAY)


def sources() -> list[Path]:
    """Every module of the program; the simulation's samples are data."""
    top = list(ROOT.glob("*.py"))
    below = [p for room in MAY if (ROOT / room).is_dir() for p in (ROOT / room).rglob("*.py")]
    return sorted(p for p in top + below if "samples" not in p.parts)


FILES = sources()
NAMES = [p.relative_to(ROOT).as_posix() for p in FILES]


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            module = node.module or ""
            # `from backends import base` means backends.base
            yield from (f"{module}.{alias.name}" for alias in node.names)


def allowed(name: str, rules: set[str]) -> bool:
    return any(name == rule or name.startswith(f"{rule}.") for rule in rules)


def offences(text: str, rules: set[str]) -> list[str]:
    """The project's own names that code imports against the rule."""
    names = [n for n in imported(ast.parse(text)) if n.partition(".")[0] in OURS]
    return [n for n in names if not allowed(n, rules)]


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_imports_run_downward_only(path: Path) -> None:
    rules = MAY[room(path)] | REACHING.get(path.relative_to(ROOT).as_posix(), set())
    assert offences(path.read_text(encoding="utf-8"), rules) == []


@pytest.mark.parametrize(
    ("of_room", "text"),
    [
        ("core", "import config"),
        ("claude", "from engine.delivery.merge import plan_merge"),
        ("engine", "from backends import threading_backend"),
        ("engine", "def f():\n    import config"),
        ("backends", "import orchestrator"),
        ("executor_agent", "from backends.base import Job"),
    ],
)
def test_the_rule_sees_an_upward_import(of_room: str, text: str) -> None:
    assert offences(text, MAY[of_room]) != []


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_nothing_imports_an_entry_script(path: Path) -> None:
    tops = {name.partition(".")[0] for name in imported(ast.parse(path.read_text("utf-8")))}
    assert not tops & set(ENTRIES)


@pytest.mark.parametrize(
    "path",
    [p for p in FILES if room(p) in {"claude", *AGENTS, *ENTRIES[1:]}],
    ids=lambda p: p.relative_to(ROOT).as_posix(),
)
def test_workers_know_nothing_of_the_host(path: Path) -> None:
    tops = {name.partition(".")[0] for name in imported(ast.parse(path.read_text("utf-8")))}
    assert not tops & set(WORKER_FREE)


def top_level(tree: ast.Module) -> Iterator[ast.AST]:
    """Every node that runs on import; that is all but the bodies of functions."""
    waiting: list[ast.AST] = [n for n in tree.body if not is_main_guard(n)]
    while waiting:
        node = waiting.pop()
        yield node
        later: list[ast.AST] = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            later = [*node.body]
        elif isinstance(node, ast.Lambda):
            later = [node.body]
        waiting += [child for child in ast.iter_child_nodes(node) if child not in later]


def is_main_guard(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"


READS_OF_THE_WORLD = re.compile(
    r"(os\.(environ|getenv|getcwd|path\.exists)|Path\.cwd|subprocess\.\w+|socket\.\w+"
    r"|time\.(time|sleep)|logging\.basicConfig|open|print|input"
    r"|.*\.(read_text|read_bytes|write_text|open|mkdir|iterdir|glob|exists))"
)


def work_at_import(text: str) -> list[str]:
    """What is called on import that touches the world, and every use of the environment."""
    found = []
    for node in top_level(ast.parse(text)):
        if isinstance(node, ast.Call) and READS_OF_THE_WORLD.fullmatch(ast.unparse(node.func)):
            found.append(ast.unparse(node))
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "os.environ":
            found.append("os.environ")
    return found


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_importing_does_no_io_and_reads_no_environment(path: Path) -> None:
    assert work_at_import(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "text",
    [
        "import os\nA = os.environ.get('A')",
        "class A:\n    b = open('x')",
        "def f(a=os.environ): ...",
        "from pathlib import Path\nT = Path('x').read_text()",
        "if True:\n    print('x')",
        "@subprocess.run('x')\ndef f(): ...",
    ],
)
def test_work_at_import_is_seen(text: str) -> None:
    assert work_at_import(text) != []


@pytest.mark.parametrize(
    "text",
    [
        "def f():\n    return os.environ",
        "f = lambda: open('x')",
        "if __name__ == '__main__':\n    print('x')",
    ],
)
def test_work_in_functions_is_none_at_import(text: str) -> None:
    assert work_at_import(text) == []


def modules_after(*names: str) -> set[str]:
    """What is loaded in a new process once `names` are imported."""
    code = f"import sys, {', '.join(names)}\nprint(*sys.modules, sep='\\n')"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_agents_pull_in_nothing_of_the_host() -> None:
    assert not modules_after("executor_agent", "planner_agent") & set(WORKER_FREE)


def dotted(path: Path) -> str:
    return path.relative_to(ROOT).as_posix().removesuffix(".py").replace("/", ".")


def test_what_help_needs_does_not_import_the_sdk() -> None:
    quick = [p for p in FILES if room(p) in {"core", "engine", "config", "orchestrator"}]
    modules = [dotted(p) for p in quick if p.name != "__init__.py"]
    assert not modules_after(*modules) & {"anthropic", "boto3", "botocore", "docker"}


def test_every_module_can_be_imported_on_its_own_in_one_process() -> None:
    modules = [dotted(p).removesuffix(".__init__") for p in FILES]
    skipped = ("hatch_build", "parallel_task_orchestrator.__main__")
    modules_after(*(m for m in modules if m not in skipped))


def test_the_docker_folder_is_no_package() -> None:
    assert not (ROOT / "docker" / "__init__.py").exists()
    assert not (ROOT / "tests" / "docker").exists()
