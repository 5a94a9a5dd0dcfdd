"""A proxy on loopback, inside the worker, that the Claude Code CLI takes for the API.

The CLI holds a token that is worth nothing elsewhere; each of its requests goes on through the
worker's own client, so that governor, allowance, retries and credentials are those of every engine.
An answer is passed on when it is whole, since of one that breaks the CLI would give its prompt up.
"""

import secrets
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Self

from claude.client.recorded_response import RecordedResponse
from claude.client.types import Call, Claude
from claude.engines.cli_messages import (
    Unreadable,
    read_call,
    refuse,
    render_refusal,
    render_stream,
    render_whole,
)
from claude.http.loopback import LoopbackServer
from claude.http.plain_http import Incoming, Outgoing
from core.clock import CheckedClock, Clock
from core.errors import Interrupted, RequestRejected

PATIENCE_S = 5.0
"""How long the end waits for requests that were just cut."""

Connect = Callable[[Clock], AbstractContextManager[Claude]]


class CliProxy:
    """Serves while its context lasts, one request after the other. An error that another request
    cannot overcome ends the attempt: `check` raises it in the thread of the engine, and every later
    request is refused."""

    def __init__(self, connect: Connect, clock: Clock) -> None:
        self._connect, self._clock = connect, clock
        self.token = f"loopback-{secrets.token_urlsafe(32)}"
        self._one_at_a_time = threading.Lock()
        self._is_gone: Callable[[], bool] = lambda: False
        self._recorded = RecordedResponse()
        self._fatal: Exception | None = None
        self.rejected: RequestRejected | None = None
        """What was wrong with the last request; None when it was answered."""
        self._closed = False
        self._stack = ExitStack()

    @property
    def base_url(self) -> str:
        return self._server.base_url

    def check(self) -> None:
        """Raises the error that ends the attempt, if there is one."""
        if self._fatal is not None:
            raise self._fatal

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._claude = stack.enter_context(
                self._connect(CheckedClock(self._clock, self._check_client))
            )
            self._server = LoopbackServer(0, self, "claude-code-proxy")
            stack.callback(self._server.close, PATIENCE_S)
            stack.callback(self._stop)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _stop(self) -> None:
        """End the request on its way, also where it waits for bytes."""
        self._closed = True
        self._recorded.cut()

    def _check_client(self) -> None:
        if self._closed or self._is_gone():
            raise _ClientGone("Claude Code closed its connection.")

    def handle(self, incoming: Incoming) -> Outgoing:
        """Answers one request, in a thread of its own."""
        if not self._is_ours(incoming):
            return refuse(401, "authentication_error", "This proxy serves one Claude Code only.")
        path = incoming.target.partition("?")[0]
        if (incoming.method, path) != ("POST", "/v1/messages"):
            return refuse(404, "not_found_error", f"{incoming.method} {path} is not served here.")
        try:
            call, streamed = read_call(incoming)
        except Unreadable as exc:
            return refuse(400, "invalid_request_error", str(exc))
        return self._answer(call, incoming, streamed=streamed)

    def _is_ours(self, incoming: Incoming) -> bool:
        bearer = incoming.headers.get("authorization", "").removeprefix("Bearer ")
        shown = incoming.headers.get("x-api-key") or bearer
        return secrets.compare_digest(shown.encode(), self.token.encode())

    def _answer(self, call: Call, incoming: Incoming, *, streamed: bool) -> Outgoing:
        with self._one_at_a_time:  # the allowance is computed for one request at a time
            if self._fatal is not None:
                return render_refusal(self._fatal)
            recorded = self._recorded = RecordedResponse()
            self._is_gone = incoming.is_gone
            try:
                self._check_client()
                reply = self._claude.send(call, recorded)
            except _ClientGone:
                raise
            except RequestRejected as error:
                self.rejected = error
                return render_refusal(error)
            except RecursionError:
                return refuse(400, "invalid_request_error", "The request is nested too deeply.")
            except Exception as error:  # noqa: BLE001 - a thread's boundary: `check` raises it
                if self._closed:
                    raise _ClientGone("The proxy was closed.") from None
                self._fatal = error
                return render_refusal(error)
            finally:
                self._is_gone = lambda: False
            self.rejected = None
        return render_stream(recorded) if streamed else render_whole(recorded, reply)


class _ClientGone(Interrupted):
    """The connection to the CLI is gone, and nothing else is."""
