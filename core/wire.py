"""Values to JSON and back, strictly: what cannot be read is a BundleError that names its source."""

import json
import os
import secrets
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from core.errors import BundleError

T = TypeVar("T")


@lru_cache(maxsize=64)
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def encode(value: object) -> str:
    """`value`, a dataclass or a pydantic model, as JSON on one line. Half a surrogate pair, which a
    model's JSON may hold and UTF-8 cannot, becomes a question mark."""
    adapter = _adapter(cast(Any, type(value)))
    try:
        return adapter.dump_json(value).decode()
    except PydanticSerializationError:
        text = json.dumps(adapter.dump_python(value), ensure_ascii=False, default=str)
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
    """Write through a temporary name beside `path`, so that a reader sees all or nothing.
    `durable`: what was written would survive a power cut."""
    payload = data.encode() if isinstance(data, str) else data
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    # EXCL: no other writer here can put a link in the way
    fd = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb", buffering=0) as stream:
            os.fchmod(fd, mode)
            rest = memoryview(payload)
            while rest:
                rest = rest[stream.write(rest) :]
            if durable:
                os.fsync(fd)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
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
