"""The report of a run: everything that its directory tells, as one file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.plan import Plan
from core.wire import write_atomic
from engine.money.usage import Price
from engine.report.details import task_details
from engine.report.files import contents, run_files
from engine.report.model import (
    build_model,
    current_proofs,
    masked,
    read_plan_of,
    why_unproven,
)
from engine.report.outcome import render_outcome_html
from engine.report.page import render_page
from engine.report.timeline import Timeline
from engine.run.journal import read_journal
from engine.run.run_view import RunView
from engine.run.rundir import RunDir

Mask = Callable[[str], str]

_CONTENTS_CHARS = 2_000_000
_TRANSCRIPTS_CHARS = 3_000_000
_LEAST_CHARS, _MOST_CHARS = 2_500, 300_000
"""Of one task's transcripts."""


def read_timeline(run: RunDir, price: Price) -> Timeline:
    """Of a run that may be over, at work or crashed. Raises BundleError, OSError."""
    timeline = Timeline(RunView(price, run.run_id))
    timeline.read(run.run_id, read_journal(run.journal))
    return timeline


def write_report(run: RunDir, timeline: Timeline, mask: Mask, now: float, path: Path) -> None:
    """Raises OSError."""
    write_atomic(path, render_report(run, timeline, mask, now))


def write_final_report(
    run: RunDir, timeline: Timeline, mask: Mask, now: float, warn: Callable[[str], None]
) -> None:
    """At the end of a run, whose outcome never depends on it: what goes wrong is a warning."""
    try:
        if run.journal.exists():  # else the run directory was removed
            write_report(run, timeline, mask, now, run.report)
    except Exception as exc:  # noqa: BLE001 - the run is over, and its exit code stands
        warn(f"warning: The report could not be written: {exc}. Try `report {run.run_id}`.")


def render_report(run: RunDir, timeline: Timeline, mask: Mask, now: float) -> str:
    plan, run_view = read_plan_of(run), timeline.run_view
    files = run_files(run, run_view, plan, {}) if plan else []
    model = build_model(run, timeline, plan, files, now, is_live=False)
    model["details"] = all_details(run, timeline, plan)
    model["contents"] = dict(contents(files, _CONTENTS_CHARS))
    return render_page(masked(model, mask), outcome_of(run_view, plan, mask, run_view.state))


def outcome_of(run_view: RunView, plan: Plan | None, mask: Mask, state: str) -> str:
    proofs = current_proofs(run_view, plan)
    why = why_unproven(run_view)
    return render_outcome_html(run_view, proofs, mask, state=state, why_unproven=why)


def all_details(run: RunDir, timeline: Timeline, plan: Plan | None) -> dict[str, Any]:
    names = list(timeline.run_view.tasks)
    room = max(_LEAST_CHARS, min(_MOST_CHARS, _TRANSCRIPTS_CHARS // max(1, len(names))))
    return {name: details_of(run, timeline, plan, name, room) for name in names}


def details_of(
    run: RunDir, timeline: Timeline, plan: Plan | None, task: str, room: int = _MOST_CHARS
) -> dict[str, Any]:
    attempts = timeline.attempts.get(task, {}).values()
    return task_details(run, timeline.run_view.run_id, plan, task, attempts, room)
