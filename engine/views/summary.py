"""The summary of a run that has ended, as text."""

import shlex
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from core.events import AnswerProgress, CheckEnded, Event, Forecast, Progress, Proof, RunEnded
from core.job import JobKey, Usage
from engine.money.usage import Price, Spend, cost_text, dollars
from engine.run.run_view import RunView
from engine.run.rundir import RunDir
from engine.run.session import FAILED, OUTCOMES, REMOVED
from engine.run.task_view import TaskPhase, TaskView
from engine.views.delivered import delivered_text, delivered_to
from engine.views.format import (
    NO_REASON,
    WIDTH,
    clean,
    duration,
    models_text,
    pace_text,
    place_text,
    plural,
    proof_counts,
    proof_text,
    repair_text,
    short_count,
    silence_text,
    simulation_lines,
    time_text,
    wrapped,
)
from engine.views.plan import forecast_line

LISTED = 10
"""How many failed tasks or conflicts are named before the rest is only counted."""
_INDENT = 12
_WRONG = {"reason", str(TaskPhase.FAILED), "conflict", "left out"}
"""Facts without which a run that did not succeed cannot be understood."""
_NOT_IN_LFS = "no LFS"
_SHORT = _WRONG | {
    "target",
    "checks",
    "started",
    "criteria",
    "lock file",
    "repair",
    "repaired",
    "report",
    "unproven",
    _NOT_IN_LFS,
}
"""What a person wants to know first."""
_TRANSCRIPT = "transcript "
_COUNTED = {phase: str(phase) for phase in (TaskPhase.SUCCEEDED, *TaskPhase)}
_COUNTED[TaskPhase.CANCELLED] = "left"
_NAMED = 3
"""How many tasks that ended alike are named before the rest is only counted."""
_RESUMABLE_EXITS = {4, 130}


def render_summary(run_view: RunView, width: int = WIDTH) -> str:
    """Everything, in lines of `width` columns, ending with a line break."""
    lines = [_headline(run_view)]
    header = run_view.header
    if header.simulated:
        text = " ".join(simulation_lines(run_view.title, header.prompt, existing=header.existing))
        lines += wrapped(text, "  ", 2, width=width)
    lines += [*_labelled(_facts(run_view), width), *_start(run_view), *_continue(run_view)]
    return "\n".join(lines) + "\n"


def render_short(run_view: RunView, width: int = WIDTH) -> str:
    """What a person wants to know first, in about eight lines, and the next step."""
    lines, header = [_headline(run_view)], run_view.header
    if header.simulated:
        text = " ".join(simulation_lines(run_view.title, header.prompt, existing=header.existing))
        lines += wrapped(text, "  ", 2, width=width)
    lines += _labelled(_short_facts(run_view), width)
    if _is_there(run_view):
        lines.append(next_look(run_view))
    return "\n".join([*lines, *_start(run_view), *_continue(run_view)]) + "\n"


def _is_there(run_view: RunView) -> bool:
    """Whether a command can look at the run."""
    is_removed = run_view.ended is not None and run_view.ended.outcome == REMOVED
    return bool(run_view.header.run_dir) and not is_removed


def _short_facts(run_view: RunView) -> Iterator[tuple[str, str]]:
    spend, is_told = run_view.spend(), False
    told = _SHORT if run_view.tasks.is_whole else _SHORT | {"tasks"}
    for label, text in _facts(run_view):
        is_told = label in told or (is_told and not label)
        if is_told and not text.startswith(_TRANSCRIPT):  # which is shown by the next step
            yield label, text
    if number := len(run_view.assumptions):
        yield "assumed", f"{plural(number, 'thing')} that the request left open; `show` names them"
    yield "time", _time(run_view)
    yield "cost", f"{cost_text(spend, run_view.header.simulated)}, {spend.total_tokens:,} tokens"


def next_look(run_view: RunView, *instead: str) -> str:
    """A line with the command that shows the first failed task, or the last repair, or else the
    run, to be pasted."""
    tasks = run_view.tasks.values()
    failed = [clean(task.id) for task in tasks if task.phase is TaskPhase.FAILED][:1]
    repairs = [task.id for task in tasks if task.id in run_view.tasks.added and task.attempt][-1:]
    label = "explain" if failed or instead or repairs else "details"
    return _step(label, _command(run_view, "show", *(failed or instead or repairs)))


def _command(run_view: RunView, verb: str, *more: str) -> str:
    text = RunDir(Path(run_view.header.run_dir)).command(verb, *more)
    return text if text.isprintable() else clean(text, 4_096)


def _step(label: str, command: str) -> str:
    return f"  {label:{_INDENT - 2}}{command}"


