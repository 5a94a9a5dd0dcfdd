"""Transcripts: what is kept, what is masked, what stands for a long text."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from claude.client import Reply
from claude.transcript import LONGEST_TEXT_CHARS, Transcript
from core.credentials import Credentials
from tests.fakes import USAGE, act, act_broken, say, use

SECRET = "sk-ant-canary-0123456789"
MASK = Credentials(anthropic_api_key=SECRET).mask


def recorded(path: Path, *replies: Reply, sent: list[dict[str, Any]] | None = None) -> Any:
    transcript = Transcript(path / "transcript.jsonl", MASK)
    for turn, reply in enumerate(replies, 1):
        transcript.record(turn, sent or [], reply)
    return [json.loads(line) for line in (path / "transcript.jsonl").read_text().splitlines()]


def test_each_turn_is_one_line_with_what_was_said_and_spent(tmp_path: Path) -> None:
    first, second = recorded(tmp_path, say("Hello"), act_broken("write_file", '{"pa'))
    assert (first["turn"], second["turn"]) == (1, 2)
    assert first["received"] == [{"type": "text", "text": "Hello"}]
    assert first["stop_reason"] == "end_turn"
    assert first["usage"]["input_tokens"] == USAGE.input_tokens
    assert list(second["broken_inputs"].values()) == ['{"pa']


def test_secrets_are_masked_wherever_they_stand(tmp_path: Path) -> None:
    reply = act(use("write_file", path=SECRET, content=[f"a{SECRET}b", {SECRET: 1}]))
    recorded(tmp_path, reply, sent=[{"role": "user", "content": f"{SECRET}{'x' * 9_999}"}])
    text = (tmp_path / "transcript.jsonl").read_text()
    assert SECRET not in text
    assert "a********b" in text


def test_a_long_text_stands_as_size_and_digest(tmp_path: Path) -> None:
    content = "é" * (LONGEST_TEXT_CHARS + 1)
    (line,) = recorded(tmp_path, act(use("write_file", path="a", content=content)))
    assert line["received"][0]["input"]["content"] == {
        "head": "é" * 160,
        "size": len(content.encode()),
        "sha256": hashlib.sha256(content.encode()).hexdigest(),
    }
    (tmp_path / "other").mkdir()
    (line,) = recorded(tmp_path / "other", act(use("x", content="y" * LONGEST_TEXT_CHARS)))
    assert line["received"][0]["input"]["content"] == "y" * LONGEST_TEXT_CHARS


def test_half_a_surrogate_pair_does_not_break_the_file(tmp_path: Path) -> None:
    lines = recorded(tmp_path, say("\ud83d"), say("\ud83d" * (LONGEST_TEXT_CHARS + 1)))
    assert lines[0]["received"][0]["text"] == "\ud83d"
    assert lines[1]["received"][0]["text"]["size"] == 3 * (LONGEST_TEXT_CHARS + 1)
