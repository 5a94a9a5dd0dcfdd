"""What goes to standard error besides messages."""

from __future__ import annotations

import logging

import pytest

from engine.views.console import is_shown, print_warnings


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
