"""What runs on a cluster's head node as one file: a zip that python3 runs as it is.

The same sources make the same bytes, since the file is known by its digest there.
https://docs.python.org/3/library/zipapp.html
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

SOURCES = Path(__file__).with_name("head_node")
_PARENTS = tuple(str(__package__).split("."))
_PACKAGE = "/".join((*_PARENTS, SOURCES.name))
_MAIN = f"""\
import sys

from {_PACKAGE.replace("/", ".")}.server import main

sys.exit(main(sys.argv, sys.stdin.buffer, sys.stdout.buffer))
"""
_WHEN = (1980, 1, 1, 0, 0, 0)
"""As far back as a zip can say."""


@cache
def pack_helper() -> bytes:
    """The archive's content."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in _files():
            info = zipfile.ZipInfo(name, _WHEN)
            info.compress_type, info.create_system = zipfile.ZIP_DEFLATED, 3
            archive.writestr(info, content)
    return packed.getvalue()


def _files() -> Iterator[tuple[str, bytes]]:
    yield "__main__.py", _MAIN.encode()
    for depth in range(1, len(_PARENTS) + 1):  # ours hold what the helper has no use for
        yield "/".join((*_PARENTS[:depth], "__init__.py")), b""
    for path in sorted(SOURCES.glob("*.py")):
        yield f"{_PACKAGE}/{path.name}", path.read_bytes()
