"""What of a test file has to stay when it is repaired: all but the names that it uses.

A file is a set of parts, each with a shape: its structure, literals and assertions, other names
left out. Python is parsed; of other languages the tokens are compared, formatting left out.
"""

import ast
import builtins
import copy
import re
import sys
from collections.abc import Collection, Iterator
from typing import NamedTuple

_CODE = re.compile(
    r"[cm]?[jt]sx?|go|rs|java|kts?|scala|groovy|cs|php|rb|swift|exs?|c|cc|cpp|h|hpp|dart|lua|sh|bats"
)
_CHECKING = re.compile(
    r"assert\w*|\w*[Ee]xpect\w*|should\w*|require\w*|verify\w*|to[A-Z_]\w*|not\w*|be|is|has"
    r"|have|(deep|strict|match|contain|include|reject|resolve|raise|throw|fail)[A-Za-z_]*"
    r"|equals?|eq|ne|ok|true|false|null|None|nil|undefined|(x?fail|skip|todo|only|it|test|describe)"
    r"|\w*(Error|Exception)|[Ee]rror\w*|Fatal\w*|mock\w*|patch\w*|spy\w*|fn"
)
"""Names that decide what is asserted; all other names may be put right."""
_MARKS_TEST = re.compile(r"(?:Test|Benchmark|Fuzz|Example)(?![a-z])|test")
"""How names begin by which tests are found."""
_IMPORT = re.compile(
    r"""^\s*import\b[^;'"]*?from\s*['"][^'"]+['"];?|^\s*import\s*['"][^'"]+['"];?"""
    r"""|^\s*(?:const|let|var)\b[^;=]*=\s*require\(\s*['"][^'"]+['"]\s*\)(?:\.\w+)?;?"""
    r"""|^\s*import\s*\([^)]*\)|^\s*import\s[^\n;{]*;?|^\s*(?:pub\s+)?use\s+[^;{]*(?:\{[^}]*\})?;"""
    r"""|^\s*#\s*include[^\n]*|^\s*require(?:_relative)?\s+['"][^'"]+['"]|^\s*package\s+[\w.]+;?""",
    re.MULTILINE,
)
_LEXEMES = (
    r"""(?P<text>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`)"""
    r"""|(?P<name>[A-Za-z_$][\w$]*)|(?P<other>\d[\w.]*|[^\s;,])"""
)
_SLASHES, _HASH = r"(?P<comment>//[^\n]*|/\*.*?\*/)|", r"(?P<comment>(?<![\w#$])\#(?!!)[^\n]*)|"
_TOKENS = [re.compile(comment + _LEXEMES, re.DOTALL) for comment in (_SLASHES, _HASH)]
_COMMENT_BY_HASH = frozenset({"rb", "sh", "bats", "ex", "exs"})
_SAME_SIDES = re.compile(
    r"(?<![\w.])(?:\w+\.)*\w*(?:[Ee]quals?|Is|Same|assert_eq|is|same|eq)!?\(\s*"
    r"(?P<a>[\w.]+(?:\(\))?)\s*,\s*(?P=a)\s*[,)]"
    r"|\bexpect\(\s*(?P<b>[\w.]+)\s*\)(?:\.\w+)+\(\s*(?P=b)\s*\)"
    r"|(?<![\w.)\]])(?P<c>[A-Za-z_][\w.]*)\s*[!=]==?\s*(?P=c)(?![\w.(\[])"
)
_BINDING = re.compile(
    r"""^\s*import\s+([^;'"]*?)\s*from\s*['"]([^'"]+)|^\s*(?:const|let|var)\s+([^;=]*?)\s*="""
    r"""\s*require\(\s*['"]([^'"]+)""",
    re.MULTILINE,
)
_JUDGES = re.compile(
    r"assert\w*|expect|unittest|pytest|TestCase|raises|approx|it|test|describe|suite|chai|should"
)
"""Names of what tests are judged with: where they come from may not change."""
_TOOLS = sys.stdlib_module_names | {"pytest", "hypothesis"}
_INLINE_RUST = "#[cfg(test)]"
_TEST_OF_PYTHON = re.compile(r"^\s*(?:async )?def (test\w*)", re.MULTILINE)
WHOLE = "the file"


class Shapes(NamedTuple):
    """`parts` by name; `growing`: more may follow a part. `same_sides` are parts in which a thing
    is compared with itself."""

    parts: dict[str, tuple[str, ...]]
    growing: bool = False
    same_sides: tuple[str, ...] = ()
    judges: frozenset[str] = frozenset()
    """What a test is judged with that comes from the project, each with its origin."""


