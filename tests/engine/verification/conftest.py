"""A run whose project is verified, and a sandbox on this machine with a project in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from claude.engines.shell import CommandEnd, Shell
from core.bundle import build_manifest
from core.clock import SystemClock
from core.events import CheckEnded, Event, Proof, Verified
from core.plan import Contract, Criterion, Plan, Setup, Task
from engine.delivery.merge import MergePlan, MergeSource, plan_merge
from engine.run.rundir import RunFacts, create_run
from engine.run.session import Session, open_session
from engine.verification.sandbox import Bare, Bubblewrap, Places, Sandbox, find_bubblewrap
from engine.verification.verify import verify

MIB = 1024 * 1024
RUN = "20260101-000000-aaaa"
FILES = {"app.py": "print('hello')\n", "tests/test_app.py": "", "run.sh": "echo ran\n"}


@dataclass
class Box:
    sandbox: Bubblewrap
    places: Places
    shell: Shell

    def run(self, command: str, *, network: bool = False, limit_s: float = 60) -> CommandEnd:
        return self.shell.execute(self.sandbox.wrap(command, self.places, network=network), limit_s)

    def python(self, code: str) -> CommandEnd:
        self.places.project.joinpath("hostile.py").write_text(code)
        return self.run("python hostile.py")


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    sandbox = find_bubblewrap(["node", "npm"])
    assert isinstance(sandbox, Bubblewrap), sandbox
    places = Places.below(tmp_path / "places")
    places.make()
    with Shell(
        places.project,
        SystemClock(),
        environ={},
        scratch=tmp_path / "scratch",
        max_printed_bytes=8 * MIB,
        max_memory_bytes=256 * MIB,
        max_disk_bytes=256 * MIB,
    ) as shell:
        yield Box(sandbox, places, shell)


class Project:
    """A run whose project is to be verified; `verify` returns whether nothing failed."""

    def __init__(self, session: Session, place: Path, events: list[Event]) -> None:
        self.session, self._events, self._source = session, events, place / "source"
        for path, text in FILES.items():
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
        return verify(self.session, plan, self.merged, sandbox or Bare())

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
