"""Tests of which none can fail, since they assert nothing, or only what the tests themselves hold.

The check that runs them shows nothing. Python is parsed, of JavaScript the tokens are read; what is
not understood may fail.
"""

import ast
import json
import posixpath
import re
import shlex
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from core.checks.lying_check import ALWAYS_PASSES, cannot_fail
from core.workspace.confined import read_regular
from engine.verification.conventions import is_test

ASSERT_NOTHING = "it cannot fail: its tests assert nothing about the project"

_RUN = re.compile(
    r"(?:cd (?P<directory>[\w./-]+) && )?(?:\w+=\S* )*(?:"
    r"(?:python[\d.]* (?:-\w+ )*-m )?(?P<python>unittest|py\.?test)"
    r"|(?P<javascript>node (?:--?[\w-]+(?:=\S+)? )*--test|(?:npx )?(?:ava|jest|mocha|vitest)"
    r"|(?:npm|pnpm|yarn) (?:run )?(?P<script>test[\w:-]*|t))"
    r")(?P<rest>(?: [^&|;<>$`]*)?)"
)
_SCRIPT = re.compile(
    r"(?:cd (?P<directory>[\w./-]+) && )?(?:npm|pnpm|yarn) (?:run )?(?P<name>[\w:-]+)"
)
_SUFFIXES = {
    "python": (".py",),
    "javascript": tuple(f".{c}{s}" for c in ("", "c", "m") for s in ("js", "ts")),
}
_MOST_BYTES = 256 * 1024
_ASSERTING = re.compile(
    r"assert|expect|fail|raise|warns|exit|check|verify|ensure|require|should|same|equal|compare|validat"
    r"|match|throws|rejects|^(?:ok|is)$",
    re.IGNORECASE,
)


def find_doubt(command: str, files: Mapping[str, Path]) -> str:
    """Why a command that passes shows nothing, by the files that it runs; empty where it may."""
    if (script := _script_of(command, files)) and cannot_fail(script):
        return ALWAYS_PASSES
    run = _RUN.fullmatch(command.strip())
    if run is None:
        return ""
    language = "python" if run["python"] else "javascript"
    base = posixpath.normpath(run["directory"] or ".")
    tests = [p for p in files if is_test(p) and p.endswith(_SUFFIXES[language])]
    named = [p for word in _words(run["rest"]) for p in _tests_of(word, base, tests)]
    below = [path for path in tests if base == "." or path.startswith(f"{base}/")]
    texts = [_read(files[path]) for path in named or below]
    can_fail = _python_can_fail if language == "python" else _javascript_can_fail
    return "" if not any(texts) or any(map(can_fail, texts)) else ASSERT_NOTHING


def _script_of(command: str, files: Mapping[str, Path]) -> str:
    """The script of package.json that the command runs."""
    if (run := _SCRIPT.fullmatch(command.strip())) is None:
        return ""
    manifest = posixpath.normpath(posixpath.join(run["directory"] or ".", "package.json"))
    try:
        scripts = json.loads(_read(files[manifest]))["scripts"]
        return str(scripts[{"t": "test"}.get(run["name"], run["name"])])
    except (KeyError, TypeError, ValueError):
        return ""


def _read(path: Path) -> str:
    try:
        return read_regular(path, _MOST_BYTES).decode(errors="replace")
    except OSError:
        return ""


def _words(text: str) -> list[str]:
    try:
        return [word for word in shlex.split(text) if not word.startswith("-")]
    except ValueError:
        return []


def _tests_of(word: str, base: str, tests: Collection[str]) -> Iterator[str]:
    """Those that a word names: by a path, with or without the test in it, or as a module."""
    path = posixpath.normpath(posixpath.join(base, word.partition("::")[0]))
    yield from (test for test in tests if test == path or test.startswith(f"{path}/"))
    module = posixpath.normpath(posixpath.join(base, word.replace(".", "/")))
    yield from (t for t in tests if f"{module}/".startswith(f"{t.removesuffix('.py')}/"))


# Python

_PLAIN = re.compile(
    "abs|bool|dict|float|int|isinstance|len|list|max|min|range|round|set|sorted|str|sum|tuple|type"
)
_CATCH_ALL = frozenset({"AssertionError", "BaseException", "Exception"})


def _python_can_fail(text: str) -> bool:
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
    return any(isinstance(n, ast.Call) and _ASSERTING.search(_name(n.func)) for n in ast.walk(node))


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
            if not _ASSERTING.search(name):
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


# JavaScript

_TOKEN = re.compile(
    r"(?P<comment>//[^\n]*|/\*.*?\*/)|(?P<template>`(?:\\.|[^`\\])*`)"
    r"|(?P<text>\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*')|(?P<name>[A-Za-z_$][\w$]*)|(?P<other>\S)",
    re.DOTALL,
)
_LITERAL_NAME = re.compile(
    r"^\s*(?:const|let|var)\s+(\w+)\s*=\s*(?:[\d.]+|'[^'\n]*'|\"[^\"\n]*\"|true|false|null);?\s*$",
    re.MULTILINE,
)
_LITERALS = frozenset({"true", "false", "null", "undefined", "NaN", "Infinity"})
_FAILS_ANYHOW = frozenset({"throw", "should", "fail", "screen", "cy"})
_OF_LIBRARIES = frozenset({"assert", "expect", "t"})
_MATCHER = re.compile(
    r"to[A-Z]\w*|not\w*|\w*[eE]qual|ok|is|true|false|be|deep|strict|pass|assertions|hasAssertions"
)


def _javascript_can_fail(text: str) -> bool:
    tokens = [(m.lastgroup or "", m[0]) for m in _TOKEN.finditer(text) if m.lastgroup != "comment"]
    literals = _LITERALS | set(_LITERAL_NAME.findall(text))
    return any(
        kind == "name" and _javascript_fails(tokens, place, literals)
        for place, (kind, _) in enumerate(tokens)
    )


def _javascript_fails(tokens: list[tuple[str, str]], place: int, literals: Collection[str]) -> bool:
    """Whether what begins here is a call that fails by something of the project."""
    name, after = tokens[place][1], [text for _, text in tokens[place + 1 : place + 4]]
    is_method = bool(place) and tokens[place - 1][1] == "."
    is_called = after[:1] == ["("]
    if name in _FAILS_ANYHOW or (name == "expect" and is_method and is_called):
        return True
    if name not in _OF_LIBRARIES:
        return is_called and not is_method and _ASSERTING.search(name) is not None
    if after[:1] not in (["("], ["."]):
        return False
    depth, chained = 0, False
    for kind, text in tokens[place + 1 :]:
        if depth == 0 and (text == ";" or (kind in ("name", "text") and not chained)):
            return False
        depth += (text in "([{") - (text in ")]}")
        if depth < 0:
            return False
        if kind == "name" and not (chained and depth == 0) and text not in literals:
            return True
        if kind == "template" and "${" in text:
            return True
        if chained and depth == 0 and kind == "name" and not _MATCHER.fullmatch(text):
            return True
        chained = text == "."
    return False
