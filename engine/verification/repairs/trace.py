"""From what failing checks print to the files that may be the cause, and to the tasks that own
them. Reads files of the tree, and changes nothing."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import filterfalse

from core.events import CONTRACTS, CheckEnded, Suspect
from core.paths import is_owned
from core.plan import Plan
from engine.delivery.merge import MergedFile, MergePlan
from engine.delivery.merged_file import read_text
from engine.verification.conventions import is_manifest, is_test

MOST_SUSPECTS = 8
_MOST_TESTS = 2
_MOST_ALIKE = 3
"""Files that a name may mean before it says nothing."""
_MOST_BYTES = 256 * 1024
_WORD = re.compile(r"""[^\s"'`(),:;<>\[\]{}=|]+(?=(:\d)?)""")
_PROJECT = "/project/"
"""In front of an absolute path, as core.checks.sandbox.Places has it."""
_MODULE = re.compile(
    r"""(?:from|[Mm]odule|package|crate|import|file --)[ ]["'`]{1,2}([\w@./:-]+)"""
    r"""|[Nn]o module named ["']?([\w.]+)"""
)
_MISSING = re.compile(
    r"""No module named ["']?([\w.]+)|Cannot find (?:module|package) ["']([^"'./][^"']*)["']"""
    r"""|no required module provides package ([^\s;]+)|package ([\w.]+) does not exist"""
    r"""|undeclared (?:crate or module|type) `(\w+)`|can't find crate for `(\w+)`"""
    r"""|unresolved module or unlinked crate `(\w+)`|cannot load such file -- ([\w/-]+)"""
)
_TYPE = re.compile(
    r"""['"`](\w+)['"`] object has no attribute|type object ['"](\w+)['"]|on type ['"](\w+)['"]"""
    r"""|(?:struct|enum|trait|type|type of struct) `(\w+)`|location: (?:class|interface) (\w+)"""
    r"""|of type (\w+)$|\b(\w+)(?:\.\w+)?\(\) (?:got|missing|takes)|(\w+)\.\w+ undefined""",
    re.MULTILINE,
)
_DEFINES = r"^\s*(?:\w+\s+)*?(?:class|def|interface|struct|enum|trait|type|func(?:tion)?|fn)\s+{}\b"
_PYTHON_FROM = re.compile(r"^\s*from\s+([\w.]+)\s+import\s+(?:\(([^)]*)\)|([^\n#]*))", re.MULTILINE)
_IMPORTS = re.compile(
    r"""^\s*import\s+(?:static\s+)?([\w.]+)|^\s*(?:pub\s+)?(?:use|mod)\s+([\w:]+)"""
    r"""|(?:\bfrom|require\(|require_relative|\bimport\(?|include)\s*['"<]([^'">]+)['">]"""
    r"""|^\s*(?:[\w.]+\s+)?"([\w./-]+)"$""",
    re.MULTILINE,
)
_COMMAND_NAMES = re.compile(r"-m\s+([\w.]+)|([\w-]*[./][\w./-]*\w)")
_SYNTAX_ERROR = re.compile(
    r'File "([^"]+)", line \d+\n(?:.*\n){1,3}?[ \t]*(?:Syntax|Indentation|Tab)Error:'
)
_INDEX = re.compile(r"(^|/)(__init__|index|mod|lib)$")


def find_suspects(
    failed: Sequence[CheckEnded], plan: Plan, merged: MergePlan
) -> tuple[Suspect, ...]:
    """At most MOST_SUSPECTS, the likeliest first: what the output names, innermost first, what
    that builds upon, what the checks are about. Tests come last, but for those that cannot be
    read. Empty only without any file."""
    tree = _Tree(plan, merged)
    near: dict[str, None] = {}
    for look in (_innermost, _dependencies, _named, _frames, _of_command):
        near |= dict.fromkeys(path for check in failed for path in look(check, tree))
    found = near | dict.fromkeys(_behind(near, tree))
    found |= dict.fromkeys(path for check in failed for path in _of_tasks(check, tree))
    paths = list(found) or sorted(tree.paths, key=_is_prose)
    tests = list(filter(is_test, paths))[:_MOST_TESTS]
    code = list(filterfalse(is_test, paths))[: MOST_SUSPECTS - len(tests)]
    unreadable = [path for check in failed for path in _unreadable(check, tree)]
    first = dict.fromkeys((*unreadable, *code, *tests))
    return tuple(Suspect(path, tree.owner(path)) for path in [*first][:MOST_SUSPECTS])


