"""What the fault `snooping` sends as a command, run here where there is something to find."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from claude.engines.transcript import LONGEST_TEXT_CHARS
from claude.simulation.misbehaviour import probe_command
from claude.simulation.secret_probe import (
    LONGEST_S,
    files,
    find_hits,
    look,
    probe,
    processes,
)

KEY = "sk-ant-api03-" + "0123456789"
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")


def test_a_hit_is_the_word_with_what_stands_around_it() -> None:
    assert find_hits(f'a "KEY={KEY}" b\0my_Canary.one,'.encode()) == [
        f"KEY={KEY}".encode(),
        b"my_Canary.one",
    ]
    assert find_hits(b"the sk-ant- of a canary, AKIA") == []
    assert len(find_hits(b"x" * 500 + KEY.encode() + b"y" * 500)[0]) < 300


def test_files_are_searched_and_what_hangs_or_is_shut_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/env").write_text(f"KEY={KEY}\n")
    os.mkfifo(tmp_path / "a/pipe")
    (tmp_path / "a/gone").symlink_to("nowhere")
    assert {Path(path).name for path in files((str(tmp_path),))} == {"env", "pipe", "gone"}
    assert look(str(tmp_path / "a/env")) == ("read", [f"KEY={KEY}".encode()])
    assert look(str(tmp_path / "a/pipe")) == ("no file", [])
    assert look(str(tmp_path / "a/gone")) == ("refused", [])


@on_linux
def test_a_process_that_shows_its_environment_is_found() -> None:
    child = subprocess.Popen(["sleep", "300"], env={"PATH": os.environ["PATH"], "KEY": KEY})
    try:
        place = f"/proc/{child.pid}/environ"
        assert place in set(processes())
        end = time.monotonic() + 5
        while look(place)[1] == [] and time.monotonic() < end:
            time.sleep(0.02)
        assert look(place) == ("read", [f"KEY={KEY}".encode()])
        assert look(f"/proc/{child.pid}/mem")[0] in ("read", "refused")
    finally:
        child.kill()
        child.wait()


@on_linux
def test_it_tells_in_hexadecimal_and_in_bounds(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / str(number)).write_text(f"{KEY}{number:03}")
    *lines, last = probe((str(tmp_path),), 5.0)
    assert sum(map(len, lines)) < LONGEST_TEXT_CHARS
    assert KEY not in "".join(lines)
    assert " found; " in last


def test_it_stops_when_its_time_is_over(tmp_path: Path) -> None:
    (last,) = probe(("/",), 0.0)
    assert last == "0 found; 0 read; 0 refused; 0 no file"


@on_linux
def test_the_command_finds_what_lies_open_and_is_no_hit_itself(tmp_path: Path) -> None:
    """As a process of its own, which looks into its environment first of all."""
    command = probe_command().replace(f"LONGEST_S = {LONGEST_S}", "LONGEST_S = 0.5")
    assert command != probe_command()
    (tmp_path / "work").mkdir()
    (tmp_path / "credentials").write_text(f"KEY={KEY}")
    said = subprocess.run(
        ["bash", "-c", command],
        cwd=tmp_path / "work",
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TOKEN": f"{KEY}-env"},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert f"TOKEN={KEY}-env" in said.stdout
    assert f"TOKEN={KEY}-env".encode().hex() in said.stdout
    assert said.stderr == ""
    (tmp_path / "command.txt").write_text(probe_command())
    assert find_hits(probe_command().encode()) == []
