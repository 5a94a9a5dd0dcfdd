"""The simulated API: one plain HTTP request in, one response out, whoever carries them.

Paths of the Messages API and of Bedrock's InvokeModel are served. The faults of a server are
drawn here, with the number of the client's retry; those of the model are drawn in the model.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from claude.http.plain_http import MAX_BODY_BYTES as MAX_BODY_BYTES
from claude.http.plain_http import ConnectionCut as ConnectionCut
from claude.http.plain_http import Incoming as Incoming
from claude.http.plain_http import Outgoing as Outgoing
from claude.simulation.dialects import AnthropicDialect, BedrockDialect, Dialect
from claude.simulation.faults import parse_faults
from claude.simulation.latency import FIRST_TOKEN_S, Pace, pace, scaled_s, wait
from claude.simulation.model import SimulatedModel
from claude.simulation.prompt_cache import PROCESS_CACHE, PromptCache, count_input
from claude.simulation.random_plan import random_plan
from claude.simulation.sample_projects import Designer, find_sample_files, plan_sample
from claude.simulation.seeded_random import digest, draw
from claude.simulation.validation import InvalidRequest, check_request, parse_request
from claude.simulation.wire import Message, render_events, render_message
from core.bundle import SimulationSettings
from core.clock import Clock
from core.plan import Plan

WINDOW_TOKENS = 200_000
_INVOKE = re.compile(r"/model/([^/]+)/invoke(-with-response-stream)?")
_PIECE_CHARS = 160
# Nobody watches a stream that does not wait: fewer, larger pieces cost less.
_PIECE_CHARS_AT_ONCE = 4000
_MODELS = ("claude-opus-4-8", "claude-sonnet-5-5", "claude-haiku-4-5")


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request on its way to the model."""

    incoming: Incoming
    dialect: Dialect
    request: Mapping[str, Any]
    model: str
    stream: bool

    @property
    def retry(self) -> int:
        text = self.incoming.headers.get("x-stainless-retry-count", "0")
        return int(text) if text.isascii() and text.isdigit() else 0


