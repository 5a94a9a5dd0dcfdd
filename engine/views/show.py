"""`show`: a run, or one task of it, for reading."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from core.bundle import AttemptDir, Request, read_request
from core.errors import BundleError, UsageError
from core.events import CheckEnded, Event, JobEnded, JobIntended, Proof, RepairEnded
from core.job import JobKey, Outcome
from core.plan import Plan, Task, parse_plan
from core.workspace.confined import ConfinedTree
from engine.money.usage import Price, cost_text, dollars
from engine.run.journal import read_journal
from engine.run.plan_event import repair_name
from engine.run.run_view import RunView, replay
from engine.run.rundir import RunDir, is_locked
from engine.run.task_view import TaskPhase, TaskView
from engine.views.format import (
    NO_REASON,
    clean,
    duration,
    plural,
    printable_lines,
    short_count,
    wrapped,
)
from engine.views.plan import render_plan_view
from engine.views.summary import next_look, render_summary
from engine.views.table import Column, render_table
from engine.views.transcript import TranscriptView

_LABEL = 12


@dataclass(frozen=True, slots=True)
class ShownRun:
    """A run as its files tell of it; `plan` is None where there is none, or none that is whole."""

    run: RunDir
    events: Sequence[Event]
    run_view: RunView
    plan: Plan | None

    @classmethod
    def read(cls, run: RunDir, price: Price) -> "ShownRun":
        """Raises BundleError, OSError, PlanInvalid."""
        events, plan = read_journal(run.journal), None
        if run.plan.exists():
            plan = parse_plan(run.plan.read_text(encoding="utf-8"), str(run.plan))
        run_view = replay(run.run_id, events, price)
        # which may have been moved since
        run_view.header = replace(run_view.header, run_dir=str(run.root))
        return cls(run, events, run_view, plan)


def find_attempt(run_view: RunView, name: str) -> tuple[TaskView, int]:
    """The task of that name, and the attempt: its last, or that of task/attempt. Raises
    UsageError."""
    wanted, _, number = name.partition("/")
    if (task := run_view.tasks.get(wanted)) is None:
        known = ", ".join(clean(known) for known in run_view.tasks) or "none yet"
        raise UsageError(f"Run {run_view.run_id} has no task {wanted!r}.", f"Its tasks: {known}.")
    last = max(1, run_view.jobs.attempts.get(wanted, task.attempt))
    if number and not (number.isdecimal() and 1 <= int(number) <= last):
        raise UsageError(f"The task {wanted!r} has no attempt {number!r}.", f"Give 1 to {last}.")
    return task, int(number or last)


def render_run(shown: ShownRun, width: int, *, verbose: bool = False) -> str:
    """The run's tasks and its summary; `verbose` also its plan."""
    run_view, now = shown.run_view, ""
    if is_locked(shown.run):
        watch = shown.run.command("logs", "TASK", "--follow")
        now = f"This run is at work now; `{watch}` follows a task.\n"
    lines = [clean(run_view.header.prompt, 2_000), ""]
    if shown.plan is not None and verbose:
        lines += [render_plan_view(shown.plan)]
    columns = (
        Column("task"),
        Column("state"),
        Column("tries", right=True, shown=width >= 72),
        Column("time", right=True),
        Column("tokens", right=True),
        Column("cost", right=True),
        Column("after", shown=width >= 100),
        Column("", flexible=True),
    )
    rows = [_row(task) for task in (run_view.planning, *run_view.tasks.values())]
    rows[0] = ("planning", "", "", duration(run_view.planning_s), *rows[0][4:6], "", "")
    table = render_table(columns, rows, width)
    summary = render_summary(run_view, min(width, 100))
    return "\n".join([*lines, table, now + summary]) + f"{next_look(run_view, 'TASK')}\n"


def standing(run_view: RunView, task: TaskView) -> str:
    """Why nobody works on the task; empty where somebody does, or it is done."""
    if task.phase in (TaskPhase.RUNNING, TaskPhase.SUCCEEDED):
        return ""
    if task.phase is not TaskPhase.WAITING:
        return clean(task.pending.why if task.pending else task.message, 500)
    before = (run_view.tasks[name] for name in task.depends_on if name in run_view.tasks)
    open_ones = [other for other in before if other.phase is not TaskPhase.SUCCEEDED]
    named = (f"{clean(other.id)} ({other.phase})" for other in open_ones)
    return f"waits for {', '.join(named) if open_ones else 'a free executor'}"


def _row(task: TaskView) -> tuple[str, ...]:
    spend, ended_well = task.spend, task.phase is TaskPhase.SUCCEEDED
    return (
        clean(task.id, 32),
        str(task.phase),
        str(task.attempt or ""),
        duration(task.busy_s) if task.busy_s else "",
        short_count(spend.total_tokens) if spend.requests else "",
        dollars(spend.cost_usd) if spend.requests else "",
        clean(", ".join(task.depends_on), 30),
        clean(task.title if ended_well or not task.message else task.message),
    )


def render_task(shown: ShownRun, name: str, width: int, *, verbose: bool = False) -> str:
    """A task's request, transcript, files and result. Raises UsageError."""
    task, number = find_attempt(shown.run_view, name)
    attempt = shown.run.attempt(JobKey(shown.run.run_id, task.id, number))
    request = _request(attempt)
    planned = next((t for t in shown.plan.tasks if t.id == task.id), None) if shown.plan else None
    definition = request.task if isinstance(request, Request) else planned
    lines = [f"{clean(task.id)}: {clean(task.title)}"]
    lines += _facts(shown, task, number, definition, width)
    lines += ["", "Request", *_asked(request, definition, width)]
    lines += ["", f"Transcript of attempt {number}"]
    try:
        lines += TranscriptView(attempt, None if verbose else 12, width).lines()
    except OSError:
        lines.append("  There is none: the work has not begun, or its place cannot be reached yet.")
    lines += ["", "Files", *_files(attempt), *_repaired(shown, task, width)]
    lines += ["", "Result", *_result(shown, task, number, width), "", "Where", *_places(attempt)]
    return "\n".join(lines) + "\n"


