"""What prompt caching is worth in a whole run, with and without warming it first where that pays.

Planner, scheduler, threads and the real SDK over loopback HTTP, against a simulated API that
accounts for its cache as the real one documents it (claude/simulation/prompt_cache.py). Every run
begins with a cold cache. Prices are those of genai-prices.

    python -m bench.prompt_caching [--executors 8] [--speed 4] [--model M] [--provider P]
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from backends.threading_backend import ThreadingBackend
from claude.client.client import connect
from claude.client.types import Hooks
from claude.limits.governor import Governor
from claude.prices import price_usd
from claude.simulation.api import SimulatedApi
from claude.simulation.prompt_cache import PromptCache
from claude.simulation.server import serve
from core.bundle import AttemptDir, Limits, ModelSettings, SimulationSettings, read_spent
from core.clock import SystemClock
from core.credentials import Credentials
from core.events import Kind
from core.job import Usage
from core.plan import Analysis, Contract, Criterion, Plan, Task
from engine.execution import PROGRESS_S
from engine.money.usage import Spend
from engine.planning.warm_up import price_prefix
from engine.run.attempt_store import DiskStore, write_contracts
from engine.run.journal import Journal, read_journal
from engine.run.rundir import RunDir, RunFacts, create_run, new_run_id
from engine.scheduling.calls import ThreadedCalls
from engine.scheduling.retry_policy import RetryPolicy
from engine.scheduling.scheduler import Scheduler
from engine.scheduling.types import Pacing
from executor_agent import ThreadWorker
from planner_agent import PlannerAgent

KEYS = Credentials(anthropic_api_key="bench", aws_bearer_token_bedrock="bench")
TODO = "Build a todo list app with add/delete/complete"
CLINIC = "Build a clinic with patients, appointments, invoices, doctors and payments"
WIDE = "Build sixteen modules on one contract"


def wide_plan() -> Plan:
    """Sixteen tasks that may all start at once, and contracts of some 10,000 tokens."""
    content = "".join(f"NAME_{n:04} = 'the value that stands for {n}'\n" for n in range(900))
    tasks = tuple(
        Task(
            id=f"module-{n}",
            title=f"Module {n}",
            instructions=f"Write module {n}.",
            uses=("names.py",),
            owns=tuple(f"module_{n}/part_{p}.py" for p in range(6)),
            estimate=3_000,
        )
        for n in range(16)
    )
    return Plan(
        title="Wide",
        summary="Modules that share a contract.",
        analysis=Analysis(
            complexity=6, rationale="-", recommended_executors=16, parallel_pays=True
        ),
        contracts=(Contract(path="names.py", purpose="All names.", content=content),),
        tasks=tasks,
        acceptance_criteria=(Criterion(text="It is there.", served_by=("module-0",)),),
    )


@dataclass(frozen=True, slots=True)
class Setting:
    model: ModelSettings
    speed: float
    executors: int


@dataclass(frozen=True, slots=True)
class Measured:
    plan: Plan
    usages: list[Usage]
    held_s: float
    """Simulated seconds from the first executor's launch to the second's."""
    wall_s: float


def measure(prompt: str, plan: Plan | None, setting: Setting, folder: Path, warm: bool) -> Measured:
    """One run with a cache of its own."""
    simulation = SimulationSettings(speed=setting.speed)
    api = SimulatedApi(simulation, SystemClock(), cache=PromptCache())
    usages: list[Usage] = []
    begin = time.perf_counter()
    with serve(0, simulation, SystemClock(), api=api) as server:
        model = ModelSettings(
            provider=setting.model.provider, model=setting.model.model, base_url=server.base_url
        )
        plan = plan or _ask_plan(prompt, model, usages.append)
        run = create_run(folder, RunFacts(new_run_id(0.0), prompt, "out", 0.0, {}, simulated=True))
        write_contracts(run, plan.contracts)
        prefix = price_prefix(plan, prompt, price_usd, model, ThreadingBackend.first_line_s)
        pacing = Pacing(setting.executors, cold_prefix=prefix if warm else None)
        _execute(run, plan, prompt, model, replace(pacing, progress_s=PROGRESS_S))
    for task in plan.tasks:
        usages += read_spent(AttemptDir(run.tasks / task.id / "1"))
    launched = [e.at for e in read_journal(run.journal) if e.kind is Kind.JOB_INTENDED]
    held_s = (launched[1] - launched[0]) * setting.speed
    return Measured(plan, usages, held_s, time.perf_counter() - begin)


def _ask_plan(prompt: str, model: ModelSettings, spent: Callable[[Usage], None]) -> Plan:
    with connect(
        model,
        KEYS,
        clock=SystemClock(),
        governor=Governor(),
        limits=Limits(),
        hooks=Hooks(on_usage=spent),
    ) as claude:
        return PlannerAgent(claude).plan(prompt)


def _execute(run: RunDir, plan: Plan, prompt: str, model: ModelSettings, pacing: Pacing) -> None:
    journal = Journal(run.journal)
    backend = ThreadingBackend(run.root, ThreadWorker(KEYS, Governor()))
    calls = ThreadedCalls(SystemClock())
    scheduler = Scheduler(
        run.run_id,
        plan,
        backend=backend,
        store=DiskStore(run, plan, prompt, model, Limits()),
        sink=journal,
        calls=calls,
        clock=SystemClock(),
        policy=RetryPolicy(1, random.Random(0)),
        pacing=pacing,
        commit=journal.commit,
    )
    outcome = scheduler.run()
    calls.close()
    backend.close()
    journal.close()
    if len(outcome.succeeded) != len(plan.tasks):
        raise SystemExit(f"Not every task succeeded: {outcome}")


def _told(name: str, warm: bool, measured: Measured) -> str:
    usages = measured.usages
    spend = sum((Spend.of(u, price_usd) for u in usages), Spend())
    cost, saved = spend.cost_usd, spend.saved_usd
    money = f"{cost:>7.3f} {saved:>7.3f} {cost + saved:>7.3f}"
    return (
        f"{name:>7} {len(measured.plan.tasks):>5} {'yes' if warm else 'no':>4} {len(usages):>8}"
        f" {spend.total_tokens - spend.output_tokens:>9,} {spend.cached_share:>7.1%}"
        f" {spend.cache_write_tokens:>8,} {money} {measured.held_s:>6.1f}"
        f" {measured.wall_s:>6.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--executors", type=int, default=8)
    parser.add_argument("--speed", type=float, default=4.0, help="simulated seconds a second")
    parser.add_argument("--provider", default="anthropic")
    parser.add_argument("--model", default=ModelSettings().model)
    asked = parser.parse_args()
    model = ModelSettings(provider=asked.provider, model=asked.model)
    setting = Setting(model, asked.speed, asked.executors)
    print(f"{asked.model} on {asked.provider}, {asked.executors} executors, speed {asked.speed:g}")
    print("    run tasks warm requests  input tk    read  written    cost   saved uncached", end="")
    print(" held s wall s")
    for name, prompt, plan in [
        ("todo", TODO, None),
        ("clinic", CLINIC, None),
        ("wide", WIDE, wide_plan()),
    ]:
        for warm in (False, True):
            with tempfile.TemporaryDirectory() as folder:
                measured = measure(prompt, plan, setting, Path(folder), warm)
            print(_told(name, warm, measured), flush=True)


if __name__ == "__main__":
    main()
