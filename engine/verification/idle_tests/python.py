"""Python, by its syntax tree."""

import ast
import re
from collections.abc import Collection, Iterator

from engine.verification.idle_tests.names import ASSERTING

_PLAIN = re.compile(
    "abs|bool|dict|float|int|isinstance|len|list|max|min|range|round|set|sorted|str|sum|tuple|type"
)
_CATCH_ALL = frozenset({"AssertionError", "BaseException", "Exception"})


def can_fail(text: str) -> bool:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return True
    tests = (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
    if not any(test.name.startswith("test") for test in tests):
        return True  # they are elsewhere
    constants = _constants(tree)
    return any(_fails(node, constants) for node in _reached(tree))


def _reached(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those whose failure is caught and forgotten."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        yield node
        swallows = isinstance(node, ast.Try) and any(map(_forgets, node.handlers))
        waiting += (
            [*node.handlers, *node.orelse, *node.finalbody]
            if isinstance(node, ast.Try) and swallows
            else ast.iter_child_nodes(node)
        )


def _forgets(handler: ast.ExceptHandler) -> bool:
    caught = (
        {n.id for n in ast.walk(handler.type) if isinstance(n, ast.Name)}
        if handler.type
        else _CATCH_ALL
    )
    return not _CATCH_ALL.isdisjoint(caught) and all(
        isinstance(statement, ast.Pass | ast.Expr | ast.Continue | ast.Return)
        and not _calls_fail(statement)
        for statement in handler.body
    )


def _calls_fail(node: ast.AST) -> bool:
    return any(isinstance(n, ast.Call) and ASSERTING.search(_name(n.func)) for n in ast.walk(node))


def _name(function: ast.expr) -> str:
    match function:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def _fails(node: ast.AST, constants: Collection[str]) -> bool:
    match node:
        case ast.Raise():
            return True
        case ast.Assert(test=test):
            is_false = isinstance(test, ast.Constant) and not test.value
            return is_false or not _is_constant(test, constants)
        case ast.Call(func=function, args=args, keywords=keywords):
            name = _name(function)
            if any(keyword.arg == "check" for keyword in keywords):
                return True  # as subprocess.run has it
            if not ASSERTING.search(name):
                return False
            is_plain = name.startswith("assert") and not re.search(
                r"raises|warns|logs", name, re.IGNORECASE
            )
            is_own = isinstance(function, ast.Attribute) and _name(function.value) == "self"
            values = [*args, *(keyword.value for keyword in keywords)]
            return not (is_plain and is_own and all(_is_constant(v, constants) for v in values))
    return False


def _constants(tree: ast.Module) -> set[str]:
    """Names that are only ever given constants."""
    given: set[str] = set()
    other: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if _is_constant(value, ()):
                given.add(name)
            case ast.Assign(targets=targets):
                other |= {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
            case ast.arg(arg=name) | ast.alias(asname=str(name)) | ast.alias(name=name):
                other.add(name)
            case (
                ast.AugAssign(target=target) | ast.For(target=target) | ast.NamedExpr(target=target)
            ):
                other |= {n.id for n in ast.walk(target) if isinstance(n, ast.Name)}
    return given - other


def _is_constant(node: ast.expr, constants: Collection[str]) -> bool:
    """Whether nothing of the project goes into it."""
    names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    return all(name in constants or _PLAIN.fullmatch(name) for name in names)
