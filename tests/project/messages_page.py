"""Writes the list of all errors at the end of docs/troubleshooting.md, read out of the code:

PYTHONPATH=. python3 tests/project/messages_page.py
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from core import errors
from tests.project.doc_pages import DOCS, GENERATED, ROOT, written
from tests.project.trees import statements

PAGE = DOCS / "troubleshooting.md"
ROOMS = {
    "Command line, settings, runs": ("orchestrator.py", "config.py", "core", "engine"),
    "Claude": ("claude", "planner_agent.py", "executor_agent.py"),
    "AWS and AWS Batch": ("core/aws", "backends/batch", "backends/aws_batch_backend.py"),
    "Docker": ("backends/docker", "backends/docker_backend.py"),
    "Slurm": ("backends/slurm", "backends/slurm_backend.py"),
    "ParallelCluster": ("backends/parallelcluster", "backends/parallelcluster_backend.py"),
    "All backends, results of jobs": ("backends", "core/transfer", "core/bundle.py"),
}
"""The longest beginning of a file's path decides."""
TO_THE_MODEL = {"WorkspaceError"}
INSIDE = ("engine/scheduling/virtual", "claude/simulation/samples", "core/shell", "bench", "tests")
AGAIN = "Nothing: the task is tried again. If it repeats, look at it with `show RUN TASK`."
WITHOUT_REMEDY = {
    "CollectError": AGAIN,
    "BundleError": AGAIN,
    "SubmitError": AGAIN,
    "BackendError": "Check the backend with `doctor`, then `resume`.",
}


@dataclass(frozen=True, order=True)
class Message:
    text: str
    remedy: str
    room: str


def read_messages() -> set[Message]:
    return {
        Message(text, remedy, _room(name))
        for name, tree in _trees().items()
        for text, remedy in _of_tree(tree)
    }


