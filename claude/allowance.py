"""Keeps a worker within its allowance: no request goes out whose worst case exceeds what is left.

Checked before every request and retry, which may lower max_tokens. What was billed is subtracted.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from hashlib import sha256
from typing import Any

from claude.client.types import Call, Hooks
from core.bundle import UNLIMITED, Allowance, ModelSettings
from core.errors import BudgetExceeded
from core.job import Usage

LEAST_OUTPUT_TOKENS = 1_024
"""An answer shorter than this is not worth its input."""

HIDDEN_TOKENS = 1_000
"""What the API adds of its own: the prompt for tools takes up to 346 tokens, that for structured
output is not documented. https://platform.claude.com/docs/en/agents-and-tools/tool-use/overview"""

IMAGE_TOKENS = 5_000
"""More than the largest image takes on any model.
https://platform.claude.com/docs/en/build-with-claude/vision#calculate-image-costs"""

DOCUMENT_TOKENS = 1_000_000
"""A document's text may be compressed: only the largest context window bounds it."""

_UNSIZED = {"image": IMAGE_TOKENS, "document": DOCUMENT_TOKENS}

Price = Callable[[Usage], float | None]


def guarded(
    hooks: Hooks,
    allowance: Allowance,
    model: ModelSettings,
    price: Price,
    spent: Iterable[Usage] = (),
) -> Hooks:
    """`hooks` that allow no more than `allowance`, of which `spent` is already used."""
    if allowance == UNLIMITED:
        return hooks
    guard = Guard(allowance, model, price, spent)

    def on_usage(usage: Usage) -> None:
        guard.spend(usage)
        hooks.on_usage(usage)

    return replace(
        hooks, on_usage=on_usage, on_request=lambda call: guard.admit(hooks.on_request(call))
    )


