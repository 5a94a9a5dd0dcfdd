"""A Docker Engine as the backend needs it: few calls, each with one meaning.

An engine that is out of reach or unwell is a BackendError. What it says about one container, such
as that there is none, is an answer here, or `refusal` where the caller has to decide.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from functools import cached_property
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

from backends.docker.connection import engine_errors, open_engine

if TYPE_CHECKING:
    from docker.api import APIClient
    from docker.errors import APIError
    from docker.types import CancellableStream
    from requests import Response

_ABSENT, _CONFLICT = 404, 409
_PIECE_BYTES = 1024 * 1024


class DockerHost:
    """Connects at the first call. May be used from many threads."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self._client: APIClient | None = None
        self._lock = threading.Lock()
        self._image_ids: dict[str, str] = {}

    @cached_property
    def refusal(self) -> type[APIError]:
        """What is raised when the engine refuses one request (4xx)."""
        from docker.errors import APIError

        return APIError

    @contextmanager
    def _calling(self) -> Iterator[APIClient]:
        with self._lock:
            if self._client is None:
                self._client = open_engine(self.environ)
        with engine_errors():
            yield self._client

    def create(self, name: str, spec: Mapping[str, Any]) -> str:
        """The id of a new container, which does not run yet."""
        with self._calling() as client:
            made: Any = client.create_container_from_config(dict(spec), name)  # type: ignore[no-untyped-call]  # the stubs lack its types
            return str(made["Id"])

    def put(self, container: str, path: str, tar: IO[bytes]) -> None:
        """Unpack a tar stream at `path` in the container."""
        with self._calling() as client:
            client.put_archive(container, path, tar)

    def start(self, container: str) -> None:
        with self._calling() as client:
            client.start(container)

    def inspect(self, container: str) -> dict[str, Any] | None:
        """All about a container; None when there is none."""
        with self._calling() as client, self._unless(_ABSENT):
            return dict(client.inspect_container(container))
        return None

    def containers(self, filters: Mapping[str, Any]) -> list[dict[str, Any]]:
        """A line for each container, whatever its state."""
        with self._calling() as client:
            return list(client.containers(all=True, filters=dict(filters)))

    def kill(self, container: str, signal: str) -> None:
        """Send a signal; nothing to do when it does not run."""
        with self._calling() as client, self._unless(_ABSENT, _CONFLICT):
            client.kill(container, signal)

    def remove(self, container: str) -> None:
        """Remove a container with its own volume, running or not; nothing when there is none."""
        with self._calling() as client, self._unless(_ABSENT, _CONFLICT):
            client.remove_container(container, v=True, force=True)

    def volumes(self, filters: Mapping[str, Any]) -> list[dict[str, Any]]:
        with self._calling() as client:
            return [dict(volume) for volume in client.volumes(dict(filters))["Volumes"] or ()]

    def remove_volume(self, name: str) -> None:
        with self._calling() as client, self._unless(_ABSENT, _CONFLICT):
            client.remove_volume(name)

    def log(
        self,
        container: str,
        *,
        stdout: bool = True,
        stderr: bool = True,
        times: bool = False,
        since_s: int | None = None,
    ) -> bytes:
        """What a container said, empty when there is none; `since_s` is Unix time."""
        with self._calling() as client, self._unless(_ABSENT, _CONFLICT):
            return bytes(
                client.logs(
                    container, stdout=stdout, stderr=stderr, timestamps=times, since=since_s
                )
            )
        return b""

    @contextmanager
    def archive(self, container: str, path: str) -> Iterator[Iterator[bytes] | None]:
        """A tar stream of `path` in a container; None when there is no such path.

        It is closed however far it was read: the engine keeps a container locked until then, for
        all other calls too, and the SDK's get_archive leaves nothing to close.
        """
        from docker.errors import create_api_error_from_http_exception
        from requests.exceptions import HTTPError

        with self._calling() as client:
            url = f"{client.base_url}/v{client.api_version}/containers/{container}/archive"
            asked = client.get(url, params={"path": path}, stream=True, timeout=client.timeout)
        with closing(asked) as response:
            if response.status_code == _ABSENT:
                yield None
                return
            with engine_errors():
                try:
                    response.raise_for_status()
                except HTTPError as exc:
                    create_api_error_from_http_exception(exc)
            yield _pieces(response)

    def image_id(self, name: str) -> str:
        """The id that an image's name had when it was first asked for."""
        if name not in self._image_ids:
            self._image_ids[name] = self.image(name)["Id"]
        return self._image_ids[name]

    def image(self, name: str) -> dict[str, Any]:
        """All about an image. Raises `refusal` (404) when there is none."""
        with self._calling() as client:
            return dict(client.inspect_image(name))  # type: ignore[no-untyped-call]  # the same

    def networks(self) -> list[str]:
        with self._calling() as client:
            return [str(network["Name"]) for network in client.networks()]

    def info(self) -> dict[str, Any]:
        """What the engine says of its machine."""
        with self._calling() as client:
            return dict(client.info())

    def follow(self, container: str) -> CancellableStream[bytes]:
        """What a container says, as it says it, until it ends."""
        with self._calling() as client:
            return client.logs(container, stream=True, follow=True, stderr=False)

    def close(self) -> None:
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    def _unless(self, *codes: int) -> _Unless:
        return _Unless(self.refusal, codes)


def _pieces(response: Response) -> Iterator[bytes]:
    """What comes of a body; only its own errors are the engine's, not those of who reads it."""
    with engine_errors():
        yield from response.iter_content(_PIECE_BYTES)


class _Unless(AbstractContextManager[None]):
    """Passes over a refusal with one of these codes."""

    def __init__(self, refusal: type[APIError], codes: tuple[int, ...]) -> None:
        self._refusal = refusal
        self._codes = codes

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        return isinstance(exc, self._refusal) and exc.status_code in self._codes
