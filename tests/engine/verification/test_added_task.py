"""A task besides the plan: what its worker is given, and what becomes of one that was begun."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from backends.threading_backend import ThreadingBackend
from config import Settings
from core.bundle import AttemptDir, ModelSettings, Request, build_manifest, read_request
from core.clock import Clock, SystemClock
from core.events import Event, TaskAdded
from core.job import Outcome
from core.plan import Contract, Plan, Task
from engine.delivery.merge import MergePlan, MergeSource, plan_merge
from engine.execution import Execution
from engine.money.budget import Budget
from engine.run.rundir import RunDir, RunFacts, create_run
from engine.run.session import Session, open_session
from engine.verification.added_task import AddedEnd
from tests.fakes.results import hand_in

RUN = "20260101-000000-aaaa"
CONTRACT = Contract(path="shared/types.py", content="X = 1\n")
PLAN = Plan(
    tasks=(Task(id="a", instructions="Do it.", owns=("app.py",), uses=(CONTRACT.path,)),),
    contracts=(CONTRACT,),
)
REPAIR = Task(id="repair-1", title="Repair", instructions="Mend it.", owns=("app.py",))


class Bench:
    """A run of which `tree` is merged. Its worker writes `app.py`, and keeps what it was given."""

    def __init__(self, place: Path) -> None:
        self.tree = place / "tree"
        self.tree.joinpath("shared").mkdir(parents=True)
        self.tree.joinpath("app.py").write_text("broken")
        self.tree.joinpath("shared/types.py").write_text(CONTRACT.content)
        self.run: RunDir = create_run(
            place / "work", RunFacts(RUN, "Build it", str(place / "out"), 0.0, {}, True)
        )
        self.requests: list[Request] = []
        self.outcome = Outcome.OK
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)

    @property
    def merged(self) -> MergePlan:
        return plan_merge([MergeSource("a", self.tree, build_manifest(self.tree))])

    def work(self, attempt: AttemptDir, claimant: str, clock: Clock) -> None:
        request = read_request(attempt)
        self.requests.append(request)
        assert (attempt.inputs / "shared/types.py").read_text() == CONTRACT.content
        hand_in(attempt, request.key, {"app.py": "mended"}, self.outcome, "told")

    def carry_out(self, task: Task, act: Callable[[Session], None] = lambda _: None) -> AddedEnd:
        facts = self.run.read_facts()
        with open_session(facts, self.run, [self], SystemClock(), replayed=False) as session:
            act(session)
            backend = ThreadingBackend(self.run.root, self.work)
            settings = Settings(max_retries=1)
            execution = Execution(session, backend, ModelSettings(), settings, Budget())
            try:
                return execution.besides(PLAN).run(task, self.merged)
            finally:
                backend.close()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_it_gets_the_whole_tree_and_the_contracts_that_it_does_not_own(bench: Bench) -> None:
    end = bench.carry_out(REPAIR)
    [request] = bench.requests
    assert request.task == REPAIR
    assert [contract.path for contract in request.contracts] == [CONTRACT.path]
    assert end.result is not None
    assert end.result.manifest.paths == ("app.py",)
    assert end.attempt is not None
    assert end.attempt.files.joinpath("app.py").read_text() == "mended"


def test_a_contract_that_it_owns_is_a_file_like_any_other(bench: Bench) -> None:
    bench.carry_out(REPAIR.model_copy(update={"owns": ("app.py", CONTRACT.path)}))
    assert bench.requests[0].contracts == ()


def test_one_that_an_earlier_session_finished_is_not_run_again(bench: Bench) -> None:
    bench.carry_out(REPAIR)
    longer = REPAIR.model_copy(update={"instructions": "Mend it; it took 0.2 s."})
    assert bench.carry_out(longer).result is not None
    assert len(bench.requests) == 1


def test_on_another_tree_it_is_run_anew(bench: Bench) -> None:
    bench.carry_out(REPAIR)
    bench.tree.joinpath("app.py").write_text("otherwise broken")
    end = bench.carry_out(REPAIR)
    assert [request.key.attempt for request in bench.requests] == [1, 2]
    assert end.result is not None
    assert end.result.key.attempt == 2
    assert [e.data.is_anew for e in bench.events if isinstance(e.data, TaskAdded)] == [False, True]


def test_a_failure_is_told_and_stops_nothing(bench: Bench) -> None:
    bench.outcome = Outcome.DEFECT
    end = bench.carry_out(REPAIR)
    assert (end.result, end.outcome.messages["repair-1"], end.outcome.stop) == (None, "told", None)


def test_the_plans_own_scheduler_leaves_it_alone(bench: Bench) -> None:
    bench.carry_out(REPAIR)

    def resume(session: Session) -> None:
        backend = ThreadingBackend(bench.run.root, bench.work)
        execution = Execution(session, backend, ModelSettings(), Settings(), Budget())
        assert set(execution.run(PLAN).states) == {"a"}
        backend.close()
        assert session.run_view.jobs.succeeded == {"repair-1": 1, "a": 1}

    bench.carry_out(REPAIR, resume)
    assert [request.key.task for request in bench.requests] == ["repair-1", "a"]
