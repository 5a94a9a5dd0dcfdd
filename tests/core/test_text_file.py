"""Files that a person names: what is read, and what is told of the rest."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core import text_file
from core.text_file import read_text


@pytest.mark.parametrize("content", [b"a\r\nb", b"\xef\xbb\xbfa\r\nb"])
def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "f").write_bytes(content)
    assert read_text(tmp_path / "f", 8) == "a\r\nb"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("a".encode("utf-16"), "it is not text in UTF-8"),
        (b"x" * 9, "it is longer than 8 bytes"),
        (None, "Is a directory"),
    ],
)
def test_what_is_no_text_is_told(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "f"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(OSError, match=reason) as caught:
        read_text(path, 8)
    assert caught.value.strerror == reason


def test_an_endless_device_is_not_read_to_its_end() -> None:
    with pytest.raises(OSError, match="longer"):
        read_text("/dev/zero")


def test_a_pipe_that_nobody_writes_to_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_file, "WAIT_S", 0.0)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TimeoutError, match="nothing came from it for 0 s"):
        read_text(tmp_path / "pipe")
