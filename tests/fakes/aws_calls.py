"""Calls of AWS as the AWS of the tests sees them: read, kept, refused, and faults for them."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from botocore.exceptions import EndpointConnectionError

from tests.fakes.aws_server import Answer
from tests.fakes.strict_batch import Refusal

BUCKET = "a-bucket"
GZIP = b"\x1f\x8b\x08"


@dataclass(frozen=True)
class Call:
    """One request that reached AWS."""

    service: str
    action: str
    params: Mapping[str, Any]
    path: str
    raw: bytes
    """All of it, for a search: address, headers, body."""
    by_worker: bool = False


def refused(exc: Refusal, service: str) -> Answer:
    """A refusal as this service says it."""
    error = f"<Error><Code>{exc.code}</Code><Message>{escape(exc.message)}</Message></Error>"
    if service == "s3":
        return Answer(exc.status, error.encode())
    if service == "iam":
        return Answer(exc.status, f"<ErrorResponse>{error}</ErrorResponse>".encode())
    body = json.dumps({"__type": exc.code, "message": exc.message}).encode()
    return Answer(exc.status, body, {"x-amzn-errortype": exc.code})


Encryption = tuple[str, str]
"""The algorithm, and the key where it is one of KMS."""
ENCRYPTION_HEADERS = (
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
)


def told_encryption(asked: Mapping[str, Any]) -> Encryption:
    algorithm, key = (str(asked.get(name) or "") for name in ENCRYPTION_HEADERS)
    return algorithm, key


def check_encryption(call: Call, demanded: Encryption | None) -> None:
    """What the usual policies of buckets deny: an object put without saying what they demand."""
    if demanded and told_encryption(call.params) != demanded:
        raise Refusal("explicit deny in a resource-based policy", "AccessDenied", 403)


def default_encryption(encryption: Encryption) -> bytes:
    algorithm, key = encryption
    named = f"<KMSMasterKeyID>{key}</KMSMasterKeyID>" if key else ""
    default = f"<SSEAlgorithm>{algorithm}</SSEAlgorithm>{named}"
    inner = f"<ApplyServerSideEncryptionByDefault>{default}</ApplyServerSideEncryptionByDefault>"
    whole = f"<Rule>{inner}</Rule>"
    return (
        f"<ServerSideEncryptionConfiguration>{whole}</ServerSideEncryptionConfiguration>".encode()
    )


def holds(data: bytes, word: bytes) -> bool:
    """Whether `word` is in `data`, or in anything that is compressed anywhere in it."""
    return word in data or any(holds(inner, word) for inner in unzipped(data))


def unzipped(data: bytes) -> Iterator[bytes]:
    """The content of each gzip stream in `data`, also of one that is cut or in the middle."""
    at = data.find(GZIP)
    while at >= 0:
        stream = zlib.decompressobj(wbits=31)
        with suppress(zlib.error):  # those bytes may mean something else
            yield stream.decompress(data[at:])
        at = data.find(GZIP, at + 1)


Fault = Callable[[Call], Answer | Exception | None]
"""An answer in place of AWS's own, or a Refusal, or what the network raises; None lets the call
through."""


def fault(action: str, answer: Answer | Exception, times: int = 1, path: str = "") -> Fault:
    """Answers the next `times` calls of an action so, whose path holds `path`."""
    left = [times]

    def look(call: Call) -> Answer | Exception | None:
        if call.action != action or path not in call.path or left[0] <= 0:
            return None
        left[0] -= 1
        return answer

    return look


class RecordedAws:
    """Keeps every call, and puts faults in the way of some."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.faults: list[Fault] = []
        self.after: Callable[[Call], None] = lambda call: None
        """Called once a call has had its effect, before its answer is given."""

    def count(self, action: str = "", service: str = "") -> int:
        return sum(c.action == action or c.service == service for c in self.calls)

    def take(self, call: Call, answer: Callable[[Call], Answer]) -> Answer:
        """What a fault says, else `answer`, which may raise Refusal."""
        self.calls.append(call)
        found = next((a for f in self.faults if (a := f(call)) is not None), None)
        if isinstance(found, Exception) and not isinstance(found, Refusal):
            raise found
        if isinstance(found, Answer):
            return found
        if isinstance(found, Refusal):
            return refused(found, call.service)
        try:
            given = answer(call)
        except Refusal as exc:
            given = refused(exc, call.service)
        self.after(call)
        return given


