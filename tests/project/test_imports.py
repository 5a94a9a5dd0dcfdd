"""Imports run downward only, do nothing, and keep heavy packages out until they are used."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.project.trees import statements

ROOT = Path(__file__).resolve().parents[2]
ENTRIES = ("orchestrator", "docker_planner", "docker_executor", "batch_executor")
AGENTS = ("planner_agent", "executor_agent")
WORKER_FREE = ("click", "rich", "docker", "engine", "backends")

# From top to bottom: a room imports itself and those after it.
CORE = ("aws", "worker", "checks", "shell", "transfer", "settings", "workspace", "")
CLAUDE = (
    "engines",
    "",
    "planning",
    "client",
    "errors",
    "simulation",
    "limits",
    "http",
    "prompts",
    "sdk",
)
ENGINE = (
    *("pipeline", "execution", "cleanup", "cli", "telemetry", "report", "views", "planning"),
    *("verification", "scheduling", "delivery", "merging", "repository", "run", "money", ""),
)
# Each backend imports its own rooms besides those of all backends.
BACKENDS = {
    "threading_backend": (),
    "docker_backend": ("docker",),
    "docker": (),
    "aws_batch_backend": ("batch",),
    "batch": (),
    "slurm_backend": ("slurm",),
    "slurm": (),
    "parallelcluster_backend": ("parallelcluster", "slurm", "slurm_backend"),
    "parallelcluster": ("slurm", "parallelcluster.head_node"),
}


def below(top: str, names: Iterable[str]) -> list[str]:
    return [f"{top}.{name}" if name else top for name in names]


def one_way(top: str, names: Iterable[str], *lower: str) -> dict[str, set[str]]:
    """What each of these rooms may import: itself, those after it, and `lower`."""
    rooms = below(top, names)
    return {room: {*rooms[place:], *lower} for place, room in enumerate(rooms)}


def each_backend(*lower: str) -> dict[str, set[str]]:
    return {
        f"backends.{name}": {*below("backends", (name, "base", "shared", *own)), *lower}
        for name, own in BACKENDS.items()
    }


ALL_CORE = below("core", CORE)
ALL_CLAUDE = below("claude", CLAUDE)
# What each room may import of the project; a room is the longest of these names that fits.
MAY = {
    **one_way("core", CORE),
    **one_way("claude", CLAUDE, *ALL_CORE),
    **{agent: {*ALL_CORE, *ALL_CLAUDE} for agent in AGENTS},
    **{entry: {*ALL_CORE, *ALL_CLAUDE, *AGENTS} for entry in ENTRIES[1:]},
    "config": set(ALL_CORE),
    "backends": {"backends.base", *ALL_CORE},
    "backends.base": set(ALL_CORE),
    "backends.shared": {"backends.base", *ALL_CORE},
    **each_backend(*ALL_CORE),
    "backends.parallelcluster.head_node": set(),
    **one_way("engine", ENGINE, "backends.base", *AGENTS, *ALL_CORE),
    "orchestrator": {
        *("config", "backends", "backends.base", *AGENTS),
        *(*ALL_CORE, *ALL_CLAUDE, *below("engine", ENGINE)),
    },
    "parallel_task_orchestrator": set(),
    "parallel_task_orchestrator.conformance": {
        *("parallel_task_orchestrator", "backends", "backends.base", "executor_agent"),
        *(*ALL_CORE, "engine.run"),
    },
    "hatch_build": set(),
}
# Rooms that import more, each for its reason.
REACHING = {
    # The command line is made from the declared settings, and those of a backend are its own.
    "engine.cli": {"config", "backends", "claude", "claude.engines", "backends.batch.definition"},
    # The settings of all backends are settings of the program, also of one that others have made.
    "config": {
        *(f"backends.{name}.settings" for name in ("batch", "docker", "parallelcluster")),
        "backends",
    },
    # Opens the backends that runs were carried out on, as they were then.
    "engine.cleanup": {"config", "backends"},
    # Carries out a run under its settings.
    "engine.execution": {"config"},
    # Looks at all that was chosen before a run begins.
    "engine.planning": {
        *("config", "backends", "backends.docker.planner", "claude", "claude.client"),
        *("claude.engines", "claude.limits", "claude.planning", "claude.prompts"),
        "claude.simulation",
    },
    # The checks of our own samples run unprotected, and others where there is an engine; a repair
    # has instructions of its own, and files are parsed as those that executors write.
    "engine.verification": {
        *("config", "claude.simulation", "claude.prompts", "claude.engines", "backends.docker"),
    },
    # Its page is served on loopback.
    "engine.report": {"claude.http"},
    # A bundle is read as a worker left it, which nothing here trusts.
    "core": {"core.workspace"},
    # The budget of a resumed run begins with what its journal has spent.
    "engine.money": {"engine.run.jobs_view"},
    # Upward, until what they import has moved down.
    "claude.errors": {"claude.client.stream"},
    "claude.simulation": {"claude.client.context"},
    "engine.run": {"engine.delivery.target", "engine.scheduling.types"},
    "engine.scheduling": {"engine.views.format"},
}
TOPS = {name.partition(".")[0] for name in MAY}
# Arrows between the rooms of a part; fewer are welcome.
MOST_ARROWS = {"backends": 27, "engine": 51}


def sources() -> list[Path]:
    """Every module of the program; the simulation's samples are data."""
    top = list(ROOT.glob("*.py"))
    inside = [p for part in TOPS if (ROOT / part).is_dir() for p in (ROOT / part).rglob("*.py")]
    return sorted(p for p in top + inside if not {"templates", "samples"} & set(p.parts))


