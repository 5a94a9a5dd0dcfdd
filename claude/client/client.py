"""How the project asks Claude: one request in plain API shapes, one reply, errors of its own.

`connect` gives a client for the settings. It always streams, retries what is transient by
claude.limits.retry with the clock handed in, and asks the shared governor before each request.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from claude.client.body import build_body, build_headers
from claude.client.context import estimate_tokens
from claude.client.providers import build_timeout, open_sdk
from claude.client.recorded_response import RecordedResponse
from claude.client.stream import StreamDamaged, StreamedMessage
from claude.client.types import Block, Call, Claude, Hooks, Reply
from claude.errors.vendor_errors import Endpoint, refuse_web_page, vendor_errors
from claude.limits.governor import Governor, Permit
from claude.limits.retry import Backoff, quota_error, retry_delay_s
from core.bundle import Limits, ModelSettings
from core.clock import Clock
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
    endpoint = Endpoint(
        model.provider, model.model, model.region, "not connected", credentials.mask, clock.time
    )
    with vendor_errors(endpoint):
        sdk = open_sdk(model, credentials, clock, transport)
    with sdk:
        yield SdkClaude(
            sdk,
            model,
            credentials,
            clock=clock,
            governor=governor,
            limits=limits,
            hooks=hooks or Hooks(),
        )


class SdkClaude:
    """Claude through the vendor's SDK."""

    def __init__(
        self,
        sdk: Anthropic | AnthropicBedrock,
        model: ModelSettings,
        credentials: Credentials,
        *,
        clock: Clock,
        governor: Governor,
        limits: Limits,
        hooks: Hooks,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._sdk, self._model, self._clock = sdk, model, clock
        self._governor, self._limits, self._hooks, self._draw = governor, limits, hooks, draw
        speed = model.simulation.speed if model.simulation else 1.0
        self._backoff = Backoff().scaled(speed)
        # the simulated Claude may be slower than life
        self._stall_s = limits.stall_s / min(1.0, speed or 1.0)
        self._endpoint = Endpoint(
            model.provider,
            model.model,
            model.region,
            sdk.base_url.host,
            credentials.mask,
            clock.time,
        )

    def send(self, call: Call, recorded: RecordedResponse | None = None) -> Reply:
        recorded, retry = recorded or RecordedResponse(), 0
        while True:
            try:
                return self._ask_in_turn(call, retry, recorded)
            except ModelUnavailable as error:
                self._wait(error, retry)
            retry += 1

    def _ask_in_turn(self, call: Call, retry: int, recorded: RecordedResponse) -> Reply:
        admitted = self._governor.admit(self._clock, self._hooks.on_progress, self._backoff)
        with admitted as permit:
            try:
                return self._ask(self._hooks.on_request(call), retry, permit, recorded)
            except (RateLimited, Overloaded) as error:
                self._hooks.on_throttle()
                if (quota := quota_error(error)) is not None:
                    raise quota from error
                raise

    def _wait(self, error: ModelUnavailable, retry: int) -> None:
        """Wait before another try; raise `error` when that is not worth it."""
        delay_s = retry_delay_s(error, retry, self._draw, self._backoff)
        if delay_s is None or retry >= self._limits.request_retries:
            raise error
        # the governor holds back those that met a limit, and all others with them
        held_back = isinstance(error, RateLimited | Overloaded)
        when = "" if held_back else f" in {delay_s:.1f} s"
        self._hooks.on_progress(
            f"{error.message} Trying again{when} "
            f"(retry {retry + 1} of {self._limits.request_retries})."
        )
        self._clock.sleep(0.0 if held_back else delay_s)

    def _ask(self, call: Call, retry: int, permit: Permit, recorded: RecordedResponse) -> Reply:
        from claude.client.stall import StallWatch

        started_s = self._clock.monotonic()
        message, watch = StreamedMessage(), StallWatch(self._clock, self._stall_s)
        recorded.headers = {}
        try:
            with vendor_errors(self._endpoint), self._open(call, retry, watch, permit) as stream:
                recorded.begin(stream.response)
                permit.accepted(recorded.headers)
                refuse_web_page(stream.response.headers, self._endpoint)
                self._read(stream, message, watch, recorded)
        finally:
            # whatever happened: once the message started, it is billed
            usage = self._usage(
                call, message, recorded.headers, self._clock.monotonic() - started_s
            )
            if message.started:
                permit.spent(usage)
                self._hooks.on_usage(usage)
        content, broken = message.content()
        return Reply(content, message.stop_reason, usage, broken, retry)

    def _open(self, call: Call, retry: int, watch: StallWatch, permit: Permit) -> Stream[object]:
        # `post` and not `messages.create`: events come as plain JSON, so that nothing a newer API
        # sends is lost, and create's DeprecationWarning cannot be kept quiet from a thread.
        from anthropic import APIStatusError, Stream

        try:
            stream = self._sdk.post(
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
            permit.refused(exc.response.headers)
            raise
        watch.watch(stream.response)
        return stream

    def _read(
        self,
        stream: Stream[object],
        message: StreamedMessage,
        watch: StallWatch,
        recorded: RecordedResponse,
    ) -> None:
        for event in stream:
            message.feed(event)  # first of all, since it is billed
            recorded.events.append(cast(Block, event))  # an object, or it could not be fed
            self._clock.sleep(0)  # a stopped clock ends a stream here
            if message.progressed:
                watch.progressed()
            if message.finished:
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
            request_id=_request_id(headers) or message.message_id,
            simulated=self._model.simulation is not None or headers.get("x-simulated") == "true",
        )


def _request_id(headers: Mapping[str, str]) -> str:
    return headers.get("request-id") or headers.get("x-amzn-requestid") or ""
