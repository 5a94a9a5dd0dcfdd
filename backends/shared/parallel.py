"""Several calls to a service at the same time."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_parallel(call: Callable[[T], R], items: Iterable[T], at_once: int) -> list[R]:
    """The answer for each item, in order. After the first error, which is raised, calls that have
    not begun are not made."""
    wanted = list(items)
    if not wanted:
        return []
    with ThreadPoolExecutor(min(at_once, len(wanted))) as pool:
        return list(pool.map(call, wanted))
