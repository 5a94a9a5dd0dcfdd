"""Standard output and error, as a program that must not stumble over them writes to them."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TextIO

from core.errors import OrchestratorError, RunInterrupted

_OUR_LOGGERS = frozenset(
    {"backends", "claude", "core", "engine", "executor_agent", "planner_agent"}
)


class SteadyStream:
    """A text stream that never raises: once its reader is gone, what is written is dropped."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with self._dropping():
            if self._stream is not None:
                coding = self.encoding
                self._stream.write(text.encode(coding, "replace").decode(coding))
        return len(text)

    def flush(self) -> None:
        with self._dropping():
            if self._stream is not None:
                self._stream.flush()

    @property
    def encoding(self) -> str:
        return getattr(self._stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        try:
            return self._stream is not None and self._stream.isatty()
        except ValueError:  # closed
            return False

    def fileno(self) -> int:
        """Raises OSError where there is no file behind, as streams do."""
        if self._stream is None:
            raise OSError("no stream")
        return self._stream.fileno()

    @contextmanager
    def _dropping(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError):  # ValueError: closed by somebody
            self._give_up()

    def _give_up(self) -> None:
        """Also quiets the interpreter, which flushes standard output once more as it exits."""
        stream, self._stream = self._stream, None
        try:
            descriptor = os.open(os.devnull, os.O_WRONLY)
            try:
                os.dup2(descriptor, stream.fileno() if stream else descriptor)
            finally:
                os.close(descriptor)
        except (OSError, ValueError):
            return  # no file behind it


def say(text: str) -> None:
    """To standard output, as it is and at once, also where it is a pipe."""
    stream = SteadyStream(sys.stdout)
    stream.write(text)
    stream.flush()


def tell(text: str) -> None:
    """One line to standard error."""
    SteadyStream(sys.stderr).write(text + "\n")


def tell_warnings(texts: Iterable[str]) -> None:
    for text in texts:
        tell(f"warning: {text}")


def start_log(*, debug: bool) -> None:
    """What the program logs, to standard error; without `debug` nothing.

    Of libraries only warnings: botocore logs what it signs, the session token among it.
    """
    handler = logging.StreamHandler()
    handler.addFilter(is_shown)
    logging.basicConfig(level=logging.DEBUG if debug else logging.CRITICAL, handlers=[handler])


def is_shown(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING or record.name.partition(".")[0] in _OUR_LOGGERS


def tell_error(exc: Exception | KeyboardInterrupt, *, debug: bool) -> int:
    """One message with its remedy to standard error; gives the exit code."""
    if isinstance(exc, KeyboardInterrupt | RunInterrupted):
        tell("Interrupted.")
        return RunInterrupted.exit_code
    if debug:
        traceback.print_exception(exc)
    if isinstance(exc, OrchestratorError):
        message, remedy, code = exc.message, exc.remedy, exc.exit_code
    else:
        message = f"Internal error: {type(exc).__name__}: {exc}"
        remedy, code = "This is a defect of the program; --debug shows where.", 1
    tell(f"error: {message}" + (f"\n  {remedy}" if remedy else ""))
    return code


def called_as(argv0: str) -> str:
    """How this program was called, for commands that can be pasted."""
    if not argv0.endswith(".py"):
        return argv0.rpartition("/")[2]
    python = sys.executable
    if python == shutil.which("python3"):
        python = "python3"
    elif python.startswith(os.getcwd() + os.sep):
        python = os.path.relpath(python)
    return f"{python} {argv0}"
