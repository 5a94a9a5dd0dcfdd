"""Telling a person what is being waited for, where that takes longer than a moment."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

TELL_AFTER_S = 3.0
TELL_EVERY_S = 8.0


@contextmanager
def announced(
    subject: str,
    say: Callable[[str], None],
    after_s: float = TELL_AFTER_S,
    every_s: float = TELL_EVERY_S,
) -> Iterator[None]:
    """Say that `subject` is waited for, and again from time to time, in a thread of its own, until
    the block ends."""
    ended, began_s = threading.Event(), time.monotonic()

    def tell() -> None:
        if ended.wait(after_s):
            return
        say(f"Waiting for {subject} ...")
        while not ended.wait(every_s):
            say(f"Still waiting for {subject} ({time.monotonic() - began_s:.0f} s) ...")

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()  # no line of it comes after the block