def read_call(method: str, url: str, headers: Mapping[str, Any], body: bytes) -> Call:
    """What a signed request asks of which service."""
    parts, told = urlsplit(url), {n.lower(): _text(v) for n, v in headers.items()}
    service = told["authorization"].split("/")[3]
    raw = f"{method} {unquote(url)}\n{told}\n".encode() + body
    if service == "s3":
        action, params = _s3_action(method, parts.path, parts.query, told)
        path = unquote(parts.path)
        host = parts.netloc.partition(".")[0]
        path = path if path.startswith(f"/{BUCKET}") or ":" in parts.netloc else f"/{host}{path}"
        return Call(service, action, params, path, raw)
    if target := told.get("x-amz-target"):
        return Call(service, target.rpartition(".")[2], json.loads(body), parts.path, raw)
    if service == "iam":
        params = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        named = {n.replace(".member.", "."): v for n, v in params.items()}
        return Call(service, params["Action"], named, parts.path, raw)
    return Call(service, parts.path.rpartition("/")[2], json.loads(body or b"{}"), parts.path, raw)


def _s3_action(
    method: str, path: str, query: str, headers: Mapping[str, str]
) -> tuple[str, dict[str, str]]:
    asked = {name: values[0] for name, values in parse_qs(query, keep_blank_values=True).items()}
    told = ("range", "if-none-match", *ENCRYPTION_HEADERS)
    named = {n: headers[n] for n in told if n in headers}
    if "delete" in asked:
        return "DeleteObjects", named
    if "encryption" in asked and method == "GET":
        return "GetBucketEncryption", named
    if "list-type" in asked:
        return "ListObjectsV2", asked
    return {"PUT": "PutObject", "GET": "GetObject", "HEAD": "HeadObject"}.get(method, method), named


def body_of(request: Any) -> bytes:
    """The payload of a prepared request, without what frames its checksum."""
    body = request.body
    if body is None or isinstance(body, bytes | bytearray):
        return bytes(body or b"")
    if isinstance(body, str):
        return body.encode()
    data = bytes(body.read())
    return unframed(data) if "aws-chunked" in str(request.headers.get("Content-Encoding")) else data


def unframed(data: bytes) -> bytes:
    """Pieces, each behind its length, up to an empty one; the checksum behind that is left out."""
    found, at = b"", 0
    while size := int(data[at : (end := data.index(b"\r\n", at))], 16):
        found += data[end + 2 : end + 2 + size]
        at = end + 2 + size + 2
    return found


def log_page(lines: Sequence[str], asked: Mapping[str, Any], gaps: int = 0) -> dict[str, Any]:
    """What GetLogEvents answers when a stream holds `lines`, where so many empty pages come before
    each that is not. A token says from where on, and how many of them have gone by."""
    limit, count, forward = asked.get("limit", 10_000), len(lines), asked.get("startFromHead")
    token = str(asked.get("nextToken") or ("f/0/0" if forward else f"b/{count}/0"))
    way, at, passed = token[0], int(token.split("/")[1]), int(token.split("/")[2])
    ahead = at < count if way == "f" else at > 0
    if ahead and passed < gaps:
        start, page = at, lines[:0]
        following = f"{way}/{at}/{passed + 1}"
    else:
        start = at if way == "f" else max(0, at - limit)
        page = lines[start : start + limit] if way == "f" else lines[start:at]
        end = start + len(page) if way == "f" else start
        following = f"{way}/{end}/0" if page else token
    events = [{"timestamp": n, "message": line} for n, line in enumerate(page)]
    tokens = {"f": f"f/{start + len(page)}/0", "b": f"b/{start}/0"} | {way: following}
    return {"events": events, "nextForwardToken": tokens["f"], "nextBackwardToken": tokens["b"]}


def lost_connection() -> EndpointConnectionError:
    return EndpointConnectionError(endpoint_url="https://aws.example")


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
