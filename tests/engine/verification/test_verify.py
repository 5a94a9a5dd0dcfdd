"""Verification of a small project, without a sandbox."""

from __future__ import annotations

import json
import os

import pytest

from core.checks import runner
from core.checks.runner import FLAKY
from core.checks.sandbox import Bare, Bubblewrap, Places, find_bubblewrap
from core.events import Proof
from engine.verification.verify import verify
from engine.views.format import proof_text
from tests.engine.verification.conftest import FILES, PASSES, Project, planned


def test_each_command_runs_once_and_is_told_with_its_tasks(project: Project) -> None:
    assert project.verify("python app.py | grep -q hello", "sh run.sh")
    assert [(c.command, c.tasks, c.state) for c in project.ended] == [
        ("python app.py | grep -q hello", ("a", "b"), Proof.PASSED),
        ("sh run.sh", ("a",), Proof.PASSED),
    ]


def test_a_check_that_fails_is_told_with_the_end_of_what_it_printed(project: Project) -> None:
    assert not project.verify("seq 1 9000; exit 3", PASSES)
    passed, failed = project.ended
    assert (failed.state, failed.reason, passed.state) == (
        Proof.FAILED,
        "exit code 3",
        Proof.PASSED,
    )
    assert failed.output.endswith("\n9000")
    assert len(failed.output) <= 4_000


def test_a_check_that_fails_once_and_passes_once_is_neither(project: Project) -> None:
    flaky = "rm mark || { touch mark; echo why; false; }"
    assert project.verify(flaky, PASSES, criteria=(flaky,))
    last = project.ended[-1]
    assert (last.command, last.state, last.reason) == (flaky, Proof.NOT_PROVEN, FLAKY)
    assert last.output.endswith("why")
    assert project.verified.criteria[0].reason == FLAKY


def test_a_check_that_took_long_is_not_run_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "AGAIN_S", 0.0)
    assert not project.verify("rm mark || { touch mark; false; }", PASSES)
    assert project.states == [Proof.FAILED, Proof.PASSED]


def test_criteria_take_the_result_of_their_command_or_are_not_proven(project: Project) -> None:
    assert not project.verify(PASSES, criteria=(PASSES, "false", ""))
    expected = [Proof.PASSED, Proof.FAILED, Proof.NOT_PROVEN]
    assert [proof.state for proof in project.verified.criteria] == expected
    stored = json.loads(project.session.run.acceptance.read_text())
    assert stored["version"] == 1
    assert [row["state"] for row in stored["criteria"]] == expected
    assert stored["criteria"][1] == {
        "criterion": "See false",
        "tasks": ["a"],
        "files": sorted(FILES),
        "command": "false",
        "seen": "exit code 1",
        "state": "failed",
    }
    assert project.states == [Proof.PASSED, Proof.FAILED]  # a command is run once


def test_nothing_is_left_behind_and_sources_stay_as_they_are(project: Project) -> None:
    assert project.verify("echo new > app.py; touch ~/mine; mkdir node_modules")
    run = project.session.run
    assert not run.verification.exists()
    assert (run.root.parent.parent.parent / "source/app.py").read_text() == FILES["app.py"]


def test_a_failed_installation_proves_nothing(project: Project) -> None:
    assert not project.verify(PASSES, install=("touch installed", "false"), network="none")
    assert project.states == [Proof.PASSED, Proof.FAILED, Proof.NOT_PROVEN]
    assert project.ended[-1].reason == "the installation failed: false"


def test_an_installation_that_lacks_a_registry_here_proves_nothing(project: Project) -> None:
    install, reason = (
        "echo npm error code ENOTFOUND; exit 1",
        "a package registry cannot be reached",
    )
    assert project.verify("true", install=(install,), network="npm")
    assert project.states == [Proof.NOT_PROVEN, Proof.NOT_PROVEN]
    assert all(end.reason.startswith(reason) for end in project.ended)


def test_checks_see_what_was_installed(project: Project) -> None:
    assert project.verify("test -e installed", install=("touch installed",))


