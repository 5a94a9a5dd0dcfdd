"""What is shown of a task: its attempts with transcripts, as they were left, however damaged."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from core.bundle import AttemptDir
from core.job import JobKey
from engine.report.details import read_turns, task_details
from engine.report.timeline import Attempt
from tests.fakes.reported_runs import RUN, leave_result, make_run, plan_of


def place_with(tmp_path: Path, *lines: object) -> AttemptDir:
    place = AttemptDir(tmp_path / "attempt")
    place.result.mkdir(parents=True)
    place.transcript.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return place


def turn(number: object = 1, sent: Any = (), received: Any = (), **more: Any) -> dict[str, Any]:
    return {"turn": number, "sent": list(sent), "received": list(received), **more}


def test_a_call_has_its_result_from_the_turn_after(tmp_path: Path) -> None:
    run = make_run(tmp_path, [])
    leave_result(run, "a", {"a.py": "x = 1\n"})
    details = task_details(run, RUN, plan_of(["a"]), "a", [Attempt(1, "OK")], 9_999)
    assert details["owns"] == ["a.py"]
    (attempt,) = details["attempts"]
    assert attempt["log"] == "the log of a\n"
    sent, said, call = attempt["turns"][0]["items"]
    assert (sent["text"], said["text"]) == ("the request", "I write it.")
    assert (call["tool"], call["path"], call["added"]) == ("write_file", "a.py", "x = 1\n")
    assert call["result"] == "wrote id-a.py"


def test_an_edit_is_what_goes_and_what_comes(tmp_path: Path) -> None:
    call = {"type": "tool_use", "name": "edit_file", "id": "1",
            "input": {"path": "a.py", "old": "one", "new": "two"}}  # fmt: skip
    (found,), _ = read_turns(place_with(tmp_path, turn(received=[call])), 9_999)
    assert (found["items"][0]["removed"], found["items"][0]["added"]) == ("one", "two")


def test_a_long_text_comes_from_the_file_while_that_is_as_it_was(tmp_path: Path) -> None:
    text = "z" * 5_000
    digest = hashlib.sha256(text.encode()).hexdigest()
    reference = {"head": "zz", "size": 5_000, "sha256": digest, "file": "a.py"}
    call = {"type": "tool_use", "name": "write_file", "id": "1",
            "input": {"path": "a.py", "content": reference}}  # fmt: skip
    place = place_with(tmp_path, turn(received=[call]))
    place.files.mkdir()
    (place.files / "a.py").write_text(text)
    assert read_turns(place, 99_999)[0][0]["items"][0]["added"] == text
    (place.files / "a.py").write_text("other")
    assert read_turns(place, 99_999)[0][0]["items"][0]["added"] == "zz\n… 5000 bytes"


@pytest.mark.parametrize(
    "line",
    [
        "{", "[]", "null", '{"turn": NaN, "duration_s": Infinity, "sent": 3, "received": {}}',
        '{"turn": {}, "usage": [], "sent": [3, {"content": 4}], "received": [null, {"type": 1}]}',
        '{"turn": 1, "received": [{"type": "tool_use", "input": "no object"}]}',
        '{"ended": 1, "sent": [{"content": [{"type": "tool_result", "tool_use_id": []}]}]}',
        "[" * 100_000,
    ],
    ids=range(8),
)  # fmt: skip
def test_damaged_lines_are_no_error_and_every_number_is_one(tmp_path: Path, line: str) -> None:
    place = place_with(tmp_path)
    place.transcript.write_text(line)
    turns, note = read_turns(place, 9_999)
    json.dumps(turns, allow_nan=False)
    assert note == ""


def test_what_is_left_out_is_told_with_its_place(tmp_path: Path) -> None:
    said = [{"type": "text", "text": "word " * 50}]
    place = place_with(tmp_path, *(turn(n, received=said) for n in range(1, 30)))
    turns, note = read_turns(place, 2_000)
    assert 0 < len(turns) < 29
    assert note == f"{29 - len(turns)} of 29 turns are left out: see {place.transcript}."


def test_of_several_attempts_the_last_has_the_room(tmp_path: Path) -> None:
    run = make_run(tmp_path, [])
    leave_result(run, "a", {"a.py": "x" * 300}, 1)
    leave_result(run, "a", {"a.py": "x" * 300}, 2)
    details = task_details(run, RUN, None, "a", [Attempt(1), Attempt(2)], 900)
    first, last = details["attempts"]
    assert (len(first["turns"]), len(last["turns"])) == (0, 1)
    assert run.attempt(JobKey(RUN, "a", 1)).transcript.name in first["note"]


def test_a_task_that_nothing_is_known_of_has_no_attempts(tmp_path: Path) -> None:
    run = make_run(tmp_path, [])
    assert task_details(run, RUN, None, "a", [], 900)["attempts"] == []