class Guard:
    """Counts usage. Bounds of tokens rest on two facts: a token is at least one byte, except in
    images and documents, and the count of the last reply is exact for all that is sent again.

    For one request at a time: one in flight counts when it is billed."""

    def __init__(
        self, allowance: Allowance, model: ModelSettings, price: Price, spent: Iterable[Usage] = ()
    ) -> None:
        self._allowance = allowance
        self._model = model
        self._price = price
        self._tokens = 0
        self._cost = Fraction()
        self._last = self._known = _Request()
        self._counted: Usage | None = None
        for usage in spent:
            self._subtract(usage)

    def spend(self, usage: Usage) -> None:
        """A request was billed."""
        self._subtract(usage)
        self._known, self._counted = self._last, usage

    def admit(self, call: Call) -> Call:
        """The call, its output lowered to what is left. Raises BudgetExceeded."""
        request = _Request(_parts(call), call.passthrough.fields if call.passthrough else None)
        bound = self._input_bound(request)
        tokens = min(call.max_tokens, self._most_output(bound, call.max_tokens))
        if tokens < min(LEAST_OUTPUT_TOKENS, call.max_tokens):
            raise BudgetExceeded(
                f"The next request (up to {bound:,} tokens of input) does not fit into what is left"
                f" of the budget: {self._render_left()}.",
                "Raise --max-cost or --max-tokens.",
            )
        self._last = request
        return replace(call, max_tokens=tokens)

    def _subtract(self, usage: Usage) -> None:
        self._tokens += usage.total_tokens
        self._cost += Fraction(self._price(usage) or 0.0)

    def _input_bound(self, request: _Request) -> int:
        """The most tokens that the parts of a request can come to."""
        whole = sum(part.size for part in request.parts) + HIDDEN_TOKENS
        counted = self._counted
        # with other fields, such as other thinking, what was left out before may count
        if counted is None or request.fields != self._known.fields:
            return whole
        if not (known := counted.total_tokens - counted.output_tokens):
            return whole
        new = list((Counter(request.parts) - Counter(self._known.parts)).elements())
        # Claude's own text comes back as about the tokens that it was generated as
        size = sum(part.size for part in new if part.is_reply)
        reply = min(size, counted.output_tokens + counted.output_tokens // 8 + 100)
        return min(whole, known + reply + sum(p.size for p in new if not p.is_reply))

    def _most_output(self, bound: int, wanted: int) -> int:
        """How many tokens an answer may have after an input of `bound`."""
        caps, most = self._allowance, wanted
        if caps.max_tokens is not None:
            most = min(most, caps.max_tokens - self._tokens - bound)
        if caps.max_cost_usd is not None:
            most = self._affordable(bound, most, Fraction(caps.max_cost_usd) - self._cost)
        return most

    def _affordable(self, bound: int, most: int, left: Fraction) -> int:
        """The largest output up to `most` that costs no more than `left`; -1 when none does."""
        outputs = range(max(0, most) + 1)
        return bisect_right(outputs, left, key=lambda output: self._worst_cost(bound, output)) - 1

    def _worst_cost(self, bound: int, output: int) -> Fraction:
        usage = Usage(self._model.provider, self._model.model, output_tokens=output)
        plain = self._price(replace(usage, input_tokens=bound))
        written = self._price(replace(usage, cache_write_tokens=bound))
        if plain is None or written is None:
            raise BudgetExceeded(
                f"The price of {self._model.model!r} is unknown, so --max-cost cannot be kept.",
                "Set --price-input and --price-output, in US dollars per million tokens.",
            )
        return Fraction(max(plain, written))

    def _render_left(self) -> str:
        caps, parts = self._allowance, []
        if caps.max_tokens is not None:
            parts.append(f"{max(0, caps.max_tokens - self._tokens):,} tokens")
        if caps.max_cost_usd is not None:
            parts.append(f"${max(0.0, caps.max_cost_usd - float(self._cost)):.4f}")
        return " and ".join(parts)


@dataclass(frozen=True, slots=True)
class _Part:
    """A piece of a request: equal pieces have equal digests, cache marks aside."""

    digest: bytes
    size: int
    is_reply: bool


@dataclass(frozen=True, slots=True)
class _Request:
    """A request: its parts, and the further fields of another program's request."""

    parts: Sequence[_Part] = ()
    fields: Mapping[str, Any] | None = None


def _parts(call: Call) -> list[_Part]:
    """Everything in a request that costs tokens."""
    pieces: list[Any] = [*call.system, *call.tools, call.tool_choice, call.output_schema]
    own = call.passthrough is None
    if call.passthrough is not None:
        pieces.append(dict(call.passthrough.fields))
    return [_part(piece, own=own) for piece in (*filter(None, pieces), *call.messages)]


def _part(piece: Any, *, own: bool) -> _Part:
    """`own`: the request is ours, so its assistant messages really are Claude's."""
    text = json.dumps(_unmarked(piece), ensure_ascii=False, sort_keys=True)
    data = text.encode("utf-8", "replace")
    size = len(data) - _image_bytes(piece) + _unsized_tokens(piece)
    return _Part(sha256(data).digest(), size, own and piece.get("role") == "assistant")


def _unsized_tokens(piece: Any) -> int:
    """The most that the images and documents in it take, which their bytes do not show."""
    if isinstance(piece, dict):
        kind = piece.get("type")
        own = _UNSIZED.get(kind, 0) if isinstance(kind, str) and "source" in piece else 0
        return own + sum(map(_unsized_tokens, piece.values()))
    if isinstance(piece, list | tuple):
        return sum(map(_unsized_tokens, piece))
    return 0


def _image_bytes(piece: Any) -> int:
    """Of images in base64, which are no tokens."""
    if isinstance(piece, dict):
        if piece.get("type") == "image" and isinstance(source := piece.get("source"), dict):
            return len(str(source.get("data", "")))
        return sum(map(_image_bytes, piece.values()))
    return sum(map(_image_bytes, piece)) if isinstance(piece, list | tuple) else 0


def _unmarked(part: Any) -> Any:
    if isinstance(part, dict):
        return {k: _unmarked(v) for k, v in part.items() if k != "cache_control"}
    if isinstance(part, list | tuple):
        return [_unmarked(each) for each in part]
    return part