def shapes_of(path: str, text: str) -> Shapes | None:
    """None for what is no test code, such as data, and for Python that cannot be parsed."""
    suffix = path.rpartition(".")[2]
    if suffix == "py":
        return _of_python(text)
    if not _CODE.fullmatch(suffix):
        return None
    same = (WHOLE,) * len(_SAME_SIDES.findall(text))
    return Shapes({WHOLE: tuple(_tokens(text, suffix))}, True, same, _judges_of_javascript(text))


def _judges_of_javascript(text: str) -> frozenset[str]:
    found = set()
    for imported, place, required, other in _BINDING.findall(text):
        names = re.findall(r"\w+", imported or required)
        found |= {f"{n} of {place or other}" for n in names if _JUDGES.fullmatch(n)}
    return frozenset(judge for judge in found if re.search(r" of [./#@~]/?", judge))


def names_of_tests(text: str) -> set[str]:
    """Of a file of Python that cannot be parsed."""
    return set(_TEST_OF_PYTHON.findall(text))


def inline_tests(text: str) -> str:
    """The part of a source file of Rust that holds its tests; empty without any."""
    before, mark, tests = text.partition(_INLINE_RUST)
    is_comment = before.count("/*") > before.count("*/")
    return "" if is_comment else mark + tests


def _of_python(text: str) -> Shapes | None:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return None
    parts: dict[str, tuple[str, ...]] = {}
    same: list[str] = []
    for name, node in _parts(tree.body, ""):
        parts[name] = (*parts.get(name, ()), ast.dump(_Blank().visit(ast.parse(ast.unparse(node)))))
        same += [name] * sum(map(_compares_with_itself, ast.walk(node)))
    return Shapes(parts, same_sides=tuple(same), judges=_judges_of_python(tree, parts.keys()))


def _judges_of_python(tree: ast.Module, own: Collection[str]) -> frozenset[str]:
    """With names that the file itself defines, and all of a module."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                module = (node.module or ".") if isinstance(node, ast.ImportFrom) else alias.name
                name = alias.asname or alias.name.partition(".")[0]
                is_judge = name in own or hasattr(builtins, name) or _JUDGES.fullmatch(name)
                if (is_judge or name == "*") and module.partition(".")[0] not in _TOOLS:
                    found.add(f"{name} of {module}")
    return frozenset(found)


def _parts(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, ast.AST]]:
    """Functions by their names; what else runs together, by its class; imports left out."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{prefix}{node.name}", node
        elif isinstance(node, ast.ClassDef):
            yield from _parts(node.body, f"{prefix}{node.name}.")
            bare = copy.copy(node)
            bare.body = [ast.Pass()]
            yield f"{prefix}{node.name}", bare
        elif not isinstance(node, ast.Import | ast.ImportFrom) and not _is_text(node):
            yield f"{prefix}*", node


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


class _Blank(ast.NodeTransformer):
    """Leaves out the names that may be put right, and docstrings."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        is_test = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        for field in ("id", "attr", "arg", "name"):
            name = getattr(node, field, None)
            if isinstance(name, str) and not is_test and not _stays(field, name):
                setattr(node, field, "_")
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [s for s in body if not _is_text(s)] or [ast.Pass()]  # type: ignore[attr-defined]
        return node

    def visit_Import(self, node: ast.Import) -> None:
        return None

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        return None


def _stays(field: str, name: str) -> bool:
    is_builtin = field == "id" and hasattr(builtins, name)
    return is_builtin or _CHECKING.fullmatch(name) is not None


def _compares_with_itself(node: ast.AST) -> bool:
    match node:
        case ast.Call(ast.Attribute(attr=name) | ast.Name(id=name), [one, other, *_]):
            return name.startswith("assert") and ast.dump(one) == ast.dump(other)
        case ast.Compare(one, _, [other]):
            return ast.dump(one) == ast.dump(other)
    return False


def _tokens(text: str, suffix: str) -> Iterator[str]:
    for token in _TOKENS[suffix in _COMMENT_BY_HASH].finditer(_IMPORT.sub("\n", text)):
        match token.lastgroup:
            case "name":
                name, marks = token[0], _MARKS_TEST.match(token[0])
                yield name if _CHECKING.fullmatch(name) else marks[0] if marks else "_"
            case "text" | "other":
                yield token[0]
