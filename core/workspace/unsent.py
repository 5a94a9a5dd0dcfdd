"""Files of the project that a worker is not sent, since it is large: it is told that they are
there, and nothing is put in their place."""

from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from itertools import accumulate

from core.errors import WorkspaceError
from core.paths import fold

_MOST_NAMED = 100
_GO_ON = "Go on without it, and name in the summary what you had to see."
_ELSEWHERE = "Put what is new elsewhere, and name in the summary what had to change there."


class Unsent:
    """`files` are their sizes in bytes, by path."""

    def __init__(self, files: Mapping[str, int]) -> None:
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    def refuse_reading(self, path: str) -> None:
        """Raises WorkspaceError where `path` is one of them."""
        if path in self._files:
            raise WorkspaceError(
                f"{path!r} is in the project and was not sent: the plan's `reads` did not name it.",
                _GO_ON,
            )

    def refuse_writing(self, path: str) -> None:
        """Raises WorkspaceError where a file at `path` would take the place of one."""
        if why := self.obstacle(path):
            raise WorkspaceError(f"{path!r} cannot be written: {why}.", _ELSEWHERE)

    def obstacle(self, path: str) -> str:
        """What of them is where a file at `path` would go; empty for nothing."""
        for place in accumulate(path.split("/"), "{}/{}".format) if self._files else ():
            spelt = self._spelt.get(fold(place))
            is_there = spelt in self._files or spelt == path
            if spelt is not None and (spelt != place or is_there):
                return f"{spelt!r} is in the project and was not sent"
        return ""

    def count(self, below: str) -> int:
        """How many there are below a directory, "" for all."""
        start = f"{below}/" if below else ""
        return sum(path.startswith(start) for path in self._files)

    def lines(self, below: str) -> list[str]:
        """What is directly in a directory: files, and directories with how many are below them."""
        start = f"{below}/" if below else ""
        found: Counter[str] = Counter()
        for path in self._files:
            if path.startswith(start):
                name, slash, _ = path[len(start) :].partition("/")
                found[f"{start}{name}{slash}"] += 1
        names = sorted(found)
        lines = [f"{name} ({self._size(name, found[name])}, not sent)" for name in names]
        more = len(lines) - _MOST_NAMED
        return [*lines[:_MOST_NAMED], *([f"[and {more} more that were not sent]"] * (more > 0))]

    def _size(self, name: str, count: int) -> str:
        files = f"{count:,} file{'s' * (count != 1)}"
        return files if name.endswith("/") else f"{self._files[name]} bytes"

    @cached_property
    def _spelt(self) -> dict[str, str]:
        """Every path and the directories above, by their folded form."""
        spelt: dict[str, str] = {}
        for path in self._files:
            place = path
            while place and fold(place) not in spelt:
                spelt[fold(place)] = place
                place = place.rpartition("/")[0]
        return spelt


NOTHING_UNSENT = Unsent({})
