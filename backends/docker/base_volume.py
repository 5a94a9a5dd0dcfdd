"""The existing code that a run changes, in a volume that its containers share and only read."""

import secrets
import tarfile
import tempfile
import threading
from pathlib import Path

from backends.docker.client import DockerHost
from backends.docker.container import BASE, RunLabels
from core.bundle import BASE_NAME

_PLACE = "/base"


class BaseVolume:
    """Made when it is first asked for, once a session; it goes with the volumes of the run."""

    def __init__(self, host: DockerHost, labels: RunLabels, run_dir: Path) -> None:
        self._host, self._labels = host, labels
        self._archive = run_dir / BASE_NAME
        self._name = ""
        self._making = threading.Lock()

    def name(self, image: str) -> str:
        """The volume's; empty where the run changes no existing code."""
        with self._making:
            if not self._name and self._archive.exists():
                self._name = self._make(image)
            return self._name

    def _make(self, image: str) -> str:
        name = self._labels.name(BASE, secrets.token_hex(4))
        labels = self._labels.for_role(BASE)
        self._host.create_volume(name, labels)
        mount = {"Type": "volume", "Source": name, "Target": _PLACE}
        spec = {
            "Image": image,
            "Cmd": ["true"],
            "Labels": labels,
            "HostConfig": {"Mounts": [mount]},
        }
        container = self._host.create(name, spec)  # never started: files can be put into it
        try:
            with tempfile.TemporaryFile() as stream:
                with tarfile.open(fileobj=stream, mode="w") as tar:
                    tar.add(self._archive, BASE_NAME)
                stream.seek(0)
                self._host.put(container, _PLACE, stream)
        finally:
            self._host.remove(container)
        return name
