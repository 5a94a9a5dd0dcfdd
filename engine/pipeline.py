"""The steps of a run between the plan and its delivery, each fed by the one before."""

from __future__ import annotations

import errno
import os
import random
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from backends.base import Backend
from core.bundle import build_manifest
from core.errors import UsageError
from core.events import (
    Conflict,
    Delivered,
    Forecast,
    MergeIntended,
    PlannedTask,
    PlanReady,
    Refused,
    RunStarted,
)
from core.job import Manifest, TaskResult, TaskState
from core.plan import Plan, parse_plan, render_plan
from core.wire import decode, encode, write_atomic
from engine.cli.signals import first_asks
from engine.delivery.merge import MergePlan, MergeSource, merged_manifest, plan_merge
from engine.delivery.target import apply_merge, recover_target, which_delivered
from engine.money.budget import Budget
from engine.planning.forecast import expected_needs
from engine.run.attempt_store import DiskStore, verify_results, write_contracts
from engine.run.jobs_view import JobsView
from engine.run.rundir import RunDir, RunFacts
from engine.run.session import Session, storing
from engine.scheduling.calls import ThreadedCalls
from engine.scheduling.retry_policy import RetryPolicy
from engine.scheduling.scheduler import Scheduler
from engine.scheduling.types import Conditions, Pacing, RunOutcome, StopCause
from engine.scheduling.warm_up import CACHE_LIVES_S


def announce(session: Session, backend: str, model: str, max_executors: int) -> None:
    """The first event of every session."""
    facts = session.facts
    session.emit(
        RunStarted(
            run=facts.run,
            run_dir=str(session.run.root),
            prompt=facts.prompt,
            simulated=facts.simulated,
            backend=backend,
            model=model,
            max_executors=max_executors,
            target=facts.target,
            resumed=session.resumed,
        )
    )


def read_plan(path: Path) -> Plan:
    """The plan in a file. Raises UsageError, and PlanInvalid with every defect."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"The plan file {path} cannot be read: {exc}.", "Check it.") from exc
    return parse_plan(text, str(path))


def check_plan_file(path: Path | None) -> None:
    """Raises UsageError when a plan could not be written there; leaves nothing behind."""
    if path is None:
        return
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with tempfile.TemporaryFile(dir=path.absolute().parent):
            pass
    except OSError as exc:
        raise UsageError(
            f"The plan cannot be written to {path}: {exc.strerror}.", "Choose another file."
        ) from exc


@storing()
def settle_plan(session: Session, make: Callable[[], Plan]) -> Plan:
    """The run's plan: the one it has, or the one that `make` returns."""
    run = session.run
    if run.plan.exists():
        plan = parse_plan(run.plan.read_text(encoding="utf-8"), str(run.plan))
    else:
        plan = make()
        write_atomic(run.plan, render_plan(plan), durable=True)
    write_contracts(run, plan)
    tasks = [PlannedTask(t.id, t.title, tuple(t.depends_on), t.estimate) for t in plan.tasks]
    session.emit(PlanReady(plan.title, tuple(tasks)))
    return plan


PROGRESS_S = 0.5
"""Between two looks at what running jobs tell; a person notices no less."""


def tell_forecast(session: Session, figures: Forecast) -> None:
    """Once in a run: what came of it is held against what was said first."""
    if session.run_view.forecast is None:
        session.emit(figures)


@storing()
def run_plan(
    session: Session, plan: Plan, backend: Backend, conditions: Conditions, budget: Budget
) -> RunOutcome:
    """Run what is left of the plan. Ctrl-C ends it early, resumable."""
    earlier = _undamaged(session)
    model, limits = conditions.model_settings(), conditions.limits()
    budget.expect(expected_needs(plan, session.facts.prompt, budget.price, model))
    cached_at = earlier.spent_at
    store = DiskStore(session.run, plan, session.facts.prompt, model, limits)
    calls = ThreadedCalls(session.clock)
    scheduler = Scheduler(
        session.run.run_id,
        plan,
        backend=backend,
        store=store,
        sink=session.sink,
        calls=calls,
        clock=session.clock,
        policy=RetryPolicy(conditions.max_retries, random.Random()),
        pacing=pacing_of(
            conditions,
            warm_up=session.clock.time() - cached_at > CACHE_LIVES_S,
            cancel_lag_s=backend.cancel_lag_s,
        ),
        earlier=earlier,
        commit=session.journal.commit,
        budget=budget,
    )
    try:
        with first_asks(scheduler.interrupt):
            return scheduler.run()
    finally:
        calls.close()


