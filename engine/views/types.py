"""The View: a sink of a run's events that shows them while the run goes on."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self, TextIO

from core.events import Event


class View(ABC):
    """A context manager, so that a terminal is handed back. Text of a model passes
    `engine.views.format.clean` before it is shown. A reader that goes away never stops a run."""

    @abstractmethod
    def emit(self, event: Event) -> None: ...

    def close(self) -> None:
        """Stop showing. Idempotent."""
        return

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Leaves the terminal alone for a while, to ask a question."""
        yield

    def question_stream(self) -> TextIO:
        """Where a question may be written."""
        return sys.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
