"""Transfers between this machine and a head node through an S3 bucket instead of over SSH.

An object exists for one transfer and is removed after it. One whose transfer was cut off may appear
later: its name is kept in the run's directory, and it is removed at the next transfer and at the
end of the run. Nothing secret is put there.
"""

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
    """`connect` returns a boto3 client for S3. `run_dir`, if it exists, holds the names of objects
    that may be left."""

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
        """The URL of a new object, which is removed afterwards."""
        for earlier in self._noted() - self._in_use:
            self._try_to_remove(earlier)
        token = secrets.token_hex(16)
        self._in_use.add(token)
        self._note(token)
        try:
            yield f"s3://{self.name}/{PREFIX}/{token}"
        except BaseException:
            self._try_to_remove(token)  # and again later: the other side may still be writing it
            raise
        else:
            if self._try_to_remove(token):
                self._forget(token)
        finally:
            self._in_use.discard(token)

    @property
    def may_hold_objects(self) -> bool:
        """Including those that this process is transferring."""
        return bool(self._noted())

    def clear(self) -> None:
        """Remove all objects of the run. Raises BackendError when that is not possible."""
        for token in self._noted():
            self._remove(token)
            self._forget(token)

    def _try_to_remove(self, token: str) -> bool:
        """An object that cannot be removed now is removed later; its transfer has succeeded."""
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
        """Returns the size in bytes."""
        total = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        with self._refusals(), self._transfers.count("sent", total) as add:
            self._s3.upload(self._key(url), stream, add)
        return total

    def get(self, url: str) -> Iterator[bytes]:
        with self._refusals():
            yield from self._transfers.receiving(self._s3.open(self._key(url)))

    def check_access(self) -> None:
        """Create an object and remove it. Raises BackendError when that is not possible."""
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
                f"The bucket {self.name} could not be used: {reason.rstrip('.')}.",
                "Correct --aws-s3-bucket, allow s3:PutObject, s3:GetObject and s3:DeleteObject"
                " there, or leave the option out to transfer over SSH.",
            ) from exc
