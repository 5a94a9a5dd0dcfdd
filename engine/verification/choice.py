"""Where a run's project is verified."""

from hashlib import sha256

from claude.simulation.sample_projects import KEYWORDS, load_sample
from config import Settings
from core.checks.sandbox import Bare, Sandbox, find_bubblewrap
from core.checks.toolchain import programs_of
from core.plan import Plan
from engine.delivery.merge import MergePlan
from engine.run.session import Session
from engine.verification.commands import find_commands, planned_commands
from engine.verification.verify import CheckRunner, HostRunner


def choose_runner(
    session: Session, plan: Plan, merged: MergePlan, settings: Settings
) -> CheckRunner | str:
    """What runs the checks, or why nothing is verified."""
    sandbox = _choose_sandbox(plan, merged, settings)
    if isinstance(sandbox, str):
        return sandbox
    return HostRunner(sandbox, session.run.verification, session.clock)


def _choose_sandbox(plan: Plan, merged: MergePlan, settings: Settings) -> Sandbox | str:
    commands, setup = find_commands(plan, merged), plan.setup
    if settings.no_verify:
        return "--no-verify"
    if not commands and not setup.install and not setup.start:
        return "the plan names none"
    if not settings.real:
        is_ours = any(_is_of_sample(name, merged, {*commands, *setup.install}) for name in KEYWORDS)
        return Bare() if is_ours else "the files are a simulation's placeholders"
    found = find_bubblewrap(programs_of(setup.tools))
    if isinstance(found, Sandbox):
        return found
    if settings.verify_on_host:
        return Bare()
    return f"{found}; install it, or run them unprotected with --verify-on-host"


def _is_of_sample(name: str, merged: MergePlan, commands: set[str]) -> bool:
    """Whether all commands and all files are those of one of our own samples: a plan file may bring
    others, as contracts."""
    sample = load_sample(name)
    texts = {path: text for files in sample.files.values() for path, text in files.items()}
    texts |= {contract.path: contract.content for contract in sample.plan.contracts}
    digests = {path: sha256(text.encode()).hexdigest() for path, text in texts.items()}
    return commands <= {*planned_commands(sample.plan), *sample.plan.setup.install} and all(
        digests.get(file.path) == file.entry.sha256 for file in merged.files
    )
