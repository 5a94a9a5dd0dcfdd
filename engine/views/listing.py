"""`runs`: the runs of the work directory, as text or a JSON object each."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from core.errors import BundleError
from core.job import JobKey
from engine.money.usage import Price
from engine.run.run_view import RunView, read_run_view
from engine.run.rundir import RunDir, is_locked
from engine.run.task_view import TaskPhase
from engine.views.format import clean, cost_text, wrapped


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run. `created` is Unix time in seconds; `cost` is text; `model` executes; `transcripts`
    holds the path of each task's last transcript, by task id."""

    run: str
    state: str
    done: int
    tasks: int
    tokens: int
    cost: str
    created: float
    prompt: str
    target: str
    run_dir: str
    model: str = ""
    planner_model: str = ""
    transcripts: Mapping[str, str] = field(default_factory=dict)


def list_runs(
    runs: Sequence[RunDir], pricing: Callable[[Mapping[str, Any]], Price]
) -> list[RunRow]:
    """Each run as its own files describe it; one that cannot be read is listed as damaged.
    `pricing` returns the price that holds for a run with these settings."""
    return [_row(run, pricing) for run in runs]


def _row(run: RunDir, pricing: Callable[[Mapping[str, Any]], Price]) -> RunRow:
    try:
        facts = run.read_facts()
        run_view = read_run_view(run, pricing(facts.settings))
    except (BundleError, OSError) as exc:
        return RunRow(run.run_id, "damaged", 0, 0, 0, "", 0.0, str(exc), "", str(run.root))
    spend = run_view.spend()
    return RunRow(
        run=run.run_id,
        state="running" if is_locked(run) else run_view.state,
        done=run_view.counts[TaskPhase.SUCCEEDED],
        tasks=len(run_view.tasks),
        tokens=spend.total_tokens,
        cost=cost_text(spend, facts.simulated),
        created=facts.created,
        prompt=facts.prompt,
        target=facts.target,
        run_dir=str(run.root),
        model=run_view.header.model,
        planner_model=run_view.header.planner_model or run_view.header.model,
        transcripts=dict(_transcripts(run, run_view)),
    )


def _transcripts(run: RunDir, run_view: RunView) -> Iterator[tuple[str, str]]:
    for task in run_view.tasks.values():
        path = run.attempt(JobKey(run.run_id, task.id, task.attempt)).transcript
        if path.is_file():
            yield task.id, str(path)


def render_runs(rows: Sequence[RunRow], *, as_json: bool, verbose: bool = False) -> str:
    """Text of 80 columns, or JSON lines. `verbose` adds the transcripts, whatever the length of
    their paths."""
    if as_json:
        return "".join(json.dumps(asdict(row)) + "\n" for row in rows)
    lines = [line for row in rows for line in _lines(row, verbose=verbose)]
    return "\n".join(lines or ["No runs."]) + "\n"


def _lines(row: RunRow, *, verbose: bool) -> Iterator[str]:
    when = datetime.fromtimestamp(row.created, UTC).astimezone().strftime("%Y-%m-%d %H:%M")
    yield f"{row.run}  {row.state}, {row.done} of {row.tasks} tasks"
    yield f"  {clean(row.prompt, 76)}"
    yield f"  {when}, {row.tokens:,} tokens, {row.cost}"
    if row.planner_model != row.model:
        models = f"{clean(row.planner_model)} plans, {clean(row.model)} executes"
        yield from wrapped(models, "  ", 2)
    if verbose:
        yield from (f"  {clean(path, 4_096)}" for path in row.transcripts.values())
