"""The rules between a plan and the existing code that it changes."""

from collections.abc import Collection, Iterable, Iterator
from itertools import accumulate

from core.paths import EVERYTHING, fold
from core.plan.model import Plan


class ExistingCode:
    """`files` are those that executors are given; `left_out` are there, and none may touch them."""

    def __init__(self, files: Iterable[str], left_out: Iterable[str]) -> None:
        self._files = frozenset(files)
        self._left_out = frozenset(path.rstrip("/") for path in left_out)
        places = {place for path in self._files for place in _places(path)}
        self._directories = places - self._files
        self._spelt = {fold(place): place for place in places}

    def defects(self, plan: Plan) -> Iterator[str]:
        """Every path that cannot be written there, or be read, one sentence each."""
        owned = {entry for task in plan.tasks for entry in task.owns}
        for task in plan.tasks:
            for entry in task.owns:
                if entry != EVERYTHING and (why := self._why_not(entry, owned)):
                    yield f"task {task.id!r} owns {entry!r}, but {why}"
        for contract in plan.contracts:
            if why := self._why_not(contract.path, owned):
                yield f"contract {contract.path!r} cannot be written: {why}"
        for entry in plan.reads if self._files else ():
            place = entry.rstrip("/")
            if entry != EVERYTHING and place not in self._files and place not in self._directories:
                yield f"{entry!r} in reads is not there, or was left out of the code"

    def _why_not(self, entry: str, owned: Collection[str]) -> str:
        path, is_directory = entry.rstrip("/"), entry.endswith("/")
        for place in _places(path):
            if place in self._left_out:
                return f"{place!r} was left out of the code and keeps its place"
            spelt = self._spelt.get(fold(place), place)
            if spelt != place and spelt not in owned:
                return f"{place!r} differs only in case from {spelt!r}, which is there"
            above = place != path or is_directory
            if above and place in self._files and place not in owned:
                return f"{place!r} is a file"
        goes = any(other.startswith(f"{path}/") for other in owned)
        if path in self._directories and not is_directory and not goes:
            return "that is a directory; own exact files in it, or it with a slash at its end"
        return ""


def _places(path: str) -> Iterator[str]:
    """The path and all directories above it, the topmost first."""
    return accumulate(path.split("/"), "{}/{}".format)
