"""The summary: what a person wants to know when a run has ended, as text of 80 columns."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from core.events import Event, Kind
from core.job import JobKey, Usage
from core.wire import plain
from engine.run.run_view import Price, Tally, TaskPhase, TaskTally
from engine.run.rundir import RunDir
from engine.views.format import clean, cost_text, duration, plural
from engine.views.plan import forecast_line

WIDTH = 80
LISTED = 10
"""How many failed tasks or conflicts are named before the rest is only counted."""
_INDENT = 12
FAILED = "failed"
"""The outcome of a run that an error ended; the error itself is shown by whoever caught it."""
_RESUMABLE_EXITS = {4, 130}


def render_summary(tally: Tally, program: str = "orchestrator.py") -> str:
    """Everything, ending with a line break. `program` is what the resume command begins with."""
    lines = [_headline(tally)]
    for label, text in _facts(tally):
        lines += _field(label, text)
    if is_resumable(tally) and tally.header.run:
        lines.append(f"  {'go on':{_INDENT - 2}}{resume_command(tally, program)}")
    return "\n".join(lines) + "\n"


def resume_command(tally: Tally, program: str) -> str:
    """What can be pasted to go on; one line however long."""
    words = ["resume", tally.header.run]
    if tally.header.run_dir:
        work_dir = Path(tally.header.run_dir).parent.parent
        words += [] if work_dir == Path.cwd() / ".orchestrator" else ["--work-dir", str(work_dir)]
    more = (tally.ended or {}).get("resume_with") or ""
    return clean(f"{program} {shlex.join(words)} {more}".rstrip(), 4_096)


def render_end(tally: Tally, program: str, *, brief: bool) -> str:
    """What is said last: the outcome alone, or everything with a line's distance."""
    return render_outcome(tally) + "\n" if brief else "\n" + render_summary(tally, program)


@contextmanager
def telling_spend(
    price: Price, tell: Callable[[str], None], *, simulated: bool
) -> Iterator[Callable[[Usage], None]]:
    """For planning without a run: takes each request, and tells at the end, however it comes, what
    they cost together."""
    tally = Tally(price)
    try:
        yield lambda usage: tally.emit(Event(Kind.PROGRESS, 0.0, data={"usage": plain(usage)}))
    finally:
        if (spend := tally.spend()).requests:
            tell(f"Planning took {spend.total_tokens:,} tokens, {cost_text(spend, simulated)}.")


def render_outcome(tally: Tally) -> str:
    """One line: how the run ended and where the project is."""
    where = f", in {clean(tally.header.target)}" if tally.delivered_files else ""
    return f"{_headline(tally)}{where}"


def _headline(tally: Tally) -> str:
    done, total = tally.counts[TaskPhase.SUCCEEDED], len(tally.tasks)
    label = "Simulated run" if tally.header.simulated else "Run"
    outcome = clean((tally.ended or {}).get("outcome") or "not ended")
    return f"{label} {clean(tally.header.run)}: {outcome}, {done} of {plural(total, 'task')}"


def is_resumable(tally: Tally) -> bool:
    """Whether `resume` has something to do."""
    ended = tally.ended
    if ended is None or ended.get("exit_code") in _RESUMABLE_EXITS:
        return True
    unfinished = any(task.phase is not TaskPhase.SUCCEEDED for task in tally.tasks.values())
    return unfinished or not tally.planned or tally.delivered_files is None


def _facts(tally: Tally) -> Iterator[tuple[str, str]]:
    ended = tally.ended or {}
    message = clean(ended.get("message") or "", 500)
    if message and ended.get("outcome") != FAILED:
        yield "why", message
    if tally.delivered_files:
        yield "target", f"{clean(tally.header.target)} ({plural(tally.delivered_files, 'file')})"
    else:
        yield "target", "nothing was delivered"
    yield "tasks", ", ".join(_counts(tally)) or "none"
    yield from _unfinished(tally, TaskPhase.FAILED)
    yield from _unfinished(tally, TaskPhase.BLOCKED)
    yield from _conflicts(tally)
    yield "time", _times(tally)
    if foreseen := forecast_line(tally.forecast or {}):
        yield "forecast", f"of the tasks {foreseen}; they took {_taken(tally)}"
    yield "tokens", _tokens(tally)
    yield "cost", cost_text(tally.spend(), tally.header.simulated)
    yield from _cache(tally)
    yield "checks", "not run"
    if tally.header.run_dir:
        yield "kept in", clean(tally.header.run_dir)


