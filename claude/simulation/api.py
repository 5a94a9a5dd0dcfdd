"""The simulated API: one plain HTTP request in, one response out, whoever carries them.

Paths of the Messages API and of Bedrock's InvokeModel are served. The faults of a server are
drawn here, with the number of the client's retry; those of the model are drawn in the model.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote

from claude.http.plain_http import MAX_BODY_BYTES, ConnectionCut, Incoming, Outgoing
from claude.simulation.dialects import AnthropicDialect, BedrockDialect, render_json
from claude.simulation.faults import parse_faults
from claude.simulation.latency import Pace, pace, scaled_s, wait
from claude.simulation.model import SimulatedModel
from claude.simulation.prompt_cache import PROCESS_CACHE, PromptCache, count_input
from claude.simulation.random_plan import random_plan
from claude.simulation.sample_projects import Designer, find_sample_files, plan_sample
from claude.simulation.seeded_random import digest, draw
from claude.simulation.validation import InvalidRequest, check_request, parse_request
from claude.simulation.wire import Message, render_events, render_message
from core.bundle import SimulationSettings
from core.clock import Clock
from core.models import efforts_of

WINDOW_TOKENS = 200_000
_INVOKE = re.compile(r"/model/([^/]+)/invoke(-with-response-stream)?")
_MODELS = ("claude-opus-4-8", "claude-sonnet-5-5", "claude-haiku-4-5")


@dataclass(eq=False)
class _Refusal(Exception):
    """An error of a kind that the dialects know, in place of an answer."""

    kind: str
    text: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Call:
    """A valid request to a model."""

    incoming: Incoming
    dialect: AnthropicDialect
    request: Mapping[str, Any]
    model: str
    stream: bool


@dataclass(frozen=True, slots=True)
class _Draws:
    """Chance at one request: a function of the seed and of the place in its conversation."""

    seed: int
    names: tuple[str | int, ...]
    chances: Mapping[str, float]

    def share(self, name: str) -> float:
        return draw(self.seed, "http", name, *self.names)

    def happens(self, fault: str) -> bool:
        return self.share(fault) < self.chances.get(fault, 0.0)


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
        self._model = SimulatedModel(self._seed, self._chances, designer or _designer(settings))

    def handle(self, incoming: Incoming) -> Outgoing:
        """Answer one request; every answer says in a header that it is simulated."""
        path = incoming.target.partition("?")[0]
        dialect = BedrockDialect() if path.startswith("/model/") else AnthropicDialect()
        retry = incoming.headers.get("x-stainless-retry-count", "0")
        request_id = f"req_sim_{digest(self._seed, 'request', retry, incoming.fingerprint)[:20]}"
        try:
            answer = self._route(incoming, path, dialect)
        except InvalidRequest as exc:
            answer = dialect.refuse("invalid", str(exc), request_id)
        except _Refusal as exc:
            refused = dialect.refuse(exc.kind, exc.text, request_id)
            answer = replace(refused, headers={**refused.headers, **exc.headers})
        marks = {"x-simulated": "true", dialect.id_header: request_id}
        return replace(answer, headers={**marks, **answer.headers})

    def _route(self, incoming: Incoming, path: str, dialect: AnthropicDialect) -> Outgoing:
        match incoming.method, path:
            case "HEAD", "/":
                return Outgoing(200, {})
            case "GET", "/v1/models":
                return render_json(200, _list_models())
            case "POST", "/v1/messages":
                request = _read_request(incoming, "anthropic-version")
                model, stream = request.get("model"), request.get("stream") is True
                if not isinstance(model, str) or not model:
                    raise InvalidRequest("model: a name is required.")
                return self._answer(_Call(incoming, dialect, request, model, stream))
            case "POST", "/v1/messages/count_tokens":
                request = check_request({**parse_request(incoming.body), "max_tokens": 1})
                return render_json(200, {"input_tokens": count_input(request)})
        if incoming.method != "POST" or (match := _INVOKE.fullmatch(path)) is None:
            raise _Refusal("not_found", f"{incoming.method} {path} not found")
        request = _read_request(incoming)
        if "anthropic_version" not in request:
            raise InvalidRequest("anthropic_version is required.")
        return self._answer(_Call(incoming, dialect, request, unquote(match[1]), bool(match[2])))

    def _answer(self, call: _Call) -> Outgoing:
        effort = (call.request.get("output_config") or {}).get("effort")
        if effort and effort not in efforts_of(call.model):
            raise InvalidRequest("This model does not support the effort parameter.")
        if (size := count_input(call.request)) > self._window:
            raise InvalidRequest(call.dialect.too_long.format(tokens=size, limit=self._window))
        conversation, answer = self._model.answer(call.request)
        names = (*conversation.names, self._retry(call.incoming))
        draws = _Draws(self._seed, names, self._chances)
        self._refuse_by_chance(call, draws)
        speed = pace(size, self._seed, *names)
        now, begins_s = self._clock.time(), scaled_s(speed.first_token_s, self._speed)
        tokens = self._cache.account(
            call.request, call.model, now, begins_s=begins_s, speed=self._speed or 1.0
        )
        token = digest(self._seed, "message", call.incoming.fingerprint)[:20]
        message = Message(answer.within(self._window - size), call.model, token, tokens)
        if not call.stream:
            return self._whole(message, speed, draws)
        body = self._stream(call.dialect, message, speed, draws)
        return Outgoing(200, {"content-type": call.dialect.stream_type}, body, None)

    def _retry(self, incoming: Incoming) -> int:
        """Which retry this is. The Claude Code CLI does not count its own, so they are counted."""
        if incoming.headers.get("x-app") == "cli":
            self._uncounted[incoming.fingerprint] += 1
            return self._uncounted[incoming.fingerprint] - 1
        text = incoming.headers.get("x-stainless-retry-count", "0")
        return int(text) if text.isascii() and text.isdigit() else 0

    def _refuse_by_chance(self, call: _Call, draws: _Draws) -> None:
        """Raise the fault that shows before any answer, if one is drawn."""
        if draws.happens("rate_limit"):
            seconds = scaled_s(1 + int(3 * draws.share("retry-after")), self._speed)
            text = "Simulated: this request would exceed the rate limit."
            raise _Refusal("rate_limit", text, {"retry-after": f"{seconds:g}"})
        in_stream = call.stream and draws.share("in stream") < 0.5
        if draws.happens("overloaded") and not in_stream:
            raise _Refusal("overloaded", "Simulated: Overloaded")
        if draws.happens("server_error"):
            kind = "server_error" if draws.share("which") < 0.5 else "unavailable"
            raise _Refusal(kind, "Simulated: server error")

    def _stream(
        self, dialect: AnthropicDialect, message: Message, speed: Pace, draws: _Draws
    ) -> Iterator[bytes]:
        piece_chars = 160 if self._speed > 0 else 4_000  # larger pieces cost less
        events = list(render_events(message, piece_chars))
        fault = next(filter(draws.happens, ("overloaded", "disconnect")), "")
        share = 0.1 + 0.8 * draws.share(f"{fault} at") if fault else 1.0
        # a real message_start counts output already
        wait(self._clock, speed.first_token_s, self._speed)
        for event, tokens in events[: max(1, int(len(events) * share))]:
            wait(self._clock, tokens * speed.per_token_s, self._speed)
            yield dialect.encode(event)
        if fault == "disconnect":
            raise ConnectionCut
        if fault:
            yield dialect.stream_error("Simulated: Overloaded")

    def _whole(self, message: Message, speed: Pace, draws: _Draws) -> Outgoing:
        data = json.dumps(render_message(message)).encode()

        def body() -> Iterator[bytes]:
            wait(self._clock, speed.total_s(message.answer.output_tokens), self._speed)
            yield data[: len(data) // 2]
            if draws.happens("disconnect"):
                raise ConnectionCut
            yield data[len(data) // 2 :]

        return Outgoing(200, {"content-type": "application/json"}, body(), len(data))


def _designer(settings: SimulationSettings) -> Designer:
    if settings.tasks:
        return Designer(lambda _: random_plan(settings.seed, settings.tasks), find_sample_files)
    return Designer(plan_sample, find_sample_files)


def _read_request(incoming: Incoming, *needed: str) -> dict[str, Any]:
    """The request in the body, once the headers are in order; `needed` names more of them."""
    if len(incoming.body) > MAX_BODY_BYTES:
        raise _Refusal("too_large", "Request exceeds the maximum size")
    if not ({"authorization", "x-api-key"} & set(incoming.headers)):
        raise _Refusal("credentials", "x-api-key or authorization header is required")
    for name in needed:
        if name not in incoming.headers:
            raise InvalidRequest(f"{name}: header is required")
    return check_request(parse_request(incoming.body), incoming.headers.get("anthropic-beta", ""))


def _list_models() -> dict[str, Any]:
    data = [{"type": "model", "id": name, "display_name": f"Simulated {name}"} for name in _MODELS]
    return {"data": data, "has_more": False, "first_id": _MODELS[0], "last_id": _MODELS[-1]}
