"""Telling a person what is being waited for, where that takes longer than a moment."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

TELL_AFTER_S = 3.0


@contextmanager
def announced(
    subject: str, say: Callable[[str], None], after_s: float = TELL_AFTER_S
) -> Iterator[None]:
    """Say that `subject` is waited for, in a thread of its own, unless the block ends before."""
    timer = threading.Timer(after_s, say, (f"Waiting for {subject} ...",))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
