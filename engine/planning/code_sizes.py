"""What an executor reads of existing code, and how much more than was estimated it writes there.

The figures are fitted to seven measured executors; docs/models.md has the rule in words.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from core.bundle import ModelSettings
from core.job import Manifest
from core.plan import Task

OTHERS_BYTES = 24_000
"""Of files besides its own that an executor reads, where there are so many."""
SHOWN = 1.4
"""How much it is shown of what it reads: edits and searches show parts of it again."""
MOST_SHOWN_BYTES = 240_000
WRITTEN = 1.9
"""Tokens that it writes for one of the estimate: an edit repeats the old text."""


@dataclass(frozen=True, slots=True)
class CodeSizes:
    """`of` existing files, in bytes by path; none for a new project."""

    of: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, manifest: Manifest, model: ModelSettings) -> "CodeSizes":
        """As `model` sees it; a simulated one looks at a line of each file."""
        if model.simulation is not None:
            return NO_CODE
        return cls({entry.path: entry.size for entry in manifest.entries})

    def shown_bytes(self, owns: Iterable[str]) -> int:
        """To the executor of these paths, in all its turns."""
        read = min(self._owned(owns) + OTHERS_BYTES, sum(self.of.values()))
        return min(MOST_SHOWN_BYTES, int(read * SHOWN))

    def written_tokens(self, task: Task) -> int:
        """By the executor of `task`."""
        return int(task.estimate * WRITTEN) if self._owned(task.owns) else task.estimate

    def _owned(self, owns: Iterable[str]) -> int:
        size = 0
        for entry in owns:
            if entry.endswith("/"):
                below = entry.removeprefix("./")
                size += sum(n for path, n in self.of.items() if path.startswith(below))
            else:
                size += self.of.get(entry, 0)
        return size


NO_CODE = CodeSizes()
