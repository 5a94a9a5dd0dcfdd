"""Sizes as Docker's own options take them."""

import re

_SIZE = re.compile(r"(\d+(\.\d+)?)[kmgt]?b?", re.ASCII | re.IGNORECASE)


def check_size(text: str) -> str:
    """`text`, such as 512m or 2g. Raises ValueError with what it must be."""
    found = _SIZE.fullmatch(text)
    if found is None or not 0 < float(found[1]) < 1e9:  # to Docker, 0 means without limit
        raise ValueError("it must be a size above 0, such as 512m or 2g")
    return text


def size_bytes(text: str) -> int:
    """A size as `check_size` wants it, in bytes; k, m, g and t are powers of 1024."""
    found = _SIZE.fullmatch(check_size(text))
    number = found[1] if found else ""
    unit = text[len(number) :].lower().removesuffix("b")
    return int(float(number) * 1024 ** (" kmgt".index(unit) if unit else 0))
