"""Docker Engines that a test may break: one of its own on a small disk, and a line that can be cut.

The engine that everybody uses is never touched: tests/services/docker_engine.sh starts another one,
in a network namespace of its own, with its data on a file system in a file.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import pytest

from tests.live.docker_run import ROOT

SCRIPT = ROOT / "tests" / "services" / "docker_engine.sh"
DISK_BYTES = 3 * 1024**3  # a sparse file: the image, and more than preflight wants to see free
_BALLAST = "ballast"


class OwnEngine:
    """An engine with its disk in `place`, which must have a short path (sockets do)."""

    def __init__(self, place: Path) -> None:
        self._disk, self._root = place / "disk.img", place / "engine"
        self._socket = place / "e.sock"
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(place),
            "DOCKER_HOST": f"unix://{self._socket}",
        }

    def make_disk(self) -> None:
        self._root.mkdir()
        self._disk.touch()
        os.truncate(self._disk, DISK_BYTES)
        _call("mkfs.ext4", "-q", "-F", "-m", "0", str(self._disk))
        _call("mount", "-o", "loop", str(self._disk), str(self._root))

    def start(self) -> None:
        self._script("start")

    def stop(self) -> None:
        """As a system does that stops the service."""
        self._script("stop")

    def kill(self) -> None:
        """As when the daemon crashes."""
        pid = int((self._root / "dockerd.pid").read_text())
        os.kill(pid, signal.SIGKILL)
        while _is_dockerd(pid):
            threading.Event().wait(0.05)

    def load(self, image: str) -> None:
        """Bring an image from the engine that everybody uses."""
        with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saving:
            _call("docker", "load", "-q", stdin=saving.stdout, env=self.environ)
        assert saving.returncode == 0

    def pause(self, container: str) -> None:
        _call("docker", "pause", container, env=self.environ)

    def go_on(self, container: str) -> None:
        _call("docker", "unpause", container, env=self.environ)

    def fill_disk(self, leave_bytes: int) -> None:
        """Leave about that much room on the disk, or none at all."""
        self.free_disk()
        piece = bytes(1024**2)
        with contextlib.suppress(OSError), (self._root / _BALLAST).open("wb", 0) as ballast:
            room = shutil.disk_usage(self._root).free - leave_bytes
            os.posix_fallocate(ballast.fileno(), 0, max(1, room - 64 * len(piece)))
            ballast.seek(0, os.SEEK_END)
            while shutil.disk_usage(self._root).free > leave_bytes:
                ballast.write(piece)

    def free_disk(self) -> None:
        for path in self._root.glob(f"{_BALLAST}*"):
            path.unlink()

    def end(self) -> None:
        self.free_disk()
        self.start()  # after a kill only a started engine knows what it has to end
        for name in subprocess.check_output(
            ["docker", "ps", "-aq"], env=self.environ, text=True
        ).split():
            _call("docker", "rm", "-f", name, env=self.environ)
        self.stop()
        _call("umount", str(self._root))

    def _script(self, what: str) -> None:
        more = {"DOCKER_ENGINE_DIR": str(self._root), "DOCKER_ENGINE_SOCKET": str(self._socket)}
        _call(str(SCRIPT), what, env=self.environ | more)


@contextmanager
def own_engine(image: str) -> Iterator[OwnEngine]:
    """An engine that has the image; skips where only root could start one."""
    if os.geteuid() != 0:
        pytest.skip("only root can start a Docker Engine of the test's own")
    place = Path(tempfile.mkdtemp(prefix="pto-", dir="/tmp"))
    engine = OwnEngine(place)
    engine.make_disk()
    try:
        engine.start()
        engine.load(image)
        yield engine
    finally:
        engine.end()
        shutil.rmtree(place)


def _call(*command: str, **more: object) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, **more)  # type: ignore[call-overload]  # options of run
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


def _is_dockerd(pid: int) -> bool:
    try:
        return "Name:\tdockerd\n" in Path(f"/proc/{pid}/status").read_text() and (
            "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
        )
    except OSError:
        return False


class CuttableLine:
    """A socket that leads to the engine's, until it is cut: then what was open ends, and new
    connections go through again at once."""

    def __init__(self, place: Path, target: str = "/var/run/docker.sock") -> None:
        self.path = place / "line.sock"
        self._target = target
        self._open: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(64)
        self.accepted = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.cut()

    def cut(self) -> int:
        """End every connection; gives how many there were."""
        ended, self._open = self._open, []
        for end in ended:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        return len(ended) // 2

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(self._target)
                self._open += [near, far]
                self.accepted += 1
                threading.Thread(target=_join, args=(near, far), daemon=True).start()


def _join(near: socket.socket, far: socket.socket) -> None:
    """Carry bytes both ways until one side ends."""
    with near, far, selectors.DefaultSelector() as selector:
        other = {near: far, far: near}
        for end in other:
            selector.register(end, selectors.EVENT_READ)
        with contextlib.suppress(OSError):
            while True:
                for key, _ in selector.select():
                    source: socket.socket = key.fileobj  # type: ignore[assignment]  # as registered
                    if not (data := source.recv(65536)):
                        other[source].shutdown(socket.SHUT_WR)
                        selector.unregister(source)
                        if not selector.get_map():
                            return
                    else:
                        other[source].sendall(data)