def dotted(path: Path) -> str:
    name = path.relative_to(ROOT).as_posix().removesuffix(".py").replace("/", ".")
    return name.removesuffix(".__init__")


TEXTS = {dotted(path): path.read_text(encoding="utf-8") for path in sources()}


def room(name: str) -> str:
    while name not in MAY and "." in name:
        name = name.rpartition(".")[0]
    return name


@cache
def imported(text: str) -> list[str]:
    found = list[str]()
    for node in statements(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            # `from backends import base` means backends.base
            found += (f"{node.module}.{alias.name}" for alias in node.names)
    return found


def fits(name: str, rule: str) -> bool:
    """Whether an imported name is of the room, or of the module, that a rule names."""
    return room(name) == rule if rule in MAY else name.startswith(f"{rule}.")


def offences(importer: str, text: str) -> list[str]:
    """The project's own names that a room imports against its rule."""
    rules = {importer} | MAY[importer] | REACHING.get(importer, set())
    ours = [name for name in imported(text) if name.partition(".")[0] in TOPS]
    return [name for name in ours if not any(fits(name, rule) for rule in rules)]


def arrows(part: str) -> set[tuple[str, str]]:
    """The pairs of rooms of this part of which the first imports the second."""
    pairs = {(room(name), room(of)) for name, text in TEXTS.items() for of in imported(text)}
    return {(a, b) for a, b in pairs if a != b and all(n.partition(".")[0] == part for n in (a, b))}


def test_imports_run_downward_only() -> None:
    found = {name: offences(room(name), text) for name, text in TEXTS.items()}
    assert {name: names for name, names in found.items() if names} == {}


@pytest.mark.parametrize("importer", REACHING)
def test_no_exception_is_left_over(importer: str) -> None:
    names = {of for name, text in TEXTS.items() if room(name) == importer for of in imported(text)}
    unused = [to for to in REACHING[importer] if not any(fits(name, to) for name in names)]
    assert unused == []


@pytest.mark.parametrize("part", MOST_ARROWS)
def test_no_more_rooms_import_each_other(part: str) -> None:
    assert len(arrows(part)) <= MOST_ARROWS[part], sorted(arrows(part))


@pytest.mark.parametrize(
    ("importer", "text"),
    [
        ("core", "import config"),
        ("claude", "from engine.delivery.merge import plan_merge"),
        ("claude.limits", "from claude.client.client import Claude"),
        ("engine.run", "from backends import threading_backend"),
        ("engine.run", "from engine.views.plain import PlainView"),
        ("engine.delivery", "def f():\n    import config"),
        ("backends.slurm_backend", "import orchestrator"),
        ("backends.slurm", "from backends.batch.client import BatchClient"),
        ("backends.parallelcluster.head_node", "from core.paths import is_below"),
        ("executor_agent", "from backends.base import Job"),
    ],
)
def test_the_rule_sees_an_upward_import(importer: str, text: str) -> None:
    assert offences(importer, text) != []


def tops(name: str) -> set[str]:
    return {of.partition(".")[0] for of in imported(TEXTS[name])}


def test_nothing_imports_an_entry_script() -> None:
    assert [name for name in TEXTS if tops(name) & set(ENTRIES)] == []


def test_workers_know_nothing_of_the_host() -> None:
    workers = [name for name in TEXTS if room(name) in {*ALL_CLAUDE, *AGENTS, *ENTRIES[1:]}]
    assert workers
    assert [name for name in workers if tops(name) & set(WORKER_FREE)] == []


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


def test_importing_does_no_io_and_reads_no_environment() -> None:
    found = {name: work_at_import(text) for name, text in TEXTS.items()}
    assert {name: work for name, work in found.items() if work} == {}


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


def test_what_help_needs_does_not_import_the_sdk() -> None:
    quick = [name for name in TEXTS if name.startswith(("core.", "engine.", "config", "orch"))]
    assert not modules_after(*quick) & {"anthropic", "boto3", "botocore", "docker"}


def test_every_module_can_be_imported_on_its_own_in_one_process() -> None:
    modules_after(*(set(TEXTS) - {"hatch_build", "parallel_task_orchestrator.__main__"}))


def test_the_docker_folder_is_no_package() -> None:
    assert not (ROOT / "docker" / "__init__.py").exists()
    assert not (ROOT / "tests" / "docker").exists()
