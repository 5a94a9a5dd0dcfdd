"""How long a run takes from its prompt to its tree, with and without early start.

The whole program as a process of its own, over real HTTP against the simulated Claude, which
another process serves at a fixed pace. `bound` is the plan until the last task could start, and
then all tasks on so many executors, the longest remaining path first: the longest chain where there
are enough; `best` is the same, each task as soon as its own contracts are written; `life` is what
that ratio comes to at the speed of life, since what is not Claude's time does not grow with it.
Times are those of the run's own events, in real seconds.

    python -m bench.early_start [--speed 4] [--executors 1,2,4,8,16] [--sample todo,modules,100]
"""

from __future__ import annotations

import argparse
import heapq
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from claude.simulation.api import SimulatedApi
from claude.simulation.random_plan import random_plan
from claude.simulation.sample_projects import Designer, find_sample_files, load_sample
from claude.simulation.server import serve
from core.bundle import SimulationSettings
from core.clock import SystemClock
from core.plan import Analysis, Contract, Criterion, Plan, Task, remaining_path

ROOT = Path(__file__).parents[1]
PROMPT = "Build it"
MODULES = 8


def modules_plan() -> Plan:
    """Modules beside each other, each with a contract of its own, and an application on top."""
    names = [f"module-{n}" for n in range(MODULES)]
    contracts = tuple(
        Contract(
            path=f"contracts/{name}.py",
            purpose=f"What {name} offers",
            content="".join(f"NAME_{n:03} = 'what stands for {n}'\n" for n in range(70)),
        )
        for name in names
    )
    tasks = [
        Task(
            id=name,
            title=f"The {name}",
            instructions=f"Write {name} with all that its contract names. " * 4,
            owns=(f"src/{name}.py",),
            uses=(contract.path,),
            estimate=2_000,
        )
        for name, contract in zip(names, contracts, strict=True)
    ]
    app = Task(
        id="app",
        title="The application",
        instructions="Put the modules together. " * 6,
        depends_on=tuple(names),
        owns=("src/app.py",),
        uses=tuple(contract.path for contract in contracts),
        estimate=1_000,
    )
    return Plan(
        title="Modules",
        summary="Modules with contracts of their own.",
        analysis=Analysis(complexity=5, rationale="Made up.", recommended_executors=MODULES),
        tasks=(*tasks, app),
        acceptance_criteria=(Criterion(text="It works.", served_by=("app",)),),
        contracts=contracts,
    )


