"""The workspace: what a model may do to files, confined to one directory.

Reading is free below the root, writing only on paths that the task owns and that are no contract.
Every refusal is a WorkspaceError whose text is meant for the model: what was wrong, and what to do
instead. Answers are texts, cut at a bound with a note how to read on.
"""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from core.errors import WorkspaceError
from core.job import ManifestEntry
from core.paths import fold, is_owned, path_defect
from core.workspace.confined import MAX_ENTRIES, ConfinedTree, KnownNames, Stamp, TreeScan
from core.workspace.search import MAX_MATCHES, search_texts
from core.workspace.unsent import NOTHING_UNSENT, Unsent

MAX_VIEW_LINES = 2_000
MAX_VIEW_CHARS = 60_000
MAX_LISTED = 1_000
MAX_OWNS_NAMED = 40
MAX_TEXT_BYTES = 8 * 1024 * 1024  # of one file that is to be read or searched
MAX_SEARCHED_BYTES = 32 * 1024 * 1024
SEARCH_TIMEOUT_S = 5.0
AROUND_LINES = 3
TICK_NS = 50_000_000
"""Longer than a file system's clock stands still: two changes in that time may bear one stamp."""
MAX_EDIT_LINES = 12
MAX_EDIT_CHARS = 160
"""What is shown of an edit: so many lines on each side, of its own, and characters of a line."""


