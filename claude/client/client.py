"""The client: one request in plain API shapes, one reply, errors of the project.

It streams, retries transient failures, and asks the shared governor before each request.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from claude.client.body import build_body, build_headers
from claude.client.connections import Connections
from claude.client.context import estimate_tokens
from claude.client.providers import build_timeout, open_sdk
from claude.client.recorded_response import RecordedResponse
from claude.client.silence import WATCHMAN
from claude.client.stream import StreamDamaged, StreamedMessage
from claude.client.types import Block, Call, Claude, Hooks, Reader, Reply
from claude.errors.vendor_errors import Endpoint, refuse_web_page, request_id, vendor_errors
from claude.limits.governor import Governor, Permit
from claude.limits.retry import Backoff, quota_error, retry_delay_s
from core.bundle import Limits, ModelSettings
from core.clock import Clock, cut_when_stopped
from core.credentials import Credentials
from core.errors import ModelUnavailable, Overloaded, RateLimited
from core.job import Usage

if TYPE_CHECKING:
    import httpx2
    from anthropic import Anthropic, AnthropicBedrock, Stream

    from claude.client.stall import StallWatch

_INPUT_COUNTS = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


@contextmanager
def connect(
    model: ModelSettings,
    credentials: Credentials,
    *,
    clock: Clock,
    governor: Governor,
    limits: Limits,
    hooks: Hooks | None = None,
    transport: httpx2.BaseTransport | None = None,
) -> Iterator[Claude]:
    """A client for `model`, closed at the end; simulated when the settings say so. `transport`
    stands in for the network.

    Raises SettingsError or CredentialsRefused when no client can be made of them.
    """
    unconnected = Endpoint(model, "not connected", credentials.mask, clock.time)
    with vendor_errors(unconnected):
        sdk = open_sdk(model, credentials, clock, transport)
    with sdk, cut_when_stopped(clock, Connections().of(sdk).cut):
        endpoint = replace(unconnected, host=sdk.base_url.host)
        yield SdkClaude(sdk, endpoint, clock, governor, limits, hooks or Hooks())


@dataclass(frozen=True)
class SdkClaude:
    """Claude through the vendor's SDK."""

    sdk: Anthropic | AnthropicBedrock
    endpoint: Endpoint
    clock: Clock
    governor: Governor
    limits: Limits
    hooks: Hooks

    @property
    def _model(self) -> ModelSettings:
        return self.endpoint.model

    @property
    def _speed(self) -> float:
        """Simulated seconds a second; 0 for no waiting."""
        return self._model.simulation.speed if self._model.simulation else 1.0

    def send(self, call: Call, recorded: RecordedResponse | None = None) -> Reply:
        recorded, retry = recorded or RecordedResponse(), 0
        while True:
            try:
                return self._ask_in_turn(call, retry, recorded)
            except ModelUnavailable as error:
                self._wait(error, retry)
            retry += 1

    def _ask_in_turn(self, call: Call, retry: int, recorded: RecordedResponse) -> Reply:
        backoff = Backoff().scaled(self._speed)
        with self.governor.admit(self.clock, self.hooks.on_progress, backoff) as permit:
            try:
                return self._ask(self.hooks.on_request(call), retry, permit, recorded)
            except (RateLimited, Overloaded) as error:
                self.hooks.on_throttle()
                if (quota := quota_error(error)) is not None:
                    raise quota from error
                raise

    def _wait(self, error: ModelUnavailable, retry: int) -> None:
        """Wait before another try; raise `error` when none is left."""
        self.clock.sleep(0.0)  # what a stop has cut is not lost
        delay_s = retry_delay_s(error, retry, random.random, Backoff().scaled(self._speed))
        if delay_s is None or retry >= self.limits.request_retries:
            raise error
        # the governor holds back those that met a limit, and all others with them
        held_back = isinstance(error, RateLimited | Overloaded)
        when = "" if held_back else f" in {delay_s:.1f} s"
        count = f"retry {retry + 1} of {self.limits.request_retries}"
        self.hooks.on_progress(f"{error.message} Trying again{when} ({count}).")
        self.clock.sleep(0.0 if held_back else delay_s)

    def _ask(self, call: Call, retry: int, permit: Permit, recorded: RecordedResponse) -> Reply:
        from claude.client.stall import StallWatch

        started_s = self.clock.monotonic()
        # the simulated Claude may be slower than life
        stall_s = self.limits.stall_s / min(1.0, self._speed or 1.0)
        message, watch = StreamedMessage(), StallWatch(self.clock, stall_s)
        recorded.headers = {}
        try:
            with (
                WATCHMAN.watching(message, self.hooks.on_answering, self.clock) as heard,
                vendor_errors(self.endpoint),
                self._open(call, retry, watch, permit) as stream,
            ):
                recorded.begin(stream.response)
                permit.report(recorded.headers, accepted=True)
                refuse_web_page(stream.response.headers, self.endpoint)
                self._read(stream, message, watch, recorded, call.open_reader(), heard)
        finally:
            # whatever happened: once the message started, it is billed
            usage = self._usage(call, message, recorded.headers, self.clock.monotonic() - started_s)
            if message.started:
                permit.spent(usage)
                self.hooks.on_usage(usage)
        content, broken = message.content()
        return Reply(content, message.stop_reason, usage, broken, retry)

    def _open(self, call: Call, retry: int, watch: StallWatch, permit: Permit) -> Stream[object]:
        # `post` and not `messages.create`: events come as plain JSON, so that nothing a newer API
        # sends is lost, and create's DeprecationWarning cannot be kept quiet from a thread.
        from claude.sdk import APIStatusError, Stream

        try:
            stream = self.sdk.post(
                "/v1/messages",
                cast_to=object,
                body=build_body(call, self._model),
                options={
                    "headers": {
                        "x-stainless-retry-count": str(retry),
                        **build_headers(call, self._model),
                    },
                    "timeout": build_timeout(watch.read_timeout_s),
                },
                stream=True,
                stream_cls=Stream[object],
            )
        except APIStatusError as exc:
            permit.report(exc.response.headers, accepted=False)
            raise
        watch.watch(stream.response)
        return stream

    def _read(
        self,
        stream: Stream[object],
        message: StreamedMessage,
        watch: StallWatch,
        recorded: RecordedResponse,
        reader: Reader,
        heard: Callable[[], None],
    ) -> None:
        for event in stream:
            had_started, had_chars = message.started, message.received_chars
            message.feed(event)  # first of all, since it is billed
            recorded.events.append(cast(Block, event))  # an object, or it could not be fed
            if message.started and not had_started:
                self.hooks.on_answer()
            self.clock.sleep(0)  # a stopped clock ends a stream here
            if message.progressed:
                watch.progressed()
                is_delta = cast(Block, event).get("type") == "content_block_delta"
                if not is_delta or message.received_chars > had_chars:  # an empty one tells nothing
                    heard()
            if message.finished or (message.piece and reader(message.piece)):
                return
        kind = stream.response.headers.get("content-type", "unknown")
        raise StreamDamaged(f"the answer ended before it was complete (content type {kind})")

    def _usage(
        self, call: Call, message: StreamedMessage, headers: Mapping[str, str], duration_s: float
    ) -> Usage:
        sent = sum(map(message.tokens, _INPUT_COUNTS))
        # a gateway that counts nothing must not make a budget endless
        uncounted = 0 if sent else estimate_tokens([call.system, call.tools, call.messages])
        return Usage(
            provider=self._model.provider,
            model=self._model.model,
            input_tokens=message.tokens("input_tokens") or uncounted,
            output_tokens=message.tokens("output_tokens"),
            cache_read_tokens=message.tokens("cache_read_input_tokens"),
            cache_write_tokens=message.tokens("cache_creation_input_tokens"),
            duration_s=duration_s,
            request_id=request_id(headers) or message.message_id,
            simulated=self._model.simulation is not None or headers.get("x-simulated") == "true",
        )
