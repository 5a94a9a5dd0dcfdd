"""What travels to a planner elsewhere (core.worker.planning), and the error that comes back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from core.bundle import Limits, ModelSettings, SimulationSettings
from core.errors import (
    BillingRefused,
    BudgetExceeded,
    BundleError,
    CredentialsRefused,
    ModelUnknown,
    OrchestratorError,
    PlanningFailed,
    RequestRejected,
)
from core.wire import decode, encode
from core.worker.planning import PlanningDir, PlanningFailure, PlanningRequest, read_planning

REQUEST = PlanningRequest(
    "Build “it”", ModelSettings(simulation=SimulationSettings(7, 0.0, "bad_plan=1")), Limits()
)


@pytest.fixture
def place(tmp_path: Path) -> PlanningDir:
    found = PlanningDir(tmp_path)
    found.request.mkdir()
    return found


def test_a_request_arrives_as_it_was_sent(place: PlanningDir) -> None:
    place.planning_json.write_text(encode(REQUEST), encoding="utf-8")
    assert read_planning(place) == REQUEST


@pytest.mark.parametrize("text", ["", "{", "[]", '{"prompt": 1}'])
def test_a_damaged_request_is_refused(place: PlanningDir, text: str) -> None:
    place.planning_json.write_text(text)
    with pytest.raises(BundleError, match=r"planning\.json"):
        read_planning(place)


def test_an_absent_request_is_refused(place: PlanningDir) -> None:
    with pytest.raises(BundleError, match="does not exist"):
        read_planning(place)


def test_a_request_of_another_wire_version_says_to_rebuild(place: PlanningDir) -> None:
    text = encode(replace(REQUEST, version=99))
    place.planning_json.write_text(text, encoding="utf-8")
    with pytest.raises(BundleError, match="wire version 99") as told:
        read_planning(place)
    assert "rebuild the worker's image" in told.value.remedy


@pytest.mark.parametrize(
    "kind",
    [BillingRefused, BudgetExceeded, CredentialsRefused, ModelUnknown, RequestRejected],
)
def test_an_error_keeps_its_kind_so_that_the_run_ends_with_its_exit_code(
    kind: type[OrchestratorError],
) -> None:
    failure = PlanningFailure(kind.__name__, "What failed.", "What to do.")
    error = decode(PlanningFailure, encode(failure), "here").error()
    assert type(error) is kind
    assert (error.message, error.remedy, error.exit_code) == (
        "What failed.",
        "What to do.",
        kind.exit_code,
    )


@pytest.mark.parametrize(
    "kind", ["PlanningFailed", "NoSuchError", "OrchestratorError", "Problem", "annotations", ""]
)
def test_a_kind_that_no_planner_raises_is_a_failed_planning(kind: str) -> None:
    assert type(PlanningFailure(kind, "m").error()) is PlanningFailed
