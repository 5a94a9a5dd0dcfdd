"""What travels between here and a head node through an S3 bucket instead of over SSH.

An object is there for one transfer and removed after it. One whose transfer was cut off may come
after that: it is noted in the run's directory, and removed at the next transfer and at the end of
the run. Nothing secret is put there.
"""

from __future__ import annotations

import io
import logging
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from backends.parallelcluster.progress import Transfers
from core.aws.bucket import S3Bucket
from core.aws.calls import AwsService
from core.clock import SystemClock
from core.errors import BackendError

PREFIX = "parallel-orchestrator"
log = logging.getLogger(__name__)


class TransferBucket:
    """`connect` gives a client of boto3 for S3. In `run_dir`, if it is there, it is kept which
    objects may be left."""

    def __init__(
        self, name: str, connect: Callable[[], Any], transfers: Transfers, run_dir: Path
    ) -> None:
        self.name = name
        self._connect = connect
        self._s3 = S3Bucket(name, AwsService("s3", lambda _: connect(), SystemClock()))
        self._transfers = transfers
        self._run_dir = run_dir
        self._in_use: set[str] = set()

    @contextmanager
    def object(self) -> Iterator[str]:
        """The URL of an object that is nobody else's, and gone afterwards."""
        for earlier in self._noted() - self._in_use:
            self._try_to_remove(earlier)
        token = secrets.token_hex(16)
        self._in_use.add(token)
        self._note(token)
        try:
            yield f"s3://{self.name}/{PREFIX}/{token}"
        except BaseException:
            self._try_to_remove(token)  # and once more later: the other side may still be at it
            raise
        else:
            if self._try_to_remove(token):
                self._forget(token)
        finally:
            self._in_use.discard(token)

    @property
    def may_hold_something(self) -> bool:
        """Of the run; what this process is transferring too."""
        return bool(self._noted())

    def clear(self) -> None:
        """Remove all that may be left of the run. Raises BackendError when that is not possible."""
        for token in self._noted():
            self._remove(token)
            self._forget(token)

    def _try_to_remove(self, token: str) -> bool:
        """What cannot be removed now stays noted; a transfer that went well is none the worse."""
        try:
            self._remove(token)
        except BackendError as exc:
            log.debug("%s", exc)
            return False
        return True

    def _remove(self, token: str) -> None:
        with self._refusals():
            self._s3.delete([f"{PREFIX}/{token}"])

    @property
    def _notes(self) -> Path:
        return self._run_dir / "slurm" / "objects"

    def _note(self, token: str) -> None:
        if self._run_dir.is_dir():
            self._notes.mkdir(parents=True, exist_ok=True)
            (self._notes / token).touch()

    def _noted(self) -> set[str]:
        return {path.name for path in self._notes.iterdir()} if self._notes.is_dir() else set()

    def _forget(self, token: str) -> None:
        (self._notes / token).unlink(missing_ok=True)

    def put(self, url: str, stream: IO[bytes]) -> int:
        """Gives its size in bytes."""
        total = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        with self._refusals(), self._transfers.noting("sent", total) as note:
            self._s3.upload(self._key(url), stream, note)
        return total

    def get(self, url: str) -> Iterator[bytes]:
        with self._refusals():
            yield from self._transfers.receiving(self._s3.open(self._key(url)))

    def prove(self) -> None:
        """Put something there and remove it. Raises BackendError when that is not possible."""
        token = secrets.token_hex(16)
        with self._refusals():
            self._s3.put(f"{PREFIX}/{token}", io.BytesIO())
        self._remove(token)

    def _key(self, url: str) -> str:
        return url.removeprefix(f"s3://{self.name}/")

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError

        try:
            yield
        except (BackendError, Boto3Error, BotoCoreError) as exc:
            reason = exc.message if isinstance(exc, BackendError) else str(exc)
            raise BackendError(
                f"The bucket {self.name} cannot be used: {reason.rstrip('.')}.",
                "Correct --aws-s3-bucket, and allow s3:PutObject, s3:GetObject and"
                " s3:DeleteObject there; without it all goes over SSH.",
            ) from exc
