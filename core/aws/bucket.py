"""One bucket of S3 as this program and its workers use it.

A fetched object is whole, and a bucket that was deleted holds nothing. Each object is written with
the encryption that is the bucket's default, named explicitly, since a policy may refuse what does
not name it. A worker learns it from its request.
"""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any

from core.aws.calls import DENIED, EXPIRED, AwsService
from core.errors import AwsRefused

_NO_BUCKET = "NoSuchBucket"
_ABSENT = frozenset({"NoSuchKey", "404", _NO_BUCKET})
_TAKEN = frozenset({"PreconditionFailed", "412"})
_PIECE_BYTES = 1024 * 1024
MOST_DELETED = 1000
"""Names that one DeleteObjects takes."""


class S3Bucket:
    """May be used from many threads."""

    def __init__(self, name: str, s3: AwsService) -> None:
        self.name = name
        self._s3 = s3
        self._encryption: dict[str, str] | None = None
        """The parameters of PutObject for it; None until it is known."""

    def put(self, key: str, body: IO[bytes], **conditions: str) -> None:
        """Store all of `body`, which is read from its beginning."""
        parameters = {"Bucket": self.name, "Key": key} | self._known_encryption() | conditions

        def call(client: Any) -> None:
            body.seek(0)
            client.put_object(Body=body, **parameters)

        try:
            self._s3.retry("put_object", self._url(key), call)
        except AwsRefused as exc:
            if exc.code not in DENIED or self._encryption:
                raise
            more = "If the bucket demands an encryption, allow s3:GetEncryptionConfiguration on it."
            raise AwsRefused(exc.message, f"{exc.remedy} {more}", code=exc.code) from exc

    def upload(self, key: str, body: IO[bytes], on_sent: Callable[[int], None]) -> None:
        """As `put`, in parts where it is large; `on_sent` is called with the size of each piece.

        Raises boto3's S3UploadFailedError for a part that was refused.
        """
        encryption = self._known_encryption()

        def call(client: Any) -> None:
            body.seek(0)
            client.upload_fileobj(body, self.name, key, ExtraArgs=encryption, Callback=on_sent)

        self._s3.retry("put_object", self._url(key), call)

    def _known_encryption(self) -> dict[str, str]:
        """The bucket's default; empty where this identity may not ask, or the bucket has none."""
        if self._encryption is not None:
            return self._encryption
        try:
            answer = self._s3("get_bucket_encryption", self.name, Bucket=self.name)
            rules = answer["ServerSideEncryptionConfiguration"]["Rules"]
        except AwsRefused as exc:
            if exc.code in EXPIRED:
                raise
            rules = []
        default = rules[0].get("ApplyServerSideEncryptionByDefault", {}) if rules else {}
        self._encryption = _encryption(default.get("SSEAlgorithm"), default.get("KMSMasterKeyID"))
        return self._encryption

    def put_new(self, key: str, body: IO[bytes]) -> bool:
        """As `put`, unless there is such an object; whether it was stored.

        False also where an earlier try of this call had stored it and its answer was lost.
        """
        try:
            self.put(key, body, IfNoneMatch="*")
        except AwsRefused as exc:
            if exc.code in _TAKEN:
                return False
            raise
        return True

    def fetch(self, key: str, into: IO[bytes], span: tuple[int, int] | None = None) -> bool:
        """Write an object's bytes, or `span` (start, length) of them, to `into`, which is empty.

        False when there is no such object.
        """
        parameters = {"Bucket": self.name, "Key": key}
        if span is not None:
            parameters["Range"] = f"bytes={span[0]}-{span[0] + span[1] - 1}"

        def call(client: Any) -> None:
            into.seek(0)
            into.truncate()
            answer = client.get_object(**parameters)
            for piece in answer["Body"].iter_chunks(_PIECE_BYTES):
                into.write(piece)
            if self._encryption is None:
                algorithm, key_id = answer.get("ServerSideEncryption"), answer.get("SSEKMSKeyId")
                self._encryption = _encryption(algorithm, key_id)

        try:
            self._s3.retry("get_object", self._url(key), call)
        except AwsRefused as exc:
            if exc.code in _ABSENT:
                return False
            raise
        into.seek(0)
        return True

    def open(self, key: str) -> Any:
        """An object's bytes as botocore's stream, to be read once."""
        return self._s3("get_object", self._url(key), Bucket=self.name, Key=key)["Body"]

    def get(self, key: str, span: tuple[int, int] | None = None) -> bytes | None:
        """The bytes of a small object, or None when there is none."""
        into = io.BytesIO()
        return into.getvalue() if self.fetch(key, into, span) else None

    def exists(self, key: str) -> bool:
        """By its name in a listing, which needs no permission to read it."""
        return key in self.list(key)

    def list(self, prefix: str) -> Iterator[str]:
        """Names that begin with `prefix`, a thousand a request."""
        try:
            for page in self._pages(prefix):
                yield from (str(found["Key"]) for found in page.get("Contents", ()))
        except AwsRefused as exc:
            if exc.code != _NO_BUCKET:
                raise

    def folders(self, prefix: str) -> Iterator[str]:
        """What follows `prefix` up to the next slash, each once."""
        for page in self._pages(prefix, Delimiter="/"):
            for found in page.get("CommonPrefixes", ()):
                yield str(found["Prefix"])[len(prefix) : -1]

    def _pages(self, prefix: str, **more: str) -> Iterator[Mapping[str, Any]]:
        parameters = {"Bucket": self.name, "Prefix": prefix, **more}
        while True:
            page = self._s3("list_objects_v2", self._url(prefix), **parameters)
            yield page
            if not page.get("IsTruncated"):
                return
            parameters["ContinuationToken"] = page["NextContinuationToken"]

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; those that are gone already are no error."""
        for start in range(0, len(keys), MOST_DELETED):
            names = [{"Key": key} for key in keys[start : start + MOST_DELETED]]
            request = {"Bucket": self.name, "Delete": {"Objects": names, "Quiet": True}}
            answer = self._s3("delete_objects", self._url(keys[start]), **request)
            for error in answer.get("Errors", ()):
                raise AwsRefused(
                    f"{self._url(error.get('Key'))} could not be removed: {error.get('Message')}.",
                    "Allow s3:DeleteObject there to the identity in use.",
                    code=str(error.get("Code")),
                )

    def _url(self, key: str) -> str:
        return f"s3://{self.name}/{key}"


def _encryption(algorithm: str | None, key: str | None) -> dict[str, str]:
    parameters = {"ServerSideEncryption": algorithm, "SSEKMSKeyId": key}
    return {name: value for name, value in parameters.items() if value}
