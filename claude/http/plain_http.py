"""HTTP as plain values: a request, a response, and an API that answers, served or in process."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

HOST = "127.0.0.1"
"""Where our own servers listen."""
MAX_BODY_BYTES = 32 * 1024 * 1024


class ConnectionCut(Exception):
    """Raised by a body where the connection is to break."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """`target` is path and query as sent; header names are in lower case. `is_gone` tells whether
    the client has hung up."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""
    is_gone: Callable[[], bool] = field(default=lambda: False, compare=False, repr=False)

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.body).hexdigest()


@dataclass(frozen=True, slots=True)
class Outgoing:
    """`body` may wait between its pieces, raise ConnectionCut, or Interrupted from the clock.
    `length` is None for a stream."""

    status: int
    headers: Mapping[str, str]
    body: Iterable[bytes] = ()
    length: int | None = 0


class Api(Protocol):
    """Answers plain HTTP requests, those of many threads."""

    def handle(self, incoming: Incoming) -> Outgoing: ...