def _labelled(facts: Iterable[tuple[str, str]], width: int) -> Iterator[str]:
    for label, text in facts:
        first = f"  {label:{_INDENT - 2}}"
        yield from wrapped(text, first, _INDENT, cut=False, width=width)  # paths stay whole


def _start(run_view: RunView) -> Iterator[str]:
    """The command that starts what was delivered, to be pasted; what lacks parts has none. Before
    it those that show what is left out of it."""
    delivered = run_view.delivered
    for look in [c.look for c in run_view.conflicts if c.look][:_NAMED]:
        yield _step("compare", clean(look, 4_096))
    if delivered and delivered.take:
        yield _step("take it", clean(delivered.take, 4_096))
    elif delivered and delivered.undo:
        yield _step("undo", _command(run_view, "undo"))
    elif run_view.delivered_files and run_view.start and run_view.tasks.is_whole:
        command = f"cd {shlex.quote(run_view.header.target)} && {run_view.start}"
        yield _step("start", clean(command, 4_096))


def _continue(run_view: RunView) -> Iterator[str]:
    if is_resumable(run_view) and run_view.header.run_dir:
        yield _step("continue", resume_command(run_view))


def resume_command(run_view: RunView) -> str:
    """The command that resumes the run, to be pasted."""
    more = shlex.split(run_view.ended.resume_with) if run_view.ended else []
    return _command(run_view, "resume", *more)


def render_end(run_view: RunView, *, quiet: bool, verbose: bool = False, width: int = WIDTH) -> str:
    """The last words of a run: the summary after an empty line, where `verbose` all of it, or where
    `quiet` the outcome, with what went wrong and how to go on."""
    if not quiet:
        return "\n" + (render_summary if verbose else render_short)(run_view, width)
    lines = [render_outcome(run_view)]
    if run_view.ended is None or run_view.ended.exit_code:
        lines += _labelled((fact for fact in _facts(run_view) if fact[0] in _WRONG), width)
        if run_view.tasks.counts[TaskPhase.FAILED] and _is_there(run_view):
            lines.append(next_look(run_view))
    return "\n".join([*lines, *_continue(run_view)]) + "\n"


@contextmanager
def reporting_spend(
    price: Price, report: Callable[[str], None], *, simulated: bool
) -> Iterator[tuple[Callable[[Usage], None], Callable[[], Spend]]]:
    """For planning without a run: takes each request's usage, tells what they cost together, and
    reports that at the end, also after an error."""
    run_view = RunView(price)
    try:
        yield lambda usage: run_view.emit(Event(Progress(usage=usage), 0.0)), run_view.spend
    finally:
        if (spend := run_view.spend()).requests:
            report(f"Planning used {spend.total_tokens:,} tokens, {cost_text(spend, simulated)}.")


def silence_reporter(report: Callable[[str], None]) -> Callable[[AnswerProgress], None]:
    """Has it reported when planning without a run gets no answer."""

    def answering(progress: AnswerProgress) -> None:
        if progress.silent_s:
            report(silence_text(progress.silent_s))

    return answering


def render_outcome(run_view: RunView) -> str:
    """One line: how the run ended and where the project is."""
    where = f", in {delivered_to(run_view)}" if run_view.delivered_files else ""
    return f"{_headline(run_view)}{where}"


def _headline(run_view: RunView) -> str:
    done, total = run_view.tasks.done_of_plan()
    label = "Simulated run" if run_view.header.simulated else "Run"
    outcome = clean((run_view.ended and run_view.ended.outcome) or "not ended")
    how_far = f"{done} of {plural(total, 'task')}" if total else "before there was a plan"
    return f"{label} {clean(run_view.header.run)}: {outcome}, {how_far}"


def is_resumable(run_view: RunView) -> bool:
    """Whether `resume` has something to do."""
    ended = run_view.ended
    if ended is None or ended.exit_code in _RESUMABLE_EXITS:
        return True
    if ended.outcome == REMOVED:
        return False  # there is nothing to resume
    unfinished = any(task.phase is not TaskPhase.SUCCEEDED for task in run_view.tasks.values())
    return unfinished or not run_view.planned or run_view.delivered_files is None