def pacing_of(conditions: Conditions, *, warm_up: bool, cancel_lag_s: float = 0.0) -> Pacing:
    """The loop's limits under the settings in force, on a backend with that lag."""
    return Pacing(
        conditions.max_executors,
        conditions.task_timeout,
        queue_timeout_s=conditions.queue_timeout,
        cancel_grace_s=Pacing().cancel_grace_s + cancel_lag_s,
        progress_s=None if conditions.quiet else PROGRESS_S,
        warm_up=warm_up,
    )


def _undamaged(session: Session) -> JobsView:
    """Without the results that no longer match their manifests, which the user is told."""
    jobs = session.run_view.jobs
    damaged = verify_results(session.run, jobs.succeeded).damaged
    for task, why in damaged.items():
        session.notice(f"Task {task} is run again, since its result was changed: {why}")
    succeeded = {task: number for task, number in jobs.succeeded.items() if task not in damaged}
    return replace(jobs, succeeded=succeeded)


@dataclass(frozen=True, slots=True)
class Delivery:
    """What came to the target. Empty when there was nothing to deliver."""

    target: Path
    manifest: Manifest = Manifest()  # noqa: RUF009 - a frozen value
    conflicts: tuple[Conflict, ...] = ()
    refused: tuple[Refused, ...] = ()

    @property
    def clean(self) -> bool:
        return not self.conflicts and not self.refused


@storing()
def deliver(session: Session, plan: Plan, outcome: RunOutcome, target: Path) -> Delivery:
    """Merge what succeeded into the target, all of it or nothing.

    An interrupted run delivers nothing yet. Raises MergeError.
    """
    stopped = outcome.stop is not None and outcome.stop.cause is StopCause.INTERRUPTED
    if stopped or not outcome.succeeded:
        return Delivery(target)
    verified = verify_results(session.run, outcome.succeeded)
    merge = plan_merge(merge_sources(session.run, plan, outcome.succeeded, verified.results))
    manifest = _replace_target(session, merge, target)
    delivery = Delivery(target, manifest, merge.conflicts, merge.refused)
    files = len(manifest.entries)
    session.emit(Delivered(str(target), files, merge.conflicts, merge.refused))
    return delivery


def merge_sources(
    run: RunDir, plan: Plan, succeeded: Mapping[str, int], results: Mapping[str, TaskResult]
) -> list[MergeSource]:
    """The contracts first, then the tasks in the plan's order."""
    contracts = MergeSource("contracts", run.contracts, build_manifest(run.contracts))
    tasks = [
        MergeSource(t.id, run.attempt(results[t.id].key).files, results[t.id].manifest)
        for t in plan.tasks
        if t.id in succeeded and t.id in results
    ]
    return [contracts, *tasks]


def _replace_target(session: Session, merge: MergePlan, target: Path) -> Manifest:
    run = session.run
    recover_target(target, run.run_id)
    before = which_delivered(target, known_deliveries(run))
    expected = merged_manifest(merge)
    # What was there and what will be: after a crash in between, either may be found
    candidates = tuple(m for m in (before, expected) if m is not None)
    write_atomic(run.delivered, encode(Deliveries(candidates)), durable=True)
    session.emit(MergeIntended(str(target), len(expected.entries)))
    session.journal.commit()
    return apply_merge(merge, target, run.run_id, before)


@dataclass(frozen=True, slots=True)
class Deliveries:
    """delivered.json: the trees that the target may hold if nobody but this run touched it."""

    manifests: tuple[Manifest, ...] = ()
    version: int = 1


def known_deliveries(run: RunDir) -> tuple[Manifest, ...]:
    if not run.delivered.exists():
        return ()
    return decode(Deliveries, run.delivered.read_bytes(), str(run.delivered)).manifests


def last_delivery(run: RunDir, facts: RunFacts) -> Manifest | None:
    """What the target should hold if nobody but this run touched it; None before a delivery."""
    known = known_deliveries(run)
    return which_delivered(Path(facts.target), known) or (known[-1] if known else None)


def exit_code(outcome: RunOutcome, delivery: Delivery) -> int:
    """As in docs/cli.md: 0 all well, 1 something is left, 4 a limit, 130 interrupted."""
    if outcome.stop is not None:
        return 130 if outcome.stop.cause is StopCause.INTERRUPTED else 4
    whole = all(state is TaskState.SUCCEEDED for state in outcome.states.values())
    return 0 if whole and delivery.clean else 1