def lacks_dependency(failed: Iterable[CheckEnded], merged: MergePlan) -> bool:
    """Whether something is not installed that no file of the project is."""
    tree = _Tree(Plan(tasks=()), merged)
    return any(check.phase == "install" or _lacking(check, tree) for check in failed)


def owner_of(file: MergedFile, plan: Plan) -> str:
    """By the plan, since a repair may have written it last."""
    if any(contract.path == file.path for contract in plan.contracts):
        return CONTRACTS
    owners = (task.id for task in plan.tasks if is_owned(task.owns, file.path))
    return next(owners, file.owner)


def _is_prose(path: str) -> bool:
    return path.endswith((".md", ".txt"))


class _Tree:
    """The files, found by their paths, by the ends of these, and as modules."""

    def __init__(self, plan: Plan, merged: MergePlan) -> None:
        self._plan = plan
        self._files = {file.path: file for file in merged.files}
        self._ends: dict[str, list[str]] = defaultdict(list)
        self._modules: dict[str, list[str]] = defaultdict(list)
        for path in self._files:
            stem = path.rpartition(".")[0] if "." in path.rpartition("/")[2] else path
            for end in _ends(path):
                self._ends[end].append(path)
            for end in {*_ends(stem), *_ends(_INDEX.sub("", stem))}:
                self._modules[end].append(path)

    @property
    def paths(self) -> Iterable[str]:
        return self._files

    def owner(self, path: str) -> str:
        return owner_of(self._files[path], self._plan)

    def owned(self, task: str) -> list[str]:
        return [path for path in self._files if self.owner(path) == task]

    def path(self, word: str) -> list[str]:
        """What a word of an output means as a path."""
        if "/" in word and word.startswith("/"):
            tails = (word[m.end() :] for m in re.finditer(_PROJECT, word))
            return [tail for tail in tails if tail in self._files]
        return _few(self._ends, re.sub(r"^(\.{1,2}/)+", "", word))

    def module(self, name: str) -> list[str]:
        """What a name in an import or message means: a module, or the one it is a part of."""
        if found := self.path(name):
            return found
        is_rust = "::" in name
        plain = re.sub(r"^(\.{1,2}/)+|^\.+|\.[cm]?[jt]sx?$", "", name)
        parts = [part for part in re.split(r"::|[./]" if "/" not in plain else "/", plain) if part]
        for start in (0, 1) if is_rust or "/" in plain else (0,):
            for end in range(len(parts), start, -1):
                if found := _few(self._modules, "/".join(parts[start:end])):
                    return found
                if "/" in plain:
                    break
        return self._directory(parts) if "/" in plain else []

    def _directory(self, parts: list[str]) -> list[str]:
        """The files of a package of Go, by the end of its name."""
        for start in range(len(parts)):
            place = "/".join(parts[start:])
            if found := [p for p in self._files if p.rpartition("/")[0] == place]:
                return [path for path in found if not is_test(path)][:_MOST_ALIKE]
        return []

    def knows(self, name: str) -> bool:
        """Whether it is a module of the project, or would lie in a package of it."""
        first = re.split(r"[./:]", name)[0]
        return bool(self.module(name)) or any(path.startswith(f"{first}/") for path in self._files)

    def text(self, path: str) -> str:
        file = self._files[path]
        return read_text(file) if file.entry.size <= _MOST_BYTES else ""


