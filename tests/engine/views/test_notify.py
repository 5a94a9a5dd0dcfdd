"""--notify: what the command gets, and that nothing it does fails the run."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.events import Kind
from engine.views.notify import describe_end, notify
from tests.engine.run.test_run_view import Story, usage


def ended() -> Story:
    story = Story().start(run="r1", run_dir="/w/runs/r1", target="/out")
    story.plan(("a", [], 1), ("b", [], 1)).begin("a").end("a", usage=[usage(1000, 100)]).finish("a")
    return story.tell(Kind.RUN_ENDED, exit_code=1, outcome="finished with problems", message="M")


def test_the_command_gets_the_outcome_in_its_environment(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    warnings: list[str] = []
    command = 'echo "$RUN_OUTCOME, $RUN_TASKS_DONE of $RUN_TASKS, $OTHER"'
    environ = {"PATH": "/usr/bin:/bin", "OTHER": "mine"}
    notify(command, ended().run_view, environ, warnings.append)
    printed = capfd.readouterr()
    assert printed.err == "finished with problems, 1 of 2, mine\n"
    assert printed.out == ""  # which may be read as JSON
    assert warnings == []


def test_all_that_is_told() -> None:
    assert describe_end(ended().run_view) == {
        "RUN_ID": "r1",
        "RUN_OUTCOME": "finished with problems",
        "RUN_EXIT_CODE": "1",
        "RUN_SUMMARY": "Run r1: finished with problems, 1 of 2 tasks",
        "RUN_REASON": "M",
        "RUN_TITLE": "P",
        "RUN_TARGET": "/out",
        "RUN_DIR": "/w/runs/r1",
        "RUN_TASKS": "2",
        "RUN_TASKS_DONE": "1",
        "RUN_COST_USD": "1.1000",
        "RUN_SIMULATED": "false",
    }


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("exit 3", "exit code 3"),
        ("/no/such/command", "exit code 127"),
        ("exec sleep 60", "took longer than 0.2 s"),
        ("echo \0", "null byte"),
    ],
)
def test_a_command_that_fails_is_a_warning_alone(command: str, words: str) -> None:
    warnings: list[str] = []
    notify(command, ended().run_view, {"PATH": "/usr/bin:/bin"}, warnings.append, limit_s=0.2)
    (warning,) = warnings
    assert warning.startswith("warning: --notify ")
    assert words in warning


def test_texts_of_a_model_are_clean_and_never_run(capfd: pytest.CaptureFixture[str]) -> None:
    story, evil = ended(), "$(echo ran) \x1b[2J `echo ran`\nnext"
    story.tell(Kind.PLAN_READY, title=evil, tasks=[["a", "A", [], 1]])
    notify('echo "$RUN_TITLE"', story.run_view, {"PATH": "/usr/bin:/bin"}, lambda _: None)
    assert capfd.readouterr().err == "$(echo ran) `echo ran` next\n"
