"""A journal whose lines can be read but contradict each other is damaged, and no defect of ours."""

from __future__ import annotations

import pytest

from core.errors import BundleError
from core.events import Event, PlannedTask, PlanReady
from engine.run.run_view import replay


def test_a_plan_that_goes_in_a_circle_is_named_as_damage() -> None:
    tasks = (PlannedTask("a", "A", ("b",), 1), PlannedTask("b", "B", ("a",), 1))
    with pytest.raises(BundleError, match="r1 contradicts itself"):
        replay("r1", [Event(PlanReady("T", tasks), 0.0)])
