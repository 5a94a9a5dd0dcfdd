"""Plan files: what cannot be read or written is refused with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import PlanInvalid, UsageError
from core.plan import render_plan
from engine.planning.plan_file import read_plan
from tests.fakes.plans import fan


def test_a_plan_file_that_cannot_be_read_or_run_is_a_usage_error(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    with pytest.raises(UsageError, match=r"plan\.json cannot be read"):
        read_plan(path)
    path.write_bytes(b"\xff")
    with pytest.raises(UsageError, match=r"plan\.json cannot be read"):
        read_plan(path)
    path.write_text("{}")
    with pytest.raises(PlanInvalid, match=r"plan\.json is not a plan"):
        read_plan(path)
    path.write_text(render_plan(fan(2)))
    assert read_plan(path) == fan(2)