class SimulatedApi:
    """Serves any number of threads. Raises SettingsError when the faults cannot be read."""

    def __init__(
        self,
        settings: SimulationSettings,
        clock: Clock,
        *,
        designer: Designer | None = None,
        cache: PromptCache = PROCESS_CACHE,
        window_tokens: int = WINDOW_TOKENS,
    ) -> None:
        self._seed, self._speed = settings.seed, settings.speed
        self._chances = parse_faults(settings.faults)
        self._clock, self._cache, self._window = clock, cache, window_tokens
        self._uncounted: Counter[str] = Counter()
        designer = designer or _designer(settings)
        self._model = SimulatedModel(settings.seed, self._chances, designer)

    def handle(self, incoming: Incoming) -> Outgoing:
        """Answer one request; every answer says in a header that it is simulated."""
        path = incoming.target.partition("?")[0]
        match incoming.method, path:
            case "HEAD", "/":
                return self._plain(200, {}, b"")
            case "GET", "/v1/models":
                return self._json(_list_models())
            case "POST", "/v1/messages":
                return self._ask(incoming, AnthropicDialect())
            case "POST", "/v1/messages/count_tokens":
                return self._count(incoming)
        if incoming.method == "POST" and (match := _INVOKE.fullmatch(path)):
            return self._ask(incoming, BedrockDialect(), unquote(match[1]), bool(match[2]))
        dialect = BedrockDialect() if path.startswith("/model/") else AnthropicDialect()
        return self._refuse(incoming, dialect, "not_found", f"{incoming.method} {path} not found")

    def _ask(
        self, incoming: Incoming, dialect: Dialect, model: str = "", stream: bool = False
    ) -> Outgoing:
        if (problem := _check_headers(incoming, dialect)) is not None:
            return self._refuse(incoming, dialect, *problem)
        try:
            betas = incoming.headers.get("anthropic-beta", "")
            request = check_request(parse_request(incoming.body), betas)
            if isinstance(dialect, AnthropicDialect):
                model, stream = _model_of(request), request.get("stream") is True
            elif "anthropic_version" not in request:
                raise InvalidRequest("anthropic_version is required.")
        except InvalidRequest as exc:
            return self._refuse(incoming, dialect, "invalid", str(exc))
        return self._answer(_Asked(incoming, dialect, request, model, stream))

    def _answer(self, asked: _Asked) -> Outgoing:
        if (size := count_input(asked.request)) > self._window:
            text = asked.dialect.too_long(size, self._window)
            return self._refuse(asked.incoming, asked.dialect, "invalid", text)
        talk, answer = self._model.answer(asked.request)
        names = (*talk.names, self._retry(asked))
        if (fault := self._refusal(asked, names)) is not None:
            return fault
        answer = answer.within(self._window - size)
        tokens = self._cache.account(
            asked.request,
            asked.model,
            self._clock.time(),
            begins_s=scaled_s(FIRST_TOKEN_S, self._speed),
            speed=self._speed or 1.0,
        )
        message = Message(answer, asked.model, _token(asked.incoming, self._seed), tokens)
        speed = pace(tokens.total, self._seed, *names)
        if not asked.stream:
            return self._whole(asked, message, speed, names)
        headers = {"content-type": asked.dialect.stream_type}
        body = self._stream(asked.dialect, message, speed, self._break(names))
        return Outgoing(200, self._headers(asked.incoming, asked.dialect, headers), body, None)

    def _retry(self, asked: _Asked) -> int:
        """Which retry this is; the Claude Code CLI leaves its own uncounted, so they are here."""
        if asked.incoming.headers.get("x-app") != "cli":
            return asked.retry
        self._uncounted[asked.incoming.fingerprint] += 1
        return self._uncounted[asked.incoming.fingerprint] - 1

    def _refusal(self, asked: _Asked, names: tuple[str | int, ...]) -> Outgoing | None:
        """A fault that shows before any answer."""
        if self._draws("rate_limit", names):
            seconds = scaled_s(1 + int(3 * self._draw("retry-after", names)), self._speed)
            headers = {"retry-after": f"{seconds:g}"}
            text = "Simulated: this request would exceed the rate limit."
            return self._refuse(asked.incoming, asked.dialect, "rate_limit", text, headers)
        if self._draws("overloaded", names) and not self._in_stream(asked, names):
            text = "Simulated: Overloaded"
            return self._refuse(asked.incoming, asked.dialect, "overloaded", text)
        if self._draws("server_error", names):
            kind = "server_error" if self._draw("which", names) < 0.5 else "unavailable"
            return self._refuse(asked.incoming, asked.dialect, kind, "Simulated: server error")
        return None

    def _in_stream(self, asked: _Asked, names: tuple[str | int, ...]) -> bool:
        return asked.stream and self._draw("in stream", names) < 0.5

    def _break(self, names: tuple[str | int, ...]) -> tuple[str, float] | None:
        """How a stream breaks, and after which share of it; None when it does not."""
        for fault in ("overloaded", "disconnect"):
            if self._draws(fault, names):
                return fault, 0.1 + 0.8 * self._draw(f"{fault} at", names)
        return None

    def _stream(
        self, dialect: Dialect, message: Message, speed: Pace, broken: tuple[str, float] | None
    ) -> Iterator[bytes]:
        piece_chars = _PIECE_CHARS if self._speed > 0 else _PIECE_CHARS_AT_ONCE
        events = list(render_events(message, piece_chars))
        end = max(1, int(len(events) * broken[1])) if broken else len(events)
        for n, (event, tokens) in enumerate(events[:end]):
            wait(self._clock, tokens * speed.per_token_s, self._speed)
            yield dialect.encode(event)
            if n == 0:
                wait(self._clock, speed.first_token_s, self._speed)
        if broken is not None:
            if broken[0] == "disconnect":
                raise ConnectionCut
            yield dialect.stream_error("Simulated: Overloaded")

    def _whole(
        self, asked: _Asked, message: Message, speed: Pace, names: tuple[str | int, ...]
    ) -> Outgoing:
        data = json.dumps(render_message(message)).encode()
        headers = self._headers(asked.incoming, asked.dialect, {"content-type": "application/json"})
        broken = self._draws("disconnect", names)

        def body() -> Iterator[bytes]:
            wait(self._clock, speed.total_s(message.answer.output_tokens), self._speed)
            yield data[: len(data) // 2]
            if broken:
                raise ConnectionCut
            yield data[len(data) // 2 :]

        return Outgoing(200, headers, body(), len(data))

    def _count(self, incoming: Incoming) -> Outgoing:
        try:
            request = check_request({**parse_request(incoming.body), "max_tokens": 1})
        except InvalidRequest as exc:
            return self._refuse(incoming, AnthropicDialect(), "invalid", str(exc))
        return self._json({"input_tokens": count_input(request)})

    def _draw(self, what: str, names: tuple[str | int, ...]) -> float:
        return draw(self._seed, "http", what, *names)

    def _draws(self, fault: str, names: tuple[str | int, ...]) -> bool:
        return self._draw(fault, names) < self._chances.get(fault, 0.0)

    def _refuse(
        self,
        incoming: Incoming,
        dialect: Dialect,
        kind: str,
        text: str,
        headers: Mapping[str, str] | None = None,
    ) -> Outgoing:
        refusal = dialect.refuse(kind, text, _request_id(incoming, self._seed))
        all_headers = {"content-type": "application/json", **refusal.headers, **(headers or {})}
        all_headers = self._headers(incoming, dialect, all_headers)
        return Outgoing(refusal.status, all_headers, (refusal.body,), len(refusal.body))

    def _headers(
        self, incoming: Incoming, dialect: Dialect, headers: Mapping[str, str]
    ) -> dict[str, str]:
        named = dialect.id_header(_request_id(incoming, self._seed))
        return {"x-simulated": "true", **named, **headers}

    def _json(self, value: object) -> Outgoing:
        return self._plain(200, {"content-type": "application/json"}, json.dumps(value).encode())

    def _plain(self, status: int, headers: Mapping[str, str], body: bytes) -> Outgoing:
        return Outgoing(status, {"x-simulated": "true", **headers}, (body,), len(body))


def _designer(settings: SimulationSettings) -> Designer:
    def plan_at_random(_: str) -> Plan:
        return random_plan(settings.seed, settings.tasks)

    return Designer(plan_at_random if settings.tasks else plan_sample, find_sample_files)


def _check_headers(incoming: Incoming, dialect: Dialect) -> tuple[str, str] | None:
    """What is wrong with the request before its body is read: kind of error and text."""
    if len(incoming.body) > MAX_BODY_BYTES:
        return "too_large", "Request exceeds the maximum size"
    if not ({"authorization", "x-api-key"} & set(incoming.headers)):
        return "credentials", "x-api-key or authorization header is required"
    if isinstance(dialect, AnthropicDialect) and "anthropic-version" not in incoming.headers:
        return "invalid", "anthropic-version: header is required"
    return None


def _model_of(request: Mapping[str, Any]) -> str:
    model = request.get("model")
    if not isinstance(model, str) or not model:
        raise InvalidRequest("model: a name is required.")
    return model


def _token(incoming: Incoming, seed: int) -> str:
    """Belongs to the request's content: ids must not repeat within a conversation."""
    return digest(seed, "message", incoming.fingerprint)[:20]


def _request_id(incoming: Incoming, seed: int) -> str:
    retry = incoming.headers.get("x-stainless-retry-count", "0")
    return f"req_sim_{digest(seed, 'request', retry, incoming.fingerprint)[:20]}"


def _list_models() -> dict[str, Any]:
    data = [{"type": "model", "id": name, "display_name": f"Simulated {name}"} for name in _MODELS]
    return {"data": data, "has_more": False, "first_id": _MODELS[0], "last_id": _MODELS[-1]}
