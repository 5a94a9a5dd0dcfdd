"""Answers of the simulated Claude: their parts, before they become bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from claude.simulation.prompt_cache import count_tokens


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of an answer: text, or the input of a call of `tool` as JSON text, which may be
    malformed or cut."""

    text: str
    tool: str = ""

    @property
    def tokens(self) -> int:
        return count_tokens(self.text)

    def cut(self, chars: int) -> Part:
        return replace(self, text=self.text[:chars])


@dataclass(frozen=True, slots=True)
class Answer:
    """The parts in order, and why the model stopped. An answer that is not `limitable` ignores the
    limits of output, so that a random plan may be longer than any real one."""

    parts: tuple[Part, ...]
    stop_reason: str = "end_turn"
    limitable: bool = True

    @property
    def output_tokens(self) -> int:
        return sum(part.tokens for part in self.parts)

    def limited(self, max_tokens: int) -> Answer:
        """The answer as far as `max_tokens` go."""
        if not self.limitable:
            return self
        left, kept = max_tokens, []
        for part in self.parts:
            if part.tokens > left:
                kept += [part.cut(left * 4)] if left else []
                return Answer(tuple(kept), "max_tokens")
            kept.append(part)
            left -= part.tokens
        return self

    def within(self, tokens: int) -> Answer:
        """The answer as far as a context window with `tokens` left goes."""
        if self.output_tokens <= tokens or not self.limitable:
            return self
        return replace(self.limited(tokens), stop_reason="model_context_window_exceeded")


def tool_part(tool: str, given: Mapping[str, Any]) -> Part:
    """A call of `tool`; the keys keep their order."""
    return Part(json.dumps(given, ensure_ascii=False), tool)


def tool_answer(*parts: Part) -> Answer:
    """An answer that ends with calls."""
    return Answer(parts, "tool_use")