class Workspace:
    """The files below `root` for a task that owns `owns`; one worker at a time. `contracts` and
    every path that differs from one in case only are never written."""

    def __init__(
        self,
        root: Path,
        owns: tuple[str, ...],
        contracts: frozenset[str],
        *,
        max_files: int = 10_000,
        max_bytes: int = 256 * 1024 * 1024,
        search_timeout_s: float = SEARCH_TIMEOUT_S,
    ) -> None:
        self.owns = owns
        self.contracts = contracts
        self._tree = ConfinedTree(root)
        self._folded_contracts = frozenset(map(fold, contracts))
        self._max_files = max_files
        self._max_bytes = max_bytes
        self._search_timeout_s = search_timeout_s
        self._sizes: dict[str, int] = {}
        self._given: dict[str, Stamp] = {}
        self._given_ns = 0
        self.unsent: Unsent = NOTHING_UNSENT
        """What the project has besides, and was not sent."""
        self.rescan()

    def rescan(self) -> str | None:
        """Take note of changes by others, such as a command; which limit they exceed, if any."""
        scan = self._tree.scan()
        self._sizes = {p: size for p, size in scan.files if is_owned(self.owns, p)}
        return self.excess(scan)

    def scan(self) -> TreeScan:
        """Everything here, also what is not a file."""
        return self._tree.scan()

    def excess(self, scan: TreeScan) -> str | None:
        """Which limit of the task this exceeds, in words; None when it does not."""
        if not scan.whole:
            return f"more than {MAX_ENTRIES:,} files; at most {self._max_files:,}"
        owned = [size for path, size in scan.files if self.owned(path)]
        if len(owned) > self._max_files:
            return f"{len(owned):,} files; at most {self._max_files:,}"
        if sum(owned) > self._max_bytes:
            return f"{sum(owned):,} bytes; at most {self._max_bytes:,}"
        return None

    def read(self, path: str, offset: int = 1, limit: int = MAX_VIEW_LINES) -> str:
        """Which file and lines it is, then `limit` lines from line `offset` (the first is 1),
        unchanged, and a note if cut."""
        name = _checked(path)
        if offset < 1 or limit < 1:
            raise WorkspaceError("offset and limit count from 1.", "Leave them out, or raise them.")
        self.unsent.refuse_reading(name)
        if not (text := self.text(name)):
            return f"[{name} is empty]"
        lines = _split(text)
        if offset > len(lines):
            raise WorkspaceError(
                f"{name!r} has only {len(lines)} lines.", "Use an offset within them."
            )
        return _view(name, lines, offset, limit)

    def text(self, path: str) -> str:
        """The whole content of a text file."""
        if (size := self._tree.size(path)) > MAX_TEXT_BYTES:
            raise WorkspaceError(f"{path!r} has {size} bytes, too many to read.", "Go on without.")
        return _decoded(path, self._tree.read(path))

    def write(self, path: str, content: str) -> str:
        """Create or replace an owned file; returns what was done."""
        name = self._writable(path)
        self._store(name, content)
        return f"wrote {name} ({_lines(content)})"

    def append(self, path: str, content: str) -> str:
        """Add to the end of an owned file, which is created when it is not there."""
        name = self._writable(path)
        before = self.text(name) if self._tree.exists(name) else ""
        self._store(name, before + content)
        return f"appended to {name} ({_lines(before + content)} now)"

    def edit(self, path: str, old: str, new: str) -> str:
        """Replace `old`, which must occur exactly once in an owned file, by `new`; returns what was
        done, and the lines around it."""
        name = self._writable(path)
        text = self.text(name)
        count = text.count(old) if old else 0
        if count != 1:
            raise WorkspaceError(
                f"The old text occurs {count} times in {name!r}; it must occur exactly once.",
                "Read the file again and copy the text, with as many lines around it as it takes.",
            )
        self._store(name, edited := text.replace(old, new))
        first = text.count("\n", 0, text.index(old))
        return "\n".join([f"edited {name}", *_view_edit(_split(edited), first, len(_split(new)))])

    def delete(self, path: str) -> str:
        """Remove an owned file; returns what was done."""
        name = self._writable(path)
        self._tree.remove(name)
        self._sizes.pop(name, None)
        return f"deleted {name}"

    def move(self, path: str, to: str) -> str:
        """Give an owned file another path that the task owns; returns what was done."""
        name, new = self._writable(path), self._writable(to)
        if self._tree.exists(new):
            raise WorkspaceError(f"{new!r} is there already.", "Delete it first.")
        mode, data = self._tree.mode(name), self._tree.read(name)
        self._tree.write(new, data, mode)
        self._sizes[new] = len(data)
        self.delete(name)
        return f"moved {name} to {new}"

    def list(self, path: str = "") -> str:
        """Every file below a directory with its size, then what was not sent of it."""
        below = _checked_directory(path)
        unsent = self.unsent.lines(below)
        try:
            found = self._tree.scan(below).files
        except WorkspaceError:
            if not unsent:
                raise
            found = []
        lines = [f"{_shown(name)} ({size} bytes)" for name, size in found[:MAX_LISTED]]
        if len(found) > MAX_LISTED:
            lines.append(f"[and {len(found) - MAX_LISTED} more; list a directory below]")
        return "\n".join([*lines, *unsent]) or f"[no files below {below or 'the project'}]"

    def search(self, pattern: str, path: str = "") -> str:
        """Lines that match a regular expression, in one file or all below a directory."""
        texts, skipped = self._searched(path)
        if (found := search_texts(pattern, texts, self._search_timeout_s)) is None:
            raise WorkspaceError(
                f"The pattern {pattern[:200]!r} took too long and was stopped.",
                "Use plain text or a simpler pattern without nested repetition.",
            )
        lines = [f"{_shown(name)}:{number}: {line}" for name, number, line in found]
        if len(found) == MAX_MATCHES:
            lines.append(
                f"[cut at {MAX_MATCHES} matches; search a directory or a narrower pattern]"
            )
        if skipped:
            lines.append(f"[not searched: {skipped} file(s) that are binary or too large]")
        if unsent := self.unsent.count(_checked_directory(path)):
            lines.append(f"[not searched: {unsent:,} file(s) that were not sent]")
        return "\n".join(lines) or "[no match]"

    def owned(self, path: str) -> bool:
        """Whether the task may write `path`."""
        return is_owned(self.owns, path) and fold(path) not in self._folded_contracts

    def named_owns(self) -> str:
        """What the task owns, for a message."""
        more = len(self.owns) - MAX_OWNS_NAMED
        return ", ".join(self.owns[:MAX_OWNS_NAMED]) + (f" and {more} more" if more > 0 else "")

    def holds(self, entry: ManifestEntry, scan: TreeScan) -> bool:
        """Whether a regular file has this content. It is read unless it bears the stamp that it
        was given with, in a tick of the clock that was over before anybody else came."""
        if (stamp := self._given.get(entry.path)) and stamp == scan.stamps.get(entry.path):
            is_fine = stamp.changed_ns % 1_000_000_000 != 0  # some clocks count in seconds
            if is_fine and stamp.changed_ns < self._given_ns - TICK_NS:
                return True
        try:
            data = self._tree.read(entry.path, entry.size + 1)
        except WorkspaceError:
            return False
        return (len(data), hashlib.sha256(data).hexdigest()) == (entry.size, entry.sha256)

    def mode(self, path: str) -> int:
        """0o755 for a file that may be executed, else 0o644."""
        return self._tree.mode(path)

    def put(
        self, path: str, data: bytes, mode: int = 0o644, known: KnownNames | None = None
    ) -> None:
        """Lay down a file of the request; the rules for the model do not apply. `known` serves
        many calls while nobody else writes."""
        if defect := path_defect(path):
            raise WorkspaceError(f"{path!r} {defect}.")
        stamp = self._tree.write(path, data, mode, known)
        self._given.pop(path, None)
        if known is not None:
            self._given[path], self._given_ns = stamp, max(self._given_ns, stamp.changed_ns)
        if is_owned(self.owns, path):
            self._sizes[path] = len(data)

    def move_out(self, path: str, destination: Path) -> None:
        """Move a file out of the workspace, to the same file system."""
        self._tree.move_out(path, destination)
        self._sizes.pop(path, None)

    def _writable(self, path: str) -> str:
        name = _checked(path)
        if fold(name) in self._folded_contracts:
            raise WorkspaceError(
                f"{name!r} is a contract, which no task may change.",
                "Write your own files to fit the contract as it stands.",
            )
        if not is_owned(self.owns, name):
            raise WorkspaceError(
                f"{name!r} is not owned by this task.", f"Write only to: {self.named_owns()}"
            )
        self.unsent.refuse_writing(name)
        return name

    def _store(self, name: str, content: str) -> None:
        data = _encoded(name, content)
        rest = sum(self._sizes.values()) - self._sizes.get(name, 0)
        if rest + len(data) > self._max_bytes:
            raise WorkspaceError(
                f"{name!r} would bring the task's files over {self._max_bytes} bytes.",
                "Write less: generate large data when the program runs.",
            )
        if name not in self._sizes and len(self._sizes) >= self._max_files:
            raise WorkspaceError(
                f"The task has its {self._max_files} files already, so {name!r} is one too many.",
                "Put more into fewer files.",
            )
        mode = 0o755 if content.startswith("#!") else 0o644
        with suppress(WorkspaceError):  # there is none, or a link
            mode = self._tree.mode(name)
        self._tree.write(name, data, mode)
        self._sizes[name] = len(data)

    def _searched(self, path: str) -> tuple[Sequence[tuple[str, str]], int]:
        """(path, text) of the files to search, and how many had to be left out."""
        below = _checked_directory(path)
        self.unsent.refuse_reading(below)
        try:
            found = self._tree.scan(below).files
        except WorkspaceError:
            if self.unsent.count(below):
                return [], 0
            found = [(below, self._tree.size(below))]
        texts: list[tuple[str, str]] = []
        left, skipped = MAX_SEARCHED_BYTES, 0
        for name, size in found:
            try:
                if size > left:
                    raise WorkspaceError("The bound for one search is reached.")
                texts.append((name, self.text(name)))
                left -= size
            except WorkspaceError:
                skipped += 1
        return texts, skipped


