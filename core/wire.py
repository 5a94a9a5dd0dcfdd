"""Values to JSON and back, strictly: what cannot be read is a BundleError that names its source."""

import json
import os
import secrets
from collections.abc import Collection
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from core.errors import BundleError
from core.paths import give_to_owner

T = TypeVar("T")


@lru_cache(maxsize=64)
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def encode(value: object, leave_out: Collection[str] = ()) -> str:
    """`value`, a dataclass or a pydantic model, as JSON on one line, without the fields to
    `leave_out`. Half a surrogate pair, which a model's JSON may hold and UTF-8 cannot, becomes a
    question mark."""
    adapter, fields = _adapter(cast(Any, type(value))), set(leave_out)
    try:
        return adapter.dump_json(value, exclude=fields).decode()
    except PydanticSerializationError:
        plain = adapter.dump_python(value, exclude=fields)
        text = json.dumps(plain, ensure_ascii=False, default=str)
        return text.encode("utf-8", "replace").decode()


def plain(value: object) -> Any:
    """`value` as dicts, lists, strings and numbers."""
    return _adapter(cast(Any, type(value))).dump_python(value, mode="json")


def decode(kind: type[T], text: str | bytes, source: str) -> T:
    """Read JSON `text` as `kind`. Raises BundleError, naming `source`, when it does not fit."""
    try:
        return cast(T, _adapter(cast(Any, kind)).validate_json(text))
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the document"
        raise BundleError(
            f"{source} is damaged or was written by another version: {where}: {first['msg']}."
        ) from exc


def write_atomic(
    path: Path, data: str | bytes, mode: int = 0o644, *, durable: bool = False
) -> None:
    """Write through a temporary name beside `path`, so that a reader sees all or nothing. The umask
    may take from `mode` what is not the owner's.
    `durable`: what was written would survive a power cut."""
    rest = memoryview(data.encode() if isinstance(data, str) else data)
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{secrets.token_hex(8)}")
    # EXCL: no other writer here can put a link in the way
    fd = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, mode)
    try:
        try:
            give_to_owner(fd, mode)
            while rest:
                rest = rest[os.write(fd, rest) :]
            if durable:
                os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    if durable:
        _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    """The name of a file is kept in its directory."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
