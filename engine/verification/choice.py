"""Which sandbox a run's project is verified in."""

from claude.simulation.sample_projects import KEYWORDS, load_sample
from config import Settings
from core.plan import Plan
from engine.delivery.merge import MergePlan
from engine.verification.commands import find_commands, planned_commands
from engine.verification.sandbox import Bare, Sandbox, find_bubblewrap
from engine.verification.toolchain import programs_of


def choose_sandbox(plan: Plan, merged: MergePlan, settings: Settings) -> Sandbox | str:
    """The sandbox, or why nothing is verified."""
    commands = find_commands(plan, merged)
    if settings.no_verify:
        return "--no-verify"
    if not commands:
        return "the plan names none"
    if not settings.real:
        is_ours = any(_is_of_sample(name, {*commands, *plan.setup.install}) for name in KEYWORDS)
        return Bare() if is_ours else "the files are a simulation's placeholders"
    found = find_bubblewrap(programs_of(plan.setup.tools))
    if isinstance(found, Sandbox):
        return found
    if settings.verify_on_host:
        return Bare()
    return f"{found}; install it, or run them unprotected with --verify-on-host"


def _is_of_sample(name: str, commands: set[str]) -> bool:
    sample = load_sample(name).plan
    return commands <= {*planned_commands(sample), *sample.setup.install}