def _request(attempt: AttemptDir) -> Request | str:
    """Or why there is none."""
    try:
        return read_request(attempt)
    except BundleError as exc:
        return exc.message if attempt.task_json.exists() else ""


def _labelled(label: str, text: str, width: int) -> list[str]:
    return wrapped(text, f"  {label:{_LABEL - 2}}", _LABEL, cut=False, width=width) if text else []


def _facts(
    shown: ShownRun, task: TaskView, number: int, definition: Task | None, width: int
) -> Iterator[str]:
    header = shown.run_view.header
    yield from _labelled("run", clean(shown.run.run_id), width)
    attempts = f", attempt {number} of {max(number, task.attempt)}" if task.attempt else ""
    after = f" after {duration(task.busy_s)}{attempts}" if task.attempt else ""
    yield from _labelled("state", f"{task.phase}{after}", width)
    if not task.attempt or not task.phase.final:
        yield from _labelled("reason", standing(shown.run_view, task), width)
    if (spend := task.spend).requests:
        cost = cost_text(spend, header.simulated)
        tokens = f"{spend.total_tokens:,} tokens in {plural(spend.requests, 'request')}"
        yield from _labelled("used", f"{tokens}, {cost}", width)
    yield from _labelled("after", ", ".join(map(clean, task.depends_on)), width)
    if definition is not None:
        yield from _labelled("writes", ", ".join(map(clean, definition.owns)), width)
        yield from _labelled("uses", ", ".join(map(clean, definition.uses)), width)
    for text in _attempts(shown, task):
        yield from _labelled("attempt", text, width)


def _attempts(shown: ShownRun, task: TaskView) -> Iterator[str]:
    """Where there was more than one: how each ended."""
    told = [e for e in shown.events if e.task == task.id]
    begun = {e.attempt for e in told if isinstance(e.data, JobIntended)}
    ends = {e.attempt: e.data for e in told if isinstance(e.data, JobEnded)}
    for number in sorted(begun) if len(begun) > 1 else ():
        if (end := ends.get(number)) is None:
            yield f"{number}  under way"
        else:
            well = end.cause == Outcome.OK
            why = "" if well else f": {clean(end.message, 400) or NO_REASON}"
            took = f" after {duration(end.duration_s)}" if end.duration_s else ""
            yield f"{number}  {'done' if well else clean(end.cause)}{took}{why}"


def _asked(request: Request | str, task: Task | None, width: int) -> Iterator[str]:
    if isinstance(request, str) and request:
        yield from wrapped(clean(request, 400), "  ", 2, width=width)
    if task is None:
        return
    for line in printable_lines(task.instructions.strip()):
        yield from wrapped(line, "  ", 2, width=width) or [""]
    for check in task.checks:
        yield from _labelled("check", clean(check, 400), width)
    if isinstance(request, Request) and request.previous_failure:
        yield from _labelled("before", clean(request.previous_failure, 2_000), width)


def _files(attempt: AttemptDir) -> Iterator[str]:
    if not attempt.files.is_dir():
        yield "  none"
        return
    scan = ConfinedTree(attempt.files).scan(limit=10_000)
    for path, size in scan.files:
        yield f"  {size:>9,} bytes  {clean(path, 400)}"


def _repaired(shown: ShownRun, task: TaskView, width: int) -> Iterator[str]:
    """What repairs have made of the task's files since."""
    kept = [e.data for e in shown.events if isinstance(e.data, RepairEnded) and not e.data.rejected]
    for repair in kept:
        paths = [clean(path, 400) for path, owner in repair.changed if owner == task.id]
        if paths:
            name = repair_name(repair.round)
            yield from _labelled("changed", f"later, by {name}: {', '.join(paths)}", width)
            yield f"  {'explain':{_LABEL - 2}}{shown.run.command('show', name)}"


def _result(shown: ShownRun, task: TaskView, number: int, width: int) -> Iterator[str]:
    told = (e for e in shown.events if e.task == task.id and e.attempt == number)
    ended = [e.data for e in told if isinstance(e.data, JobEnded)]
    if not ended:
        yield "  none yet"
    for end in ended[-1:]:
        for line in printable_lines(f"{end.cause}: {end.message}".strip()):
            yield from wrapped(line, "  ", 4, width=width) or [""]
    for check in shown.run_view.proof.checks:
        if task.id in check.tasks:
            yield from _check(check, width)


def _check(check: CheckEnded, width: int) -> Iterator[str]:
    why = f": {clean(check.reason)}" if check.reason else ""
    yield from _labelled("check", f"{check.state}{why}: {clean(check.command, 400)}", width)
    if check.state is not Proof.PASSED:
        yield from (f"    {line}" for line in printable_lines(check.output.strip())[-20:])


def _places(attempt: AttemptDir) -> Iterator[str]:
    named = (
        ("request", attempt.task_json),
        ("files", attempt.files),
        ("transcript", attempt.transcript),
        ("log", attempt.log),
    )
    for label, path in named:
        if path.exists():
            yield f"  {label:{_LABEL - 2}} {clean(path, 4_096)}"
