"""The frame around a worker that has a process of its own, whatever started it.

Its credentials come in a file that is removed once read, SIGTERM asks it to stop and save what it
has, and it ends with one of core.worker.exit_codes and, on failure, a message on standard error.
"""

import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from core.clock import StoppableClock
from core.credentials import Credentials
from core.errors import BundleError, OrchestratorError
from core.wire import decode, encode
from core.worker.exit_codes import FAILED, STOPPED

CREDENTIALS_FILE = "credentials.json"
GARBAGE_AFTER = 50_000
"""New objects until they are searched for garbage. Importing the SDK makes many, and none is."""
SIGTERM_ONLY: Mapping[signal.Signals, str] = {signal.SIGTERM: "The worker was stopped."}


def render_credentials(credentials: Credentials) -> bytes:
    """The content of CREDENTIALS_FILE. Holds secrets: for files of mode 0600 alone."""
    return encode(credentials).encode()


def take_credentials(directory: Path) -> Credentials:
    """Read CREDENTIALS_FILE and remove it; none where there is no such file. Raises BundleError
    when it cannot be read or removed."""
    return read_credentials(directory / CREDENTIALS_FILE, remove=True)


def read_credentials(path: Path, *, remove: bool = False) -> Credentials:
    """Those in a file, which stays for requeued jobs unless `remove`; none without a file. Raises
    BundleError when it cannot be read or removed."""
    try:
        data = path.read_bytes()
        if remove:
            path.unlink()
    except FileNotFoundError:
        return Credentials()
    except OSError as exc:
        raise BundleError(f"{path} cannot be read{' and removed' * remove}: {exc}.") from exc
    return decode(Credentials, data, str(path))


@contextmanager
def stopped_by_signal(
    stops: Mapping[signal.Signals, str] = SIGTERM_ONLY,
) -> Iterator[StoppableClock]:
    """A clock whose sleeps raise Interrupted after one of these signals, with its text as the
    message; for the main thread."""
    clock = StoppableClock()

    def handle(number: int, _: object) -> None:
        if not clock.stopped:
            clock.reason = stops[signal.Signals(number)]
        clock.stop()

    before = {sign: signal.signal(sign, handle) for sign in stops}
    try:
        yield clock
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)


def run_worker(
    work: Callable[[StoppableClock], object], stops: Mapping[signal.Signals, str] = SIGTERM_ONLY
) -> int:
    """The exit code for `work`: 0 when it finished, STOPPED when a signal stopped it, FAILED after
    an error message when it raised."""
    try:
        with stopped_by_signal(stops) as clock:
            work(clock)
            return STOPPED if clock.stopped else 0
    except OrchestratorError as exc:
        return report_error(str(exc))
    except Exception as exc:  # noqa: BLE001 - the process's boundary
        return report_error(f"{type(exc).__name__}: {exc}")


def run_process(main: Callable[[Sequence[str]], int]) -> NoReturn:
    """This process runs `main` and ends at once: to take apart what the SDK has imported takes a
    third of the time of its import, while somebody waits for the end."""
    gc.set_threshold(GARBAGE_AFTER)
    code = main(sys.argv)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)


def echo(line: str) -> None:
    """Print a line for those who follow this process's output."""
    print(line, flush=True)  # noqa: T201 - that is what it is for


def report_error(message: str) -> int:
    """Print an error before the process ends; the exit code for it."""
    print(f"error: {message}", file=sys.stderr, flush=True)  # noqa: T201 - the same
    return FAILED


def claimant() -> str:
    """A name for this process that no other claimant of an attempt has."""
    return f"{os.uname().nodename}:{os.getpid()}"
