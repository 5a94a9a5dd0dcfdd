"""The first part of the page as HTML, which needs no script: what came of the run, and how to start
what was built."""

import shlex
from collections import Counter
from collections.abc import Callable, Iterator
from html import escape

from core.events import CriterionProof, Proof
from engine.money.usage import cost_text, dollars
from engine.run.run_view import RunView
from engine.run.task_view import TaskPhase
from engine.views.delivered import delivered_text, delivered_to
from engine.views.format import (
    NO_REASON,
    clean,
    duration,
    place_text,
    proof_counts,
    short_count,
    simulation_lines,
)
from engine.views.summary import is_resumable, pace_of, resume_command

LISTED = 8
"""How many failures are named; the rest is only counted."""
_TONES = {"succeeded": "good", "running": "busy", "failed": "bad", "finished with problems": "bad"}


def render_outcome_html(
    run_view: RunView,
    criteria: tuple[CriterionProof, ...],
    mask: Callable[[str], str],
    *,
    state: str,
    why_unproven: str,
) -> str:
    """`criteria` as far as they are proved; `why_unproven` where nothing was verified."""

    def text(value: object) -> str:
        return escape(mask(str(value)))

    parts = [
        *_head(run_view, state, text),
        '<div class="tiles">',
        *_proof_tiles(criteria),
        *_figures(run_view, text),
        "</div>",
        *_proof_line(run_view, why_unproven, text),
        *_commands(run_view, state, text),
        *_problems(run_view, text),
        *_notes(run_view, text),
    ]
    return "\n".join(parts)


Text = Callable[[object], str]


def _head(run_view: RunView, state: str, text: Text) -> Iterator[str]:
    header = run_view.header
    title = clean(run_view.title) or clean(header.prompt, 80) or run_view.run_id
    label = "Simulated run" if header.simulated else "Run"
    tone = _TONES.get(state, "warn")
    yield f'<p class="eyebrow">{label} <span class="mono">{text(run_view.run_id)}</span></p>'
    yield f'<h1>{text(title)} <span class="state {tone}">{text(state)}</span></h1>'
    yield f'<p class="prompt">{text(clean(header.prompt, 2_000))}</p>'


def _proof_tiles(criteria: tuple[CriterionProof, ...]) -> Iterator[str]:
    counts = Counter(proof.state for proof in criteria)
    for label, state, tone in (
        ("proven", Proof.PASSED, "good"),
        ("failed", Proof.FAILED, "bad"),
        ("not proven", Proof.NOT_PROVEN, "warn"),
    ):
        number = counts[state]
        yield _tile(f"{number:,}", label, tone if number else "none", "of the acceptance criteria")


def _figures(run_view: RunView, text: Text) -> Iterator[str]:
    (done, planned), spend = run_view.tasks.done_of_plan(), run_view.spend()
    yield _tile(f"{done:,}", "tasks done", "", f"of {planned:,}")
    cost = dollars(spend.cost_usd) + (" + ?" if spend.unpriced else "")
    simulated = "simulated: nothing is billed" if run_view.header.simulated else ""
    yield _tile(text(cost), "cost", "", simulated)
    yield _tile(duration(run_view.wall_s()), "time", "", pace_of(run_view))
    read = f"{spend.cached_share:.0%} of the input from the cache"
    yield _tile(short_count(spend.total_tokens), "tokens", "", read)


def _tile(figure: str, label: str, tone: str, note: str) -> str:
    small = f"<small>{escape(note)}</small>" if note else ""
    return f'<div class="tile {tone}"><b>{figure}</b><span>{escape(label)}</span>{small}</div>'


def _proof_line(run_view: RunView, why_unproven: str, text: Text) -> Iterator[str]:
    if why_unproven:
        yield f'<p class="warn-line">Nothing is proven: {text(why_unproven)}.</p>'
        return
    counts = proof_counts(check.state for check in run_view.proof.checks if check.phase == "check")
    verified = run_view.proof.verified
    where = f", {text(place_text(verified.sandbox))}" if verified else " so far"
    yield f"<p>Checks: {counts}{where}.</p>"


def _commands(run_view: RunView, state: str, text: Text) -> Iterator[str]:
    header = run_view.header
    if run_view.delivered_files and header.target:
        yield _fact("Delivered to", text(delivered_to(run_view)), delivered_text(run_view))
        if take := run_view.delivered and run_view.delivered.take:
            yield _fact("Take it with", text(clean(take, 4_096)), "", copied=True)
        elif run_view.start and run_view.tasks.is_whole:
            start = f"cd {shlex.quote(header.target)} && {run_view.start}"
            yield _fact("Start it with", text(clean(start, 4_096)), "", copied=True)
    elif state != "running":
        yield '<p class="warn-line">Nothing was delivered.</p>'
    if state != "running" and is_resumable(run_view) and header.run_dir:
        yield _fact("Continue with", text(resume_command(run_view)), "", copied=True)


def _fact(label: str, code: str, note: str, *, copied: bool = False) -> str:
    more = f" <small>{escape(note)}</small>" if note else ""
    mark = " data-copy" if copied else ""
    return f'<p class="fact"><span>{label}</span> <code{mark}>{code}</code>{more}</p>'


def _problems(run_view: RunView, text: Text) -> Iterator[str]:
    told = list(_told_problems(run_view, text))
    if told:
        yield '<ul class="problems">'
        yield from (f"<li>{each}</li>" for each in told[:LISTED])
        if len(told) > LISTED:
            yield f"<li>and {len(told) - LISTED:,} more</li>"
        yield "</ul>"


def _told_problems(run_view: RunView, text: Text) -> Iterator[str]:
    if run_view.ended and run_view.ended.message:
        yield text(clean(run_view.ended.message, 800))
    for phase in (TaskPhase.FAILED, TaskPhase.BLOCKED):
        for task in run_view.tasks.values():
            if task.phase is phase:
                why = text(clean(task.message, 500) or NO_REASON)
                yield f"<b>{text(task.id)}</b> {phase}: {why}"
    for conflict in run_view.conflicts:
        owners = " and ".join(map(clean, conflict.owners))
        look = f" <code data-copy>{text(conflict.look)}</code>" if conflict.look else ""
        yield f"{text(conflict.path)} of {text(owners)}: {text(conflict.why)}{look}"
    for refused in run_view.refused:
        yield f"{text(refused.path)} of {text(refused.owner)} is left out: {text(refused.why)}"


def _notes(run_view: RunView, text: Text) -> Iterator[str]:
    header = run_view.header
    if header.simulated:
        lines = simulation_lines(run_view.title, header.prompt, existing=header.existing)
        yield f'<p class="note">{text(" ".join(lines))}</p>'
    for made in run_view.delivered.made_anew if run_view.delivered else ():
        where = text(place_text(made.sandbox))
        command = f"<code>{text(clean(made.command, 400))}</code>"
        yield f'<p class="note">{text(made.path)} was made anew by {command}, {where}.</p>'
    if run_view.assumptions:
        yield "<details><summary>What the request left open, and how it was decided</summary><ul>"
        yield from (f"<li>{text(clean(each, 500))}</li>" for each in run_view.assumptions)
        yield "</ul></details>"
    if run_view.spend().unpriced:
        yield f'<p class="note">{text(cost_text(run_view.spend(), header.simulated))}</p>'
