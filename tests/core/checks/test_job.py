"""Checks as a job: what a worker runs, and what is believed of what it has left."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.check_request import Check, CheckJob, CheckRequest
from core.checks.job import ChecksReport, read_report, run_checks
from core.checks.runner import SHOWN_CHARS
from core.checks.sandbox import Bare
from core.clock import SystemClock
from core.errors import BundleError
from core.events import CheckEnded, Proof
from core.plan import Setup
from core.wire import encode
from core.workspace.base_tree import Put

REQUEST = CheckRequest(
    Setup(install=("pip install .",), start="app"), (Check("true", ("a",)), Check("false", ("b",)))
)
INSTALLED = CheckEnded("install", "pip install .", (), Proof.PASSED)
GOOD = CheckEnded("check", "true", ("a",), Proof.PASSED)
BAD = CheckEnded("check", "false", ("b",), Proof.FAILED, "exit code 1", 0.1, "no")
STARTED = CheckEnded("start", "app", (), Proof.PASSED)


def run(tmp_path: Path, job: CheckJob, **more: Any) -> tuple[ChecksReport, list[str]]:
    def lay_out(put: Put) -> None:
        put("run.sh", b"echo ran\nexit 3\n", 0o644)

    said: list[str] = []
    report = run_checks(job, lay_out, tmp_path / "work", SystemClock(), said.append, **more)
    return report, said


def read(tmp_path: Path, *ended: CheckEnded, sandbox: str = Bare.name, **more: Any) -> ChecksReport:
    file = tmp_path / "checks.json"
    file.write_text(encode(ChecksReport(sandbox, ended=ended, **more)))
    return read_report(file, REQUEST)


def test_in_a_container_all_is_run_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "canary")
    checks = (Check("sh run.sh", ("a",)), Check("! env | grep canary"))
    request = CheckRequest(Setup(start="sh run.sh"), checks)
    report, said = run(tmp_path, CheckJob(request), contained=True)
    assert report.sandbox == "the job's container"
    assert [(e.phase, e.tasks, e.state, e.output) for e in report.ended] == [
        ("check", (), Proof.PASSED, ""),
        ("start", (), Proof.FAILED, "ran"),
        ("check", ("a",), Proof.FAILED, "ran"),
    ]
    assert said[-2:] == ["4 of 4: sh run.sh", "failed: exit code 3: sh run.sh"]


def test_what_fails_for_a_port_that_another_has_is_not_proven(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        listen = f"python3 -m http.server -b 127.0.0.1 {other.getsockname()[1]}"
        request = CheckRequest(Setup(start=listen), (Check(listen),))
        report, _ = run(tmp_path, CheckJob(request), contained=True)
    reason = "another program here has the port that it needs"
    assert [(e.phase, e.state, e.reason) for e in report.ended] == [
        ("check", Proof.NOT_PROVEN, reason),
        ("start", Proof.NOT_PROVEN, reason),
    ]


@pytest.mark.parametrize("unprotected", [False, True])
def test_on_a_node_without_bubblewrap_only_what_may_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unprotected: bool
) -> None:
    monkeypatch.setattr("core.checks.job.find_bubblewrap", lambda *_: "no bubblewrap")
    request = CheckRequest(Setup(), (Check("test -e run.sh"),))
    report, _ = run(tmp_path, CheckJob(request, unprotected), contained=False)
    assert [e.state for e in report.ended] == [Proof.PASSED] * unprotected
    assert ("--verify-on-host" in report.why_not) is not unprotected


@pytest.mark.parametrize(
    "ended", [(INSTALLED, GOOD, STARTED, BAD), (INSTALLED, GOOD, BAD), (GOOD, BAD), (BAD, GOOD)]
)
def test_what_was_asked_for_is_believed(tmp_path: Path, ended: tuple[CheckEnded, ...]) -> None:
    assert read(tmp_path, *ended).ended == ended


@pytest.mark.parametrize(
    "ended",
    [
        (GOOD,),
        (GOOD, GOOD, BAD),
        (GOOD, BAD, BAD),
        (GOOD, replace(BAD, command="rm")),
        (replace(GOOD, tasks=("c",)), BAD),
        (replace(GOOD, phase="start"), GOOD, BAD),
        (replace(GOOD, seconds=-1.0), BAD),
        (replace(GOOD, tests=-1), BAD),
        (replace(GOOD, seconds=float("nan")), BAD),
    ],
)
def test_another_answer_is_refused(tmp_path: Path, ended: tuple[CheckEnded, ...]) -> None:
    with pytest.raises(BundleError):
        read(tmp_path, *ended)


@pytest.mark.parametrize("more", [{"version": 2}, {"sandbox": "a palace"}])
def test_a_report_of_another_version_or_place_is_refused(
    tmp_path: Path, more: dict[str, Any]
) -> None:
    with pytest.raises(BundleError):
        read(tmp_path, GOOD, BAD, **more)


@pytest.mark.parametrize("text", ["", "[]", '{"ended":[{"phase":"check"}]}', "0" * (16 << 20 | 1)])
def test_a_damaged_report_is_refused(tmp_path: Path, text: str) -> None:
    tmp_path.joinpath("checks.json").write_text(text)
    with pytest.raises(BundleError):
        read_report(tmp_path / "checks.json", REQUEST)


def test_a_report_that_is_a_link_is_refused(tmp_path: Path) -> None:
    tmp_path.joinpath("checks.json").symlink_to("/etc/passwd")
    with pytest.raises(BundleError):
        read_report(tmp_path / "checks.json", REQUEST)


def test_long_texts_are_cut(tmp_path: Path) -> None:
    long = replace(BAD, reason="r" * 9_000, output="o" * 9_000)
    [_, cut] = read(tmp_path, GOOD, long).ended
    assert (len(cut.reason), len(cut.output)) == (SHOWN_CHARS, SHOWN_CHARS)
    told = read(tmp_path, why_not="w" * 9_000)
    assert len(told.why_not) == SHOWN_CHARS
