"""What a person or a program sees of a run while it goes on: sinks of its events.

`make_view` chooses one: JSON lines, nothing, a live view on a terminal, or plain lines. All text
that comes from a model passes `clean` first. A reader that goes away never stops a run.
"""

from __future__ import annotations

import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol, Self, TextIO

from core.clock import Clock
from core.events import (
    Delivered,
    Event,
    Forecast,
    JobIntended,
    JobStateChanged,
    Notice,
    PlanReady,
    Progress,
    QueueWaits,
    RunEnded,
    RunStarted,
    TaskEnded,
    TaskRetry,
    encode_event,
)
from core.job import JobState, TaskState
from engine.money.usage import Price
from engine.run.run_view import RunView
from engine.run.task_view import TaskPhase, TaskView
from engine.views.console import SteadyStream
from engine.views.format import clean, cost_text, duration, plural, queue_text
from engine.views.plan import forecast_line


class View(ABC):
    """A sink that shows events; a context manager, so that a terminal is handed back."""

    @abstractmethod
    def emit(self, event: Event) -> None: ...

    def close(self) -> None:
        """Stop showing. Idempotent."""
        return

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Leaves the terminal alone for a while, to ask a question."""
        yield

    def free_stream(self) -> TextIO:
        """Where a question may stand."""
        return sys.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Quiet(View):
    """Shows nothing."""

    def emit(self, event: Event) -> None:
        return


class JsonLines(View):
    """Each event as one line of JSON, also those of earlier sessions."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = SteadyStream(stream)

    def free_stream(self) -> TextIO:
        return sys.stderr

    def emit(self, event: Event) -> None:
        line = encode_event(event)
        if self._stream.encoding.lower().replace("-", "") != "utf8":
            line = json.dumps(json.loads(line))  # the same value, in ASCII
        self._stream.write(line + "\n")
        self._stream.flush()


class PlainLines(View):
    """One short line a happening, for logs and pipes. Earlier sessions are counted, not shown."""

    def __init__(
        self, stream: TextIO | None, price: Price, clock: Clock, *, verbose: bool = False
    ) -> None:
        self._stream = SteadyStream(stream)
        self._run_view = RunView(price)
        self._verbose = verbose
        self._since = clock.time()

    def emit(self, event: Event) -> None:
        run_view = self._run_view
        known = _is_known_wait(event, run_view)
        run_view.apply(event)
        if known or event.at < self._since:
            return
        if text := _line(event, run_view, self._verbose):
            label = "simulated " if run_view.header.simulated else ""
            self._stream.write(f"[{label}{duration(run_view.wall_s(event.at))}] {text}\n")
            self._stream.flush()


def _is_known_wait(event: Event, run_view: RunView) -> bool:
    """Whether a job goes on waiting, before the view has seen it: QUEUE tells why for all."""
    task, data = run_view.tasks.get(event.task), event.data
    if not isinstance(data, JobStateChanged) or task is None:
        return False
    waits = data.state in (JobState.QUEUED, JobState.UNKNOWN)
    return waits and task.phase is TaskPhase.QUEUED


def _line(event: Event, run_view: RunView, verbose: bool) -> str:
    """What to say of an event that the run view has seen; empty for nothing."""
    task = clean(event.task)
    match event.data:
        case RunStarted():
            return _how_it_runs(run_view)
        case PlanReady():
            return f"plan: {clean(run_view.title)}, {plural(len(run_view.tasks), 'task')}"
        case Forecast() as data:
            return f"forecast: {forecast_line(data)}"
        case JobIntended():
            return f"{task}: begun" + (f", attempt {event.attempt}" if event.attempt > 1 else "")
        case TaskRetry(_, delay_s, message):
            return f"{task}: again in {delay_s:.1f} s: {clean(message)}"
        case TaskEnded(TaskState.CANCELLED):
            return ""  # the run's end says it for all of them
        case TaskEnded():
            return _how_it_ended(run_view, run_view.tasks[event.task])
        case Notice(text):
            return f"note: {clean(text)}"
        case Delivered(target, files):
            conflicts = f", {len(run_view.conflicts)} in conflict" if run_view.conflicts else ""
            return f"delivered {plural(files, 'file')} to {clean(target)}{conflicts}"
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


def _how_it_runs(run_view: RunView) -> str:
    header = run_view.header
    return (
        f"run {clean(header.run)} {'resumed' if header.resumed else 'started'}:"
        f" {clean(header.model)}, backend {clean(header.backend)},"
        f" at most {plural(header.max_executors, 'executor')} at once"
    )


def _how_it_ended(run_view: RunView, task: TaskView) -> str:
    said = clean(task.message)
    if task.phase is TaskPhase.SUCCEEDED:
        said = f"{plural(task.files, 'file')} in {duration(task.busy_s)}"
    done = run_view.counts[TaskPhase.SUCCEEDED]
    return f"{clean(task.id)}: {task.phase} ({done}/{len(run_view.tasks)}) {said}".rstrip()


class ViewSettings(Protocol):
    """The settings that choose a view."""

    @property
    def json_lines(self) -> bool: ...

    @property
    def quiet(self) -> bool: ...

    @property
    def verbose(self) -> bool: ...

    @property
    def no_color(self) -> bool: ...


def make_view(
    settings: ViewSettings,
    stdout: TextIO | None,
    environ: Mapping[str, str],
    price: Price,
    clock: Clock,
) -> View:
    """The view that fits: JSON before quiet before live before plain. Use it in a `with`."""
    if settings.json_lines:
        return JsonLines(stdout)
    if settings.quiet:
        return Quiet()
    terminal = SteadyStream(stdout).isatty() and environ.get("TERM", "") not in ("", "dumb")
    if not terminal or settings.verbose:
        return PlainLines(stdout, price, clock, verbose=settings.verbose)
    from engine.views.live import LiveView, live_console  # rich, only where it is used

    console = live_console(SteadyStream(stdout), color=not settings.no_color)
    return LiveView(console, price, clock)
