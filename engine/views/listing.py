"""`runs`: the runs of the work directory, as a table or a JSON object each."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from core.errors import BundleError
from core.job import JobKey
from core.program import here
from engine.money.usage import Price, cost_text
from engine.run.run_view import RunView, read_run_view
from engine.run.rundir import RunDir, is_locked
from engine.views.format import clean, rough_duration, short_cost
from engine.views.table import Column, render_table


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
    title: str = ""
    """The plan's, once there is one."""
    cost_usd: float = 0.0
    simulated: bool = False
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
    spend, (done, planned) = run_view.spend(), run_view.tasks.done_of_plan()
    return RunRow(
        run=run.run_id,
        state="running" if is_locked(run) else run_view.state,
        done=done,
        tasks=planned,
        tokens=spend.total_tokens,
        cost=cost_text(spend, facts.simulated),
        created=facts.created,
        prompt=facts.prompt,
        target=facts.target,
        run_dir=str(run.root),
        title=run_view.title,
        cost_usd=spend.cost_usd,
        simulated=facts.simulated,
        model=run_view.header.model,
        planner_model=run_view.header.planner_model or run_view.header.model,
        transcripts=dict(_transcripts(run, run_view)),
    )


def _transcripts(run: RunDir, run_view: RunView) -> Iterator[tuple[str, str]]:
    for task in run_view.tasks.values():
        path = run.attempt(JobKey(run.run_id, task.id, task.attempt)).transcript
        if path.is_file():
            yield task.id, str(path)


def render_runs(rows: Sequence[RunRow], *, now: float, width: int, older: int = 0) -> str:
    """A table of at most `width` columns, the newest first, then how many `older` ones there are.
    An id that has no room is its end, which names the run as well."""
    if not rows:
        return "No runs.\n"
    roomy = width >= 80
    columns = (
        Column("run"),
        Column("state"),
        Column("age", right=True),
        Column("tasks", right=True, shown=width >= 72),
        Column("cost", right=True),
        Column("title", flexible=True),
        Column("target", flexible=True, shown=width >= 110),
    )
    cells = [
        (
            clean(row.run if roomy else row.run.rpartition("-")[2], 32),
            clean(row.state, 16),
            rough_duration(max(0.0, now - row.created)) if row.created else "",
            f"{row.done}/{row.tasks}",
            short_cost(row.cost_usd, simulated=row.simulated),
            clean(f"{row.title}: {row.prompt}" if row.title else row.prompt),
            clean(_from_here(row.target), 400),
        )
        for row in reversed(rows)
    ]
    text = render_table(columns, cells, width)
    if older:
        text += f"and {older:,} older; --limit {len(rows) + older} shows all\n"
    return text


def _from_here(target: str) -> str:
    """Relative to the current directory where it is below: the end of a path tells runs apart."""
    return target.removeprefix(f"{here()}/") or target


def render_json(rows: Sequence[RunRow]) -> str:
    """An object a line."""
    return "".join(json.dumps(asdict(row)) + "\n" for row in rows)
