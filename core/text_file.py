"""Reads text that a person names: bounded, and without waiting for ever."""

import errno
import os
import select
from pathlib import Path

MOST_BYTES = 32 * 1024 * 1024
WAIT_S = 8.0
"""How long a pipe may bring nothing."""
_PIECE_BYTES = 1024 * 1024


def read_text(path: str | Path, most_bytes: int = MOST_BYTES) -> str:
    """The UTF-8 text in a file, a pipe or a device, without a byte order mark. Raises OSError with
    a `strerror` for people, also for more than `most_bytes` and where nothing comes."""
    return decode_text(read_bytes(path, most_bytes))


def read_bytes(path: str | Path, most_bytes: int = MOST_BYTES) -> bytes:
    """As `read_text`, for any content."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError:
        raise OSError(errno.EINVAL, "no file can have that name") from None
    with open(fd, "rb", buffering=0) as stream:
        data = bytearray()
        while select.select([fd], [], [], WAIT_S)[0]:
            if not (piece := stream.read(_PIECE_BYTES)):
                return bytes(data)
            data += piece
            if len(data) > most_bytes:
                raise OSError(errno.EFBIG, f"it is longer than {most_bytes:,} bytes")
        raise TimeoutError(errno.ETIMEDOUT, f"nothing came from it for {WAIT_S:g} s")


def decode_text(data: bytes) -> str:
    """Raises OSError."""
    try:
        return data.decode("utf-8-sig")  # some editors begin with a byte order mark
    except UnicodeDecodeError:
        raise OSError(errno.EILSEQ, "it is not text in UTF-8") from None
