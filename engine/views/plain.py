"""The views that print and never redraw: plain lines, JSON lines, and nothing."""

import json
import sys
from collections.abc import Iterator
from typing import TextIO

from core.clock import Clock
from core.events import (
    CheckBegun,
    CheckEnded,
    Delivered,
    Event,
    Forecast,
    JobIntended,
    JobStateChanged,
    Notice,
    PlanReady,
    Progress,
    Proof,
    QueueWaits,
    RepairBegun,
    RepairEnded,
    RunEnded,
    RunStarted,
    TaskEnded,
    TaskRetry,
    Verified,
    encode_event,
)
from core.job import JobState, TaskState
from engine.money.usage import Price, cost_text
from engine.run.run_view import RunView
from engine.run.task_view import TaskPhase, TaskView
from engine.views.console import SafeStream
from engine.views.delivered import delivered_text, delivered_to
from engine.views.format import (
    NO_REASON,
    clean,
    duration,
    models_text,
    pace_text,
    plural,
    proof_text,
    queue_text,
    repair_text,
    silence_text,
    simulation_lines,
    suspicion_text,
)
from engine.views.plan import comparison_line, forecast_line, past_line, planning_line
from engine.views.types import View


class Quiet(View):
    """Shows nothing."""

    def emit(self, event: Event) -> None:
        return


class JsonLines(View):
    """Each event as one line of JSON, also those of earlier sessions."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = SafeStream(stream)

    def question_stream(self) -> TextIO:
        return sys.stderr

    def emit(self, event: Event) -> None:
        line = encode_event(event)
        if self._stream.encoding.lower().replace("-", "") != "utf8":
            line = json.dumps(json.loads(line))  # the same value, in ASCII
        self._stream.write(line + "\n")
        self._stream.flush()


class PlainLines(View):
    """One short line an event, for logs and pipes. Events of earlier sessions count, unshown."""

    def __init__(
        self, stream: TextIO | None, price: Price, clock: Clock, *, verbose: bool = False
    ) -> None:
        self._stream = SafeStream(stream)
        self._run_view = RunView(price)
        self._verbose = verbose
        self._since = clock.time()
        self._silence_told_s = 0.0

    def emit(self, event: Event) -> None:
        run_view = self._run_view
        still_queued = _is_still_queued(event, run_view)
        run_view.apply(event)
        if still_queued or event.at < self._since:
            return
        text = f"{self._silence(event.at)}\n{_line(event, run_view, self._verbose)}"
        if lines := text.strip().splitlines():
            label = "simulated " if run_view.header.simulated else ""
            mark = f"[{label}{duration(run_view.wall_s(event.at))}]"
            self._stream.write("".join(f"{mark} {line}\n" for line in lines))
            self._stream.flush()

    def _silence(self, now: float) -> str:
        """That nothing moves, when that is news; it goes on by events of tasks that are silent."""
        silent_s, told_s = self._run_view.silent_s(now), self._silence_told_s
        if silent_s and silent_s < 1.5 * told_s:  # it is told as a whole second at best
            return ""
        self._silence_told_s = silent_s
        return f"note: {silence_text(silent_s)}" if silent_s else ""


def _is_still_queued(event: Event, run_view: RunView) -> bool:
    """Whether a job goes on waiting, before the view has seen it: QUEUE reports those together."""
    task, data = run_view.tasks.get(event.task), event.data
    if not isinstance(data, JobStateChanged) or task is None:
        return False
    waits = data.state in (JobState.QUEUED, JobState.UNKNOWN)
    return waits and task.phase is TaskPhase.QUEUED


def _line(event: Event, run_view: RunView, verbose: bool) -> str:
    """What to print of an event that the run view has seen; empty for nothing."""
    task = clean(event.task)
    match event.data:
        case RunStarted() as data:
            return "\n".join(_begun(data, run_view))
        case PlanReady():
            plan = (
                f"plan: {clean(run_view.title)}, {plural(run_view.tasks.done_of_plan()[1], 'task')}"
            )
            notices = simulation_lines(run_view.title, "") if run_view.header.simulated else []
            return "\n".join([plan, *notices])
        case Forecast() as data:
            past = past_line(data.past) if data.past else ""
            lines = [f"forecast: {forecast_line(data)}", comparison_line(data), past]
            return "\n".join(filter(None, lines))
        case JobIntended():
            return f"{task}: started" + (f", attempt {event.attempt}" if event.attempt > 1 else "")
        case TaskRetry(_, delay_s, message):
            return f"{task}: {clean(message) or NO_REASON}; trying again in {delay_s:.1f} s"
        case TaskEnded(TaskState.CANCELLED):
            return ""  # the run's end covers all of them
        case TaskEnded():
            return _ended(run_view, run_view.tasks[event.task])
        case Notice(text):
            return f"note: {clean(text, 2_000)}"  # with a command at its end
        case Delivered():
            return _delivered(run_view)
        case CheckBegun(command, number, total) if verbose or number == 1:
            return f"checks: {number} of {total}: {clean(command, 400)}"
        case CheckEnded(state=Proof.FAILED, command=command, reason=reason):
            return f"checks: failed, {clean(reason)}: {clean(command, 400)}"
        case Verified(why_not="") as data:
            return f"checks: {proof_text(run_view.proof.checks, data)}"
        case RepairBegun() as data:
            return suspicion_text(data)
        case RepairEnded() as data:
            return f"repair: {repair_text(data)}"
        case RunEnded(outcome=outcome):
            spend = run_view.spend()
            cost = cost_text(spend, run_view.header.simulated)
            return f"ended: {clean(outcome)}; {spend.total_tokens:,} tokens, {cost}"
        case Progress(text) if text and (verbose or not event.task):
            return f"{task or 'planning'}: {clean(text)}"
        case JobStateChanged(state, _, message) if verbose:
            detail = f": {clean(message)}" if message else ""
            return f"{task}: {clean(state)}{detail}"
        case QueueWaits(waits):
            return f"queue: {queue_text(waits)}"
        case _:
            return ""


def _started(run_view: RunView) -> str:
    header = run_view.header
    pace = pace_text(header.speed, simulated=header.simulated)
    return (
        f"run {clean(header.run)} {'resumed' if header.resumed else 'started'}:"
        f" {models_text(header)}, backend {clean(header.backend)},"
        f" up to {plural(header.max_executors, 'executor')}"
        f"{', ' if pace else ''}{pace}"
    )


def _begun(data: RunStarted, run_view: RunView) -> Iterator[str]:
    yield _started(run_view)
    if data.simulated:
        yield from simulation_lines("", data.prompt, existing=data.existing)
    if data.planning:
        yield planning_line(data.planning, (data.speed or 0.0) if data.simulated else None)


def _ended(run_view: RunView, task: TaskView) -> str:
    made = f"{plural(task.files, 'file')} in {duration(task.busy_s)}"
    detail = made if task.phase is TaskPhase.SUCCEEDED else clean(task.message)
    done = run_view.tasks.counts[TaskPhase.SUCCEEDED]
    return f"{clean(task.id)}: {task.phase} ({done}/{len(run_view.tasks)}) {detail}".rstrip()


def _delivered(run_view: RunView) -> str:
    conflicts = f", {len(run_view.conflicts)} in conflict" if run_view.conflicts else ""
    files = delivered_text(run_view) or "no file"
    return f"delivered {files} to {delivered_to(run_view)}{conflicts}"
