"""A picture that is drawn again and again below what a terminal shows already."""

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from rich.cells import cell_len
from rich.console import Console, RenderableType

from engine.views.format import without_sequences

_HIDE_CURSOR, _SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
_PATIENCE_S = 1.0
_ERASE_LINE, _ERASE_BELOW = "\x1b[2K", "\x1b[J"


class Screen:
    """Each call takes the terminal as it finds it: wider, narrower, or with other text above."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.RLock()  # a signal's handler comes in between
        self._writer: int | None = None
        """The thread that is in the middle of writing."""
        self._is_to_stop = False
        self._cells: list[int] = []
        """Of each line of the picture that is there, and of those above it that are out of reach,
        until a terminal that grows again gives them back."""

    def draw(self, picture: RenderableType, above: Sequence[RenderableType] = ()) -> None:
        """In place of the picture before; lines that do not fit are left out at its end. What is
        `above` stays there for good."""
        width, height = self._console.size
        with self._writing():
            lines = self._lines(picture)[: height - 1]
            shown = "".join(f"{_ERASE_LINE}{line}\n" for line in [*self._lines(*above), *lines])
            rewind = self._rewind(width)
            lost = [] if above else self._out_of_reach(width, height)
            self._cells = lost + [cell_len(without_sequences(line)) for line in lines]
            self._write(f"{_HIDE_CURSOR}{rewind}{shown}{_ERASE_BELOW}")

    def clear(self, above: Sequence[RenderableType] = ()) -> None:
        """Hand the terminal back as it was, with what is `above`."""
        with self._writing():
            kept = "".join(f"{line}\n" for line in self._lines(*above))
            self._write(f"{self._rewind(self._console.width)}{_ERASE_BELOW}{kept}{_SHOW_CURSOR}")
            self._cells = []

    @contextmanager
    def heeding_job_control(self) -> Iterator[None]:
        """Ctrl-Z hands the terminal over as it is, and `fg` has the next picture drawn below."""
        heeds = threading.current_thread() is threading.main_thread()
        if not heeds or signal.getsignal(signal.SIGTSTP) == signal.SIG_IGN:
            yield
            return
        before = signal.signal(signal.SIGTSTP, self._suspend)
        try:
            yield
        finally:
            signal.signal(signal.SIGTSTP, before)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """A stream is not to be written to again by a handler that comes in between, so a Ctrl-Z
        that arrives inside waits until the end."""
        with self._lock:
            self._writer = threading.get_ident()
            try:
                yield
            finally:
                self._writer = None
        if self._is_to_stop and threading.current_thread() is threading.main_thread():
            self._suspend(signal.SIGTSTP, None)

    def _suspend(self, number: int, _: FrameType | None) -> None:
        if self._writer == threading.get_ident():
            self._is_to_stop = True
            return
        # not for ever: Ctrl-S may hold up the other thread in the middle of its writing
        is_ours = self._lock.acquire(timeout=_PATIENCE_S)
        try:
            self._is_to_stop = False
            if is_ours:
                self._write(_SHOW_CURSOR)
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)  # returns when the shell says so
            signal.signal(number, self._suspend)
            self._cells = []
        finally:
            if is_ours:
                self._lock.release()

    def _lines(self, *texts: RenderableType) -> list[str]:
        with self._console.capture() as captured:
            for text in texts:
                self._console.print(text)
        return [line.rstrip() for line in captured.get().splitlines()]

    def _rewind(self, width: int) -> str:
        """To the picture's first line. A terminal that was made narrower has wrapped its lines."""
        rows = _rows(self._cells, width)
        return f"\r\x1b[{rows}A" if rows else "\r"

    def _out_of_reach(self, width: int, height: int) -> list[int]:
        """Lines that a terminal which was made lower has pushed out at its top."""
        excess, lost = _rows(self._cells, width) - (height - 1), []
        for cells in self._cells:
            if excess > 0:  # of a line that was wrapped, maybe its begin alone
                lost.append(min(cells, excess * width))
            excess -= _rows([cells], width)
        return lost

    def _write(self, text: str) -> None:
        self._console.file.write(text)
        self._console.file.flush()


def _rows(cells: Sequence[int], width: int) -> int:
    return sum(max(1, -(-count // width)) for count in cells)
