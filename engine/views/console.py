"""Standard output and standard error, written to so that a closed one never stops a run."""

import errno
import logging
import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import TextIO, cast

from core.errors import OrchestratorError, OutputFailed, PreflightFailed, RunInterrupted
from core.startup import REMEDY, explain, is_interrupt

_OUR_LOGGERS = {"backends", "claude", "core", "engine", "executor_agent", "planner_agent"}


class SafeStream:
    """A text stream that never raises: once it cannot be written, what is written is dropped.
    `failure` is why; None where only its reader has gone."""

    def __init__(self, stream: TextIO | None) -> None:
        self.failure: OSError | None = None
        self._stream = stream

    def write(self, text: str) -> int:
        with self._dropping_errors():
            if self._stream is not None:
                coding = self.encoding
                self._stream.write(text.encode(coding, "replace").decode(coding))
        return len(text)

    def flush(self) -> None:
        with self._dropping_errors():
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
    def _dropping_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as exc:  # ValueError: the stream was closed
            if isinstance(exc, OSError) and exc.errno != errno.EPIPE:
                self.failure = exc
            self._detach()

    def _detach(self) -> None:
        """Also quiets the interpreter, which flushes standard output once more as it exits."""
        stream, self._stream = self._stream, None
        with suppress(OSError, ValueError), open(os.devnull, "w") as devnull:
            os.dup2(devnull.fileno(), stream.fileno() if stream else devnull.fileno())


@contextmanager
def safe_stdout() -> Iterator[None]:
    """While inside, nothing that is written to standard output raises."""
    with redirect_stdout(cast(TextIO, SafeStream(sys.stdout))):
        yield


def output_failure() -> OutputFailed | None:
    """Why standard output could not be written, inside `safe_stdout`."""
    sys.stdout.flush()
    failure: OSError | None = getattr(sys.stdout, "failure", None)
    return OutputFailed("Standard output", failure) if failure else None


def print_text(text: str) -> None:
    """To standard output, as it is and at once, also where it is a pipe."""
    stream = SafeStream(sys.stdout)
    stream.write(text)
    stream.flush()


def print_line(text: str) -> None:
    """One line to standard error."""
    SafeStream(sys.stderr).write(text + "\n")


def print_warnings(texts: Iterable[str]) -> None:
    for text in texts:
        print_line(f"warning: {text}")


def start_log(*, debug: bool) -> None:
    """Log to standard error; without `debug` nothing.

    Of libraries only warnings: botocore logs what it signs, the session token among it.
    """
    handler = logging.StreamHandler()
    handler.addFilter(is_shown)
    logging.basicConfig(level=logging.DEBUG if debug else logging.CRITICAL, handlers=[handler])


def is_shown(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING or record.name.partition(".")[0] in _OUR_LOGGERS


def print_error(exc: Exception | KeyboardInterrupt, *, debug: bool) -> int:
    """Print one message with its remedy to standard error; returns the exit code."""
    if isinstance(exc, RunInterrupted) or is_interrupt(exc):
        print_line("Interrupted.")
        return RunInterrupted.exit_code
    if debug:
        traceback.print_exception(exc)
    if isinstance(exc, OrchestratorError):
        message, remedy, code = exc.message, exc.remedy, exc.exit_code
    elif isinstance(exc, ImportError) and (exc.name or "").partition(".")[0] not in _OUR_LOGGERS:
        message, remedy, code = explain(exc), REMEDY, PreflightFailed.exit_code
    elif isinstance(exc, OSError):
        what = f"{exc.filename} cannot be used: {exc.strerror}" if exc.filename else str(exc)
        message, code = f"{what}.", PreflightFailed.exit_code
        remedy = "Correct that, and start again; --debug shows what it was used for."
    else:
        message = f"Internal error: {type(exc).__name__}: {exc}"
        remedy, code = "This is a bug. Run again with --debug and report the traceback.", 1
    print_line(f"error: {message}" + (f"\n  {remedy}" if remedy else ""))
    return code
