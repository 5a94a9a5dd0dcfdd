"""A transcript for reading: what is shown of turns, calls, files and errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from claude.client.types import Reply
from claude.engines.transcript import Transcript
from core.bundle import AttemptDir, Limits, ModelSettings, Request
from core.job import JobKey
from core.plan import Task
from engine.views.transcript import TranscriptView
from tests.fakes.scripted_claude import act, act_broken, say, use

LONG = "".join(f"line {number} {'x' * 60}\n" for number in range(200))


def told(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "text", "text": text}]}]


def recorded(tmp_path: Path, *turns: tuple[list[dict[str, Any]], Reply]) -> AttemptDir:
    attempt = AttemptDir(tmp_path)
    attempt.files.mkdir(parents=True)
    transcript = Transcript(attempt.transcript, lambda text: text)
    task = Task(id="a", title="A", instructions="Do", owns=("a.py",), estimate=1)
    transcript.begin(Request(JobKey("r", "a", 1), "p", "b", task, (), ModelSettings(), Limits()))
    for number, (sent, reply) in enumerate(turns, 1):
        transcript.record(number, sent, reply)
    transcript.end("OK", "all done")
    return attempt


def shown(attempt: AttemptDir, most_lines: int | None = 12) -> str:
    return "\n".join(TranscriptView(attempt, most_lines).lines())


def test_turns_calls_and_results_read_like_a_conversation(tmp_path: Path) -> None:
    call = use("read_file", path="a.py")
    answer = {"type": "tool_result", "tool_use_id": call["id"], "content": "two\nlines"}
    refused = {"type": "tool_result", "tool_use_id": "?", "content": "no", "is_error": True}
    sent = [{"role": "user", "content": [answer, refused]}]
    attempt = recorded(tmp_path, (told("Build it"), act(call)), (sent, say("Well.")))
    text = shown(attempt)
    assert "> the request (1 part)\n< read_file a.py\n" in text
    assert "> read_file a.py:\n    two\n    lines\n> result, refused: no\n< Well.\n" in text
    assert text.endswith("Ended OK: all done")
    assert "> Build it" in shown(attempt, most_lines=None)


def test_a_long_file_is_shown_as_it_was_written_while_it_is_kept(tmp_path: Path) -> None:
    attempt = recorded(tmp_path, (told("p"), act(use("write_file", path="a.py", content=LONG))))
    (attempt.files / "a.py").write_text(LONG)
    assert "    ... 188 more lines (--verbose shows them)" in shown(attempt)
    assert "    line 199 " in shown(attempt, most_lines=None)
    (attempt.files / "a.py").write_text("changed")
    assert f"... {len(LONG):,} bytes, which are not kept" in shown(attempt, most_lines=None)


def test_a_reference_never_leads_out_of_the_attempt(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text(LONG)
    path = "../../outside"
    attempt = recorded(
        tmp_path / "attempt", (told("p"), act(use("write_file", path=path, content=LONG)))
    )
    assert "line 199" not in shown(attempt, most_lines=None)


def test_an_edit_is_shown_as_a_difference(tmp_path: Path) -> None:
    call = use("edit_file", path="a.py", old="same\nold\n", new="same\nnew\n")
    text = shown(recorded(tmp_path, (told("p"), act(call))))
    assert "< edit_file a.py\n     same\n    -old\n    +new\n" in text


def test_nothing_of_a_model_reaches_the_terminal_as_a_control_character(tmp_path: Path) -> None:
    evil = "\x1b]0;owned\x07 \x1b[2J \u202e \r over"
    content = [{"type": "tool_result", "tool_use_id": evil, "content": [{"type": "x"}, evil]}]
    attempt = recorded(
        tmp_path,
        (told(evil), act(use(evil, path=evil, **{evil: evil}))),
        ([{"role": "user", "content": content}], say(evil)),
        (told(evil), act_broken("write_file", evil)),
    )
    text = shown(attempt, most_lines=None)
    assert all(char.isprintable() or char == "\n" for char in text)
    assert "\\x1b]0;owned\\x07" in text  # seen, and without effect


@pytest.mark.parametrize("line", ["{", "[]", '{"turn": 1}', '{"turn": 1, "sent": 3}', "7"])
def test_a_damaged_line_hides_no_other(tmp_path: Path, line: str) -> None:
    attempt = recorded(tmp_path, (told("p"), say("here")))
    attempt.transcript.write_text(f"{line}\n{attempt.transcript.read_text()}")
    text = shown(attempt)
    assert "< here" in text
    assert text.endswith("(1 damaged line left out)")


def test_lines_of_another_engine_are_shown_too(tmp_path: Path) -> None:
    call = use("Write", file_path="b.py", content="x = 1")
    edit = use("Edit", file_path="b.py", old_string="1", new_string="2", replace_all=False)
    line = json.loads(
        recorded(tmp_path, (told("p"), act(call, edit))).transcript.read_text().split("\n")[1]
    )
    assert line["received"][0]["name"] == "Write"
    text = shown(AttemptDir(tmp_path))
    assert "< Write b.py\n    x = 1\n< Edit b.py\n    replace_all: false\n    -1\n    +2\n" in text