def _field(label: str, text: str) -> Sequence[str]:
    """A labelled paragraph; paths and commands are never broken."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=f"  {label:{_INDENT - 2}}",
        subsequent_indent=" " * _INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _counts(tally: Tally) -> Iterator[str]:
    for phase in reversed(TaskPhase):
        if tally.counts[phase]:
            yield f"{tally.counts[phase]:,} {phase}"


def _unfinished(tally: Tally, phase: TaskPhase) -> Iterator[tuple[str, str]]:
    found = [task for task in tally.tasks.values() if task.phase is phase]
    for task in found[:LISTED]:
        yield str(phase), f"{clean(task.id)}: {clean(task.message) or 'no reason was given'}"
        if path := _transcript(tally, task):
            yield "transcript", clean(path, 4_096)
    if len(found) > LISTED:
        yield str(phase), f"and {len(found) - LISTED:,} more"


def _transcript(tally: Tally, task: TaskTally) -> str:
    """Where the last attempt's transcript is; empty when it never got as far as one."""
    spend = task.settled.get(task.attempt)
    if spend is None or not spend.requests or not tally.header.run_dir:
        return ""
    key = JobKey(tally.header.run, task.id, task.attempt)
    return str(RunDir(Path(tally.header.run_dir)).attempt(key).transcript)


def _conflicts(tally: Tally) -> Iterator[tuple[str, str]]:
    for conflict in tally.conflicts[:LISTED]:
        owners = " and ".join(clean(owner) for owner in conflict["owners"])
        kept = clean(conflict["kept_as"], 400)
        why = clean(conflict["why"])
        yield "conflict", f"{clean(conflict['path'], 400)} of {owners}: {why}; kept as {kept}"
    if len(tally.conflicts) > LISTED:
        yield "conflict", f"and {len(tally.conflicts) - LISTED:,} more"
    for refused in tally.refused[:LISTED]:
        path = clean(refused["path"], 400)
        yield "refused", f"{path} of {clean(refused['owner'])}: {clean(refused['why'])}"
    if len(tally.refused) > LISTED:
        yield "refused", f"and {len(tally.refused) - LISTED:,} more"


def _times(tally: Tally) -> str:
    wall_s, work_s = tally.wall_s(), tally.work_s()
    parts = [f"{duration(wall_s)} from start to end, {duration(work_s)} of task time"]
    if wall_s > 0 and work_s > wall_s:
        parts[0] += f" ({work_s / wall_s:.1f} times as fast as one after the other)"
    parts.append(f"critical path {duration(tally.critical_path_s())}")
    return ", ".join(parts)


def _cache(tally: Tally) -> Iterator[tuple[str, str]]:
    spend = tally.spend()
    if not spend.cache_read_tokens and not spend.cache_write_tokens:
        return
    text = f"{spend.cached_share:.0%} of the input was read from the prompt cache"
    if spend.saved_usd:
        effect = "saved" if spend.saved_usd > 0 else "cost more than it saved:"
        saved = abs(spend.saved_usd)
        text += f", which {effect} ${saved:.4f}" if saved < 1 else f", which {effect} ${saved:.2f}"
    yield "cache", text


def _taken(tally: Tally) -> str:
    spend = tally.task_spend()
    cost = "unknown price" if spend.unpriced else f"${spend.cost_usd:.2f}"
    return f"{duration(tally.executing_s())}, {spend.total_tokens:,} tokens, {cost}"


def _tokens(tally: Tally) -> str:
    spend = tally.spend()
    text = f"{spend.input_tokens:,} in, {spend.output_tokens:,} out"
    if spend.cache_read_tokens or spend.cache_write_tokens:
        text += (
            f", {spend.cache_read_tokens:,} read from the cache,"
            f" {spend.cache_write_tokens:,} written to it"
        )
    return f"{text}, in {plural(spend.requests, 'request')}"
