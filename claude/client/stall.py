"""Cuts a stream that has stalled: no bytes for a while, or nothing but pings for a longer one.

The SDK swallows pings, and a ping keeps a read from timing out; so the bytes are watched on their
way to it. https://platform.claude.com/docs/en/build-with-claude/streaming#ping-events
"""

from collections.abc import Iterator

import httpx2

from claude.client.stream import StreamDamaged
from core.clock import Clock, time_left_s

# A model may think for minutes while only pings come, but not for ever.
PINGS_ONLY_FACTOR = 5.0
_LEAST_TIMEOUT_S = 0.05


class StallWatch:
    """Notes progress and raises when there is none. Times are those of `clock`."""

    def __init__(self, clock: Clock, stall_s: float) -> None:
        self._clock, self._stall_s = clock, stall_s
        self._last_progress_s = clock.monotonic()

    @property
    def read_timeout_s(self) -> float:
        """For a socket: no read should outlast the stall, or the time there is."""
        return max(_LEAST_TIMEOUT_S, min(self._stall_s, time_left_s(self._clock)))

    def progressed(self) -> None:
        """An event came that is not a ping."""
        self._last_progress_s = self._clock.monotonic()

    def watch(self, response: httpx2.Response) -> None:
        """Have the body of `response`, not read yet, raise StreamDamaged once it stalls."""
        if isinstance(response.stream, httpx2.SyncByteStream):
            response.stream = _WatchedBytes(response.stream, self)

    def pieces(self, body: httpx2.SyncByteStream) -> Iterator[bytes]:
        asked_s = self._clock.monotonic()
        try:
            for piece in body:
                self._check("nothing came", self._clock.monotonic() - asked_s, self._stall_s)
                yield piece
                # the events of the piece have been noted by now
                self._clock.sleep(0)  # a stopped clock ends a stream here, pings or not
                asked_s = self._clock.monotonic()
                silent_s = asked_s - self._last_progress_s
                self._check("nothing but pings", silent_s, self._stall_s * PINGS_ONLY_FACTOR)
        except httpx2.ReadTimeout as exc:
            raise StreamDamaged(f"the stream stalled: {exc}") from exc

    def _check(self, state: str, seconds: float, limit_s: float) -> None:
        if seconds > limit_s:
            raise StreamDamaged(f"the stream stalled: {state} for {seconds:.0f} s")


class _WatchedBytes(httpx2.SyncByteStream):
    def __init__(self, body: httpx2.SyncByteStream, watch: StallWatch) -> None:
        self._body, self._watch = body, watch

    def __iter__(self) -> Iterator[bytes]:
        yield from self._watch.pieces(self._body)

    def close(self) -> None:
        self._body.close()
