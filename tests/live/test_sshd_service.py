"""The script that starts the tests' sshd: several of them, as often as one likes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.live.remote_cluster import Sshd

pytestmark = [pytest.mark.sshd, pytest.mark.slow]


def test_its_own_folder_may_be_first_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a shell that had another one started, or this one before."""
    sshd = Sshd.of_its_own(tmp_path / "a")
    with sshd.running():
        monkeypatch.setenv("PATH", f"{sshd.place / 'bin'}:{os.environ['PATH']}")
    with sshd.running():
        assert answer(sshd, "true") != "no answer"


def answer(sshd: Sshd, command: str) -> str:
    ssh = [str(sshd.place / "bin" / "ssh"), "-o", "BatchMode=yes", "anywhere", command]
    done = subprocess.run(ssh, capture_output=True, text=True, timeout=30)
    return done.stdout if done.returncode == 0 else "no answer"


def test_two_of_them_live_side_by_side_and_end_alone(tmp_path: Path) -> None:
    with Sshd.of_its_own(tmp_path / "a", "/first/on/path").running() as first:
        with Sshd.of_its_own(tmp_path / "b").running() as second:
            first.control("start")
            first.control("ready")
            told = answer(first, 'echo "$PATH in $HOME"')
            assert "/first/on/path:/usr/local/sbin" in told
            assert told.endswith(f"in {first.place}/home\n")
            assert "Welcome" in told
        assert answer(second, "true") == "no answer"
        assert answer(first, "true") != "no answer"
    for _ in range(2):
        first.control("stop")
