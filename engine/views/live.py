"""The live view: a rich picture of the run view that fits its terminal, however many tasks it has.
Rich's own thread redraws, so that clocks tick between events; one lock guards the run view."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO, cast

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from core.clock import Clock
from core.events import Event, Forecast
from engine.money.usage import Price
from engine.run.run_view import RunView
from engine.run.task_view import TaskPhase, TaskView
from engine.views.console import SafeStream
from engine.views.format import (
    NO_REASON,
    clean,
    cost_text,
    duration,
    models_text,
    queue_text,
    short_count,
    simulation_lines,
)
from engine.views.plan import comparison_line, forecast_line, past_line
from engine.views.types import View

REDRAWS_PER_S = 8
# The most urgent first: they are shown when not every task fits
_STYLES = {
    TaskPhase.RUNNING: "bold cyan",
    TaskPhase.QUEUED: "cyan",
    TaskPhase.FAILED: "bold red",
    TaskPhase.RETRYING: "yellow",
    TaskPhase.CANCELLED: "magenta",
    TaskPhase.BLOCKED: "red",
    TaskPhase.WAITING: "dim",
    TaskPhase.SUCCEEDED: "green",
}
# Lines that are not tasks: title, bar, table head, counts, spend, forecast, note, cursor
_AROUND_ROWS = 8


class LiveView(View):
    """Shows the run until `close`, which hands the terminal back as it was."""

    def __init__(
        self, stream: TextIO | None, price: Price, clock: Clock, *, color: bool = True
    ) -> None:
        self._console = Console(
            file=cast(TextIO, SafeStream(stream)),  # has all that rich uses of a file
            force_terminal=True,
            no_color=not color,
            markup=False,
            emoji=False,
            highlight=False,
        )
        self._clock = clock
        self._run_view = RunView(price)
        self._lock = threading.Lock()
        self._live: Live | None = None
        self._closed = False

    def emit(self, event: Event) -> None:
        with self._lock:
            self._run_view.apply(event)
        if self._live is None and not self._closed:
            self._start()

    def close(self) -> None:
        self._closed = True
        self._stop()

    @contextmanager
    def suspended(self) -> Iterator[None]:
        self._stop()
        yield  # not started again on an exception: the run is over then
        if not self._closed:
            self._start()

    def _start(self) -> None:
        self._live = Live(
            console=self._console,
            get_renderable=self._draw,
            refresh_per_second=REDRAWS_PER_S,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def _stop(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def _draw(self) -> RenderableType:
        with self._lock:
            return draw(self._run_view, self._clock.time(), *self._console.size)


def draw(run_view: RunView, now: float, width: int, height: int) -> RenderableType:
    """The picture at Unix time `now`, at most `height` - 1 lines."""
    roomy = height > 2 * _AROUND_ROWS
    simulation = _simulation(run_view) if roomy else []
    forecast = run_view.forecast if roomy else None
    comparison = comparison_line(forecast) if forecast else ""
    parts: list[RenderableType] = [_title(run_view), *simulation]
    if run_view.planned:
        queue = _queue(run_view)
        room = height - _AROUND_ROWS - len(queue) - len(simulation) - bool(comparison)
        parts += [_bar(run_view, now, width), _rows(run_view, now, room), _counts(run_view), *queue]
    else:
        parts.append(_planning(run_view, now))
    if (check := run_view.checking) is not None:
        parts.append(_one_line(f"check {check.number} of {check.total}: {clean(check.command)}"))
    parts.append(_spend(run_view))
    if run_view.forecast:
        parts.append(_one_line(f"forecast: {_forecast(run_view.forecast)}", "dim"))
        if comparison:
            parts.append(_one_line(comparison, "dim"))
    if run_view.notices:
        parts.append(_one_line(f"note: {clean(run_view.notices[-1])}", "yellow"))
    return Group(*parts)


def _forecast(forecast: Forecast) -> str:
    past = f"; {past_line(forecast.past)}" if forecast.past else ""
    return forecast_line(forecast) + past


def _one_line(text: str, style: str = "") -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _title(run_view: RunView) -> Text:
    header = run_view.header
    facts = [f"{clean(header.backend)} × {header.max_executors}", models_text(header)]
    if header.simulated:
        facts.insert(0, "SIMULATED")
    line = _one_line(clean(run_view.title or header.prompt, 40), "bold")
    return line.append("  " + " · ".join(facts), style="not bold dim")


def _simulation(run_view: RunView) -> list[Text]:
    if not run_view.header.simulated:
        return []
    lines = simulation_lines(run_view.title, run_view.header.prompt)
    return [_one_line(line, "yellow") for line in lines]


def _planning(run_view: RunView, now: float) -> Text:
    expected = run_view.header.planning
    of = f" of about {duration(expected.seconds)}" if expected else ""
    activity = clean(run_view.planning.activity)
    return _one_line(f"planning {duration(run_view.wall_s(now))}{of} {activity}", "cyan")


def _bar(run_view: RunView, now: float, width: int) -> RenderableType:
    done, total = run_view.counts[TaskPhase.SUCCEEDED], len(run_view.tasks)
    eta_s = run_view.eta_s(now)
    left = f"  about {duration(eta_s)} left" if eta_s is not None else ""
    text = f"{done}/{total} tasks  {duration(run_view.wall_s(now))}{left}"
    line = Table.grid(padding=(0, 1), expand=True)
    line.add_column(ratio=1)
    line.add_column(no_wrap=True)
    room = max(4, width - len(text) - 1)
    bar = ProgressBar(total=1.0, completed=run_view.progress(now), width=room)
    line.add_row(bar, Text(text))
    return line


def _rows(run_view: RunView, now: float, room: int) -> RenderableType:
    table = Table(box=None, expand=True, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("slot", width=4, no_wrap=True)
    table.add_column("task", max_width=24, no_wrap=True, overflow="ellipsis")
    table.add_column("state", width=9, no_wrap=True)
    table.add_column("time", width=6, justify="right", no_wrap=True)
    table.add_column("tokens", width=6, justify="right", no_wrap=True)
    table.add_column("", ratio=1, no_wrap=True, overflow="ellipsis")
    for task in chosen_rows(run_view, max(1, room)):
        table.add_row(
            str(task.slot or ""),
            Text(clean(task.id, 32)),
            Text("writing" if task.is_writing else task.phase, style=_STYLES[task.phase]),
            duration(elapsed) if (elapsed := task.elapsed_s(now)) else "",
            short_count(task.spend.total_tokens) if task.spend.requests else "",
            Text(_about(task)),
        )
    return table


def _about(task: TaskView) -> str:
    attempt = f"attempt {task.attempt}: " if task.attempt > 1 and not task.phase.final else ""
    if task.phase is TaskPhase.SUCCEEDED:
        return clean(task.title)
    if task.pending is not None:
        stuck = "cannot start: " if task.pending.stuck else ""
        return attempt + stuck + (clean(task.pending.why) or NO_REASON)
    return attempt + clean(task.activity or task.message or task.title)


def chosen_rows(run_view: RunView, room: int) -> list[TaskView]:
    """In the plan's order when all fit; otherwise the most urgent ones."""
    tasks = list(run_view.tasks.values())
    if len(tasks) <= room:
        return tasks
    urgency = list(_STYLES).index

    def rank(task: TaskView) -> tuple[int, int]:
        if task.phase is TaskPhase.RUNNING:
            return urgency(task.phase), task.slot or 0
        return urgency(task.phase), 0 if task.pending and task.pending.stuck else 1

    return sorted(tasks, key=rank)[:room]


def _counts(run_view: RunView) -> Text:
    line = _one_line("")
    for phase, style in _STYLES.items():
        if run_view.counts[phase]:
            line.append(f"{run_view.counts[phase]} {phase}  ", style=style)
    return line


def _queue(run_view: RunView) -> list[Text]:
    """A line on what queued jobs wait for, where that is known."""
    waits = [(pending.why, number, pending.stuck) for pending, number in run_view.waits().items()]
    stuck = any(stuck for _, _, stuck in waits)
    line = _one_line(f"queue: {queue_text(waits, 24)}", "yellow" if stuck else "cyan")
    return [line] if waits else []


def _spend(run_view: RunView) -> Text:
    spend = run_view.spend()
    used = spend.input_tokens + spend.cache_read_tokens + spend.cache_write_tokens
    tokens = f"{short_count(used)} tokens in, {short_count(spend.output_tokens)} out"
    return _one_line(f"{tokens} · {cost_text(spend, run_view.header.simulated)}", "dim")
