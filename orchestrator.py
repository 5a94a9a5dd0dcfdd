"""The command line: which classes each command is made of, and the one place that catches errors.

Each command imports what it needs, so that --help and a wrong option are answered at once.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":  # also with python -I and PYTHONSAFEPATH
    sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
from core.startup import REMEDY, Imports

with Imports(3, REMEDY):
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import ExitStack, closing, contextmanager, suppress
    from dataclasses import replace
    from functools import partial
    from pathlib import Path
    from tempfile import TemporaryDirectory
    from typing import TYPE_CHECKING, Any

    from config import LoadedSettings, Settings
    from core.clock import SystemClock
    from core.errors import UsageError
    from core.program import program
    from engine.cli.options import Handlers, Surroundings, build_cli, run_cli
    from engine.cli.signals import all_raise
    from engine.cli.unused_options import unused_options
    from engine.views.console import (
        output_failure,
        print_error,
        print_line,
        print_text,
        print_warnings,
        safe_stdout,
        start_log,
    )

if TYPE_CHECKING:
    from core.events import EventSink
    from engine.cleanup.run_backends import RunBackends
    from engine.planning.preflight import PreparedRun, SeenCode
    from engine.run.rundir import RunDir, RunFacts

VERSION = "0.1.0"
PIPE_WIDTH = 200
"""Columns of a list that a program reads."""
CLOCK = SystemClock()


def run(loaded: LoadedSettings, prompt: str) -> int:
    from core.plan import render_plan
    from core.wire import write_atomic
    from engine.planning.plan_file import check_prompt, read_plan
    from engine.run.context_files import store_context
    from engine.run.rundir import RunDir, RunFacts, create_run, new_run_id, slug

    settings = loaded.settings
    given = None
    if settings.plan is not None:
        given = read_plan(settings.plan)
        check_prompt(given, settings.plan, prompt)
    prompt = prompt or ((given.prompt or given.summary) if given else "")
    run_id = new_run_id(CLOCK.time())
    if settings.into and settings.output_dir:
        remedy = "Leave one of them out: --into changes that directory itself."
        raise UsageError("--into and --output-dir were both given.", remedy)
    check_existing(settings)
    target = settings.into or settings.output_dir
    target = target or Path.cwd() / "outputs" / f"{slug(prompt)}-{run_id}"
    facts = RunFacts(run_id, prompt, str(target), CLOCK.time(), loaded.kept(), not settings.real)
    directory = RunDir(settings.work_dir / "runs" / run_id)
    with closing(prepare(loaded, facts, directory)) as prepared:

        def fill(run: RunDir) -> None:
            store_context(run, prepared.context_files)
            if given:
                write_atomic(run.plan, render_plan(given), durable=True)

        create_run(settings.work_dir, facts, fill)
        return carry_out(prepared)


def check_existing(settings: Settings) -> None:
    if (settings.base or settings.apply) and not settings.into:
        flag = "--base" if settings.base else "--apply"
        remedy = f"Name its directory with --into, or leave {flag} out for a new project."
        raise UsageError(f"{flag} was given without existing code.", remedy)


def resume(given: LoadedSettings, name: str) -> int:
    from engine.cleanup.cancel import leave_others
    from engine.cleanup.run_backends import (
        check_place,
        check_plan_kept,
        check_unmoved,
        kept_settings,
    )
    from engine.run.rundir import find_run, locked
    from engine.run.session import storing

    directory = find_run(given.settings.work_dir, name)
    with storing(), locked(directory):  # only to see that nobody works on it
        facts = directory.read_facts()
    loaded = kept_settings(given, os.environ, Path.cwd(), facts)
    settings, target = loaded.settings, str(loaded.settings.output_dir or facts.target)
    if settings.into is not None and "output_dir" in given.given:
        remedy = "Leave --output-dir out, or start a new run with --into."
        raise UsageError(f"Run {facts.run} changes {facts.target}, and no other.", remedy)
    if settings.into is None and "output_dir" not in given.given:
        check_unmoved(directory, facts)
    check_place(directory, facts, settings)
    check_plan_kept(directory)
    facts = replace(facts, target=target, settings=loaded.kept(), simulated=not settings.real)
    with closing(prepare(loaded, facts, directory)) as prepared:
        leave_others(directory, run_backends(given), settings.backend, print_line)
        return carry_out(prepared)


def prepare(loaded: LoadedSettings, facts: RunFacts, directory: RunDir) -> PreparedRun:
    from engine.cli.same_options import same_options
    from engine.planning.preflight import prepare_run
    from engine.run.run_view import read_run_view
    from engine.views.approval import check_can_ask

    settings = loaded.settings
    print_warnings([*loaded.warnings, *unused_options(loaded)])
    if settings.into and settings.git:
        remedy = "Leave --git out: --into makes a commit for each task anyway."
        raise UsageError("--into and --git were both given.", remedy)
    if settings.approve and not read_run_view(directory).approved:
        by_option = loaded.origin["approve"].startswith(("option ", "run "))
        unasked = "" if by_option else "ORCHESTRATOR_APPROVE=false "
        same = partial(same_options, loaded)
        check_can_ask(sys.stdin, settings.plan or directory.plan, facts.prompt, same, unasked)
    return prepare_run(settings, facts, directory, os.environ, CLOCK, print_line)


def carry_out(prepared: PreparedRun) -> int:
    """The run itself, and the summary after it."""
    from engine import pipeline
    from engine.report.timeline import Timeline
    from engine.report.watch import watching
    from engine.report.write import write_final_report
    from engine.run.run_view import RunView
    from engine.run.session import open_session
    from engine.telemetry.tracing import open_tracing
    from engine.views import make_view
    from engine.views.format import text_width
    from engine.views.notify import notify
    from engine.views.summary import render_end

    settings, run_view = prepared.settings, RunView(prepared.price)
    timeline, directory = Timeline(run_view), prepared.directory
    mask = settings.credentials(os.environ).mask
    tracing = open_tracing(os.environ, directory.attempt, CLOCK, print_line)
    try:
        with ExitStack() as stack:
            if settings.watch:
                served = watching(directory, prepared.price, mask, CLOCK)
                print_line(f"Watch this run at {stack.enter_context(served).address}")
            view = make_view(
                sys.stdout,
                os.environ,
                prepared.price,
                CLOCK,
                json_lines=settings.json_lines,
                quiet=settings.quiet,
                verbose=settings.verbose,
                color=not settings.no_color,
            )
            stack.enter_context(view)
            stack.callback(prepared.close)  # before the summary
            sinks: list[EventSink] = [timeline, view, *([tracing] if tracing else [])]
            opened = open_session(prepared.facts, directory, sinks, CLOCK, price=prepared.price)
            return pipeline.carry_out(prepared, stack.enter_context(opened), view)
    finally:
        if run_view.ended is not None:
            write_final_report(directory, timeline, mask, CLOCK.time(), print_line)
        if not settings.json_lines and run_view.ended is not None:
            quiet, verbose = settings.quiet, settings.verbose
            text = render_end(run_view, quiet=quiet, verbose=verbose, width=text_width())
            print_text(text)
            if output_failure():
                print_line(text)
        if tracing:
            tracing.close()
        if settings.notify and run_view.ended is not None:
            notify(settings.notify, run_view, os.environ, print_line)


def plan(loaded: LoadedSettings, prompt: str, output: Path | None) -> int:
    from claude.client.types import Hooks
    from claude.limits.governor import Governor
    from claude.prices import pricing, settle_prices
    from core.bundle import Allowance
    from core.plan import Plan, render_plan
    from core.waiting import announced
    from engine.planning.lacking_tools import foresee_lacking_tools
    from engine.planning.plan_file import check_writable, rescue_plan, write_plan
    from engine.planning.preflight import (
        backend_context,
        choose_planner,
        planning_request,
        read_expectations,
    )
    from engine.run.context_files import build_context, read_context_files
    from engine.run.rundir import new_run_id
    from engine.views.plan import planning_line, render_plan_view
    from engine.views.summary import reporting_spend, silence_reporter
    from planner_agent import plan_alone

    settings = loaded.settings
    print_warnings([*loaded.warnings, *unused_options(loaded)])
    check_existing(settings)
    if output is not None:
        check_writable(output)
    run_dir = settings.work_dir / "runs" / new_run_id(CLOCK.time())  # of no run: never made
    context = backend_context(settings, run_dir, Governor(), os.environ, CLOCK)
    with announced("the planner's Docker Engine", print_line):
        ask = choose_planner(settings, context)
    report = (lambda _: None) if settings.quiet or settings.json_lines else print_line
    caps = Allowance(settings.max_tokens, settings.max_cost)
    models = settle_prices(settings.models())
    given = build_context(read_context_files(settings.context, context.credentials.mask))
    price, expectations = pricing(*models.each), read_expectations(settings, models)
    expectations = expectations.given_more(given, existing=settings.into is not None)
    with (
        shown_code(settings, prompt, report) as code,
        reporting_spend(price, report, simulated=not settings.real) as (charge, spent),
    ):
        request = planning_request(settings, models.planner, prompt, caps, given, code)
        expectations = expectations.of_code(code.manifest)
        simulation = models.planner.simulation
        speed = simulation.speed if simulation else None

        def ask_expecting(*given: Any) -> Plan:
            report(planning_line(expectations.planning(prompt), speed))
            return ask(*given)

        told = silence_reporter(report)
        hooks = Hooks(charge, report, on_answering=told, file_log=code.log)
        began_s = CLOCK.monotonic()
        made = plan_alone(request, context.credentials, CLOCK, hooks, print_line, ask_expecting)
        took = spent().part(CLOCK.monotonic() - began_s)
    spare = run_dir.with_name(f"plan-{run_dir.name}.json")
    if output is not None:
        write_plan(made, output, spare)
    if settings.json_lines:
        print_text(render_plan(made))
    else:
        print_text(render_plan_view(made, expectations.forecast(made, took)))
    if notice := foresee_lacking_tools(made, settings.backend, context):
        report(notice)
    if output is None and output_failure():
        print_line(rescue_plan(made, spare))
    return 0


@contextmanager
def shown_code(
    settings: Settings, prompt: str, report: Callable[[str], None]
) -> Iterator[SeenCode]:
    """What a planner is shown of existing code, laid out for as long as it plans."""
    from backends import backend_class
    from engine.planning.preflight import SeenCode
    from engine.repository.base import prepare_base
    from engine.run.rundir import RunDir
    from engine.run.session import storing
    from engine.verification.reproduce import try_alone
    from engine.views.existing import describe_base

    if settings.into is None:
        yield SeenCode()
        return
    with ExitStack() as stack:
        with storing():
            run = RunDir(Path(stack.enter_context(TemporaryDirectory(prefix="orchestrator-"))))
            base = prepare_base(settings.into, settings.base, run)
            code = SeenCode() if base.is_empty else SeenCode.of(base, run)
        for line in describe_base(base):
            report(line)
        place = backend_class(settings.backend).checks_run_in
        if found := try_alone(run, base, prompt, settings, place, CLOCK, report):
            report(found.for_person())
            code = replace(code, failure=found.for_planner())
        yield code


def runs(loaded: LoadedSettings, limit: int | None) -> int:
    from claude.prices import kept_pricing
    from engine.run.rundir import runs_in
    from engine.views.format import screen_rows, screen_width
    from engine.views.listing import list_runs, render_json, render_runs

    found, as_json = runs_in(loaded.settings.work_dir), loaded.settings.json_lines
    if limit is None and not as_json and sys.stdout.isatty():
        limit = screen_rows() - 4  # the head, what is left out, and the next command
    shown = found[-limit:] if limit else found
    rows = list_runs(shown, kept_pricing)
    if as_json:
        print_text(render_json(rows))
    else:
        older = len(found) - len(shown)
        width = screen_width() if sys.stdout.isatty() else PIPE_WIDTH
        print_text(render_runs(rows, now=CLOCK.time(), width=width, older=older))
    return 0


def show(loaded: LoadedSettings, name: str, task: str) -> int:
    from claude.prices import kept_pricing
    from engine.run.rundir import find_run
    from engine.views.format import screen_width
    from engine.views.show import ShownRun, render_run, render_task

    run = find_run(loaded.settings.work_dir, name)
    shown = ShownRun.read(run, kept_pricing(run.read_facts().settings))
    verbose, width = loaded.settings.verbose, screen_width()
    if task:
        print_text(render_task(shown, task, width, verbose=verbose))
    else:
        print_text(render_run(shown, width, verbose=verbose))
    return 0


def logs(loaded: LoadedSettings, name: str, task: str, follow: bool) -> int:
    from engine.cleanup.logs import follow_log
    from engine.run.rundir import find_run

    backends = run_backends(loaded)
    return follow_log(find_run(backends.work_dir, name), task, backends, print_text, follow=follow)


def report(loaded: LoadedSettings, name: str, output: Path | None, opens: bool) -> int:
    from claude.prices import kept_pricing
    from engine.report.write import read_timeline, write_report
    from engine.run.rundir import find_run

    if output is not None and not output.parent.is_dir():
        remedy = "Make it first, or give another file."
        raise UsageError(f"The directory {output.parent} of -o does not exist.", remedy)
    run = find_run(loaded.settings.work_dir, name)
    timeline = read_timeline(run, kept_pricing(run.read_facts().settings))
    path, mask = output or run.report, loaded.settings.credentials(os.environ).mask
    write_report(run, timeline, mask, CLOCK.time(), path)
    print_text(f"{path}\n")
    if opens:
        open_in_browser(path.absolute().as_uri())
    return 0


def watch(loaded: LoadedSettings, name: str, port: int, opens: bool) -> int:
    from claude.prices import kept_pricing
    from engine.report.watch import watching
    from engine.run.rundir import find_run

    run = find_run(loaded.settings.work_dir, name)
    price = kept_pricing(run.read_facts().settings)
    mask = loaded.settings.credentials(os.environ).mask
    with watching(run, price, mask, CLOCK, port) as served:
        print_text(f"{served.address}\n")
        print_line("The page follows the run. Ctrl-C ends it.")
        if opens:
            open_in_browser(served.address)
        with suppress(KeyboardInterrupt):
            while True:
                CLOCK.sleep(3600)
    print_line("The page is served no longer; the run is as it was.")
    return 0


def open_in_browser(address: str) -> None:
    import webbrowser

    if not webbrowser.open(address):
        print_line(f"warning: No browser was found here. Open {address} yourself.")


def cancel(loaded: LoadedSettings, name: str) -> int:
    from engine.cleanup.cancel import EventPrinter, cancel_run
    from engine.run.rundir import find_run

    backends = run_backends(loaded)
    printer = EventPrinter(print_text, backends.as_json)
    return cancel_run(find_run(backends.work_dir, name), backends, printer)


def undo(loaded: LoadedSettings, name: str) -> int:
    from engine.repository.plain import undo as give_back
    from engine.run.rundir import find_run, locked
    from engine.run.session import storing
    from engine.views.format import clean

    run = find_run(loaded.settings.work_dir, name)
    with storing(), locked(run):
        paths = give_back(run)
        print_text(f"Given back in {run.read_facts().target}, as before the run:\n")
        print_text("".join(f"  {clean(path, 4_096)}\n" for path in paths))
    return 0


def clean(loaded: LoadedSettings, name: str, older_than_s: float, yes: bool) -> int:
    from engine.cleanup.clean import clean_runs
    from engine.cleanup.scan import CleanupScan

    scan = CleanupScan(run_backends(loaded), older_than_s).narrowed(name)
    return clean_runs(scan, print_text, yes=yes)


def run_backends(loaded: LoadedSettings) -> RunBackends:
    from claude.prices import kept_pricing
    from engine.cleanup.run_backends import RunBackends

    return RunBackends(loaded, os.environ, Path.cwd(), CLOCK, kept_pricing)


def simulated_api(loaded: LoadedSettings, port: int) -> int:
    from claude.simulation.server import serve_until_stopped

    simulation = loaded.settings.models().executor.simulation
    return serve_until_stopped(port, simulation, CLOCK, print_text)


def doctor(loaded: LoadedSettings, probe: bool, register: bool) -> int:
    from engine.cli.doctor import asks_real, examine, report

    print_warnings(loaded.warnings)
    checks = examine(
        loaded.settings,
        os.environ,
        CLOCK,
        asks_real=asks_real(loaded),
        probe=probe,
        register=register,
    )
    return report(checks, print_text, as_json=loaded.settings.json_lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; the one place where errors are caught."""
    args = list(sys.argv[1:] if argv is None else argv)
    handlers = Handlers(
        run=run,
        plan=plan,
        resume=resume,
        runs=runs,
        show=show,
        logs=logs,
        report=report,
        watch=watch,
        simulated_api=simulated_api,
        doctor=doctor,
        cancel=cancel,
        undo=undo,
        clean=clean,
    )
    around = Surroundings(os.environ, Path.cwd, sys.stdin.buffer if sys.stdin else None)
    debug = "--debug" in args
    start_log(debug=debug)
    with safe_stdout():
        try:
            with all_raise():
                code = run_cli(build_cli(handlers, around, VERSION), args, program())
        except (Exception, KeyboardInterrupt) as exc:  # noqa: BLE001 - one message at the end
            code = print_error(exc, debug=debug)
        failure = output_failure()  # no walrus: an older Python reads this file, and is told
        if failure:
            failed = print_error(failure, debug=debug)
            code = code or failed
        return code


if __name__ == "__main__":
    sys.exit(main())
