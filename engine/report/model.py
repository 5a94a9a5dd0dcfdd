"""A run as plain JSON for the page: from the Timeline and the run directory, and nothing else.

What is long is not in it: the parts of tasks and files that a page asks for on a click are in
engine.report.details.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from math import isfinite
from typing import Any

from core.errors import OrchestratorError
from core.events import CheckEnded, CriterionProof, Proof
from core.job import JobKey
from core.plan import Plan, parse_plan
from core.workspace.confined import read_regular
from engine.delivery.merge import MergedFile
from engine.money.usage import Spend
from engine.report.comparison import compare, forecast_rows
from engine.report.timeline import Span, Timeline
from engine.run.run_view import RunView
from engine.run.rundir import RunDir
from engine.run.task_view import TaskPhase, TaskView
from engine.views.format import models_text
from engine.views.summary import pace_of

_LONGEST_PLAN_BYTES = 64 * 1024 * 1024

Json = dict[str, Any]


def build_model(
    run: RunDir,
    timeline: Timeline,
    plan: Plan | None,
    files: Iterable[MergedFile],
    now: float,
    *,
    is_live: bool,
) -> Json:
    """`now` is Unix time; `is_live` where a process works on the run."""
    run_view, critical = timeline.run_view, set(timeline.run_view.tasks.critical_path())
    verified = run_view.proof.verified
    return {
        "run": _run(run, run_view, is_live=is_live),
        "now": run_view.wall_s(now if is_live else None),
        "sessions": timeline.sessions,
        "slots": max((int(s.lane) for s in timeline.spans if s.lane.isdigit()), default=0),
        "spans": [_span(span) for span in timeline.spans],
        "tasks": [_task(run, task, timeline, critical) for task in run_view.tasks.values()],
        "planning": _spend(run_view.planning.spend),
        "left_out": _spend(_left_out(run_view)),
        "total": _spend(run_view.spend()),
        "checks": [_check(check) for check in run_view.proof.checks],
        "proof": {"sandbox": verified.sandbox if verified else ""},
        "criteria": [_criterion(proof) for proof in current_proofs(run_view, plan)],
        "forecast": forecast_rows(run_view),
        "comparison": compare(run_view),
        "files": [_file(file) for file in files],
        "delivered": run_view.delivered_files is not None,
        "notices": [{"at": at, "text": text} for at, text in timeline.notices],
    }


def read_plan_of(run: RunDir) -> Plan | None:
    """The run's plan; None before there is one, or where its file cannot be read."""
    try:
        text = read_regular(run.plan, _LONGEST_PLAN_BYTES).decode()
        return parse_plan(text, str(run.plan))
    except (OSError, ValueError, OrchestratorError):
        return None


def _run(run: RunDir, run_view: RunView, *, is_live: bool) -> Json:
    return {
        "id": run_view.run_id,
        "dir": str(run.root),
        "title": run_view.title,
        "state": "running" if is_live and run_view.ended is None else run_view.state,
        "pace": pace_of(run_view),
        "backends": run_view.backends,
        "models": models_text(run_view.header),
        "executors": run_view.header.max_executors,
        "work_s": run_view.tasks.work_s(),
        "critical_s": run_view.tasks.critical_path_s(),
    }


def _span(span: Span) -> Json:
    found = asdict(span)
    return {name: _rounded(value) for name, value in found.items() if value not in ("", None, 0)}


def _rounded(value: Any) -> Any:
    return round(value, 3) if isinstance(value, float) else value


def _task(run: RunDir, task: TaskView, timeline: Timeline, critical: set[str]) -> Json:
    phase = task.phase
    if phase is TaskPhase.QUEUED and _is_claimed(run, timeline.run_view, task):
        phase = TaskPhase.RUNNING  # the journal does not keep when it began
    return {
        "id": task.id,
        "title": task.title,
        "after": list(task.depends_on),
        "estimate": task.estimate,
        "phase": str(phase),
        "attempts": len(timeline.attempts.get(task.id, ())) or task.attempt,
        "busy_s": round(task.busy_s, 3),
        "files": task.files,
        "message": task.message,
        "activity": task.activity,
        "critical": task.id in critical,
        "added": task.id in timeline.run_view.tasks.added,
        "spend": _spend(task.spend),
    }


def _is_claimed(run: RunDir, run_view: RunView, task: TaskView) -> bool:
    try:
        return run.attempt(JobKey(run_view.run_id, task.id, task.attempt)).claim.exists()
    except (OSError, ValueError):  # a name that no path can have
        return False


def _spend(spend: Spend) -> Json:
    return {
        "requests": spend.requests,
        "in": spend.input_tokens,
        "out": spend.output_tokens,
        "read": spend.cache_read_tokens,
        "written": spend.cache_write_tokens,
        "cost": round(spend.cost_usd, 6),
        "unpriced": spend.unpriced,
        "saved": round(spend.saved_usd, 6),
    }


def _left_out(run_view: RunView) -> Spend:
    """Of tasks that the plan has no longer."""
    named = sum((task.spend for task in run_view.tasks.values()), Spend())
    every = run_view.task_spend()
    return Spend(*(getattr(every, name) - getattr(named, name) for name in Spend.__slots__))


def _check(check: CheckEnded) -> Json:
    return {
        "phase": check.phase,
        "command": check.command,
        "tasks": list(check.tasks),
        "state": str(check.state),
        "reason": check.reason,
        "seconds": round(check.seconds, 3),
        "output": check.output,
    }


def why_unproven(run_view: RunView) -> str:
    """Why no check was run; empty where they were, or are run now."""
    if run_view.proof.verified is not None:
        return run_view.proof.verified.why_not
    if run_view.proof.checks:
        return ""
    return "nothing was verified" if run_view.delivered_files else "there is no project yet"


def current_proofs(run_view: RunView, plan: Plan | None) -> tuple[CriterionProof, ...]:
    """The acceptance criteria as they were proved; before that as planned."""
    if run_view.proof.verified is not None and run_view.proof.verified.criteria:
        return run_view.proof.verified.criteria
    reason = why_unproven(run_view) or "it is being checked"
    planned = plan.acceptance_criteria if plan else ()
    return tuple(
        CriterionProof(each.text, each.served_by, each.command, Proof.NOT_PROVEN, reason)
        for each in planned
    )


def _criterion(proof: CriterionProof) -> Json:
    return {
        "text": proof.text,
        "tasks": list(proof.served_by),
        "command": proof.command,
        "state": str(proof.state),
        "reason": proof.reason,
    }


def _file(file: MergedFile) -> Json:
    return {"path": file.path, "owner": file.owner, "size": file.entry.size}


def masked(value: Any, mask: Callable[[str], str]) -> Any:
    """`value` as JSON, every text in it masked; a damaged number is none."""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, dict):
        return {mask(key): masked(inner, mask) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [masked(inner, mask) for inner in value]
    if isinstance(value, float) and not isfinite(value):
        return None
    return value
