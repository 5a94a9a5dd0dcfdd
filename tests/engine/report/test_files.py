"""The delivered tree: where each file comes from, and what of it is shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.events import Kind
from engine.report.files import LONGEST_CHARS, UNKNOWN, contents, file_content, run_files, tail
from engine.run.run_view import read_run_view
from engine.run.rundir import RunDir
from tests.fakes.events import event_of
from tests.fakes.reported_runs import (
    begun,
    deliver,
    done,
    job,
    leave_result,
    make_run,
    plan_of,
    planned,
)

PLAN = plan_of(["a", "b"])
EVENTS = [begun(), planned([("a", []), ("b", [])]), *job("a", 2, 3), done("a", 3)]
DELIVERED = event_of(Kind.DELIVERED, 9, data={"files": 2})


def origins(run: RunDir) -> dict[str, str]:
    files = run_files(run, read_run_view(run), PLAN, {})
    return {file.path: file.owner for file in files}


def test_before_a_delivery_it_is_what_is_made_so_far(tmp_path: Path) -> None:
    run = make_run(tmp_path, EVENTS, PLAN)
    leave_result(run, "a", {"a.py": "one"})
    assert origins(run) == {"a.py": "a", "api.pyi": "contracts"}


def test_a_file_that_was_repaired_comes_from_its_repair(tmp_path: Path) -> None:
    repair = [event_of(Kind.TASK_ADDED, 4, "repair-1"), *job("repair-1", 4, 5), done("repair-1", 5)]
    run = make_run(tmp_path, [*EVENTS, *repair, DELIVERED], PLAN)
    leave_result(run, "a", {"a.py": "one", "kept.py": "kept"})
    leave_result(run, "repair-1", {"a.py": "two", "kept.py": "kept"})
    deliver(run, {"a.py": "two", "kept.py": "kept", "beside.py": "?"})
    assert origins(run) == {"a.py": "repair-1", "beside.py": UNKNOWN, "kept.py": "a"}


def test_a_conflicting_copy_is_known_by_its_content(tmp_path: Path) -> None:
    run = make_run(tmp_path, [*EVENTS, DELIVERED], PLAN)
    leave_result(run, "a", {"a.py": "one"})
    deliver(run, {"a.conflict-a.py": "one"})
    (file,) = run_files(run, read_run_view(run), PLAN, {})
    assert (file.owner, file_content(file)["text"]) == ("a", "one")


def test_a_damaged_result_is_left_out(tmp_path: Path) -> None:
    run = make_run(tmp_path, EVENTS, PLAN)
    leave_result(run, "a", {"a.py": "one"})
    next(run.tasks.rglob("result.json")).write_text("{")
    assert origins(run) == {"api.pyi": "contracts"}


@pytest.mark.parametrize(
    ("written", "then", "text", "note"),
    [
        ("x = 1\n", None, "x = 1\n", ""),
        ("x = 1\n", "x = 2\n", "", "another by now"),
        ("\0\1", None, "", "no text"),
        ("y" * (LONGEST_CHARS + 1), None, "y" * LONGEST_CHARS, "The rest is left out"),
    ],
    ids=["text", "changed", "binary", "long"],
)
def test_the_content_is_what_was_delivered_or_there_is_a_note(
    tmp_path: Path, written: str, then: str | None, text: str, note: str
) -> None:
    run = make_run(tmp_path, EVENTS, PLAN)
    leave_result(run, "a", {"a.py": written})
    file = run_files(run, read_run_view(run), PLAN, {})[0]
    if then is not None:
        file.source.write_text(then)
    found = file_content(file)
    assert found["text"] == text
    assert note in found["note"]


def test_all_contents_together_are_bounded(tmp_path: Path) -> None:
    run = make_run(tmp_path, EVENTS, PLAN)
    leave_result(run, "a", {"a.py": "x" * 90, "small.py": "y"})
    files = [f for f in run_files(run, read_run_view(run), PLAN, {}) if f.owner == "a"]
    found = dict(contents(files, 50))
    assert found["small.py"]["text"] == "y"
    assert "Left out" in found["a.py"]["note"]


def test_a_log_that_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log.txt")
    assert tail(tmp_path / "log.txt", 10) == ""
    (tmp_path / "real.txt").write_text("0123456789" * 3)
    assert tail(tmp_path / "real.txt", 5) == "56789"