def _facts(run_view: RunView) -> Iterator[tuple[str, str]]:
    ended = run_view.ended or RunEnded()
    message = clean(ended.message, 500)
    if message and ended.outcome not in (FAILED, REMOVED, OUTCOMES[130]):  # told by the outcome
        yield "reason", message
    yield "target", _target(run_view)
    counts = ((run_view.tasks.counts[phase], word) for phase, word in _COUNTED.items())
    yield "tasks", ", ".join(f"{count:,} {word}" for count, word in counts if count) or "none"
    yield from _unfinished(run_view, TaskPhase.FAILED)
    yield from _unfinished(run_view, TaskPhase.BLOCKED)
    yield from _conflicts(run_view)
    for made in run_view.delivered.made_anew if run_view.delivered else ():
        path, command = clean(made.path, 400), clean(made.command, 400)
        yield "lock file", f"{path} was made anew by {command}, {place_text(made.sandbox)}"
    yield from (("assumed", clean(text, 300)) for text in run_view.assumptions[:LISTED])
    yield from _more("assumed", len(run_view.assumptions))
    yield "time", _times(run_view)
    if run_view.forecast:
        yield "forecast", _forecast(run_view, run_view.forecast)
    yield from _models(run_view)
    yield "tokens", _tokens(run_view)
    yield "cost", cost_text(run_view.spend(), run_view.header.simulated)
    yield from _cache(run_view)
    yield from _proof(run_view)
    if run_view.header.run_dir:
        yield "run dir", clean(run_view.header.run_dir)
        report = RunDir(Path(run_view.header.run_dir)).report
        if report.is_file():
            yield "report", clean(report, 4_096)


def _target(run_view: RunView) -> str:
    if files := delivered_text(run_view):
        return f"{delivered_to(run_view, short=True)} ({files})"
    done, _ = run_view.tasks.done_of_plan()
    kept = is_resumable(run_view) and done > 0
    return "nothing was delivered yet; what is done is kept" if kept else "nothing was delivered"


def _proof(run_view: RunView) -> Iterator[tuple[str, str]]:
    verified, checks = run_view.proof.verified, run_view.proof.checks
    if verified is None or verified.why_not:
        why = verified.why_not if verified else "" if run_view.tasks.is_whole else "tasks are left"
        yield "checks", f"not run: {clean(why, 300)}" if why else "not run"
        return
    yield "checks", proof_text(checks, verified)
    failed = [check for check in checks if check.state is Proof.FAILED]
    for check in failed[:LISTED]:
        yield str(check.state), f"{clean(check.reason)}: {_named_check(check)}"
        if last := check.output.strip().rpartition("\n")[2]:
            yield "", clean(last, 300)
    yield from _more("failed", len(failed))
    yield from _unproven(checks)
    for check in (c for c in checks if c.phase == "start" and c.state is not Proof.FAILED):
        yield "started", clean(check.reason)
    for repair in run_view.proof.repairs:
        yield "repair" if repair.rejected else "repaired", repair_text(repair)
    if verified.criteria:
        yield "criteria", proof_counts(proof.state for proof in verified.criteria)


def _named_check(check: CheckEnded) -> str:
    blamed = f" ({', '.join(map(clean, check.tasks))})" if check.tasks else ""
    return f"{clean(check.command, 400)}{blamed}"


def _unproven(checks: Iterable[CheckEnded]) -> Iterator[tuple[str, str]]:
    """Each reason once."""
    found: dict[str, list[CheckEnded]] = {}
    for check in checks:
        if check.phase == "check" and check.state is Proof.NOT_PROVEN:
            found.setdefault(check.reason, []).append(check)
    for reason, alike in list(found.items())[:LISTED]:
        what = _named_check(alike[0]) if len(alike) == 1 else f"{len(alike):,} checks"
        yield "unproven", f"{clean(reason)}: {what}"
    yield from _more("unproven", len(found))


def _unfinished(run_view: RunView, phase: TaskPhase) -> Iterator[tuple[str, str]]:
    """Each reason once."""
    found: dict[str, list[TaskView]] = {}
    for task in run_view.tasks.values():
        if task.phase is phase:
            found.setdefault(task.message, []).append(task)
    for message, alike in list(found.items())[:LISTED]:
        names = ", ".join(clean(task.id) for task in alike[:_NAMED])
        if alike[_NAMED:]:
            names += f" and {len(alike) - _NAMED:,} more"
        yield str(phase), f"{names}: {clean(message, 500) or NO_REASON}"
        if path := _transcript(run_view, alike[0]):
            yield "", f"{_TRANSCRIPT}{clean(path, 4_096)}"
    yield from _more(str(phase), len(found))


def _transcript(run_view: RunView, task: TaskView) -> str:
    """Where the last attempt's transcript is; empty when it never got as far as one."""
    spend = task.settled.get(task.attempt)
    if spend is None or not spend.requests or not run_view.header.run_dir:
        return ""
    key = JobKey(run_view.header.run, task.id, task.attempt)
    return str(RunDir(Path(run_view.header.run_dir)).attempt(key).transcript)


