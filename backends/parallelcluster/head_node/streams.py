"""A stream of bytes in chunks, each preceded by its length; an empty chunk is the end."""

from typing import IO

CHUNK_BYTES = 64 * 1024
MAX_CHUNK_BYTES = 16 * 1024 * 1024  # far more than any sender puts into one


class TruncatedStream(EOFError):
    """The other side disconnected before the end."""


class DamagedStream(ValueError):
    """The data cannot have been sent like that."""


class ChunkReader:
    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._rest = b""
        self._ended = False

    def read(self, size: int = -1) -> bytes:
        while not self._ended and (size < 0 or len(self._rest) < size):
            self._rest += self._next()
        size = len(self._rest) if size < 0 else size
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def _next(self) -> bytes:
        head = self._stream.read(8)
        if len(head) < 8:
            raise TruncatedStream()
        size = MAX_CHUNK_BYTES + 1 if head.strip(b"0123456789abcdef") else int(head, 16)
        if size > MAX_CHUNK_BYTES:
            raise DamagedStream("a chunk of length %r" % head)
        data = self._stream.read(size)
        if len(data) < size:
            raise TruncatedStream()
        self._ended = not data
        return data

    def drain(self) -> None:
        while self.read(CHUNK_BYTES):
            pass


class ChunkWriter:
    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def write(self, data: bytes) -> int:
        for start in range(0, len(data), CHUNK_BYTES):
            part = data[start : start + CHUNK_BYTES]
            self._stream.write(b"%08x" % len(part) + part)
        return len(data)

    def end(self) -> None:
        self._stream.write(b"%08x" % 0)

    def flush(self) -> None:
        self._stream.flush()
