"""The helper of a head node as one file: a zip that python3 runs as it is.

The same sources give the same bytes, since the file is identified by its digest there.
https://docs.python.org/3/library/zipapp.html
"""

import io
import zipfile
from functools import cache
from pathlib import Path

SOURCES = Path(__file__).with_name("head_node")
_PARENTS = tuple(str(__package__).split("."))
_PACKAGE = (*_PARENTS, SOURCES.name)
_MAIN = f"""\
import sys

from {".".join(_PACKAGE)}.server import main

sys.exit(main(sys.argv, sys.stdin.buffer, sys.stdout.buffer))
"""
_EARLIEST = (1980, 1, 1, 0, 0, 0)  # of a zip


@cache
def pack_helper() -> bytes:
    """The archive's content."""
    files = {"__main__.py": _MAIN.encode()}
    for depth in range(1, len(_PARENTS) + 1):  # the helper needs nothing of ours
        files["/".join((*_PARENTS[:depth], "__init__.py"))] = b""
    for path in sorted(SOURCES.glob("*.py")):
        files["/".join((*_PACKAGE, path.name))] = path.read_bytes()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name, _EARLIEST)
            info.compress_type, info.create_system = zipfile.ZIP_DEFLATED, 3
            archive.writestr(info, content)
    return packed.getvalue()
