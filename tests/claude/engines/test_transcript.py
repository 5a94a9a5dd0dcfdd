"""Transcripts: what is kept, what is masked, what stands for a long text."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from claude.client.types import Reply
from claude.engines.transcript import LONGEST_TEXT_CHARS, Transcript
from core.bundle import Limits, ModelSettings, Request
from core.credentials import Credentials
from core.job import JobKey
from core.plan import Task
from tests.fakes.scripted_claude import USAGE, act, act_broken, say, use

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
        "file": "a",
    }
    (tmp_path / "other").mkdir()
    (line,) = recorded(tmp_path / "other", act(use("x", content="y" * LONGEST_TEXT_CHARS)))
    assert line["received"][0]["input"]["content"] == "y" * LONGEST_TEXT_CHARS


def test_half_a_surrogate_pair_does_not_break_the_file(tmp_path: Path) -> None:
    lines = recorded(tmp_path, say("\ud83d"), say("\ud83d" * (LONGEST_TEXT_CHARS + 1)))
    assert lines[0]["received"][0]["text"] == "\ud83d"
    assert lines[1]["received"][0]["text"]["size"] == 3 * (LONGEST_TEXT_CHARS + 1)


def request() -> Request:
    task = Task(
        id="store",
        title=f"The store {SECRET}",
        instructions="Write it.",
        owns=("a.py",),
        estimate=1,
    )
    return Request(JobKey("r1", "store", 2), "p", "b", task, (), ModelSettings(), Limits())


def result(call: dict[str, Any], text: Any, *, is_error: bool = False) -> dict[str, Any]:
    block = {"type": "tool_result", "tool_use_id": call["id"], "content": text}
    return {"role": "user", "content": [{**block, "is_error": is_error}]}


def write_whole(path: Path) -> Path:
    """A transcript with everything in it."""
    transcript = Transcript(path / "transcript.jsonl", MASK)
    transcript.begin(request())
    shared = {"type": "text", "text": "<request>" + "s" * 9_000}
    first = {"role": "user", "content": [shared, {"type": "text", "text": "<task>\n\x1b[31mdo it"}]}
    look = use("read_file", path="lib/b.py")
    transcript.record(1, [first], act({"type": "text", "text": "Let me see."}, look), 60.0)
    body = use("write_file", path="a.py", content="c" * 9_000)
    sent = [{"role": "assistant", "content": [look]}, result(look, "r" * 9_000)]
    transcript.record(2, sent, replace(act(body), retries=2), 3_661.0)
    bad = act_broken("write_file", '{"path": "a', {"type": "thinking", "thinking": "?"})
    transcript.record(3, [result(body, "You do not own it.", is_error=True)], bad)
    transcript.end("DEFECT", f"It broke.\nBadly {SECRET}.", [result(body, [shared])])
    return path / "transcript.jsonl"


def test_the_first_line_says_what_was_asked_and_the_last_how_it_ended(tmp_path: Path) -> None:
    lines = [json.loads(line) for line in write_whole(tmp_path).read_text().splitlines()]
    assert lines[0]["attempt"] == "r1/store/2"
    assert lines[0]["limits"]["max_turns"] == Limits().max_turns
    assert [line.get("turn") for line in lines] == [None, 1, 2, 3, None]
    assert (lines[2]["retries"], lines[2]["at"], lines[2]["duration_s"]) == (2, 3_661.0, 0.0)
    assert (lines[-1]["ended"], lines[-1]["message"]) == ("DEFECT", "It broke.\nBadly ********.")


def test_a_long_text_names_the_file_that_has_it(tmp_path: Path) -> None:
    lines = [json.loads(line) for line in write_whole(tmp_path).read_text().splitlines()]
    assert lines[1]["sent"][0]["content"][0]["text"]["file"] == "request/"
    assert lines[2]["sent"][1]["content"][0]["content"]["file"] == "lib/b.py"
    assert lines[2]["received"][0]["input"]["content"]["file"] == "a.py"


def test_a_killed_worker_s_transcript_is_gone_on_with(tmp_path: Path) -> None:
    path = write_whole(tmp_path)
    path.write_bytes(path.read_bytes()[:-30])
    Transcript(path, MASK).begin(request())
    *whole, cut, last = path.read_text().splitlines()
    assert [json.loads(line).get("turn") for line in whole] == [None, 1, 2, 3]
    assert cut.startswith('{"ended": "DEFECT"')
    assert json.loads(last)["attempt"] == "r1/store/2"
