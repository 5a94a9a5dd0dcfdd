"""One bucket of S3 as this program and its workers need it: few calls, each with one meaning.

What has been fetched is whole: its length and checksum were compared, or it was fetched again.
Each object is written with the encryption that the bucket has by default, said in so many words,
since a bucket's policy may refuse what does not say it. A worker learns it from its request.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import IO, Any

from core.aws.calls import DENIED, EXPIRED, AwsCalls
from core.errors import AwsRefused

ABSENT = frozenset({"NoSuchKey", "404"})
_TAKEN = frozenset({"PreconditionFailed", "412"})
_ASK = "If the bucket demands an encryption, allow s3:GetEncryptionConfiguration on it."
_PIECE_BYTES = 1024 * 1024
MOST_DELETED = 1000
"""Names that one DeleteObjects takes."""


class S3Bucket:
    """`client` gives the client of S3. May be used from many threads."""

    def __init__(self, name: str, client: Callable[[], Any], calls: AwsCalls) -> None:
        self.name = name
        self._client = client
        self._calls = calls
        self._encryption: dict[str, str] | None = None
        """What PutObject is told of it; None as long as nothing has told it."""

    def put(self, key: str, body: IO[bytes]) -> None:
        """Store all of `body`, which is read from its beginning."""
        self._put(key, body)

    def _put(self, key: str, body: IO[bytes], **more: str) -> None:
        if self._encryption is None:
            self._encryption = self._default_encryption()
        told = self._encryption | more

        def call() -> None:
            body.seek(0)
            self._client().put_object(Bucket=self.name, Key=key, Body=body, **told)

        try:
            self._calls(self._what("PutObject", key), call)
        except AwsRefused as exc:
            if exc.code not in DENIED or self._encryption:
                raise
            raise AwsRefused(exc.message, f"{exc.remedy} {_ASK}", code=exc.code) from exc

    def _default_encryption(self) -> dict[str, str]:
        """Nothing is said where this identity may not ask, or the bucket has none."""
        try:
            answer = self._calls(
                f"GetBucketEncryption of {self.name}",
                lambda: self._client().get_bucket_encryption(Bucket=self.name),
            )
        except AwsRefused as exc:
            if exc.code in EXPIRED:
                raise
            return {}
        rules = answer["ServerSideEncryptionConfiguration"]["Rules"]
        default = rules[0].get("ApplyServerSideEncryptionByDefault", {}) if rules else {}
        return _encryption(default.get("SSEAlgorithm"), default.get("KMSMasterKeyID"))

    def put_new(self, key: str, body: IO[bytes]) -> bool:
        """As `put`, unless there is such an object; whether it was stored.

        False also where an earlier try of this call had stored it and its answer was lost.
        """
        try:
            self._put(key, body, IfNoneMatch="*")
        except AwsRefused as exc:
            if exc.code in _TAKEN:
                return False
            raise
        return True

    def fetch(self, key: str, into: IO[bytes], span: tuple[int, int] | None = None) -> bool:
        """Write an object's bytes, or `span` (start, length) of them, to `into`, which is empty.

        False when there is no such object.
        """
        asked = {"Bucket": self.name, "Key": key}
        if span is not None:
            asked["Range"] = f"bytes={span[0]}-{span[0] + span[1] - 1}"

        def call() -> None:
            into.seek(0)
            into.truncate()
            answer = self._client().get_object(**asked)
            for piece in answer["Body"].iter_chunks(_PIECE_BYTES):
                into.write(piece)
            if self._encryption is None:
                self._encryption = _encryption_of(answer)

        try:
            self._calls(self._what("GetObject", key), call)
        except AwsRefused as exc:
            if exc.code in ABSENT:
                return False
            raise
        into.seek(0)
        return True

    def get(self, key: str, span: tuple[int, int] | None = None) -> bytes | None:
        """The bytes of a small object, or None when there is none."""
        into = io.BytesIO()
        return into.getvalue() if self.fetch(key, into, span) else None

    def exists(self, key: str) -> bool:
        """By its name in a listing, which does not need that it may be read."""
        return key in self.list(key)

    def list(self, prefix: str) -> Iterator[str]:
        """Names that begin with `prefix`, a thousand a request."""
        for page in self._pages(prefix):
            yield from (str(found["Key"]) for found in page.get("Contents", ()))

    def folders(self, prefix: str) -> Iterator[str]:
        """What follows `prefix` up to the next slash, each once."""
        for page in self._pages(prefix, Delimiter="/"):
            for found in page.get("CommonPrefixes", ()):
                yield str(found["Prefix"])[len(prefix) : -1]

    def _pages(self, prefix: str, **more: str) -> Iterator[dict[str, Any]]:
        asked = {"Bucket": self.name, "Prefix": prefix, **more}
        what = self._what("ListObjectsV2", prefix)
        while True:
            page = self._calls(what, lambda: self._client().list_objects_v2(**asked))
            yield page
            if not page.get("IsTruncated"):
                return
            asked["ContinuationToken"] = page["NextContinuationToken"]

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; those that are gone already are no error."""
        for start in range(0, len(keys), MOST_DELETED):
            wanted = [{"Key": key} for key in keys[start : start + MOST_DELETED]]
            call = partial(
                self._client().delete_objects,
                Bucket=self.name,
                Delete={"Objects": wanted, "Quiet": True},
            )
            answer = self._calls(self._what("DeleteObjects", keys[start]), call)
            for error in answer.get("Errors", ()):
                raise AwsRefused(
                    f"s3://{self.name}/{error.get('Key')} could not be removed:"
                    f" {error.get('Message')}.",
                    "Allow s3:DeleteObject there to the identity in use.",
                    code=str(error.get("Code")),
                )

    def _what(self, action: str, key: str) -> str:
        return f"{action} on s3://{self.name}/{key}"


def _encryption(algorithm: str | None, key: str | None) -> dict[str, str]:
    told = {"ServerSideEncryption": algorithm, "SSEKMSKeyId": key}
    return {name: value for name, value in told.items() if value}


def _encryption_of(answer: Mapping[str, Any]) -> dict[str, str]:
    """How an object that was read is encrypted, which its writer had found out."""
    return _encryption(answer.get("ServerSideEncryption"), answer.get("SSEKMSKeyId"))
