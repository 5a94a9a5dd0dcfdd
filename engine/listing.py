"""`runs`: what there is in the work directory, a line or a JSON object each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from core.errors import BundleError
from engine.journal import read_journal
from engine.rundir import RunDir, is_locked
from engine.tally import Price, Tally, TaskPhase
from engine.wording import clean, cost_text


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run. `created` is Unix time in seconds; `cost` is in words."""

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


def list_runs(runs: Sequence[RunDir], price: Price) -> list[RunRow]:
    """What each run's own files say; one that cannot be read is listed as damaged."""
    return [_row(run, price) for run in runs]


def _row(run: RunDir, price: Price) -> RunRow:
    tally = Tally(price)
    try:
        facts = run.read_facts()
        for event in read_journal(run.journal):
            tally.apply(event)
    except BundleError as exc:
        return RunRow(run.run_id, "damaged", 0, 0, 0, "", 0.0, str(exc), "", str(run.root))
    spend = tally.spend()
    return RunRow(
        run=run.run_id,
        state=_state(run, tally),
        done=tally.counts[TaskPhase.SUCCEEDED],
        tasks=len(tally.tasks),
        tokens=spend.total_tokens,
        cost=cost_text(spend, facts.simulated),
        created=facts.created,
        prompt=facts.prompt,
        target=facts.target,
        run_dir=str(run.root),
    )


def _state(run: RunDir, tally: Tally) -> str:
    if is_locked(run):
        return "running"
    if tally.ended is None:
        return "interrupted"
    return str(tally.ended.get("outcome", "ended"))


def render_runs(rows: Sequence[RunRow], *, as_json: bool) -> str:
    """Text of 80 columns, or JSON lines."""
    if as_json:
        return "".join(json.dumps(asdict(row)) + "\n" for row in rows)
    return "\n".join(line for row in rows for line in _lines(row)) + "\n" if rows else "No runs.\n"


def _lines(row: RunRow) -> Iterator[str]:
    when = datetime.fromtimestamp(row.created, UTC).astimezone().strftime("%Y-%m-%d %H:%M")
    yield f"{row.run}  {row.state}, {row.done} of {row.tasks} tasks"
    yield f"  {clean(row.prompt, 76)}"
    yield f"  {when}, {row.tokens:,} tokens, {row.cost}"
