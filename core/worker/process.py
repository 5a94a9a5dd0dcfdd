"""What surrounds a worker's work when it has a process of its own, whatever started it.

Its credentials come in a file that is gone once read, SIGTERM asks it to stop and save what there
is, and it ends with an exit code that says how, and one message on standard error if need be.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from core.clock import StoppableClock
from core.credentials import Credentials
from core.errors import BundleError, OrchestratorError
from core.wire import decode, encode

CREDENTIALS_FILE = "credentials.json"
FAILED = 1
STOPPED = 128 + signal.SIGTERM
"""What a shell reports for a process that SIGTERM ended."""
SIGTERM_ONLY: Mapping[signal.Signals, str] = {signal.SIGTERM: "The worker was told to stop."}


def render_credentials(credentials: Credentials) -> bytes:
    """The content of CREDENTIALS_FILE. Holds secrets: for files of mode 0600 alone."""
    return encode(credentials).encode()


def take_credentials(directory: Path) -> Credentials:
    """Those in CREDENTIALS_FILE, which is gone then; none at all where there is no such file.

    Raises BundleError when the file is there and cannot be read or removed.
    """
    path = directory / CREDENTIALS_FILE
    try:
        data = path.read_bytes()
        path.unlink()
    except FileNotFoundError:
        return Credentials()
    except OSError as exc:
        raise BundleError(f"{path} cannot be taken: {exc}.") from exc
    return decode(Credentials, data, str(path))


def read_credentials(path: Path) -> Credentials:
    """Those in a file that stays, since jobs that are started again need it; none without one.

    Raises BundleError when it cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Credentials()
    except OSError as exc:
        raise BundleError(f"{path} cannot be read: {exc}.") from exc
    return decode(Credentials, data, str(path))


@contextmanager
def stopped_by_signal(
    stops: Mapping[signal.Signals, str] = SIGTERM_ONLY,
) -> Iterator[StoppableClock]:
    """A clock whose sleeps raise Interrupted once one of these signals came, with the words that
    stand for it; for the main thread."""
    stop = threading.Event()
    clock = StoppableClock(stop)

    def heed(number: int, _: object) -> None:
        if not stop.is_set():
            clock.why = stops[signal.Signals(number)]
        stop.set()

    before = {sign: signal.signal(sign, heed) for sign in stops}
    try:
        yield clock
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)


def run_worker(
    work: Callable[[StoppableClock], object],
    stops: Mapping[signal.Signals, str] = SIGTERM_ONLY,
) -> int:
    """The exit code for `work`: 0 when it came to its end, STOPPED when it was told to stop before,
    FAILED after one message when it raised."""
    try:
        with stopped_by_signal(stops) as clock:
            work(clock)
            return STOPPED if clock.stopped else 0
    except OrchestratorError as exc:
        return complain(str(exc))
    except Exception as exc:  # noqa: BLE001 - the process's boundary: its last words
        return complain(f"{type(exc).__name__}: {exc}")


def echo(line: str) -> None:
    """A line for whoever follows this process's output."""
    print(line, flush=True)  # noqa: T201 - that is what it is for


def complain(message: str) -> int:
    """Say it as the process's last words; gives the exit code that goes with them."""
    print(f"error: {message}", file=sys.stderr, flush=True)  # noqa: T201 - the same
    return FAILED


def claimant() -> str:
    """Names this process among all that may ever want the same attempt."""
    return f"{os.uname().nodename}:{os.getpid()}"