def test_a_tool_that_is_not_here_leaves_all_unproven(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", os.defpath + ":/nowhere")
    assert project.verify("go test ./...", tools=("dotnet 9", "Elixir"))
    assert [(c.state, c.reason) for c in project.ended] == [
        (Proof.NOT_PROVEN, "no dotnet and no elixir here")
    ]


def test_a_failure_under_an_older_python_proves_nothing(project: Project) -> None:
    assert project.verify(PASSES, "false", tools=("Python 3.99",))
    assert project.states == [Proof.PASSED, Proof.NOT_PROVEN]
    assert project.ended[1].reason.startswith("python 3.99 is planned, 3.")


def test_commands_see_no_variable_of_the_user(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-planted")
    assert project.verify('test -z "$ANTHROPIC_API_KEY"', "! env | grep -q sk-planted")


def test_why_nothing_was_run_is_told(project: Project) -> None:
    plan = planned("false", criteria=("false",))
    assert not verify(project.session, plan, project.merged, "--no-verify").failed
    assert project.verified.why_not == "--no-verify"
    assert [proof.state for proof in project.verified.criteria] == [Proof.NOT_PROVEN]
    assert project.ended == []


def test_a_failure_is_not_forgotten_by_another_run_of_the_same_command(project: Project) -> None:
    assert not project.verify("false", install=("false",))
    assert project.states == [Proof.FAILED, Proof.NOT_PROVEN]


def test_an_empty_command_shows_nothing(project: Project) -> None:
    assert project.verify("", PASSES, " ", criteria=("", " "))
    assert [check.command for check in project.ended] == [PASSES]
    assert {proof.state for proof in project.verified.criteria} == {Proof.NOT_PROVEN}


def test_a_program_that_is_not_here_proves_nothing(project: Project) -> None:
    assert project.verify("no-such-program-here")
    assert project.ended[0].reason == "no-such-program-here is not here"
    assert not project.verify("./no-such-file-here")


@pytest.mark.parametrize(
    ("words", "is_used"),
    [
        ("", False),
        ("None needed.", False),
        ("No network is needed", False),
        ("not needed", False),
        ("n/a", False),
        ("npm install needs the registry", True),
    ],
)
def test_the_installation_has_the_network_only_where_a_step_is_named(
    project: Project, words: str, is_used: bool
) -> None:
    asked: list[bool] = []

    class Noting(Bare):
        def wrap(self, command: str, places: Places, *, network: bool) -> str:
            asked.append(network)
            return super().wrap(command, places, network=network)

    assert project.verify("true", install=("true",), network=words, sandbox=Noting())
    assert asked == [is_used, False]


def test_what_was_changed_after_its_delivery_is_not_proven(project: Project) -> None:
    merged = project.merged
    merged.files[0].source.write_text("other")
    assert not verify(project.session, planned(PASSES), merged, project.runner()).failed
    assert project.verified.why_not == "app.py was changed after its delivery"


def test_proof_of_an_earlier_session_does_not_stay(project: Project) -> None:
    plan = planned(PASSES, criteria=(PASSES,))
    verify(project.session, plan, project.merged, project.runner())
    verify(project.session, plan, project.merged, "--no-verify")
    assert "passed" not in project.session.run.acceptance.read_text()


def test_a_check_that_removes_its_project_fails_alone(project: Project) -> None:
    assert not project.verify('rm -rf "$PWD"; sleep 0.5; exit 3')
    assert project.ended[0].reason == "exit code 3"


@pytest.mark.bubblewrap
def test_a_project_is_started_where_it_has_a_network_of_its_own(project: Project) -> None:
    sandbox = find_bubblewrap([])
    assert isinstance(sandbox, Bubblewrap), sandbox
    assert not project.verify(PASSES, start="sh run.sh; exit 7", sandbox=sandbox)
    assert [(c.phase, c.state, c.reason, c.output) for c in project.ended] == [
        ("check", Proof.PASSED, "", ""),
        ("start", Proof.FAILED, "it ended with exit code 7", "ran"),
    ]


def test_a_project_is_not_started_unprotected(project: Project) -> None:
    assert project.verify(PASSES, start="exit 7")
    assert [c.phase for c in project.ended] == ["check"]


def test_the_tests_that_a_command_ran_are_counted_also_where_it_passed(project: Project) -> None:
    assert project.verify(r"printf 'Ran 12 tests in 0.1s\n\nOK (skipped=2)\n'")
    assert [check.tests for check in project.ended] == [10]


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("sh run.sh || true", "it cannot fail, whatever the project does"),
        ("python3 -m unittest discover", "it ran no test"),
        ("python3 -c 'assert 1'", "it cannot fail: it passes in an empty directory, too"),
        (PASSES, ""),
        ("python3 -m compileall .", ""),
    ],
)
def test_a_check_that_cannot_fail_proves_nothing(
    project: Project, command: str, reason: str
) -> None:
    assert project.verify(command, criteria=(command,))
    expected = Proof.NOT_PROVEN if reason else Proof.PASSED
    assert [(c.state, c.reason) for c in project.ended] == [(expected, reason)]
    assert [(p.state, p.reason) for p in project.verified.criteria] == [(expected, reason)]


@pytest.mark.parametrize(
    ("said", "state", "reason"),
    [
        ("nginx: the configuration file a syntax is ok", Proof.PASSED, ""),
        (
            '[emerg] 9#9: unknown directive "x" in a:1\nnginx: configuration file a test failed',
            Proof.FAILED,
            "exit code 1",
        ),
        (
            '[emerg] 9#9: host not found in upstream "api:8000" in a:3\n'
            "nginx: configuration file a test failed",
            Proof.NOT_PROVEN,
            "it names what is not here, such as a host or a certificate",
        ),
        ("", Proof.NOT_PROVEN, "nginx is not here"),
    ],
)
def test_a_configuration_of_nginx_is_tested_by_nginx_where_it_is(
    project: Project, said: str, state: Proof, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = project.session.run.root / "bin"
    place.mkdir()
    if said:
        text = f"#!/bin/sh\ntest -e $5 && printf '%s\\n' '{said}' >&2; exit 1\n"
        place.joinpath("nginx").write_text(text)
        place.joinpath("nginx").chmod(0o755)
    for name in ("cat", "env", "grep", "mktemp", "mkdir", "rm", "cp"):
        place.joinpath(name).symlink_to(f"/usr/bin/{name}")
    monkeypatch.setenv("PATH", str(place))
    project.write("nginx.conf", "events {}\nhttp { server { listen 80; } }\n")
    assert project.verify("true") == (state is not Proof.FAILED)
    (found,) = [e for e in project.ended if "nginx" in e.command]
    assert (found.state, found.reason) == (state, reason)


def test_a_file_that_describes_how_it_runs_is_a_check(project: Project) -> None:
    url = 'DATABASE_URL: "postgresql://app:app@db/\n        app"'
    service = f"services:\n  web:\n    image: b\n    environment:\n      {url}\n"
    project.write("compose.yaml", service)
    assert not project.verify(PASSES)
    _, config = project.ended
    assert (config.phase, config.command, config.tasks) == ("config", "compose.yaml", ("a",))
    assert config.reason.endswith("is a URL with a space inside")
    assert proof_text(project.ended, project.verified).startswith("1 of 2 passed, 1 failed")
