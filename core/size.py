"""Sizes as Docker's own options take them."""

from __future__ import annotations

import re

_SIZE = re.compile(r"(\d+(\.\d+)?)[kmgt]?b?", re.ASCII | re.IGNORECASE)


def check_size(text: str) -> str:
    """`text`, such as 512m or 2g. Raises ValueError with what it must be."""
    found = _SIZE.fullmatch(text)
    if found is None or not float(found[1]):  # to Docker, 0 means without limit
        raise ValueError("it must be a size above 0, such as 512m or 2g")
    return text
