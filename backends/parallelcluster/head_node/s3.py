"""Transfers between the head node and S3 by the AWS CLI, which is on ParallelCluster's images. Half
a result never becomes an object.
"""

import errno
import signal
import subprocess
import tarfile
import tempfile
import threading
import zlib
from contextlib import contextmanager, suppress
from typing import IO, Any, Iterator

from backends.parallelcluster.head_node.files import unpack


class Heartbeat:
    """Reports the bytes moved so far to the caller, every `interval_s` until the answer. When the
    caller has gone, the transfer is stopped."""

    def __init__(self, out: IO[bytes], marker: str, interval_s: float) -> None:
        self.moved = 0
        self._out, self._marker, self._interval_s = out, marker.encode(), interval_s
        self._transfer = None  # type: Any
        self._caller_gone = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> "Heartbeat":
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._ended.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._ended.wait(self._interval_s):
            try:
                self._out.write(b"\n%s %d\n" % (self._marker, self.moved))
                self._out.flush()
            except (OSError, ValueError):
                self._caller_gone = True
                stop(self._transfer)
                return

    @contextmanager
    def watch(self, transfer: Any) -> Iterator[None]:
        self._transfer = transfer
        if self._caller_gone:
            stop(transfer)
        try:
            yield
        finally:
            self._transfer = None


class CountingStream:
    """Counts the bytes of a transfer for its heartbeat."""

    def __init__(self, stream: IO[bytes], heartbeat: Heartbeat) -> None:
        self._stream, self._heartbeat = stream, heartbeat

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._heartbeat.moved += len(data)
        return data

    def write(self, data: bytes) -> int:
        self._stream.write(data)
        self._heartbeat.moved += len(data)
        return len(data)


def download(url: str, run_dir: bytes, code: bytes, heartbeat: Heartbeat) -> None:
    """Unpack an object of S3."""
    with aws_copy(url, "-", heartbeat, stdout=subprocess.PIPE) as process:
        unpack(CountingStream(process.stdout, heartbeat), run_dir, code)


@contextmanager
def aws_copy(source: str, target: str, heartbeat: Heartbeat, **pipes: Any) -> Iterator[Any]:
    """Copy from or to S3. Raises OSError with the CLI's own words when that fails."""
    command = ["aws", "s3", "cp", "--quiet", source, target]
    with tempfile.TemporaryFile() as stderr:
        with subprocess.Popen(command, stderr=stderr, **pipes) as process:
            with heartbeat.watch(process), finishing(process):
                yield process
        stderr.seek(0)
        if process.returncode != 0:
            reason = stderr.read().decode("utf-8", "replace").strip() or "it was stopped"
            raise OSError(process.returncode, reason, "aws s3 cp")


@contextmanager
def finishing(process: Any) -> Iterator[None]:
    """Wait for the process. What follows from its own early end is left to its exit code. Where
    this side fails it is stopped before its input ends, so that half a result is no object."""
    try:
        yield
    except Exception as exc:
        own = isinstance(exc, OSError) and exc.errno not in (None, errno.EPIPE)
        if own or not isinstance(exc, (OSError, EOFError, tarfile.TarError, zlib.error)):
            stop(process)
            close_pipes(process)
            raise
        close_pipes(process)
        if process.wait() == 0:
            raise
    close_pipes(process)
    process.wait()


def stop(process: Any) -> None:
    """As Ctrl-C does, so that the AWS CLI removes the parts that it has uploaded."""
    if process is not None and process.poll() is None:
        process.send_signal(signal.SIGINT)


def close_pipes(process: Any) -> None:
    for stream in filter(None, (process.stdin, process.stdout)):
        with suppress(BrokenPipeError):
            stream.close()
