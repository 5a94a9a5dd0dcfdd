"""What travels between here and a head node through an S3 bucket instead of over SSH.

An object is there for one transfer and removed after it. Nothing secret is put there.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any

from backends.transfers import Transfers
from core.errors import BackendError

PREFIX = "parallel-orchestrator"


class Bucket:
    """`connect` gives a client of boto3 for S3."""

    def __init__(self, name: str, connect: Callable[[], Any], transfers: Transfers) -> None:
        self.name = name
        self._connect = connect
        self._transfers = transfers

    @contextmanager
    def object(self) -> Iterator[str]:
        """The URL of an object that is nobody else's, and gone afterwards."""
        key = f"{PREFIX}/{secrets.token_hex(16)}"
        try:
            yield f"s3://{self.name}/{key}"
        finally:
            with self._refusals():
                self._connect().delete_object(Bucket=self.name, Key=key)

    def put(self, url: str, stream: IO[bytes]) -> int:
        """Gives its size in bytes."""
        total = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        with self._refusals(), self._transfers.noting("sent", total) as note:
            self._connect().upload_fileobj(stream, self.name, self._key(url), Callback=note)
        return total

    def get(self, url: str) -> Iterator[bytes]:
        with self._refusals():
            found = self._connect().get_object(Bucket=self.name, Key=self._key(url))
            yield from self._transfers.receiving(found["Body"])

    def prove(self) -> None:
        """Put something there and remove it. Raises BackendError when that is not possible."""
        with self.object() as url, self._refusals():
            self._connect().put_object(Bucket=self.name, Key=self._key(url), Body=b"")

    def _key(self, url: str) -> str:
        return url.removeprefix(f"s3://{self.name}/")

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (Boto3Error, BotoCoreError, ClientError) as exc:
            raise BackendError(
                f"The bucket {self.name} cannot be used: {exc}.",
                "Correct --aws-s3-bucket, and allow s3:PutObject, s3:GetObject and"
                " s3:DeleteObject there; without it all goes over SSH.",
            ) from exc