@lru_cache(maxsize=1)
def _trees() -> dict[str, ast.Module]:
    names = [path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py")]
    ours = [name for name in names if _room(name) and not name.startswith(INSIDE)]
    return {name: ast.parse((ROOT / name).read_text(encoding="utf-8")) for name in sorted(ours)}


@lru_cache(maxsize=1)
def _kinds() -> set[str]:
    """The errors of the project, and what else holds a message and a remedy."""
    kinds = {name for name, kind in vars(errors).items() if isinstance(kind, type)}
    for node in (node for tree in _trees().values() for node in statements(tree)):
        if isinstance(node, ast.ClassDef) and kinds & {_name(base) for base in node.bases}:
            kinds.add(node.name)
    return (kinds - TO_THE_MODEL) | {"Problem", "_Rule", "__init__", "WorkEnded"}


def _room(name: str) -> str:
    fits = [(len(b), r) for r, begins in ROOMS.items() for b in begins if name.startswith(b)]
    return max(fits, default=(0, ""))[1]


def _of_tree(tree: ast.Module) -> Iterator[tuple[str, str]]:
    functions = (n for n in statements(tree) if isinstance(n, ast.FunctionDef))
    outside = _inside(tree)
    constants = _Names(outside)
    for nodes in (outside, *map(_inside, functions)):
        names = _Names(nodes, constants)
        for node in nodes:
            for parts, kind in _messages(node):
                for text, remedy in itertools.product(*(_texts(part, names) for part in parts)):
                    if re.search(r"[A-Za-z-]{2,} .*[A-Za-z-]{2,}", text):
                        yield text, remedy or WITHOUT_REMEDY.get(kind, "")


def _inside(scope: ast.AST) -> list[ast.AST]:
    """What is in a function or module, and not in a function in it."""
    found, waiting = list[ast.AST](), [*ast.iter_child_nodes(scope)][::-1]
    while waiting:
        found.append(child := waiting.pop())
        if not isinstance(child, ast.FunctionDef | ast.Name | ast.Constant):
            waiting += [*ast.iter_child_nodes(child)][::-1]
    return found


def _messages(node: ast.AST) -> Iterator[tuple[tuple[ast.expr | None, ast.expr | None], str]]:
    """The expressions of message and remedy: of errors, of problems, and of pairs that become
    one of them."""
    if isinstance(node, ast.Call):
        kind = getattr(node.func, "id", getattr(node.func, "attr", ""))
        at = 1 if kind in {"_Rule", "WorkEnded"} else 0
        status = next((k.value for k in node.keywords if k.arg == "message"), None)
        if kind in _kinds() and len(node.args) > at:
            named = next((k.value for k in node.keywords if k.arg == "remedy"), None)
            yield (node.args[at], node.args[at + 1] if len(node.args) > at + 1 else named), kind
        elif kind in {"notice", "Notice"} and node.args:
            yield (node.args[0], None), kind
        elif kind == "JobStatus" and status:
            yield (status, None), kind
    elif isinstance(node, ast.Tuple) and isinstance(node.ctx, ast.Load):
        for text, remedy in itertools.pairwise(node.elts):
            if (_is_sentence(text) or _name(text) == "message") and (
                _is_sentence(remedy) or _name(remedy).endswith(("remedy", "fix"))
            ):
                yield (text, remedy), ""


def _name(node: ast.expr) -> str:
    node = node.func if isinstance(node, ast.Call) else node
    return str(getattr(node, "id", ""))


def _is_sentence(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or bool(re.match(r"[A-Z.].* .*[.]$", _text(node) or ""))


class _Names:
    """What the variables of a function, given its nodes, hold where they are used: the texts that
    were assigned since the use before. What it does not assign itself is one of the `constants` of
    its module."""

    def __init__(self, nodes: Sequence[ast.AST], constants: _Names | None = None) -> None:
        self.constants = constants
        self.assigned: dict[str, list[tuple[int, Sequence[str]]]] = {}
        self.used: dict[str, list[int]] = {}
        for node in nodes:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                texts = _texts(node.value, None)
                self.assigned.setdefault(node.targets[0].id, []).append((node.lineno, texts))
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                self.used.setdefault(node.id, []).append(node.lineno)

    def texts(self, name: ast.Name) -> Sequence[str]:
        if name.id not in self.assigned and self.constants:
            known = self.constants.assigned.get(name.id, [])
            return [text for _, texts in known for text in texts] or [""]
        before = [at for at in self.assigned.get(name.id, []) if at[0] < name.lineno]
        used = max((at for at in self.used[name.id] if at < name.lineno), default=0)
        fresh = [at for at in before if at[0] > used] or before[-1:]
        return [text for _, texts in fresh for text in texts] or [""]


def _texts(node: ast.expr | None, names: _Names | None) -> Sequence[str]:
    """What an expression may come to; dots for what differs, nothing where all of it does."""
    if isinstance(node, ast.IfExp):
        return [*_texts(node.body, names), *_texts(node.orelse, names)]
    if isinstance(node, ast.Name) and names:
        return names.texts(node)
    return [_text(node) or ""]


def _text(node: ast.expr | None) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        text = re.sub(r"\{\w+\}", "...", node.value)
    elif isinstance(node, ast.JoinedStr):
        text = "".join(_text(part) or "..." for part in node.values)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        text = f"{_text(node.left) or '...'}{_text(node.right) or '...'}"
    else:
        return None
    return re.sub(r"(\.\.\.)+\.?", "...", text)


@lru_cache(maxsize=1)
def render_messages() -> str:
    parts = []
    messages = read_messages()
    for room in ROOMS:
        lines = sorted(
            {(_cell(m.text), _cell(m.remedy)) for m in messages if m.room == room},
            key=lambda line: (line[0].lstrip(".` ").lower(), line),
        )
        rows = "\n".join(f"| {text} | {remedy} |" for text, remedy in lines)
        parts.append(f"### {room}\n\n| message | what it says to do |\n| --- | --- |\n{rows}\n")
    return "\n".join(parts)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")


if __name__ == "__main__":
    PAGE.write_text(f"{written(PAGE)}{GENERATED}\n{render_messages()}", encoding="utf-8")