def _ends(path: str) -> Iterator[str]:
    """a/b/c, b/c, c."""
    while path:
        yield path
        path = path.partition("/")[2]


def _few(index: dict[str, list[str]], name: str) -> list[str]:
    found = index.get(name, [])
    exact = [path for path in found if path == name or path.startswith(f"{name}.")]
    return exact or (found if len(found) <= _MOST_ALIKE else [])


def _innermost(check: CheckEnded, tree: _Tree) -> list[str]:
    return [path for path in _frames(check, tree) if not is_test(path)][:1]


def _frames(check: CheckEnded, tree: _Tree) -> list[str]:
    """The files that the output names; Python tells the innermost frame last, others first."""
    found: list[str] = []
    for word in _WORD.finditer(check.output):
        if word[1] or "." in word[0] or "/" in word[0]:
            found += tree.path(word[0])
    is_python = [path.endswith(".py") for path in found]
    python = [path for path, is_so in zip(found, is_python, strict=True) if is_so]
    others = [path for path, is_so in zip(found, is_python, strict=True) if not is_so]
    return [*reversed(python), *others]


def _unreadable(check: CheckEnded, tree: _Tree) -> list[str]:
    """The files in which Python found a syntax error."""
    named = _SYNTAX_ERROR.findall(check.output)
    return [path for name in named for path in tree.path(name)]


def _lacking(check: CheckEnded, tree: _Tree) -> list[str]:
    names = (next(filter(None, m.groups())) for m in _MISSING.finditer(check.output))
    return [name for name in names if not tree.knows(name)]


def _dependencies(check: CheckEnded, tree: _Tree) -> list[str]:
    """Where the project says what it depends upon, if the check lacks that."""
    if check.phase != "install" and not _lacking(check, tree):
        return []
    return [path for path in tree.paths if is_manifest(path)]


def _named(check: CheckEnded, tree: _Tree) -> Iterator[str]:
    """Modules that messages name, and where the types and functions are made that they name."""
    for modules in _MODULE.findall(check.output):
        yield from tree.module(next(filter(None, modules)))
    names = {next(filter(None, m.groups())) for m in _TYPE.finditer(check.output)}
    if names:
        made = re.compile(_DEFINES.format(f"(?:{'|'.join(sorted(names))})"), re.MULTILINE)
        yield from (path for path in tree.paths if made.search(tree.text(path)))


def _of_command(check: CheckEnded, tree: _Tree) -> Iterator[str]:
    for program, word in _COMMAND_NAMES.findall(check.command):
        yield from tree.module(f"{program}.__main__") if program else []
        yield from tree.module(program or word)


def _behind(paths: Iterable[str], tree: _Tree) -> list[str]:
    """What these import, and what that imports, the nearest first."""
    found = dict.fromkeys(paths)
    queue = list(found)
    for path in queue:
        for name in (*_imports(tree.text(path)), *_subject(path)):
            new = [p for p in tree.module(name) if p not in found]
            found |= dict.fromkeys(new)
            queue += new
        if len(found) > MOST_SUSPECTS:
            break
    return list(found)


def _imports(text: str) -> Iterator[str]:
    for module, several, one in _PYTHON_FROM.findall(text):
        yield from (f"{module}.{name}" for name in re.findall(r"\w+", several or one))
        yield module
    for names in _IMPORTS.findall(text):
        yield next(filter(None, names))


def _subject(path: str) -> Iterator[str]:
    """What a test is about, by its name."""
    stem = path.rpartition("/")[2].partition(".")[0]
    subject = re.sub(r"^tests?[_-]|[_-](tests?|spec)$|(Tests?|TestCase|Spec|IT)$", "", stem)
    if subject and is_test(path):
        yield subject


def _of_tasks(check: CheckEnded, tree: _Tree) -> Iterator[str]:
    for task in check.tasks:
        yield from tree.owned(task)
