"""Tests for backends.shared.results: proven before it is handed over, and logs in whole lines."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.shared.results import attempt_of, hand_over, read_lines, split_lines
from core.bundle import AttemptDir
from core.errors import CollectError
from core.job import JobKey, Outcome, TaskResult
from tests.fakes.results import hand_in

KEY = JobKey("r1", "t", 2)


@pytest.fixture
def here(tmp_path: Path) -> AttemptDir:
    """An attempt with a result of one file."""
    attempt = attempt_of(tmp_path / "run", KEY)
    hand_in(attempt, KEY, {"größe.md": "x"})
    return attempt


def test_an_attempt_lies_where_the_run_keeps_it(tmp_path: Path) -> None:
    assert attempt_of(tmp_path, KEY).root == tmp_path / "tasks" / "t" / "2"


def test_a_result_is_handed_over_where_it_lies(here: AttemptDir, tmp_path: Path) -> None:
    found = hand_over(here, KEY, tmp_path / "run" / "tasks")
    assert isinstance(found, TaskResult)
    assert found.outcome is Outcome.OK


def test_a_result_is_copied_to_another_place_as_often_as_it_is_asked_for(
    here: AttemptDir, tmp_path: Path
) -> None:
    for _ in range(2):
        assert isinstance(hand_over(here, KEY, tmp_path / "else"), TaskResult)
    copied = tmp_path / "else" / "t" / "2" / "result" / "files" / "größe.md"
    assert copied.read_text() == "x"


def test_a_result_that_was_changed_is_not_handed_over(here: AttemptDir, tmp_path: Path) -> None:
    (here.files / "größe.md").write_text("y")
    found = hand_over(here, KEY, tmp_path / "run" / "tasks")
    assert isinstance(found, CollectError)
    assert "größe.md" in str(found)


def test_a_link_in_a_result_is_copied_as_a_link_and_refused(
    here: AttemptDir, tmp_path: Path
) -> None:
    (here.files / "link").symlink_to("/etc/hostname")
    found = hand_over(here, KEY, tmp_path / "else")
    assert isinstance(found, CollectError)
    assert (tmp_path / "else" / "t" / "2" / "result" / "files" / "link").is_symlink()


def test_what_is_not_there_is_an_answer(tmp_path: Path) -> None:
    attempt = attempt_of(tmp_path / "run", KEY)
    assert isinstance(hand_over(attempt, KEY, tmp_path / "else"), CollectError)
    assert not (tmp_path / "else").exists()


def test_a_place_that_cannot_be_written_may_do_another_time(
    here: AttemptDir, tmp_path: Path
) -> None:
    (tmp_path / "blocked").write_text("a file")
    found = hand_over(here, KEY, tmp_path / "blocked")
    assert isinstance(found, CollectError)
    assert found.retryable


@given(st.lists(st.binary(max_size=8)), st.data())
def test_a_log_that_grows_is_read_once_line_by_line(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("log") / "log"
    lines, cursor, written = list[str](), "", b""
    for piece in pieces:
        written += piece.replace(b"x", b"\n")
        path.write_bytes(written)
        if data.draw(st.booleans()):
            chunk = read_lines(path, cursor)
            lines += chunk.lines
            cursor = chunk.cursor
    path.write_bytes(written)
    lines += read_lines(path, cursor).lines
    assert tuple(lines) == split_lines(written)


def test_a_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    chunk = read_lines(tmp_path / "none", "7")
    assert (chunk.lines, chunk.cursor) == ((), "7")


def test_only_a_newline_ends_a_line() -> None:
    text = "a\u2028b\x85c\r\nnot whole"
    assert split_lines(text.encode()) == ("a\u2028b\x85c\r",)
