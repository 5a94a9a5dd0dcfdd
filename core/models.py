"""What is known of models by their ids: which end, for warnings before a run and for what a refusal
means, and which levels of effort each takes."""

from typing import NamedTuple


class Ending(NamedTuple):
    """Ids that begin so end on that day on the Anthropic API; Bedrock has days of its own."""

    beginning: str
    day: str
    successor: str


# https://platform.claude.com/docs/en/about-claude/model-deprecations
# and DEPRECATED_MODELS in anthropic/_data/deprecated_models.py (2.13).
ENDING_MODELS = (
    Ending("claude-opus-4-5", "22 January 2027", "claude-opus-5-5"),
    Ending("claude-sonnet-4-5", "30 November 2026", "claude-sonnet-5-5"),
    Ending("claude-mythos-preview", "30 June 2026", "claude-mythos-5-2"),
    Ending("claude-sonnet-4-0", "15 June 2026", "claude-sonnet-5-5"),
    Ending("claude-sonnet-4-2025", "15 June 2026", "claude-sonnet-5-5"),
    Ending("claude-opus-4-0", "15 June 2026", "claude-opus-5-5"),
    Ending("claude-opus-4-2025", "15 June 2026", "claude-opus-5-5"),
    Ending("claude-3-7-sonnet", "19 February 2026", "claude-sonnet-5-5"),
    Ending("claude-3-5-haiku", "19 February 2026", "claude-haiku-5-5"),
    Ending("claude-3-opus", "5 January 2026", "claude-opus-5-5"),
    Ending("claude-3-sonnet", "21 July 2025", "claude-sonnet-5-5"),
    Ending("claude-2", "21 July 2025", "claude-sonnet-5-5"),
    Ending("claude-1", "6 November 2024", "claude-sonnet-5-5"),
    Ending("claude-instant", "6 November 2024", "claude-haiku-5-5"),
)


EFFORTS = ("low", "medium", "high", "xhigh", "max")
# https://platform.claude.com/docs/en/build-with-claude/effort; what is not here takes every level.
_FEWER_EFFORTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("claude-opus-4-6", ("low", "medium", "high", "max")),
    ("claude-sonnet-4-6", ("low", "medium", "high", "max")),
    ("claude-opus-4-5", ("low", "medium", "high")),
    *((f"claude-opus-4-{older}", ()) for older in ("0", "1", "2025")),
    *((f"claude-sonnet-4-{older}", ()) for older in ("0", "5", "2025")),
    ("claude-haiku-4", ()),
    *((f"claude-{older}", ()) for older in ("3", "2", "1", "instant")),
)


def find_ending(model: str) -> Ending | None:
    """What is known of the end of `model`, an id of either provider."""
    plain = _plain(model)
    return next((e for e in ENDING_MODELS if plain.startswith(e.beginning)), None)


def efforts_of(model: str) -> tuple[str, ...]:
    """The levels of effort that `model` takes, an id of either provider; all for an unknown one."""
    plain = _plain(model)
    fewer = (levels for beginning, levels in _FEWER_EFFORTS if plain.startswith(beginning))
    return next(fewer, EFFORTS)


def _plain(model: str) -> str:
    """Bedrock: eu.anthropic.claude-..., or the ARN of such a profile."""
    return model.rpartition("anthropic.")[2]
