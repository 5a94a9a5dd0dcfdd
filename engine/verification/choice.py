"""Where a run's project is verified."""

import os
from hashlib import sha256
from pathlib import Path

from backends.base import Backend, CheckPlace
from claude.simulation.mistakes.places import all_commands, all_texts
from claude.simulation.sample_projects import KEYWORDS, load_sample
from config import Settings
from core.checks.registries import read_registries
from core.checks.sandbox import Bare, Sandbox, find_bubblewrap
from core.checks.toolchain import programs_of
from core.clock import Clock
from core.plan import Plan
from engine.delivery.merge import MergePlan
from engine.run.rundir import RunDir
from engine.run.session import Session
from engine.verification.added_task import AddedTasks
from engine.verification.commands import find_commands
from engine.verification.container import ContainerRunner
from engine.verification.job_runner import JobRunner
from engine.verification.verify import CheckRunner, HostRunner


def choose_runner(
    session: Session,
    plan: Plan,
    merged: MergePlan,
    settings: Settings,
    backend: Backend,
    tasks: AddedTasks,
) -> CheckRunner | str:
    """What runs the checks, by `tasks` where it is a job; or why nothing is verified."""
    foreign = settings.real or session.run.base_json.exists()  # not code of our own samples
    if why_not := _why_nothing_runs(plan, merged, settings, foreign):
        return why_not
    if backend.checks_run_in == "job":
        needs_no_sandbox = settings.verify_on_host or not foreign
        return JobRunner(tasks, backend.name, needs_no_sandbox)
    place = backend.checks_run_in
    return choose_near(session.run, session.clock, plan, settings, place, foreign=foreign)


def choose_near(
    run: RunDir,
    clock: Clock,
    plan: Plan,
    settings: Settings,
    place: CheckPlace,
    *,
    foreign: bool = True,
) -> CheckRunner | str:
    """The same where checks are no job; `foreign`: other code than that of our own samples."""
    contained = ContainerRunner(run, settings, os.environ, clock)
    if place == "container":
        return contained
    sandbox = find_bubblewrap(programs_of(plan.setup.tools)) if foreign else Bare()
    if isinstance(sandbox, Sandbox):
        return HostRunner(sandbox, run.verification, clock)
    if not contained.problem():
        return contained
    if settings.verify_on_host:
        unprotected = Bare(read_registries(os.environ, Path.home()))
        return HostRunner(unprotected, run.verification, clock)
    return (
        f"{sandbox}; install it, or build the image for containers (docker/build.sh), or"
        " run them unprotected with --verify-on-host"
    )


def _why_nothing_runs(plan: Plan, merged: MergePlan, settings: Settings, foreign: bool) -> str:
    commands, setup = find_commands(plan, merged), plan.setup
    if not settings.verify:
        return "--no-verify"
    if not commands and not setup.install and not setup.start:
        return "the plan names none"
    run = {*commands, *setup.install}
    if not foreign and not any(_is_of_sample(name, merged, run) for name in KEYWORDS):
        return "the files are a simulation's placeholders"
    return ""


def _is_of_sample(name: str, merged: MergePlan, commands: set[str]) -> bool:
    """Whether all commands and all files are those of one of our own samples, or what a fault of
    the simulation makes of them: a plan file may bring others, as contracts."""
    sample = load_sample(name)
    if not commands <= {*all_commands(sample.plan), *sample.plan.setup.install}:
        return False
    texts = all_texts(sample)
    digests = {path: {sha256(t.encode()).hexdigest() for t in texts[path]} for path in texts}
    return all(file.entry.sha256 in digests.get(file.path, ()) for file in merged.files)
