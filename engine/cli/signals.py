"""Ctrl-C and SIGTERM: the first asks the run to stop, the second ends it at once."""

import _thread
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_AGAIN_S = 0.01
"""After what drops it has returned, for it would be dropped there again."""


@contextmanager
def first_asks(ask: Callable[[], None]) -> Iterator[None]:
    """While inside, the first signal calls `ask` and the next raises KeyboardInterrupt."""
    asked = False

    def handle(_signal: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        ask()

    with _handling(handle):
        yield


@contextmanager
def all_raise() -> Iterator[None]:
    """While inside, SIGTERM raises KeyboardInterrupt as Ctrl-C does, so that one path cleans up;
    once more where Python had to drop it, as in what the import system calls at its end."""
    hook = sys.unraisablehook

    def raise_again(dropped: "sys.UnraisableHookArgs") -> None:
        if issubclass(dropped.exc_type, KeyboardInterrupt):
            threading.Timer(_AGAIN_S, _thread.interrupt_main).start()
        else:
            hook(dropped)

    sys.unraisablehook = raise_again
    try:
        with _handling(signal.default_int_handler):
            yield
    finally:
        sys.unraisablehook = hook


@contextmanager
def _handling(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # Python handles signals in the main thread only
        return
    # what the caller has us ignore (nohup, a shell's background job) stays ignored
    heeded = [n for n in _SIGNALS if signal.getsignal(n) != signal.SIG_IGN]
    before: dict[int, Any] = {number: signal.signal(number, handle) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
