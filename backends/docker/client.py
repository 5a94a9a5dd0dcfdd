"""The calls of a Docker Engine that the backend makes.

An engine that cannot be reached or fails is a BackendError. What it answers about one container,
such as that there is none, is a value here, or `refusal` where the caller has to decide.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any, TypeVar

from backends.docker.connection import engine_errors, open_engine

if TYPE_CHECKING:
    from docker.api import APIClient
    from docker.errors import APIError
    from requests import Response

T = TypeVar("T")

_NOT_FOUND, _CONFLICT = 404, 409
_ABSENT = (_NOT_FOUND,)
_ENDED = (_NOT_FOUND, _CONFLICT)
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
        """The error raised when the engine refuses one request (4xx)."""
        from docker.errors import APIError

        return APIError

    @contextmanager
    def _calling(self) -> Iterator[APIClient]:
        with self._lock:
            if self._client is None:
                self._client = open_engine(self.environ)
        with engine_errors():
            yield self._client

    def _unless(self, codes: Collection[int], default: T, call: Callable[[APIClient], T]) -> T:
        """The answer of `call`, or `default` when the engine refuses with one of `codes`."""
        try:
            with self._calling() as client:
                return call(client)
        except self.refusal as exc:
            if exc.status_code not in codes:
                raise
            return default

    def create(self, name: str, spec: Mapping[str, Any]) -> str:
        """The id of a new container, which does not run yet."""
        with self._calling() as client:
            answer: Any = client.create_container_from_config(dict(spec), name)  # type: ignore[no-untyped-call]  # the stubs lack its types
            return str(answer["Id"])

    def put(self, container: str, path: str, tar: IO[bytes]) -> None:
        """Unpack a tar stream at `path` in the container."""
        with self._calling() as client:
            client.put_archive(container, path, tar)

    def start(self, container: str) -> None:
        with self._calling() as client:
            client.start(container)

    def inspect(self, container: str) -> dict[str, Any] | None:
        """All about a container; None when there is none."""
        return self._unless(_ABSENT, None, lambda client: dict(client.inspect_container(container)))

    def containers(self, filters: Mapping[str, Any]) -> list[dict[str, Any]]:
        """A line for each container, whatever its state."""
        with self._calling() as client:
            return list(client.containers(all=True, filters=dict(filters)))

    def kill(self, container: str, signal: str) -> None:
        """Send a signal; nothing to do when it does not run."""
        self._unless(_ENDED, None, lambda client: client.kill(container, signal))

    def remove(self, container: str) -> None:
        """Remove a container with its own volume, running or not; nothing when there is none."""
        self._unless(
            _ENDED, None, lambda client: client.remove_container(container, v=True, force=True)
        )

    def create_volume(self, name: str, labels: Mapping[str, str]) -> None:
        with self._calling() as client:
            client.create_volume(name, labels=dict(labels))

    def volumes(self, filters: Mapping[str, Any]) -> list[dict[str, Any]]:
        with self._calling() as client:
            return [dict(volume) for volume in client.volumes(dict(filters))["Volumes"] or ()]

    def remove_volume(self, name: str) -> None:
        self._unless(_ENDED, None, lambda client: client.remove_volume(name))

    def log(
        self,
        container: str,
        *,
        stdout: bool = True,
        stderr: bool = True,
        times: bool = False,
        since_s: int | None = None,
    ) -> bytes:
        """A container's output, empty when there is none; `since_s` is Unix time."""
        return self._unless(
            _ENDED,
            b"",
            lambda client: client.logs(
                container, stdout=stdout, stderr=stderr, timestamps=times, since=since_s
            ),
        )

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
            answer = client.get(url, params={"path": path}, stream=True, timeout=client.timeout)
        with closing(answer) as response:
            if response.status_code == _NOT_FOUND:
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
        """About the engine and its machine."""
        with self._calling() as client:
            return dict(client.info())

    def close(self) -> None:
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None


def _pieces(response: Response) -> Iterator[bytes]:
    """The body in pieces; its own errors are the engine's, those of its reader are not."""
    with engine_errors():
        yield from response.iter_content(_PIECE_BYTES)
