"""The live view: a rich picture of the run view that fits its terminal, however many tasks it has.
A thread redraws, so that clocks tick between events; one lock guards the run view."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TextIO, cast

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from core.clock import Clock
from core.events import Event, Notice
from engine.money.usage import Price, cost_text
from engine.run.run_view import RunView
from engine.run.task_view import TaskPhase, TaskView
from engine.views.console import SafeStream
from engine.views.format import (
    clean,
    duration,
    models_text,
    pace_text,
    queue_text,
    short_count,
    silence_text,
    simulation_lines,
    suspicion_text,
    wrapped,
)
from engine.views.live_rows import STYLES, draw_rows
from engine.views.plan import comparison_line, forecast_line, past_line
from engine.views.screen import Screen
from engine.views.types import View

REDRAWS_PER_S = 8
_ROOMY_ROWS = 17
_LEAST_ROWS = 3
"""Of tasks, before what is told below them gives way."""


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
        self._screen = Screen(self._console)
        self._drawing = ExitStack()
        self._is_drawing = self._closed = False
        self._since = clock.time()
        self._said: list[Text] = []
        """For good, above the picture; not what earlier sessions said."""

    def emit(self, event: Event) -> None:
        with self._lock:
            self._run_view.apply(event)
            if isinstance(event.data, Notice) and event.at >= self._since:
                self._said.append(Text(f"note: {clean(event.data.text, 500)}", "yellow"))
        if not (self._is_drawing or self._closed):
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
        self._is_drawing = True
        self._drawing.enter_context(self._screen.heeding_job_control())
        over = threading.Event()
        drawer = threading.Thread(target=self._redraw_until, args=(over,), daemon=True)
        self._drawing.callback(lambda: self._screen.clear(self._take_said()))
        self._drawing.callback(lambda: drawer.join() if drawer.is_alive() else None)
        self._drawing.callback(over.set)
        self._redraw()
        drawer.start()  # last of all, since Ctrl-C may come at any point

    def _stop(self) -> None:
        self._drawing.close()
        self._is_drawing = False

    def _redraw_until(self, over: threading.Event) -> None:
        while not over.wait(1 / REDRAWS_PER_S):
            self._redraw()

    def _redraw(self) -> None:
        with self._lock:
            picture = draw(self._run_view, self._clock.time(), *self._console.size)
        self._screen.draw(picture, self._take_said())

    def _take_said(self) -> list[Text]:
        with self._lock:
            said, self._said = self._said, []
        return said


def draw(run_view: RunView, now: float, width: int, height: int) -> RenderableType:
    """The picture at Unix time `now`, at most `height` - 1 lines where that is possible. What can
    be missed comes last."""
    roomy = height >= _ROOMY_ROWS
    parts: list[RenderableType] = [
        _title(run_view),
        *(_simulation(run_view, width) if roomy else ()),
    ]
    below: list[RenderableType] = [*_check(run_view), *_queue(run_view, width), _spend(run_view)]
    below += _forecast(run_view, width, roomy=roomy)
    if not run_view.planned:
        return Group(*parts, _planning(run_view, now), *below)
    parts.append(_bar(run_view, now, width))
    if run_view.planning.written or run_view.planning.silent_since is not None:
        below.insert(0, _planning(run_view, now))
    has_head = height > 2 * _LEAST_ROWS
    room = height - 1 - len(parts) - has_head - 1  # the cursor, and the counts
    least = min(_LEAST_ROWS, len(run_view.tasks))
    below = below[: max(0, room - least)]
    rows = chosen_rows(run_view, max(1, room - len(below)))
    parts.append(draw_rows(rows, now, width, has_head=has_head))
    parts.append(_counts(run_view, len(run_view.tasks) - len(rows)))
    return Group(*parts, *below)


def _forecast(run_view: RunView, width: int, *, roomy: bool) -> Iterator[Text]:
    if (forecast := run_view.forecast) is None:
        return
    past = f"; {past_line(forecast.past)}" if forecast.past else ""
    yield _one_line(f"forecast: {forecast_line(forecast)}{past}", "dim")
    if roomy:
        yield from (Text(x, "dim") for x in wrapped(comparison_line(forecast), "", 2, width=width))


def _check(run_view: RunView) -> Iterator[Text]:
    if (repair := run_view.proof.repairing) is not None:
        yield _one_line(suspicion_text(repair), "yellow")
    if (check := run_view.proof.checking) is not None:
        yield _one_line(f"check {check.number} of {check.total}: {clean(check.command)}")


def _one_line(text: str, style: str = "") -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _title(run_view: RunView) -> Text:
    header = run_view.header
    facts = [f"{clean(header.backend)} × {header.max_executors}", models_text(header)]
    if header.simulated:
        pace = pace_text(header.speed, simulated=True)
        facts.insert(0, pace.replace("simulated", "SIMULATED"))
    line = _one_line(clean(run_view.title or header.prompt, 40), "bold")
    return line.append("  " + " · ".join(facts), style="not bold dim")


def _simulation(run_view: RunView, width: int) -> list[Text]:
    if not run_view.header.simulated:
        return []
    header = run_view.header
    lines = simulation_lines(run_view.title, header.prompt, existing=header.existing)
    return [Text(line, "yellow") for text in lines for line in wrapped(text, "", 0, width=width)]


def _planning(run_view: RunView, now: float) -> Text:
    planning, expected = run_view.planning, run_view.header.planning
    of = f" of about {duration(expected.seconds)}" if expected and not run_view.planned else ""
    line = _one_line(f"planning {duration(run_view.wall_s(now))}{of}", "cyan")
    if planning.silent_since is not None:
        text = silence_text(now - planning.silent_since)
        return line.append(f"  {text}", style="yellow")
    written = f"  {short_count(planning.written)} tokens so far" if planning.written else ""
    return line.append(f"{written}  {clean(planning.activity)}".rstrip())


def _bar(run_view: RunView, now: float, width: int) -> RenderableType:
    done, total = run_view.tasks.counts[TaskPhase.SUCCEEDED], len(run_view.tasks)
    text = Text(f"{done}/{total} tasks  {duration(run_view.wall_s(now))}")
    if silent_s := run_view.silent_s(now):
        text.append(f"  {silence_text(silent_s)}", style="yellow")
    elif round(eta_s := run_view.eta_s(now) or 0.0):
        text.append(f"  about {duration(eta_s)} left")
    line = Table.grid(padding=(0, 1), expand=True)
    line.add_column(ratio=1)
    line.add_column(no_wrap=True)
    room = max(4, width - len(text) - 1)
    bar = ProgressBar(total=1.0, completed=run_view.tasks.progress(now), width=room)
    line.add_row(bar, text)
    return line


def chosen_rows(run_view: RunView, room: int) -> list[TaskView]:
    """In the plan's order when all fit; otherwise the most urgent ones."""
    tasks = list(run_view.tasks.values())
    if len(tasks) <= room:
        return tasks
    urgency = list(STYLES).index

    def rank(task: TaskView) -> tuple[int, int]:
        if task.phase is TaskPhase.RUNNING:
            return urgency(task.phase), task.slot or 0
        return urgency(task.phase), 0 if task.pending and task.pending.stuck else 1

    return sorted(tasks, key=rank)[:room]


def _counts(run_view: RunView, hidden: int) -> Text:
    """Of all tasks, after how many have no row."""
    line = _one_line(f"+{hidden:,} more  " if hidden else "", "bold")
    for phase, style in STYLES.items():
        if run_view.tasks.counts[phase]:
            line.append(f"{run_view.tasks.counts[phase]} {phase}  ", style=f"not bold {style}")
    return line


def _queue(run_view: RunView, width: int) -> list[Text]:
    """A line on what queued jobs wait for, where that is known."""
    waits = [(wait.why, number, wait.stuck) for wait, number in run_view.tasks.waits().items()]
    stuck = any(stuck for _, _, stuck in waits)
    limit = max(24, width // max(1, len(waits)) - 22)  # for each reason
    line = _one_line(f"queue: {queue_text(waits, limit)}", "yellow" if stuck else "cyan")
    return [line] if waits else []


def _spend(run_view: RunView) -> Text:
    spend = run_view.spend()
    used = spend.input_tokens + spend.cache_read_tokens + spend.cache_write_tokens
    written = spend.output_tokens + run_view.written
    tokens = f"{short_count(used)} tokens in, {short_count(written)} out"
    return _one_line(f"{tokens} · {cost_text(spend, run_view.header.simulated)}", "dim")