def write_modules(*_: object) -> Mapping[str, Mapping[str, str]]:
    plan = modules_plan()
    return {
        task.id: {task.owns[0]: "".join(f"x_{n} = {n}\n" for n in range(task.estimate // 3))}
        for task in plan.tasks
    }


def designer_of(sample: str) -> Designer:
    if sample == "modules":
        return Designer(lambda _: modules_plan(), write_modules)
    if sample.isdigit():
        return Designer(lambda _: random_plan(0, int(sample)), find_sample_files)
    return Designer(lambda _: load_sample(sample).plan, find_sample_files)


def _serve(sample: str, speed: float, told: Connection) -> None:
    settings = SimulationSettings(speed=speed)
    api = SimulatedApi(settings, SystemClock(), designer=designer_of(sample))
    with serve(0, settings, SystemClock(), api=api) as server:
        told.send(server.base_url)
        told.recv()


@contextmanager
def served(sample: str, speed: float) -> Iterator[str]:
    """The address of a simulated Claude in a process of its own."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=_serve, args=(sample, speed, theirs), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        ours.send(None)
        process.join()


@dataclass(frozen=True)
class Run:
    """Seconds, from the prompt on: to the tree, to the whole plan, to its head and each of its
    contracts. `tasks_s` is what Claude took for each task."""

    total_s: float
    plan_s: float
    head_s: float
    written_s: Mapping[str, float]
    tasks_s: Mapping[str, float]
    cpu_s: float


def carry_out(url: str, executors: int, *, early: bool) -> Run:
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, str(ROOT / "orchestrator.py"), PROMPT, "--real", "--json"]
        command += ["--parallel", "always", "--max-executors", str(executors)]
        command += ["--output-dir", "out"] + ([] if early else ["--no-early-start"])
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("ANTHROPIC", "AWS"))}
        environ |= {"ANTHROPIC_API_KEY": "bench", "ANTHROPIC_BASE_URL": url}
        before = os.times()
        done = subprocess.run(
            command, cwd=place, env=environ, capture_output=True, text=True, check=True
        )
        after = os.times()
        cpu_s = sum(after[2:4]) - sum(before[2:4])
        return read_run([json.loads(line) for line in done.stdout.splitlines()], cpu_s)


def read_run(events: list[dict[str, Any]], cpu_s: float) -> Run:
    began = next(e["at"] for e in events if e["kind"] == "run_started")
    delivered = next(e["at"] for e in events if e["kind"] == "delivered")
    planned = [e for e in events if e["kind"] == "progress" and not e["task"]]
    usages = [e for e in planned if e["data"].get("usage")]
    told = [(e["at"] - began, e["data"].get("text", "")) for e in planned]
    written = {t.split()[1].rstrip(":"): at for at, t in told if t.startswith("contract ")}
    ready = next(e["at"] for e in events if e["kind"] == "plan_ready")
    tasks: dict[str, float] = {}
    for event in events:
        if event["kind"] == "job_ended":
            seconds = sum(usage["duration_s"] for usage in event["data"]["usage"])
            tasks[event["task"]] = tasks.get(event["task"], 0.0) + seconds
    return Run(
        delivered - began,
        usages[-1]["at"] - began,
        ready - began,
        written,
        tasks,
        cpu_s,
    )


def makespan_s(plan: Plan, run: Run, executors: int, *, growing: bool) -> float:
    """List scheduling of the tasks as they took, the longest remaining path first; each when its
    contracts were written, or where the plan is not `growing` all when the last one was."""
    timed = {name: max(1, round(seconds * 1000)) for name, seconds in run.tasks_s.items()}
    weighed = [t.model_copy(update={"estimate": timed[t.id]}) for t in plan.tasks]
    rank = remaining_path(plan.model_copy(update={"tasks": tuple(weighed)}))
    at = {
        t.id: max((run.written_s[path] for path in t.uses), default=run.head_s) for t in plan.tasks
    }
    open_at = at if growing else dict.fromkeys(at, max(at.values()))
    done: dict[str, float] = {}
    running: list[tuple[float, str]] = []
    waiting = {t.id: t for t in plan.tasks}
    now = 0.0
    while waiting or running:
        ready = [
            name
            for name, task in waiting.items()
            if open_at[name] <= now and all(need in done for need in task.depends_on)
        ]
        for name in sorted(ready, key=lambda name: -rank[name])[: executors - len(running)]:
            heapq.heappush(running, (now + run.tasks_s[name], name))
            del waiting[name]
        opens = [open_at[name] for name in waiting if open_at[name] > now]
        now = min([*opens, *(end for end, _ in running[:1])])
        while running and running[0][0] <= now:
            end, name = heapq.heappop(running)
            done[name] = end
    return max(done.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--speed", type=float, default=4.0)
    parser.add_argument("--executors", default="1,2,4,8,16")
    parser.add_argument("--sample", default="todo,shop,modules,100")
    parser.add_argument("--repeat", type=int, default=1)
    asked = parser.parse_args()
    head = "sample   exec |  early   bound ratio    best ratio  life"
    print(f"{head} |  whole   gain      of plan | CPU load")
    for sample in asked.sample.split(","):
        plan = designer_of(sample).plan(PROMPT)
        with served(sample, asked.speed) as url:
            for executors in map(int, asked.executors.split(",")):
                runs = [carry_out(url, executors, early=True) for _ in range(asked.repeat)]
                early = min(runs, key=lambda run: run.total_s)
                whole = min(
                    (carry_out(url, executors, early=False) for _ in range(asked.repeat)),
                    key=lambda run: run.total_s,
                )
                bound_s = makespan_s(plan, early, executors, growing=False)
                best_s = makespan_s(plan, early, executors, growing=True)
                gain_s = whole.total_s - early.total_s
                print(
                    f"{sample:8} {executors:4} | {early.total_s:6.2f}"
                    f"  {bound_s:6.2f} {early.total_s / bound_s:5.3f}"
                    f"  {best_s:6.2f} {early.total_s / best_s:5.3f}"
                    f" {1 + (early.total_s - best_s) / (best_s * asked.speed):5.3f}"
                    f" | {whole.total_s:6.2f} {gain_s:6.2f} {gain_s / whole.total_s:4.0%}"
                    f"  {gain_s / whole.plan_s:4.0%} of {whole.plan_s:5.2f}"
                    f" | {early.cpu_s:4.1f} {os.getloadavg()[0]:4.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