def _checked(path: str) -> str:
    name = path.removeprefix("./")
    if defect := path_defect(name):
        raise WorkspaceError(
            f"The path {path[:300]!r} {defect}.", "Use a relative path inside the project."
        )
    return name


def _checked_directory(path: str) -> str:
    name = path.removesuffix("/")
    return _checked(name) if name not in ("", ".") else ""


def _decoded(path: str, data: bytes) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise WorkspaceError(f"{path!r} is binary ({len(data)} bytes), not text.", "Go on without.")
    return text


def _encoded(path: str, content: str) -> bytes:
    try:
        return content.encode()
    except UnicodeEncodeError as exc:
        raise WorkspaceError(
            f"The content for {path!r} is not valid Unicode at character {exc.start}.",
            "Write the character as an escape of the file's own language.",
        ) from exc


def _view(name: str, lines: list[str], offset: int, limit: int) -> str:
    shown: list[str] = []
    room = MAX_VIEW_CHARS
    for line in lines[offset - 1 : offset - 1 + limit]:
        if len(line) > room and shown:
            break
        shown.append(line[:room])
        room -= len(shown[-1]) + 1
    last = offset + len(shown) - 1
    is_whole = len(shown) == len(lines)
    which = _count(len(lines)) if is_whole else f"lines {offset} to {last} of {len(lines)}"
    notes = []
    if len(lines[last - 1]) > len(shown[-1]):
        notes.append(f"[line {last} is cut at {MAX_VIEW_CHARS} characters]")
    if last < len(lines):
        notes.append(f"[read on with offset={last + 1}]")
    return "\n".join([f"[{name}, {which}]", *shown, *notes])


def _view_edit(lines: list[str], first: int, count: int) -> list[str]:
    """The lines from index `first` on that were changed, numbered, with those around them."""
    begin, end = max(0, first - AROUND_LINES), min(len(lines), first + count + AROUND_LINES)
    shown = [f"{n + 1}| {_cut(lines[n])}" for n in range(begin, end)]
    if (left_out := count - MAX_EDIT_LINES) > 0:
        head = first - begin + MAX_EDIT_LINES // 2
        shown[head : head + left_out] = [f"[{_count(left_out)} left out here]"]
    return shown


def _split(text: str) -> list[str]:
    return text.removesuffix("\n").split("\n")


def _cut(line: str) -> str:
    return line if len(line) <= MAX_EDIT_CHARS else line[:MAX_EDIT_CHARS] + "..."


def _shown(name: str) -> str:
    """A name that can be sent: a file system takes bytes that are no UTF-8."""
    return name.encode("utf-8", "backslashreplace").decode()


def _lines(content: str) -> str:
    return _count(content.count("\n") + (not content.endswith("\n") and content != ""))


def _count(lines: int) -> str:
    return f"{lines} line{'' if lines == 1 else 's'}"
