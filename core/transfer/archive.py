"""Bundles as tar streams: packed for transport, and unpacked from an untrusted one."""

import gzip
import io
import tarfile
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from core.bundle import Limits
from core.errors import CollectError
from core.transfer.untrusted_tar import ChunkSource, UntrustedTree, open_untrusted
from core.workspace.confined import remove_tree

MEMORY_BYTES = 8 * 1024 * 1024
"""A larger bundle is packed on disk."""
_PIECE_BYTES = 1024 * 1024


@contextmanager
def packed(directory: Path, top: str, uid: int, extra: Mapping[str, bytes]) -> Iterator[IO[bytes]]:
    """The tar of a directory `top` of user `uid`: `directory`, and `extra` files of mode 0600."""

    def owned(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = uid
        member.uname = member.gname = ""
        return member

    with tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES) as stream:
        with tarfile.open(fileobj=stream, mode="w") as tar:
            made = tarfile.TarInfo(top)
            made.type, made.mode = tarfile.DIRTYPE, 0o700
            tar.addfile(owned(made))
            tar.add(directory, f"{top}/{directory.name}", filter=owned)
            for name, content in extra.items():
                member = tarfile.TarInfo(f"{top}/{name}")
                member.size, member.mode = len(content), 0o600
                tar.addfile(owned(member), io.BytesIO(content))
        stream.seek(0)
        yield stream


def pack(directory: Path, out: IO[bytes]) -> None:
    """Write the files and directories of `directory` to `out` as a compressed tar: the same bytes
    for the same tree."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        member.uid = member.gid = member.mtime = 0
        member.uname = member.gname = ""
        return member if member.isreg() or member.isdir() else None

    with (
        gzip.GzipFile("", "wb", fileobj=out, mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w|") as tar,
    ):
        tar.add(directory, directory.name, filter=plain)


def decompressed(stream: IO[bytes]) -> Iterator[bytes]:
    """The bytes of a gzip stream, a piece at a time. Raises CollectError when they are damaged or
    end too early."""
    unzip = zlib.decompressobj(wbits=31)
    while piece := stream.read(_PIECE_BYTES):
        while piece:
            try:
                yield unzip.decompress(piece, _PIECE_BYTES)
            except zlib.error as exc:
                raise CollectError(
                    f"The archive of a result is damaged: {exc}.", retryable=True
                ) from exc
            piece = unzip.unconsumed_tail
    if not unzip.eof:
        raise CollectError("The archive of a result ends too early.", retryable=True)


def unpack(chunks: Iterable[bytes], destination: Path, limits: Limits) -> None:
    """Write the tree in `chunks`, without its top directory, to `destination`, which is made.
    Raises CollectError for what `UntrustedTree` refuses; `destination` is removed then."""
    destination.mkdir()
    tree = UntrustedTree(destination, limits)
    try:
        with open_untrusted(io.BufferedReader(ChunkSource(chunks))) as tar:
            for member in tar:
                tree.take(tar, member, member.name.strip("/").partition("/")[2])
    except BaseException:
        remove_tree(destination)
        raise