def _conflicts(run_view: RunView) -> Iterator[tuple[str, str]]:
    for conflict in run_view.conflicts[:LISTED]:
        owners = " and ".join(clean(owner) for owner in conflict.owners)
        kept, reason = clean(conflict.kept_as, 400), clean(conflict.why)
        yield "conflict", f"{clean(conflict.path, 400)} of {owners}: {reason}; kept as {kept}"
    yield from _more("conflict", len(run_view.conflicts))
    for refused in run_view.refused[:LISTED]:
        path = clean(refused.path, 400)
        yield "left out", f"{path} of {clean(refused.owner)}: {clean(refused.why)}"
    yield from _more("left out", len(run_view.refused))
    if run_view.delivered and (paths := run_view.delivered.not_in_lfs):
        named = " ".join(clean(shlex.quote(path), 100) for path in paths[:_NAMED])
        more = f" and {len(paths) - _NAMED:,} more" if paths[_NAMED:] else ""
        taken = "." if more else named
        yield (
            _NOT_IN_LFS,
            f"{named}{more}: .gitattributes wants Git LFS for what is new, and this program has"
            " stored it as it is. On the branch, with git-lfs installed: git add --renormalize"
            f" {taken}, then commit",
        )


def _more(label: str, number: int) -> Iterator[tuple[str, str]]:
    if number > LISTED:
        yield label, f"and {number - LISTED:,} more"


def pace_of(run_view: RunView) -> str:
    """How the run's time compares to life, what it would be there, and how much of it checks took;
    empty where there is nothing to say."""
    header, forecast, checked_s = run_view.header, run_view.forecast, run_view.proof.checked_s
    seconds = max(0.0, run_view.wall_s() - checked_s)
    if forecast and run_view.tasks.is_whole:  # this program's own time is none of Claude's
        planning_s = header.planning.seconds if header.planning else 0.0
        seconds = min(seconds, planning_s + forecast.seconds.likely)
    life_s = (header.speed or 0.0) * seconds
    if forecast and forecast.parallel and run_view.tasks.is_whole:
        life_s = forecast.parallel.seconds
    real = duration(life_s + checked_s) if life_s else ""
    pace = pace_text(header.speed, simulated=header.simulated, real=real)
    checks = f"{duration(checked_s)} of it checks" if round(checked_s) else ""
    return "; ".join(filter(None, (pace, checks)))


def _time(run_view: RunView) -> str:
    return time_text(duration(run_view.wall_s()), pace_of(run_view))


def _times(run_view: RunView) -> str:
    wall_s, work_s = run_view.wall_s(), run_view.tasks.work_s()
    ratio = work_s / wall_s if wall_s else 0.0
    speedup = f" ({ratio:.1f} times as fast as one task at a time)" if ratio > 1 else ""
    return (
        f"{_time(run_view)}; {duration(work_s)} of task time{speedup},"
        f" critical path {duration(run_view.tasks.critical_path_s())}"
    )


def _cache(run_view: RunView) -> Iterator[tuple[str, str]]:
    spend = run_view.spend()
    if not spend.cache_read_tokens and not spend.cache_write_tokens:
        return
    text = f"{spend.cached_share:.0%} of the input was read from the prompt cache"
    if spend.saved_usd > 0:
        text += f", which saved {dollars(spend.saved_usd)}"
    elif spend.saved_usd:
        text += f", which cost {dollars(-spend.saved_usd)} more than it saved"
    yield "cache", text


def _models(run_view: RunView) -> Iterator[tuple[str, str]]:
    """Which, where that is more than one model at its default effort."""
    if (text := models_text(run_view.header)) == clean(run_view.header.model):
        return
    parts = (("planning", run_view.planning.spend), ("tasks", run_view.task_spend()))
    costs = (f"{name} {cost_text(spend, simulated=False)}" for name, spend in parts)
    yield "models", f"{text}; {', '.join(costs)}"


def _forecast(run_view: RunView, forecast: Forecast) -> str:
    """Beside what it came to, both of them with planning where the forecast has it."""
    planning = forecast.planning
    spend = run_view.spend() if planning else run_view.task_spend()
    seconds = run_view.executing_s() + (run_view.planning_s if planning else 0.0)
    cost = "unknown price" if spend.unpriced else f"${spend.cost_usd:.2f}"
    checks = " without checks" if run_view.proof.checked_s else ""
    tokens = short_count(spend.total_tokens)
    actual = f"actual {duration(seconds)}{checks}, {cost}, {tokens} tokens"
    return f"{'' if planning else 'for the tasks '}{forecast_line(forecast)}; {actual}"


def _tokens(run_view: RunView) -> str:
    spend = run_view.spend()
    text = f"{spend.input_tokens:,} in, {spend.output_tokens:,} out"
    if spend.cache_read_tokens or spend.cache_write_tokens:
        text += f", {spend.cache_read_tokens:,} read from the cache"
        text += f", {spend.cache_write_tokens:,} written to it"
    return f"{text}, in {plural(spend.requests, 'request')}"
