"""The rows of the live view: a line a task, with what matters most where it cannot be cut."""

from collections.abc import Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from engine.run.task_view import TaskPhase, TaskView
from engine.views.format import (
    NO_REASON,
    clean,
    cut_middle,
    duration,
    rough_duration,
    short_cause,
    short_count,
)

# The most urgent first: they are shown when not every task fits
STYLES = {
    TaskPhase.RUNNING: "bold cyan",
    TaskPhase.QUEUED: "cyan",
    TaskPhase.FAILED: "bold red",
    TaskPhase.RETRYING: "yellow",
    TaskPhase.CANCELLED: "magenta",
    TaskPhase.BLOCKED: "red",
    TaskPhase.WAITING: "dim",
    TaskPhase.SUCCEEDED: "green",
}
_IDLE_S = 30.0
"""Without any news of a running task, before that is told."""
_NARROW = 72
"""Columns below which a row leaves out what can be missed."""
_SLOT, _STATE, _TIME, _TOKENS = 4, 9, 6, 6
"""Columns of each, without the one between."""
_LEAST_ROOM = 8
"""Columns for a cause or a path, however much stands around it."""


def draw_rows(
    tasks: Sequence[TaskView], now: float, width: int, *, has_head: bool
) -> RenderableType:
    """A table of `width` columns, of the tasks in this order."""
    narrow = width < _NARROW
    names = [cut_middle(clean(task.id), 14 if narrow else 24) for task in tasks]
    of_names = max(map(len, ["task", *names]))
    fixed = [*([] if narrow else [_SLOT]), of_names, _STATE, _TIME, _TOKENS]
    room = max(_LEAST_ROOM, width - sum(fixed) - len(fixed))
    table = Table(box=None, expand=True, pad_edge=False, padding=(0, 1, 0, 0), show_header=has_head)
    if not narrow:
        table.add_column("slot", width=_SLOT, no_wrap=True)
    table.add_column("task", width=of_names, no_wrap=True)
    table.add_column("state", width=_STATE, no_wrap=True)
    table.add_column("time", width=_TIME, justify="right", no_wrap=True)
    table.add_column("tokens", width=_TOKENS, justify="right", no_wrap=True)
    table.add_column("", ratio=1, no_wrap=True, overflow="ellipsis")
    for name, task in zip(names, tasks, strict=True):
        tokens = task.spend.total_tokens + task.written
        table.add_row(
            *([] if narrow else [str(task.slot or "")]),
            Text(name),
            Text("writing" if task.is_writing else task.phase, style=STYLES[task.phase]),
            duration(spent_s) if (spent_s := _time_of(task, now)) else "",
            short_count(tokens) if tokens else "",
            _about(task, now, room),
        )
    return table


def _time_of(task: TaskView, now: float) -> float:
    """Seconds worked on it; of a queued task those that it waits."""
    if task.phase is TaskPhase.QUEUED and task.moved_at is not None:
        return max(0.0, now - task.moved_at)
    return task.elapsed_s(now)


def _about(task: TaskView, now: float, room: int) -> Text:
    """What goes on, in `room` columns; what stands around a cause or a path is short and stays."""
    path = _path(task)
    if task.silent_since is not None:
        lead = f"no answer for {rough_duration(now - task.silent_since)}"
        where = f", in {cut_middle(path, max(_LEAST_ROOM, room - len(lead) - 5))}" if path else ""
        return Text(f"{lead}{where}", style="yellow")
    if task.phase is TaskPhase.SUCCEEDED:
        return Text(clean(task.title))
    idle_s = now - (task.moved_at or now)
    is_idle = task.phase is TaskPhase.RUNNING and idle_s >= _IDLE_S
    lead = f"no news for {rough_duration(idle_s)}: " if is_idle else ""
    end = ""
    if task.retry_at is not None and (left_s := task.retry_at - now) > 0:
        end = f"; again in {rough_duration(left_s)}"
    if task.attempt > 1 and not task.phase.final:
        end += f" (attempt {task.attempt})"
    count = f", {short_count(task.written)} tokens" if task.written else ""
    left = max(_LEAST_ROOM, room - len(lead) - len(end))
    body = cut_middle(path, left) if path else clean(_cause(task), left)
    if len(body) + len(count) <= left:  # it is also in a column
        body += count
    return Text(f"{lead}{body}{end}", style="yellow" if is_idle else "")


def _cause(task: TaskView) -> str:
    if task.pending is not None:
        stuck = "cannot start: " if task.pending.stuck else ""
        return stuck + (clean(task.pending.why) or NO_REASON)
    return short_cause(task.activity or task.message) or task.title


def _path(task: TaskView) -> str:
    """Of the file that is being written; the name of one that is told from the root."""
    path = task.path.rpartition("/")[2] if task.path.startswith("/") else task.path
    return clean(path) if task.pending is None else ""
