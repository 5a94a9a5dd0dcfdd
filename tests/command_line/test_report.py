"""The report of whole runs, and the page that is served while one goes on."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import orchestrator
from engine.run.rundir import RunDir, runs_in

pytestmark = pytest.mark.usefixtures("here")
ROOT = Path(__file__).resolve().parents[2]
RUN = ("Build it", "--sim-speed", "0", "--sim-tasks", "2", "--output-dir", "out", "--quiet")


def last_run() -> RunDir:
    return runs_in(Path(".orchestrator"))[-1]


def test_every_run_leaves_its_report_and_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert orchestrator.main(list(RUN[:-1])) == 0
    report = last_run().report
    assert f"report    {report.absolute()}" in capsys.readouterr().out
    assert "Random plan of 2 tasks" in report.read_text()


def test_a_report_that_cannot_be_written_changes_no_exit_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RunDir, "report", Path("/dev/null/report.html"))
    assert orchestrator.main(list(RUN)) == 0
    printed = capsys.readouterr()
    assert "warning: The report could not be written" in printed.err
    assert "report.html" not in printed.out


def test_it_can_be_written_again_and_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    assert orchestrator.main(list(RUN)) == 0
    first = last_run().report.read_text()
    last_run().report.unlink()
    capsys.readouterr()
    assert orchestrator.main(["report", "last"]) == 0
    assert capsys.readouterr().out == f"{last_run().report.absolute()}\n"
    assert last_run().report.read_text() == first
    assert orchestrator.main(["report", "last", "-o", "x.html"]) == 0
    assert Path("x.html").read_text() == first


def test_a_directory_that_is_not_there_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert orchestrator.main(list(RUN)) == 0
    assert orchestrator.main(["report", "last", "-o", "nowhere/x.html"]) == 2
    assert "The directory nowhere of -o does not exist" in capsys.readouterr().err


def test_watch_serves_a_run_until_it_is_stopped(tmp_path: Path) -> None:
    assert orchestrator.main(list(RUN)) == 0
    command = [sys.executable, str(ROOT / "orchestrator.py"), "watch", "last"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout
        assert process.stderr
        address = process.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{32}/", address)
        with urllib.request.urlopen(address) as answer:
            assert "Random plan of 2 tasks" in answer.read().decode()
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(address[:-6])
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert "served no longer; the run is as it was" in process.stderr.read()


def test_a_run_prints_where_it_can_be_watched_and_does_not_wait_for_nobody(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert orchestrator.main([*RUN, "--watch"]) == 0
    assert re.search(r"^Watch this run at http://127\.0\.0\.1:\d+/", capsys.readouterr().err, re.M)
