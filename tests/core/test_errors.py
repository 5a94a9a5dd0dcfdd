"""The tree of errors: what each shows, and the exit code it stands for."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from core import errors
from core.errors import (
    CollectError,
    ModelUnavailable,
    OrchestratorError,
    PlanInvalid,
    PreflightFailed,
    Problem,
    RateLimited,
    SubmitError,
    UsageError,
    refuse_if,
)


def everything_below(kind: type[OrchestratorError]) -> Iterator[type[OrchestratorError]]:
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from everything_below(child)


TREE = sorted(everything_below(OrchestratorError), key=lambda kind: kind.__name__)


def test_an_error_shows_its_message_and_then_the_remedy() -> None:
    error = OrchestratorError("It broke on 'x'.", "Mend x.")
    assert (error.message, error.remedy) == ("It broke on 'x'.", "Mend x.")
    assert str(error) == "It broke on 'x'. Mend x."
    assert str(OrchestratorError("Alone.")) == "Alone."


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_every_error_is_in_the_tree_that_opens_the_module(kind: type[OrchestratorError]) -> None:
    assert re.search(rf"\b{kind.__name__}\b", errors.__doc__ or "")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        *(("UsageError", 2), ("SettingsError", 2), ("PlanInvalid", 2), ("TargetRefused", 2)),
        *(("RunNotFound", 2), ("RunLocked", 2), ("PreflightFailed", 3), ("PlanningFailed", 1)),
        *(("RunInterrupted", 130), ("Interrupted", 130), ("BackendError", 1)),
        *(("SubmitError", 1), ("MergeError", 1), ("BundleError", 1), ("WorkspaceError", 1)),
        *(("CredentialsRefused", 4), ("BillingRefused", 4), ("ModelUnknown", 3)),
        *(("RequestRejected", 1), ("RateLimited", 1), ("ConnectionLost", 1)),
    ],
)
def test_each_kind_has_the_exit_code_of_the_command_line(name: str, code: int) -> None:
    assert getattr(errors, name).exit_code == code


def test_an_invalid_plan_lists_its_defects() -> None:
    error = PlanInvalid("plan.json breaks the rules:", ["one", "two"], "Edit it.")
    assert isinstance(error, UsageError)
    assert error.defects == ("one", "two")
    assert str(error) == "plan.json breaks the rules:\n  - one\n  - two Edit it."


def test_a_failed_preflight_lists_problems_with_their_fixes() -> None:
    problems = [Problem("No key.", "Set one."), Problem("No queue.", "Name one.")]
    error = PreflightFailed(problems)
    assert error.problems == tuple(problems)
    refuse_if([])
    with pytest.raises(PreflightFailed, match="No queue"):
        refuse_if(problems)
    assert error.message.splitlines() == [
        "No key.",
        "  fix: Set one.",
        "No queue.",
        "  fix: Name one.",
    ]


def test_what_may_be_tried_again_says_so() -> None:
    assert SubmitError("x").retryable
    assert not SubmitError("x", retryable=False).retryable
    assert not CollectError("x").retryable
    assert CollectError("x", retryable=True).retryable


def test_a_transient_error_carries_what_the_server_asked_for() -> None:
    assert RateLimited("x", retry_after_s=7.5).retry_after_s == 7.5
    assert ModelUnavailable("x").retry_after_s is None
