"""Objects of S3, by the AWS CLI that is on ParallelCluster's images, and the word that a transfer
goes on. Half a result never becomes an object.
"""

import errno
import signal
import subprocess
import tarfile
import tempfile
import threading
import zlib
from contextlib import contextmanager
from typing import IO, Any, Iterator

from backends.parallelcluster.head_node.files import unpack


class Pulse:
    """Tells the caller every `beat_s`, while its answer is made, that it is, and how many bytes
    have moved. Once nobody listens, the transfer under way is of no use to anyone, and stopped."""

    def __init__(self, out: IO[bytes], mark: str, beat_s: float) -> None:
        self.moved = 0
        self._out, self._mark, self._beat_s = out, mark.encode(), beat_s
        self._transfer = None  # type: Any
        self._gone = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> "Pulse":
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._ended.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._ended.wait(self._beat_s):
            try:
                self._out.write(b"\n%s %d\n" % (self._mark, self.moved))
                self._out.flush()
            except (OSError, ValueError):
                self._gone = True
                stop(self._transfer)
                return

    @contextmanager
    def watching(self, transfer: Any) -> Iterator[None]:
        self._transfer = transfer
        if self._gone:
            stop(transfer)
        try:
            yield
        finally:
            self._transfer = None


class Counted:
    """A pipe of a transfer; what passes is counted."""

    def __init__(self, stream: IO[bytes], pulse: Pulse) -> None:
        self._stream, self._pulse = stream, pulse

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._pulse.moved += len(data)
        return data

    def write(self, data: bytes) -> int:
        self._stream.write(data)
        self._pulse.moved += len(data)
        return len(data)


def download(url: str, run_dir: bytes, code: bytes, pulse: Pulse) -> None:
    """Unpack an object of S3."""
    with aws(url, "-", pulse, stdout=subprocess.PIPE) as process:
        unpack(Counted(process.stdout, pulse), run_dir, code)


@contextmanager
def aws(source: str, target: str, pulse: Pulse, **streams: Any) -> Iterator[Any]:
    """Copy from or to S3. OSError with the CLI's own words when that fails."""
    command = ["aws", "s3", "cp", "--quiet", source, target]
    with tempfile.TemporaryFile() as said:
        with subprocess.Popen(command, stderr=said, **streams) as process:
            with pulse.watching(process):
                with copying(process):
                    yield process
        said.seek(0)
        if process.returncode != 0:
            complaint = said.read().decode("utf-8", "replace").strip() or "it was stopped"
            raise OSError(process.returncode, complaint, "aws s3 cp")


@contextmanager
def copying(process: Any) -> Iterator[None]:
    """To the end of the process. What comes of its own early end is told by its exit code; where
    we cannot go on it is stopped before its input ends, so that half a result is no object."""
    try:
        yield
    except Exception as exc:
        own = isinstance(exc, OSError) and exc.errno not in (None, errno.EPIPE)
        if own or not isinstance(exc, (OSError, EOFError, tarfile.TarError, zlib.error)):
            stop(process)
            close(process)
            raise
        close(process)
        if process.wait() == 0:
            raise
    close(process)
    process.wait()


def stop(process: Any) -> None:
    """As Ctrl-C does, so that the AWS CLI takes back the parts that it has uploaded."""
    if process is not None and process.poll() is None:
        process.send_signal(signal.SIGINT)


def close(process: Any) -> None:
    """Its streams."""
    for stream in filter(None, (process.stdin, process.stdout)):
        try:
            stream.close()
        except BrokenPipeError:
            pass
