"""What a parser says of a file that was just written, in a line for the model. Nothing is run.

Python, JSON and TOML are read here; JavaScript by `node --check`, whose report is read here. What a
parser is no match for (too long, nested too deeply) is not judged.
"""

import codeop
import json
import platform
import re
import tomllib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

MAX_CHARS = 100_000
"""At worst that takes a third of a second and 80 MB."""
MAX_DOTS = 100
"""In a line of TOML: tomllib's time grows with their square."""
SCRIPTS = frozenset({".js", ".mjs", ".cjs"})
"""What `node --check` reads."""
_MAX_QUOTED_CHARS = 160
_NAME = "<written>"
# Where the text ends too early, compile() says so instead of naming what that broke.
_ALLOW_INCOMPLETE: int = (
    codeop.PyCF_ALLOW_INCOMPLETE_INPUT  # type: ignore[attr-defined]  # the stubs lack it
    | codeop.PyCF_DONT_IMPLY_DEDENT  # type: ignore[attr-defined]  # the same
)
_QUIET = ("ignore", None, Warning, re.compile(re.escape(_NAME)), 0)
# Those that read these take comments and trailing commas.
_LENIENT_JSON = re.compile(
    r"(^|/)(\.vscode/.+|[jt]sconfig[^/]*|\.[a-z]+rc|devcontainer|tslint|turbo)\.json$"
)
_TOML_LINE = re.compile(r"\(at line (\d+), column \d+\)")
_NODE_REPORT = re.compile(r":(\d+)\n(.*)\n[ \t^]*\n+SyntaxError: (.*)")


@dataclass(frozen=True, slots=True)
class Fault:
    """`is_end`: the text ends too early, and what comes after it may put that right."""

    language: str
    message: str
    line: int
    quoted: str
    is_end: bool

    def __str__(self) -> str:
        where = f"line {self.line}: {_cut(self.message)}"
        if self.is_end:
            return f"[incomplete so far ({self.language}): {where}]"
        quoted = f": {_cut(self.quoted.strip())}" if self.quoted.strip() else ""
        return f"not valid {self.language}: {where}{quoted}"


def find_fault(path: str, text: str) -> Fault | None:
    """The first syntax error in a file, None where there is none or nobody to tell."""
    find = _FINDERS.get(PurePosixPath(path).suffix)
    if find is None or len(text) > MAX_CHARS or _LENIENT_JSON.search(path):
        return None
    try:
        return find(text)
    except (ValueError, RecursionError, MemoryError, OverflowError):
        return None


def read_node_report(output: str) -> Fault | None:
    """The fault in what `node --check` printed. JSX is none: others than node read that."""
    if (found := _NODE_REPORT.search(output)) is None:
        return None
    line, quoted, message = found.groups()
    if message == "Unexpected token '<'":
        return None
    is_end = message == "Unexpected end of input"
    return Fault("JavaScript", message, int(line), quoted, is_end)


def _find_in_python(text: str) -> Fault | None:
    if _QUIET not in warnings.filters:
        warnings.filterwarnings("ignore", module=re.escape(_NAME))
    try:
        compile(text, _NAME, "exec", dont_inherit=True)
    except SyntaxError as exc:
        language = f"Python {'.'.join(platform.python_version_tuple()[:2])}"
        line = exc.lineno or 1
        return Fault(language, exc.msg, line, _line(text, line), _is_incomplete(text))
    return None


def _is_incomplete(text: str) -> bool:
    try:
        compile(text, _NAME, "exec", _ALLOW_INCOMPLETE, dont_inherit=True)
    except SyntaxError as exc:
        return exc.msg == "incomplete input"
    return False


def _find_in_json(text: str) -> Fault | None:
    try:
        json.loads(text)
    except json.JSONDecodeError as exc:
        is_end = exc.pos >= len(text.rstrip()) or exc.msg.startswith("Unterminated string")
        return Fault("JSON", exc.msg, exc.lineno, _line(text, exc.lineno), is_end)
    return None


def _find_in_toml(text: str) -> Fault | None:
    if any(line.count(".") > MAX_DOTS for line in text.split("\n")):
        return None
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        message = str(exc)
        if (found := _TOML_LINE.search(message)) is None:
            return Fault("TOML", message, text.count("\n") + 1, "", is_end=True)
        line = int(found[1])
        what = message.removesuffix(found[0]).rstrip()
        return Fault("TOML", what, line, _line(text, line), is_end=False)
    return None


_FINDERS: Mapping[str, Callable[[str], Fault | None]] = {
    ".py": _find_in_python,
    ".pyi": _find_in_python,
    ".json": _find_in_json,
    ".toml": _find_in_toml,
}


PARSED = frozenset(_FINDERS)
"""The suffixes of what is read here."""


def _line(text: str, number: int) -> str:
    lines = text.split("\n", number)
    return lines[number - 1] if number <= len(lines) else ""


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_QUOTED_CHARS else text[:_MAX_QUOTED_CHARS] + "..."
