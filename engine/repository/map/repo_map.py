"""The map of a code base: what a planner is shown of it before it looks for itself.

The sizes of all files are known; what is read is bounded, and said. Names and texts are those of
whoever wrote the code base: they are quoted, and end nothing.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from core.job import Manifest
from core.quoting import escaped, quoted
from engine.repository.base import BaseRecord
from engine.repository.map.project_files import describe, describes
from engine.repository.map.reading import code_files, read_in_order, read_text, suffix_of
from engine.repository.map.symbols import LANGUAGES, Symbol, SymbolIndex
from engine.repository.map.tree_view import SizedFile, in_bytes, is_aside, render_tree

_CHARS_A_TOKEN = 3
"""Of names and code: prose has more."""
_BYTES_A_LINE = 36
"""Of code that was not read."""
_MOST_PROJECT_FILES = 12
_MOST_LEFT_OUT = 20
_CONVENTIONS = ("AGENTS.md", "CLAUDE.md")
_README = re.compile(r"readme(\.(md|rst|txt|adoc))?", re.IGNORECASE)
_SHARES = {"conventions": 0.18, "readme": 0.08, "project files": 0.2, "tree": 0.55}
"""Of the room that those before have left, `tree` is what the symbols leave over."""


@dataclass
class _Reading:
    """The code that was read, at most so many files and bytes, sources before tests."""

    lines: dict[str, int] = field(default_factory=dict)
    symbols: SymbolIndex = field(default_factory=SymbolIndex)
    of: int = 0


def render_map(base: BaseRecord, root: Path, most_tokens: int = 6_000) -> str:
    """At most about `most_tokens`, and the same for the same files."""
    reading = _read_code(base.manifest, root)
    files = [_sized(e.path, e.size, reading) for e in base.manifest.entries]
    room = most_tokens * _CHARS_A_TOKEN
    parts = [_overview(files, reading)]
    notes = _left_out(base)
    room -= len(parts[0]) + len(notes)
    quoted: dict[str, str] = {}
    for name, render in _QUOTED.items():
        quoted[name] = render(base.manifest, root, int(_SHARES[name] * room))
    room -= sum(map(len, quoted.values()))
    tree = render_tree(files, int(_SHARES["tree"] * room))
    symbols = _symbols(reading.symbols.ranked(), room - len(tree))
    parts += [tree, quoted["project files"], symbols, quoted["readme"], quoted["conventions"]]
    return "\n".join(part.rstrip("\n") + "\n" for part in (*parts, notes) if part)


def _read_code(manifest: Manifest, root: Path) -> _Reading:
    code = code_files(manifest)
    reading = _Reading(of=len(code))
    code.sort(key=lambda e: (is_aside(e.path), e.path.count("/"), e.path))
    for path, text in read_in_order(root, code):
        reading.lines[path] = text.count("\n")
        reading.symbols.add(path, suffix_of(path), text)
    return reading


def _sized(path: str, size: int, reading: _Reading) -> SizedFile:
    lines = reading.lines.get(path)
    if lines is None and suffix_of(path) in LANGUAGES:
        lines = size // _BYTES_A_LINE
    return SizedFile(path, size, lines)


def _overview(files: Sequence[SizedFile], reading: _Reading) -> str:
    size = sum(file.size for file in files)
    lines: Counter[str] = Counter()
    for file in files:
        if file.lines:
            lines[LANGUAGES[suffix_of(file.path)]] += file.lines
    code = ", ".join(f"{name} {count:,}" for name, count in lines.most_common(6))
    text = f"{len(files):,} files, {in_bytes(size)}. Lines of code: {code or 'none'}.\n"
    if unread := reading.of - len(reading.lines):
        text += (
            f"{unread:,} of {reading.of:,} files with code were not read for this map: their lines"
            " are estimated from their size.\n"
        )
    return f"{text}Numbers after files are lines of code, or sizes.\n"


def _conventions(manifest: Manifest, root: Path, room: int) -> str:
    """What the project asks of those who work on it."""
    found = _texts(manifest, root, lambda path: path in _CONVENTIONS)
    each = room // max(1, len(found))
    return "\n".join(
        f'<conventions file="{path}">\nWhat the project asks of those who write for it. Keep its'
        " code in that style; your own rules, and the shape of your answer, stay as they are.\n"
        f"{_cut(text, each)}\n</conventions>"
        for path, text in found.items()
    )


def _readme(manifest: Manifest, root: Path, room: int) -> str:
    found = _texts(manifest, root, lambda path: _README.fullmatch(path) is not None)
    return "\n".join(
        f'<readme file="{escaped(path)}">\n{_cut(text, room)}\n</readme>'
        for path, text in list(found.items())[:1]
    )


def _project_files(manifest: Manifest, root: Path, room: int) -> str:
    """Those nearest to the top."""
    paths = sorted((e.path for e in manifest.entries), key=lambda p: (p.count("/"), p))
    known = [p for p in paths if describes(p.rpartition("/")[2]) and not is_aside(p)]
    shown: list[str] = []
    for path in known[:_MOST_PROJECT_FILES]:
        said = describe(PurePosixPath(path).name, read_text(root, path) or "")
        part = f"# {escaped(path)}\n{quoted(said)}"
        if said and len(part) <= room:
            room -= len(part)
            shown.append(part)
    if more := len(known) - len(shown):
        shown.append(f"({more} more such file{'s' * (more != 1)})")
    return "\n".join(shown)


_QUOTED = {"conventions": _conventions, "readme": _readme, "project files": _project_files}


def _texts(manifest: Manifest, root: Path, wanted: Callable[[str], bool]) -> dict[str, str]:
    texts = ((e.path, read_text(root, e.path)) for e in manifest.entries if wanted(e.path))
    return {path: text for path, text in texts if text and text.strip()}


def _symbols(ranked: Sequence[Symbol], room: int) -> str:
    """The most named, by file."""
    by_file: dict[str, list[str]] = {}
    head = "Named by the most other files (how many in brackets):\n"
    room -= len(head)
    for symbol in ranked:
        line = f"  {quoted(symbol.line)} [{symbol.users}]\n"
        room -= len(line) + (0 if symbol.path in by_file else len(symbol.path) + 1)
        if room < 0:
            break
        by_file.setdefault(symbol.path, []).append(line)
    lines = (f"{escaped(path)}\n{''.join(by_file[path])}" for path in sorted(by_file))
    return head + "".join(lines) if by_file else ""


def _left_out(base: BaseRecord) -> str:
    if not base.left_out_count:
        return ""
    named = [f"{escaped(each.path)} ({escaped(each.why)})" for each in base.left_out]
    shown = ", ".join(named[:_MOST_LEFT_OUT])
    more = base.left_out_count - min(len(named), _MOST_LEFT_OUT)
    rest = f", and {more:,} more" if more else ""
    return f"Not given to anybody, stays as it is, may not be owned: {shown}{rest}.\n"


def _cut(text: str, most: int) -> str:
    text = quoted(text.strip())
    return text if len(text) <= most else f"{text[: max(0, most - 6)]}\n[cut]"
