"""The table of models that end, against what the SDK knows and the ids there are."""

from __future__ import annotations

import pytest
from anthropic._data import DEPRECATED_MODELS

from core.models import EFFORTS, ENDING_MODELS, efforts_of, find_ending
from core.settings.worker import DEFAULT_MODELS


@pytest.mark.parametrize("model", DEPRECATED_MODELS)
def test_each_model_whose_end_the_sdk_knows_is_in_the_table(model: str) -> None:
    ending = find_ending(model)
    assert ending is not None
    month, _, year = DEPRECATED_MODELS[model].split()
    assert ending.day.endswith(f"{month} {year}")


def test_no_successor_ends_itself() -> None:
    assert [e for e in ENDING_MODELS if find_ending(e.successor)] == []


def test_the_ids_of_bedrock_are_known_by_their_model() -> None:
    found = find_ending("eu.anthropic.claude-3-opus-20240229-v1:0")
    assert found is not None
    assert found.successor == "claude-opus-5-5"


def test_the_default_on_the_api_does_not_end() -> None:
    assert find_ending(DEFAULT_MODELS["anthropic"]) is None


@pytest.mark.parametrize(
    ("model", "levels"),
    [
        ("claude-sonnet-5-5", EFFORTS),
        ("claude-opus-4-8", EFFORTS),
        ("claude-sonnet-4-6", ("low", "medium", "high", "max")),
        ("global.anthropic.claude-opus-4-6-v1", ("low", "medium", "high", "max")),
        ("claude-opus-4-5-20251101", ("low", "medium", "high")),
        ("claude-haiku-4-5", ()),
        ("claude-opus-4-20250514", ()),
        ("claude-3-7-sonnet-20250219", ()),
        (DEFAULT_MODELS["bedrock"], ()),
        ("of-my-own", EFFORTS),
    ],
)
def test_a_model_takes_the_levels_of_effort_that_are_documented(
    model: str, levels: tuple[str, ...]
) -> None:
    assert efforts_of(model) == levels
