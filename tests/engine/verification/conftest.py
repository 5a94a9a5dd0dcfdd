"""A run whose project is verified."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.bundle import build_manifest
from core.checks.sandbox import Bare, Sandbox
from core.clock import SystemClock
from core.events import CheckEnded, Event, Proof, Verified
from core.plan import Contract, Criterion, Plan, Setup, Task
from engine.delivery.merge import MergePlan, MergeSource, plan_merge
from engine.run.rundir import RunFacts, create_run
from engine.run.session import Session, open_session
from engine.verification.verify import HostRunner, verify

MIB = 1024 * 1024
RUN = "20260101-000000-aaaa"
PASSES = "test -e app.py"
FILES = {
    "app.py": "print('hello')\n",
    "tests/test_app.py": "",
    "run.sh": "test -e app.py && echo ran\n",
}


class Project:
    """A run whose project is to be verified; `verify` returns whether nothing failed."""

    def __init__(self, session: Session, place: Path, events: list[Event]) -> None:
        self.session, self._events, self._source = session, events, place / "source"
        for path, text in FILES.items():
            self.write(path, text)

    def write(self, path: str, text: str) -> None:
        file = self._source / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def verify(
        self,
        *checks: str,
        criteria: tuple[str, ...] = (),
        sandbox: Sandbox | None = None,
        **setup: Any,
    ) -> bool:
        plan = planned(*checks, criteria=criteria, **setup)
        return not verify(self.session, plan, self.merged, self.runner(sandbox)).failed

    def runner(self, sandbox: Sandbox | None = None) -> HostRunner:
        session = self.session
        return HostRunner(sandbox or Bare(), session.run.verification, session.clock)

    @property
    def merged(self) -> MergePlan:
        return plan_merge([MergeSource("a", self._source, build_manifest(self._source))])

    @property
    def ended(self) -> list[CheckEnded]:
        return [e.data for e in self._events if isinstance(e.data, CheckEnded)]

    @property
    def states(self) -> list[Proof]:
        return [check.state for check in self.ended]

    @property
    def verified(self) -> Verified:
        return [e.data for e in self._events if isinstance(e.data, Verified)][-1]


def planned(*checks: str, criteria: tuple[str, ...] = (), **setup: Any) -> Plan:
    task = Task(id="a", instructions="Do it.", owns=("app.py",), checks=checks)
    other = Task(id="b", instructions="Do it.", owns=("b.py",), checks=checks[:1])
    shown = tuple(Criterion(text=f"See {c}", served_by=("a",), command=c) for c in criteria)
    contract = Contract(path="c.py", content="")
    return Plan(
        tasks=(task, other), acceptance_criteria=shown, contracts=(contract,), setup=Setup(**setup)
    )


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    events: list[Event] = []
    facts = RunFacts(RUN, "Build it", str(tmp_path / "out"), 0.0, {}, True)
    run = create_run(tmp_path / "work", facts)

    class Sink:
        def emit(self, event: Event) -> None:
            events.append(event)

    with open_session(facts, run, [Sink()], SystemClock()) as session:
        yield Project(session, tmp_path, events)
