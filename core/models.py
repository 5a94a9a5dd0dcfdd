"""Models that end, in one table: for warnings before a run, and for what a refusal means."""

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


def find_ending(model: str) -> Ending | None:
    """What is known of the end of `model`, an id of either provider."""
    plain = model.rpartition("anthropic.")[2]  # Bedrock: eu.anthropic.claude-...
    return next((e for e in ENDING_MODELS if plain.startswith(e.beginning)), None)
