"""Chance that repeats: a pure function of a seed and of names, never of time, order or process."""

import hashlib
import json
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def digest(seed: int, *names: str | int) -> str:
    """64 hexadecimal digits that belong to `seed` and `names`."""
    return hashlib.sha256(json.dumps([seed, *names]).encode()).hexdigest()


def draw(seed: int, *names: str | int) -> float:
    """A number from [0, 1)."""
    return int(digest(seed, *names)[:13], 16) / 16**13


def pick(options: Sequence[T], seed: int, *names: str | int) -> T:
    """One of `options`, which must not be empty."""
    return options[int(draw(seed, *names) * len(options))]
