"""A plan and its forecast as text, for a person who has to approve them."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from core.events import ExpectedPace, Forecast, Part, PastForecasts, Range
from core.paths import EVERYTHING
from core.plan import Analysis, Plan, Setup, Task, longest_chain, topological_order
from engine.views.format import (
    clean,
    duration,
    pace_text,
    plural,
    rough_duration,
    short_count,
    simulation_lines,
    time_text,
    times_text,
    wrapped,
)

_CHAINED = 12
"""How many tasks of the longest chain are named."""
_count = "{:,.0f}".format
_dollars = "${:.2f}".format


def forecast_line(forecast: Forecast) -> str:
    """The likely figures and their ranges, planning counted in, on one line."""
    forecast = forecast.whole()
    cost = _range(forecast.cost_usd, _dollars) if forecast.cost_usd else "unknown price"
    tokens = _range(forecast.tokens, lambda figure: short_count(round(figure)))
    return f"{_range(forecast.seconds, duration)}, {cost}, {tokens} tokens"


def planning_line(planning: Part, speed: float | None = None) -> str:
    """What making a plan is expected to take; `speed` is that of a simulation."""
    real = rough_duration(planning.seconds * speed) if speed else ""
    pace = pace_text(speed, simulated=speed is not None, real=real)
    time = time_text(rough_duration(planning.seconds), pace)
    return f"Planning is expected to take about {time}, {_cost(planning)}"


def past_line(past: PastForecasts) -> str:
    """How far off forecasts were before."""
    factors = ((past.time_factor, "time"), (past.cost_factor, "cost"))
    known = ", ".join(f"{factor:.1f} in {name}" for factor, name in factors if factor)
    return (
        "Past forecasts of this work directory were off by a factor of"
        f" {known} ({plural(past.runs, 'run')})"
    )


def comparison_line(forecast: Forecast) -> str:
    """One executor against so many, on one line; empty where there is nothing to compare."""
    alone, parallel = forecast.alone, forecast.parallel
    if alone is None or parallel is None:
        return ""
    slower = "" if parallel.seconds < alone.seconds else ", which is not faster"
    alone_time, time = times_text(alone.seconds, parallel.seconds)
    return (
        f"One executor alone: about {alone_time}, {_cost(alone)};"
        f" {forecast.executors} in parallel: about {time}, {_cost(parallel)}"
        f"{slower}{' (real)' if forecast.simulated else ''}"
    )


def _cost(part: Part) -> str:
    return "unknown price" if part.cost_usd is None else _dollars(part.cost_usd)


def render_plan_view(plan: Plan, forecast: Forecast | None = None, *, limit: int = 100) -> str:
    """The plan as text of at most 80 columns; of tasks and contracts at most `limit` each."""
    lines = [*_wrapped(plan.title, 0), *_wrapped(plan.summary, 2)]
    if forecast is not None and forecast.simulated:
        lines += ["", *_wrapped(" ".join(simulation_lines(plan.title, plan.prompt)), 0)]
    lines += [*_analysis(plan), *_numbered("Assumptions", plan.assumptions), *_setup(plan.setup)]
    lines += [*_section("Conventions", plan.conventions), *_contracts(plan, limit)]
    lines += [*_tasks(plan, limit), *_longest_chain(plan)]
    lines += [*_section("Acceptance criteria", _criteria(plan))]
    if forecast is not None:
        lines += ["", *_forecast(forecast)]
    return "\n".join(lines) + "\n"


def layers(plan: Plan) -> list[list[Task]]:
    """Tasks by depth: those of a layer depend only on tasks of the layers before."""
    by_id = {task.id: task for task in plan.tasks}
    depth: dict[str, int] = {}
    found: list[list[Task]] = []
    for name in topological_order(plan):
        depth[name] = max((depth[d] + 1 for d in by_id[name].depends_on), default=0)
        if depth[name] == len(found):
            found.append([])
    for task in plan.tasks:
        found[depth[task.id]].append(task)
    return found


def _analysis(plan: Plan) -> Iterator[str]:
    analysis = plan.analysis
    if analysis == Analysis():
        return  # nobody has analysed it
    yield ""
    verdict = "worth running in parallel" if analysis.parallel_pays else "best done by one executor"
    executors = plural(analysis.recommended_executors, "executor")
    text = f"Complexity {analysis.complexity} of 10; {verdict}; {executors} recommended"
    yield from wrapped(text, "", 2)
    yield from _wrapped(analysis.rationale, 2)


def _section(title: str, texts: Iterable[str]) -> list[str]:
    lines = [line for text in texts for line in _bullet(clean(text, 1000))]
    return ["", title, *lines] if lines else []


def _numbered(title: str, texts: Sequence[str]) -> list[str]:
    """So that a person can say which of them is wrong."""
    numbers = range(1, len(texts) + 1)
    lines = [wrapped(clean(t, 1000), f"  {n}. ", 5) for n, t in zip(numbers, texts, strict=True)]
    return ["", title, *(line for part in lines for line in part)] if lines else []


def _setup(setup: Setup) -> Iterator[str]:
    given = {
        "tools": ", ".join(setup.tools),
        "install": " && ".join(setup.install),
        "network": setup.network,
        "start": setup.start,
    }
    if any(given.values()):
        yield from ("", "Setup")
    for name, text in given.items():
        if text:
            yield from wrapped(clean(text, 500), f"  {name:<9}", 11)


def _criteria(plan: Plan) -> Iterator[str]:
    for criterion in plan.acceptance_criteria:
        yield f"{clean(criterion.text, 500)} [{', '.join(map(clean, criterion.served_by))}]"


def _contracts(plan: Plan, limit: int) -> Iterator[str]:
    yield ""
    yield "Contracts" if plan.contracts else "No contracts"
    for contract in plan.contracts[:limit]:
        purpose = f": {clean(contract.purpose, 300)}" if contract.purpose else ""
        yield from _bullet(f"{clean(contract.path, 400)}{purpose}")
    if len(plan.contracts) > limit:
        yield f"  and {len(plan.contracts) - limit:,} more"


def _tasks(plan: Plan, limit: int) -> Iterator[str]:
    shown = 0
    for number, layer in enumerate(layers(plan), 1):
        if shown >= limit:
            break
        yield ""
        start = "start immediately" if number == 1 else "start when their dependencies are done"
        yield f"Step {number}: {plural(len(layer), 'task')}; {start}"
        for task in layer[: limit - shown]:
            yield from _task(task, plan)
        shown += len(layer)
    if len(plan.tasks) > limit:
        yield f"  and {len(plan.tasks) - limit:,} more tasks; write the plan with -o to see all"


def _longest_chain(plan: Plan) -> list[str]:
    """What the run cannot be faster than."""
    chain = longest_chain(plan)
    if len(plan.tasks) == 1:
        return []
    of = {task.id: task.estimate for task in plan.tasks}
    tokens, total = sum(of[name] for name in chain), sum(of.values())
    names = ", ".join(map(clean, chain[:_CHAINED]))
    if len(chain) > _CHAINED:
        names += f" and {len(chain) - _CHAINED:,} more"
    text = f"Longest chain: {names} (~{short_count(tokens)} of ~{short_count(total)} tokens)"
    return ["", *wrapped(text, "", 2)]


def _task(task: Task, plan: Plan) -> Iterator[str]:
    size = [f"~{short_count(task.estimate)} tokens"] if task.estimate else []
    size += [plural(len(task.checks), "check")] if task.checks else []
    after = f" ({', '.join(size)})" if size else ""
    yield from _bullet(f"{clean(task.id)}: {clean(task.title)}{after}")
    uses_all = len(task.uses) == len(plan.contracts) > 1
    parts = [
        _named("depends on", task.depends_on),
        "uses all contracts" if uses_all else _named("uses", task.uses),
        "writes everything" if task.owns == (EVERYTHING,) else _named("writes", task.owns),
    ]
    yield from _wrapped("; ".join(filter(None, parts)), 6)


def _named(verb: str, names: Sequence[str]) -> str:
    return f"{verb} {', '.join(clean(name, 400) for name in names)}" if names else ""


def _forecast(forecast: Forecast) -> Iterator[str]:
    pace = pace_text(forecast.speed, simulated=forecast.simulated)
    yield time_text(f"Forecast with {plural(forecast.executors, 'executor')}", pace)
    whole, plan = forecast.whole(), forecast.planning or Part()
    cost = "unknown price"
    if whole.cost_usd is not None:
        billed = ", nothing is billed" if forecast.simulated else ""
        cost = _figures(whole.cost_usd, plan.cost_usd or 0.0, _dollars) + billed
    tokens = _figures(whole.tokens, plan.tokens, _count)
    time = f"{_figures(whole.seconds, plan.seconds, duration)}, without checks"
    yield from wrapped(time, "  time    ", 10)
    yield from wrapped(tokens, "  tokens  ", 10)
    yield from wrapped(cost, "  cost    ", 10)
    if forecast.pace is not None:
        yield from wrapped(_pace(forecast.pace), "  pace    ", 10)
    if line := comparison_line(forecast):
        yield from wrapped(f"{line}.", "  ", 2)
    if forecast.past is not None:
        yield from wrapped(f"{past_line(forecast.past)}.", "  ", 2)


def _pace(pace: ExpectedPace) -> str:
    met = f"as in {plural(pace.runs, 'earlier run')} here" if pace.runs else "assumed"
    return f"{pace.tokens_per_s:.0f} tokens a second after {pace.first_token_s:.1f} s, {met}"


def _figures(whole: Range, plan: float, show: Callable[[float], str]) -> str:
    return _range(whole, show) + (f", of it {show(plan)} for the plan" if plan else "")


def _range(figure: Range, show: Callable[[float], str]) -> str:
    low, likely, high = map(show, (figure.low, figure.likely, figure.high))
    return likely if low == high else f"{likely} ({low} to {high})"


def _bullet(text: str) -> list[str]:
    return wrapped(text, "  - ", 4)


def _wrapped(text: str, indent: int) -> list[str]:
    return wrapped(clean(text, 2000), " " * indent, indent)
