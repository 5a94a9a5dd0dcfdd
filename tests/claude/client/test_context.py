"""Conversations that grow past the window: what gives way, and what never does."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude.client.context import (
    MOST_SQUEEZES,
    ContextWindow,
    estimate_tokens,
    fit,
    is_too_long,
    read_note,
)
from claude.engines.api import mark_cached
from claude.engines.tools import build_tools
from claude.simulation.validation import check_request
from core.errors import ModelError, RateLimited, RequestRejected
from core.job import Usage
from tests.fakes.scripted_claude import use

Block = dict[str, Any]
FIRST: Block = {
    "role": "user",
    "content": [{"type": "text", "text": "shared " * 300}, {"type": "text", "text": "task"}],
}


def turn(call: Block, said: Any) -> list[Block]:
    result = {"type": "tool_result", "tool_use_id": call["id"], "content": said, "is_error": False}
    return [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]


def wrote(path: str, chars: int) -> list[Block]:
    return turn(use("write_file", path=path, content="x" * chars), f"wrote {path}")


def read(path: str, chars: int) -> list[Block]:
    return turn(use("read_file", path=path), "y" * chars)


def texts(messages: list[Block]) -> str:
    return json.dumps(messages)


def test_a_conversation_that_fits_stays_as_it_is() -> None:
    messages = [FIRST, *wrote("a.py", 9_000), *read("b.py", 9_000)]
    assert fit(messages, 100_000) == messages


def test_old_bodies_and_results_become_notes_that_say_where_to_find_them() -> None:
    messages = [FIRST, *wrote("src/a.py", 12_345), *read("b.py", 9_000), *wrote("c.py", 90)]
    messages += wrote("d.py", 5_000)
    fitted = fit(messages, 8_000)
    assert fitted[1]["content"][0]["input"] == {
        "path": "src/a.py",
        "content": "[dropped: 12,345 characters of src/a.py; read it again if you need it]",
    }
    assert fitted[4]["content"][0]["content"] == (
        "[dropped: 9,000 characters of b.py; read it again if you need it]"
    )
    assert (fitted[0], fitted[2:4], fitted[5:]) == (FIRST, messages[2:4], messages[5:])


def test_the_oldest_go_first_and_only_half_the_room_is_cleared() -> None:
    messages = [FIRST, *(m for n in range(10) for m in wrote(f"{n}.py", 3_000))]
    fitted = fit(messages, estimate_tokens(messages) - 1)
    kept = [n for n in range(10) if "x" * 3_000 in texts(fitted[2 * n + 1 : 2 * n + 3])]
    assert kept == [7, 8, 9]
    half = estimate_tokens(messages) / 2
    assert half - 1_050 < estimate_tokens(fitted) <= half


def test_between_two_trims_nothing_that_was_sent_changes() -> None:
    window = ContextWindow(20_000, 2_000)
    messages: list[Block] = [FIRST]
    changes = 0
    for n in range(60):
        messages += wrote(f"{n}.py", 3_000)
        fitted = window.fit(messages)
        changes += fitted != messages
        messages = fitted
        assert estimate_tokens(messages) <= 18_000
    assert 2 <= changes <= 8


def test_what_was_called_matters_where_there_is_no_path() -> None:
    messages = [FIRST, *turn(use("search_files", pattern="x"), "z" * 9_000), *wrote("a", 9_000)]
    assert "characters of search_files's result" in texts(fit(messages, 500, keep=0))


def test_results_in_blocks_and_hostile_inputs_give_way_too() -> None:
    blocks = [{"type": "text", "text": "z" * 5_000}, {"type": "text", "text": "z" * 5_000}]
    image = [{"type": "image", "source": {"data": "i" * 900}}]
    odd = use("write_file", path=7, content=["w" * 900, {"deep": "w" * 900}])
    named = use("write_file", path="p" * 9_000, content="w" * 900)
    messages = [FIRST, *turn(use("list_files"), blocks), *turn(odd, image), *turn(named, "ok")]
    messages += [{"role": "assistant", "content": "plain text"}, {"role": "user", "content": "go"}]
    fitted = fit(messages, 10, keep=0)
    assert "z" * 900 not in texts(fitted)
    assert "w" * 900 not in texts(fitted)
    assert fitted[2]["content"][0]["content"].startswith("[dropped: 10,000 characters of list_f")
    assert fitted[3]["content"][0]["input"]["path"] == 7
    assert fitted[6]["content"][0]["content"] == "ok"
    assert fitted[7:] == messages[7:]


@pytest.mark.parametrize(
    ("text", "chars"),
    [
        ("[dropped: 12,345 characters of a b.py; read it again if you need it]", 12_345),
        ("[dropped: many characters of a; read it again if you need it]", None),
        ("x = 1\n", None),
    ],
)
def test_notes_can_be_read_back(text: str, chars: int | None) -> None:
    assert read_note(text) == chars


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RequestRejected("x (400): prompt is too long: 208310 tokens > 200000 maximum."), True),
        (RequestRejected("x (400): Input is too long for requested model."), True),
        (RequestRejected("x (400): input length and `max_tokens` exceed context limit."), True),
        (RequestRejected("x rejected a request (413): Request exceeds the maximum size."), True),
        (RequestRejected("x (400): messages: at least one message is required."), False),
        (RateLimited("prompt is too long"), False),
    ],
)
def test_a_refusal_for_length_is_known_by_its_words(error: ModelError, expected: bool) -> None:
    assert is_too_long(error) is expected


def test_the_window_learns_how_long_tokens_are() -> None:
    messages = [FIRST, *wrote("a.py", 9_000), *wrote("b.py", 9_000), *read("c.py", 9_000)]
    window = ContextWindow(12_000, 1_000)
    assert window.fit(messages) == messages
    window.learn(messages, Usage("anthropic", "m", 10))
    assert window.fit(messages) == messages
    window.learn(messages, Usage("anthropic", "m", 5_000, 0, 5_000, 5_000))
    assert window.fit(messages) != messages


def test_squeezing_halves_then_touches_the_last_turns_and_is_bounded() -> None:
    window = ContextWindow(100_000, 1_000)
    messages = [FIRST, *wrote("a.py", 90_000), *wrote("b.py", 20_000), *read("c.py", 20_000)]
    once = window.squeeze(messages)
    assert once is not None
    assert "x" * 20_000 in texts(once)
    assert "x" * 90_000 not in texts(once)
    twice = window.squeeze(once)
    assert twice is not None
    assert "x" * 20_000 not in texts(twice)
    assert "shared" in texts(twice)
    assert window.squeeze([FIRST]) is None
    again = ContextWindow(100_000, 1_000)
    assert [again.squeeze(messages) is None for _ in range(MOST_SQUEEZES + 1)] == [
        *[False] * MOST_SQUEEZES,
        True,
    ]


@st.composite
def conversations(draw: st.DrawFn) -> list[Block]:
    chars = st.integers(0, 6_000)
    letters = st.sampled_from(["x", "é", "🐍", '"', "\n"])
    messages: list[Block] = [copy.deepcopy(FIRST)]
    for _ in range(draw(st.integers(0, 12))):
        if draw(st.booleans()):
            text = {"type": "text", "text": "t" + "t" * draw(chars)}
            messages += [{"role": "assistant", "content": [text]}]
            messages += [{"role": "user", "content": [{"type": "text", "text": "Go on."}]}]
            continue
        calls = [
            use("write_file", path=draw(st.text(max_size=8)), content=draw(letters) * draw(chars))
            for _ in range(draw(st.integers(1, 3)))
        ]
        results = [
            {
                "type": "tool_result",
                "tool_use_id": call["id"],
                "content": draw(letters) * draw(chars),
                "is_error": draw(st.booleans()),
            }
            for call in calls
        ]
        messages += [
            {"role": "assistant", "content": calls},
            {"role": "user", "content": results},
        ]
    return messages


def check(messages: list[Block]) -> None:
    system = [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}]
    marked = list(mark_cached(messages))
    check_request(
        {
            "max_tokens": 1,
            "system": system,
            "messages": marked,
            "tools": [tool.schema() for tool in build_tools(9, commands=True).values()],
        }
    )


@settings(max_examples=150, deadline=None)
@given(conversations(), st.integers(1, 40_000), st.integers(0, 6))
def test_any_conversation_stays_valid_and_as_short_as_can_be(
    messages: list[Block], limit: int, keep: int
) -> None:
    before = copy.deepcopy(messages)
    fitted = fit(messages, limit, keep=keep)
    assert messages == before
    check(fitted)
    assert len(fitted) == len(messages)
    assert fitted[0] == messages[0]
    if keep:
        assert fitted[-keep:] == messages[-keep:]
    least = estimate_tokens(fit(messages, 0, keep=keep))
    assert estimate_tokens(fitted) <= max(limit, least)
    assert fit(fitted, limit, keep=keep) == fitted


@settings(max_examples=60, deadline=None)
@given(conversations())
def test_a_squeezed_conversation_stays_valid_and_shrinks(messages: list[Block]) -> None:
    window = ContextWindow(200_000, 1_000)
    while (smaller := window.squeeze(messages)) is not None:
        check(smaller)
        assert estimate_tokens(smaller) < estimate_tokens(messages)
        messages = smaller
