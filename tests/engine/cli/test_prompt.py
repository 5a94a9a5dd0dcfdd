"""Reading the prompt: from a file, a pipe or standard input, and what is refused."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from core.errors import UsageError
from engine.cli.prompt import MAX_PROMPT_CHARS, read_prompt


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "empty"),
        (b" \n\t ", "empty"),
        (b"\xff\xfe\x00\x01", "not text"),
        (b"a\x00b", "not text"),
        (b"\xed\xa0\x80", "not text"),
        (b"x" * (MAX_PROMPT_CHARS + 1), "longer"),
        ("ä".encode() * (MAX_PROMPT_CHARS + 1), "longer"),
    ],
)
def test_a_file_that_is_no_prompt_is_refused(tmp_path: Path, content: bytes, part: str) -> None:
    path = tmp_path / "p"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=part) as caught:
        read_prompt(None, str(path), None)
    assert caught.value.remedy


def test_a_prompt_just_small_enough_is_taken_whole(tmp_path: Path) -> None:
    path = tmp_path / "p"
    path.write_text("🙂" * MAX_PROMPT_CHARS, encoding="utf-8")
    assert len(read_prompt(None, str(path), None)) == MAX_PROMPT_CHARS


def test_missing_and_unreadable_ones_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nope"):
        read_prompt(None, str(tmp_path / "nope"), None)
    with pytest.raises(UsageError, match="directory"):
        read_prompt(None, str(tmp_path), None)
    with pytest.raises(UsageError, match="no file can have that name"):
        read_prompt(None, "a\0b", None)


def test_an_endless_device_is_refused() -> None:
    with pytest.raises(UsageError, match=r"/dev/zero"):
        read_prompt(None, "/dev/zero", None)


def test_closed_standard_input_is_refused() -> None:
    with pytest.raises(UsageError, match="closed"):
        read_prompt("-", None, None)


def test_a_pipe_will_do(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=("Build it",))
    writer.start()
    assert read_prompt(None, str(path), None) == "Build it"
    writer.join()
