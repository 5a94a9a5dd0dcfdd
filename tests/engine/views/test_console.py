"""What goes to standard error besides messages."""

from __future__ import annotations

import logging

import pytest

from engine.views.console import is_shown, print_error, print_warnings


@pytest.mark.parametrize(
    ("name", "level", "shown"),
    [
        ("engine.scheduling.scheduler", logging.DEBUG, True),
        ("executor_agent", logging.DEBUG, True),
        ("botocore.auth", logging.DEBUG, False),  # it logs session tokens there
        ("anthropic._base_client", logging.INFO, False),
        ("httpx2", logging.WARNING, True),
        ("engineering", logging.DEBUG, False),
    ],
)
def test_of_libraries_only_warnings_are_shown(name: str, level: int, shown: bool) -> None:
    record = logging.makeLogRecord({"name": name, "levelno": level})
    assert is_shown(record) is shown


def test_each_warning_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_warnings(["one", "two"])
    assert capsys.readouterr().err == "warning: one\nwarning: two\n"


@pytest.mark.parametrize(
    ("error", "told", "code"),
    [
        (OSError(36, "File name too long", "/x"), "/x cannot be used: File name too long.", 3),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device.", 3),
        (ModuleNotFoundError("x", name="boto3"), "The package boto3 is not installed for /", 3),
        (ModuleNotFoundError("x", name="core.x"), "Internal error: ModuleNotFoundError: x", 1),
        (ZeroDivisionError("x"), "Internal error: ZeroDivisionError: x", 1),
    ],
)
def test_what_the_system_refuses_is_no_defect_of_the_program(
    error: Exception, told: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert print_error(error, debug=False) == code
    first, remedy = capsys.readouterr().err.splitlines()
    assert first.startswith(f"error: {told}")
    assert remedy.startswith("  ")


def test_an_interrupt_that_python_hands_on_as_a_cause_is_told_as_that(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Interrupting:
        def __set_name__(self, owner: type, name: str) -> None:
            raise KeyboardInterrupt

    with pytest.raises((RuntimeError, KeyboardInterrupt)) as caught:  # the first until Python 3.12
        type("Body", (), {"field": Interrupting()})
    assert isinstance(caught.value, Exception | KeyboardInterrupt)
    assert print_error(caught.value, debug=False) == 130
    assert capsys.readouterr().err == "Interrupted.\n"
