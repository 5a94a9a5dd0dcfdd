"""What a backend still has of a run: looked at, stopped, brought in, and never lost."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from backends.base import Backend, BackendContext, LogChunk
from claude.limits.governor import Governor
from config import Settings, load_settings
from core.bundle import AttemptDir, write_result
from core.clock import Clock, SystemClock
from core.credentials import Credentials
from core.errors import BackendError, CollectError, PlanningFailed, Problem, SubmitError
from core.events import Event, JobIntended, Kind, PlannedTask, PlanReady, RunEnded
from core.job import (
    Amount,
    Job,
    JobHandle,
    JobKey,
    JobState,
    JobStatus,
    Outcome,
    Reason,
    TaskResult,
    Usage,
)
from core.plan import Plan
from core.wire import plain
from engine.cleanup.cancel import EventPrinter, cancel_run
from engine.cleanup.clean import RunCleaner, clean_runs, remove
from engine.cleanup.outstanding_jobs import EndRecorder, OutstandingJobs, abandon, release
from engine.cleanup.run_backends import RunBackends, TimedBackend, used_backends
from engine.cleanup.scan import CleanupScan
from engine.money.budget import Budget
from engine.pipeline import carry_out
from engine.planning.preflight import PreparedRun, read_expectations
from engine.run.jobs_view import JobsView
from engine.run.journal import Journal, read_journal
from engine.run.run_view import RunView, replay
from engine.run.rundir import RunDir, RunFacts, create_run, locked
from engine.run.session import Session, open_session
from engine.scheduling.job_end import NEVER_STARTED
from engine.views.plain import Quiet
from tests.fakes.events import data_of, event_of

RUN = "20260101-120000-aaaa"
HERE = f"{__name__}:Scripted"
ONE, TWO = JobKey(RUN, "one", 1), JobKey(RUN, "two", 1)
CLOCK = SystemClock()
USAGE = Usage("anthropic", "m", 100, 50)

Answer = Callable[[], None]


class World:
    """What all instances of the scripted backend share; `obeys` is whether jobs heed a cancel."""

    def __init__(self) -> None:
        self.jobs: dict[JobKey, JobStatus] = {}
        self.answers: dict[JobKey, TaskResult | CollectError] = {}
        self.broken: dict[str, Answer] = {}
        self.obeys = True
        self.said: list[str] = []

    def call(self, name: str) -> None:
        self.said.append(name)
        self.broken.get(name, lambda: None)()


WORLDS: dict[str, World] = {}


class Scripted(Backend):
    """Says what its world was told; which world, the environment names."""

    name = "scripted"
    grace_s = 0.0

    def __init__(self, world: World) -> None:
        self.world = world

    @classmethod
    def build(cls, context: BackendContext) -> Scripted:
        return cls(WORLDS[context.environ["WORLD"]])

    def preflight(self) -> list[Problem]:
        return []

    def submit(self, jobs: Sequence[Job]) -> list[JobHandle | SubmitError]:
        raise AssertionError("nothing is started here")

    def poll(self, handles: Sequence[JobHandle]) -> dict[JobKey, JobStatus]:
        self.world.call("poll")
        missing = JobStatus(JobState.LOST, Reason.MISSING)
        return {h.key: self.world.jobs.get(h.key, missing) for h in handles}

    def collect(
        self, handles: Sequence[JobHandle], destination: Path
    ) -> dict[JobKey, TaskResult | CollectError]:
        self.world.call("collect")
        nothing = CollectError("There is no result.")
        return {h.key: self.world.answers.get(h.key, nothing) for h in handles}

    def logs(self, handle: JobHandle, cursor: str) -> LogChunk:
        return LogChunk()

    def cancel(self, handles: Sequence[JobHandle]) -> None:
        self.world.call("cancel")
        if self.world.obeys:
            self.world.jobs |= {h.key: JobStatus(JobState.CANCELLED) for h in handles}

    def reattach(self, run_id: str) -> list[JobHandle]:
        self.world.call("reattach")
        return [handle_of(key) for key in self.world.jobs]

    def cleanup(self, run_id: str) -> None:
        self.world.call("cleanup")
        self.world.jobs.clear()

    def leftovers(self, run_id: str) -> list[str]:
        return [str(key) for key in self.world.jobs if key.run == run_id]

    def close(self) -> None:
        self.world.call("close")


class Patient(Scripted):
    grace_s = 100.0


def handle_of(key: JobKey) -> JobHandle:
    return JobHandle(key, "scripted", str(key))


def hang() -> None:
    threading.Event().wait()


def out_of_reach() -> None:
    raise BackendError("Out of reach.", "Start it.")


def broken() -> None:
    raise KeyError("a defect")


@pytest.fixture
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    name = request.node.name
    WORLDS[name] = World()
    WORLDS[name].said = []
    yield WORLDS[name]
    del WORLDS[name]


@pytest.fixture
def backends(world: World, tmp_path: Path, request: pytest.FixtureRequest) -> RunBackends:
    loaded = load_settings({"work_dir": str(tmp_path)}, {}, tmp_path)
    return RunBackends(loaded, {"WORLD": request.node.name}, tmp_path, CLOCK)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A run with two jobs that were submitted and not heard of since."""
    settings: dict[str, object] = {"backend": HERE, "provider": "anthropic"}
    at = time.time()
    facts = RunFacts(RUN, "Build it", str(tmp_path / "out"), at, settings, simulated=True)
    run = create_run(tmp_path, facts)
    journal = Journal(run.journal)
    journal.emit(event_of(Kind.RUN_STARTED, at, data={"run": RUN, "backend": HERE}))
    for key in (ONE, TWO):
        run.attempt(key).root.mkdir(parents=True)
        journal.emit(event_of(Kind.JOB_INTENDED, at, key.task, 1))
        handle = plain(handle_of(key))
        journal.emit(event_of(Kind.JOB_SUBMITTED, at, key.task, 1, {"handle": handle}))
    journal.close()
    return run


@pytest.fixture
def session(run: RunDir) -> Iterator[Session]:
    with ExitStack() as stack:
        yield stack.enter_context(open_session(run.read_facts(), run, [], CLOCK))


def view_of(run: RunDir) -> RunView:
    return replay(RUN, read_journal(run.journal))


def kinds(run: RunDir, kind: Kind) -> list[Event]:
    return [event for event in read_journal(run.journal) if event.kind is kind]


def notices(run: RunDir) -> str:
    return "\n".join(str(data_of(event)["text"]) for event in kinds(run, Kind.NOTICE))


def runs(world: World, **states: JobState) -> None:
    world.jobs |= {JobKey(RUN, task, 1): JobStatus(state) for task, state in states.items()}


def find(backend: Backend, jobs: JobsView, idle_s: float = 0.0) -> OutstandingJobs:
    return OutstandingJobs.find(TimedBackend(backend, CLOCK), RUN, jobs, idle_s)


def end_of_session(
    session: Session, world: World, clock: Clock = CLOCK, cleanup_s: float = 300.0, **how: float
) -> None:
    backend = TimedBackend(Scripted(world), clock, cleanup_s=cleanup_s)
    release(session, backend, Budget().is_credible, **how)


# -- calls


def test_a_call_that_hangs_or_breaks_is_an_error_of_the_backend(world: World) -> None:
    backend = TimedBackend(Scripted(world), CLOCK, answer_s=0.1)
    assert backend.call("poll", lambda _: 7) == 7
    with pytest.raises(BackendError, match=r"scripted gave no answer to poll within 0\.1 s"):
        backend.call("poll", lambda _: hang())
    with pytest.raises(BackendError, match=r"poll failed: KeyError: 'a defect'"):
        backend.call("poll", lambda _: broken())
    with pytest.raises(BackendError, match=r"Out of reach\. Start it\."):
        backend.call("poll", lambda _: out_of_reach())


# -- looking and stopping


def test_jobs_are_those_of_the_journal_and_those_the_backend_knows(
    world: World, run: RunDir
) -> None:
    unknown, foreign = JobKey(RUN, "unknown", 3), JobKey("another", "one", 1)
    runs(world, one=JobState.UNKNOWN)
    world.jobs |= {unknown: JobStatus(JobState.QUEUED), foreign: JobStatus(JobState.RUNNING)}
    found = find(Scripted(world), view_of(run).jobs)
    assert set(found.handles) == {ONE, TWO, unknown}
    assert [h.key for h in found.running] == [ONE, unknown]
    assert found.ended == []


def test_a_job_that_does_not_show_yet_may_run(world: World, run: RunDir) -> None:
    backend, jobs = Patient(world), view_of(run).jobs
    assert len(find(backend, jobs, idle_s=90).running) == 2
    assert find(backend, jobs, idle_s=101).running == []
    assert find(backend, JobsView(), idle_s=0).running == []


def test_waiting_for_a_stop_has_an_end(world: World, run: RunDir) -> None:
    world.obeys = False
    runs(world, one=JobState.RUNNING, two=JobState.FAILED)
    after = find(Scripted(world), view_of(run).jobs).stop(patience_s=0.3)
    assert [h.key for h in after.running] == [ONE]
    assert [h.key for h in after.ended] == [TWO]
    assert world.said.count("cancel") == 1


# -- at the end of a session


def test_what_ended_is_brought_in_before_it_is_removed(
    world: World, session: Session, run: RunDir
) -> None:
    runs(world, one=JobState.SUCCEEDED, two=JobState.FAILED)
    world.answers[ONE] = TaskResult(ONE, Outcome.OK, usage=(USAGE,), duration_s=2.5)
    end_of_session(session, world)
    assert world.said == ["reattach", "poll", "collect", "cleanup"]
    ends = {e.task: data_of(e) for e in kinds(run, Kind.JOB_ENDED)}
    assert (ends["one"]["cause"], ends["one"]["duration_s"]) == ("OK", 2.5)
    assert (ends["two"]["cause"], ends["two"]["unaccounted"]) == ("EXIT", True)
    assert view_of(run).jobs.succeeded == {"one": 1}
    assert view_of(run).jobs.open == {}


def test_a_result_that_may_still_come_keeps_everything(
    world: World, session: Session, run: RunDir
) -> None:
    runs(world, one=JobState.SUCCEEDED, two=JobState.SUCCEEDED)
    world.answers[ONE] = CollectError("Not yet.", retryable=True)
    end_of_session(session, world)
    assert "cleanup" not in world.said
    assert "still to come" in notices(run)
    assert ONE in view_of(run).jobs.open


def test_what_was_slow_to_stop_is_waited_for_noted_and_removed(
    world: World, session: Session, run: RunDir
) -> None:
    runs(world, one=JobState.RUNNING, two=JobState.UNKNOWN)
    end_of_session(session, world)
    assert world.said == ["reattach", "poll", "cancel", "poll", "collect", "cleanup"]
    assert {data_of(e)["cause"] for e in kinds(run, Kind.JOB_ENDED)} == {"INTERRUPTED"}
    assert (view_of(run).jobs.open, notices(run)) == ({}, "")


def test_what_was_taken_out_of_the_queue_has_used_nothing_unless_its_worker_had_begun(
    world: World, session: Session, run: RunDir
) -> None:
    runs(world, one=JobState.QUEUED, two=JobState.QUEUED)
    run.attempt(TWO).claim.touch()
    end_of_session(session, world)
    unaccounted = {e.task: "unaccounted" in data_of(e) for e in kinds(run, Kind.JOB_ENDED)}
    assert unaccounted == {"one": False, "two": True}


def test_what_was_never_sent_and_is_void_ends_once_nothing_can_come_any_more(
    world: World, session: Session, run: RunDir
) -> None:
    runs(world, one=JobState.SUCCEEDED, two=JobState.SUCCEEDED)
    void, wanted = JobKey(RUN, "void", 1), JobKey(RUN, "wanted", 1)
    for key in (void, wanted):
        session.emit(JobIntended(Amount(100)), key)
    session.emit(PlanReady(tasks=(PlannedTask("wanted", "", (), 1),)))
    world.broken["cleanup"] = out_of_reach
    end_of_session(session, world)
    assert view_of(run).jobs.open.keys() == {void, wanted}
    world.broken.clear()
    end_of_session(session, world)
    jobs = view_of(run).jobs
    assert jobs.open.keys() == {wanted}  # goes out in the next session
    assert void not in jobs.reserved


def test_what_a_killed_session_began_is_stopped_when_no_plan_comes_in_the_next_either(
    world: World, session: Session, run: RunDir
) -> None:
    def fail(*_: object) -> Plan:
        raise PlanningFailed("No valid plan.")

    runs(world, one=JobState.RUNNING, two=JobState.SUCCEEDED)
    world.answers[TWO] = TaskResult(TWO, Outcome.OK, usage=(USAGE,))
    settings = Settings(work_dir=run.root.parents[1])
    prepared = PreparedRun(
        settings,
        settings.models(),
        session.facts,
        run,
        BackendContext(run.root, Credentials(), CLOCK, lambda *_: None),
        Governor(),
        Scripted(world),
        fail,
        read_expectations(settings, settings.models()),
    )
    with pytest.raises(PlanningFailed):
        carry_out(prepared, session, Quiet())
    assert "cancel" in world.said
    assert world.said[-1] == "cleanup"
    assert {e.task: data_of(e)["cause"] for e in kinds(run, Kind.JOB_ENDED)} == {
        "one": "INTERRUPTED",
        "two": "OK",
    }
    assert view_of(run).jobs.open == {}


def test_what_does_not_stop_is_not_removed_but_named(
    world: World, session: Session, run: RunDir
) -> None:
    runs(world, one=JobState.RUNNING, two=JobState.UNKNOWN)
    world.obeys = False
    end_of_session(session, world, patience_s=0.2)
    assert "cleanup" not in world.said
    told = f"2 jobs may still run (one, two). Stop them with `{run.command('cancel')}`."
    assert told in notices(run)


def interrupted() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("how", "told"),
    [
        (out_of_reach, "Out of reach."),
        (broken, "cleanup failed: KeyError"),
        (hang, "scripted gave no answer to cleanup"),
    ],
)
def test_a_cleanup_that_fails_is_a_notice(
    world: World, session: Session, run: RunDir, how: Answer, told: str
) -> None:
    world.broken["cleanup"] = how
    end_of_session(session, world, cleanup_s=0.1)
    assert told in notices(run)
    assert f"Remove it later with `{run.command('clean', '--yes')}`." in notices(run)


class Impatient(SystemClock):
    """A person presses Ctrl-C as soon as somebody looks at the clock."""

    def monotonic(self) -> float:
        raise KeyboardInterrupt


def test_ctrl_c_skips_the_cleanup_and_the_run_ends_as_it_did(
    world: World, session: Session, run: RunDir
) -> None:
    end_of_session(session, world, Impatient())
    assert notices(run).startswith("Interrupted: scripted may still hold parts of the run.")


@pytest.mark.parametrize("broken", ["", "cancel", "cleanup"])
def test_of_a_run_whose_directory_is_gone_all_is_stopped_and_removed_or_told(
    world: World, session: Session, run: RunDir, broken: str
) -> None:
    runs(world, one=JobState.RUNNING)
    if broken:
        world.broken[broken] = out_of_reach
    run.root.rename(run.root.with_name("elsewhere"))
    told = abandon(session, TimedBackend(Scripted(world), CLOCK))
    assert not run.root.exists()
    if not broken:
        assert (world.jobs, told) == ({}, "")
        assert world.said.index("cancel") < world.said.index("cleanup")
    else:
        assert told.startswith("Jobs of it may still be on scripted (Out of reach. Start it.): ")
        where = f"--work-dir {run.root.parents[1]}"
        assert told.endswith(f"clean {RUN} {where} --yes --backend {HERE}`.")


# -- cancel


def cancel(run: RunDir, backends: RunBackends, said: list[str], stop_s: float = 0.3) -> int:
    printer = EventPrinter(said.append, as_json=False)
    return cancel_run(run, backends, printer, stop_s=stop_s)


def test_cancel_stops_notes_and_removes(world: World, backends: RunBackends, run: RunDir) -> None:
    runs(world, one=JobState.RUNNING)
    world.answers[ONE] = TaskResult(ONE, Outcome.INTERRUPTED, usage=(USAGE,))
    said: list[str] = []
    assert cancel(run, backends, said) == 0
    assert said[0] == "  one: stopped (attempt 1)\n"
    [end, gone] = kinds(run, Kind.JOB_ENDED)
    assert (data_of(end)["cause"], len(data_of(end)["usage"])) == ("INTERRUPTED", 1)
    assert (gone.task, data_of(gone)["cause"]) == (TWO.task, "MISSING")
    assert data_of(gone)["unaccounted"], "it may have used its reservation"
    assert view_of(run).state == "cancelled"
    assert view_of(run).jobs.open == {}
    assert world.said[-2:] == ["cleanup", "close"]


def test_a_job_that_finishes_while_it_is_cancelled_counts(
    world: World, backends: RunBackends, run: RunDir
) -> None:
    runs(world, one=JobState.RUNNING)
    world.answers[ONE] = TaskResult(ONE, Outcome.OK)
    said: list[str] = []
    assert cancel(run, backends, said) == 0
    assert said[0] == "  one: had finished; its result is kept\n"
    assert view_of(run).jobs.succeeded == {"one": 1}


def test_a_job_that_had_failed_is_told(world: World, backends: RunBackends, run: RunDir) -> None:
    runs(world, one=JobState.FAILED)
    said: list[str] = []
    assert cancel(run, backends, said) == 0
    assert said[0] == "  one: had ended: There is no result.\n"


@pytest.mark.parametrize("reason", [*Reason])
def test_only_what_never_started_is_known_to_have_used_nothing(
    world: World, backends: RunBackends, run: RunDir, reason: Reason
) -> None:
    runs(world, one=JobState.FAILED)
    world.jobs[ONE] = JobStatus(JobState.FAILED, reason)
    assert cancel(run, backends, []) == 0
    [end] = [event for event in kinds(run, Kind.JOB_ENDED) if event.task == ONE.task]
    assert ("unaccounted" in data_of(end)) == (reason not in NEVER_STARTED)


@pytest.mark.parametrize(("tokens", "is_counted"), [(900, True), (901, False)])
def test_a_job_without_a_result_has_used_what_it_reports_within_its_reservation(
    world: World,
    backends: RunBackends,
    run: RunDir,
    session: Session,
    tokens: int,
    is_counted: bool,
) -> None:
    """The scheduler has the same rule: a worker keeps to its reservation, a forger does not."""
    facts = replace(session.facts, settings={**session.facts.settings, "max_tokens": 1_000})
    session.emit(JobIntended(Amount(900)), ONE)
    budget = backends.budget(facts, session.run_view.jobs)
    status, usage = JobStatus(JobState.FAILED), Usage("anthropic", "m", tokens)
    attempt = run.attempt(ONE)
    attempt.result.mkdir()
    attempt.events.write_text(json.dumps({"kind": "progress", "usage": plain(usage)}) + "\n")
    jobs = OutstandingJobs(TimedBackend(Scripted(world), CLOCK), statuses={ONE: status})
    recorder = EndRecorder(session, budget.is_credible)
    assert recorder.record(jobs, {ONE: CollectError("There is no result.")}) == []
    [end] = [event for event in kinds(run, Kind.JOB_ENDED) if event.task == ONE.task]
    assert data_of(end)["usage"] == ([plain(usage)] if is_counted else [])
    assert ("unaccounted" in data_of(end)) == (not is_counted)
    assert (ONE in view_of(run).jobs.reserved) == (not is_counted)


def test_jobs_that_do_not_stop_are_an_error_that_names_them(
    world: World, backends: RunBackends, run: RunDir
) -> None:
    runs(world, one=JobState.RUNNING, two=JobState.SUCCEEDED)
    world.answers[TWO] = TaskResult(TWO, Outcome.OK)
    world.obeys = False
    with pytest.raises(BackendError, match=r"1 job of run .* may still run: one \(attempt 1\)"):
        cancel(run, backends, [])
    assert view_of(run).state == "interrupted"
    assert view_of(run).jobs.succeeded == {"two": 1}
    assert "cleanup" not in world.said
    world.obeys = True
    assert cancel(run, backends, []) == 0


@pytest.mark.parametrize("call", ["cancel", "collect", "cleanup"])
def test_a_backend_that_fails_halfway_is_told_and_can_be_asked_again(
    world: World, backends: RunBackends, run: RunDir, call: str
) -> None:
    runs(world, one=JobState.RUNNING)
    world.broken[call] = out_of_reach
    said: list[str] = []
    if call == "cancel":
        with pytest.raises(BackendError, match="may still run: one"):
            cancel(run, backends, said)
    else:
        assert cancel(run, backends, said) == 0
    assert any("Out of reach." in line for line in said)
    world.broken.clear()
    world.said.clear()
    cancel(run, backends, said)
    assert world.said.count("cancel") == (call == "cancel")


def test_a_backend_that_cannot_be_asked_is_told_with_what_may_run(
    world: World, backends: RunBackends, run: RunDir
) -> None:
    world.broken["reattach"] = out_of_reach
    before = run.journal.read_bytes()
    with pytest.raises(BackendError, match=r"may still run: one \(attempt 1\), two") as caught:
        cancel(run, backends, [])
    assert caught.value.remedy == "Start it. Then cancel the run again."
    assert run.journal.read_bytes() == before


def test_a_job_given_up_before_is_stopped_without_changing_how_the_run_ended(
    world: World, backends: RunBackends, run: RunDir
) -> None:
    journal = Journal(run.journal)
    for key in (ONE, TWO):
        journal.emit(event_of(Kind.JOB_ENDED, 1.0, key.task, 1, {"cause": "TIMEOUT"}))
    ended = {"exit_code": 1, "outcome": "finished with problems"}
    journal.emit(event_of(Kind.RUN_ENDED, 1.0, data=ended))
    journal.close()
    runs(world, one=JobState.RUNNING)
    said: list[str] = []
    assert cancel(run, backends, said) == 0
    assert said[0] == "one: stopped (attempt 1), given up before\n"
    assert view_of(run).ended == RunEnded(1, "finished with problems")


def test_a_run_that_finishes_by_itself_meanwhile_is_said_to_have(
    world: World, backends: RunBackends, run: RunDir
) -> None:
    journal = Journal(run.journal)
    journal.emit(event_of(Kind.RUN_ENDED, 1.0, data={"exit_code": 0, "outcome": "succeeded"}))
    journal.close()
    said: list[str] = []
    assert cancel(run, backends, said) == 0
    assert said == [f"Nothing of run {RUN} is running. How it ended: succeeded.\n"]


@pytest.mark.parametrize("command", ["cancel", "clean"])
def test_where_stops_show_late_they_are_waited_for(
    command: str,
    world: World,
    backends: RunBackends,
    run: RunDir,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Scripted, "cancel_lag_s", 20.0)
    runs(world, one=JobState.RUNNING)
    world.obeys = False
    late = threading.Timer(0.6, runs, [world], {"one": JobState.CANCELLED})
    late.start()
    if command == "cancel":
        assert cancel(run, backends, [], stop_s=0.1) == 0
    else:
        scan = CleanupScan(backends).narrowed("aaaa")
        [item] = scan.items()
        RunCleaner(scan, item, stop_s=0.1).clean()
    late.join()
    assert "cleanup" in world.said


# -- clean


def test_clean_keeps_a_run_whose_jobs_do_not_stop(
    world: World, backends: RunBackends, run: RunDir, tmp_path: Path
) -> None:
    runs(world, one=JobState.RUNNING)
    world.obeys = False
    scan = CleanupScan(backends).narrowed("aaaa")
    [item] = scan.items()
    assert item.goes
    with pytest.raises(BackendError, match="did not stop: one"):
        RunCleaner(scan, item, stop_s=0.2).clean()
    assert run.facts.exists()


@pytest.mark.parametrize("named", [False, True])
def test_what_has_changed_since_it_was_said_is_left(
    world: World, backends: RunBackends, run: RunDir, tmp_path: Path, named: bool
) -> None:
    runs(world, one=JobState.SUCCEEDED, two=JobState.SUCCEEDED)
    scan = CleanupScan(backends).narrowed("aaaa" if named else "")
    [item] = scan.items()
    with locked(run):
        assert "being worked on" in remove(scan, item).left
    runs(world, one=JobState.RUNNING)
    world.broken["poll"] = out_of_reach
    after = remove(scan, item)
    assert after.left == "it has changed meanwhile; clean again"
    assert run.facts.exists()
    assert "cleanup" not in world.said


def test_clean_leaves_a_run_whose_results_are_still_to_come(
    world: World, backends: RunBackends, run: RunDir, tmp_path: Path
) -> None:
    runs(world, one=JobState.SUCCEEDED, two=JobState.SUCCEEDED)
    world.answers[ONE] = CollectError("Not yet.", retryable=True)
    said: list[str] = []
    scan = CleanupScan(backends)
    assert clean_runs(scan, said.append, yes=True) == 0
    assert "results are still to come: one" in said[-1]
    assert "cleanup" not in world.said


def test_how_a_run_was_stopped_is_kept_when_results_are_brought_in(
    world: World, backends: RunBackends, run: RunDir, tmp_path: Path
) -> None:
    journal = Journal(run.journal)
    ended = {"exit_code": 4, "outcome": "stopped", "resume_with": "--max-cost 2", "wall_s": 9.0}
    journal.emit(event_of(Kind.RUN_ENDED, time.time(), data=ended))
    journal.close()
    runs(world, one=JobState.SUCCEEDED)
    write_result(AttemptDir(run.attempt(ONE).root), TaskResult(ONE, Outcome.OK))
    world.answers[ONE] = TaskResult(ONE, Outcome.OK)
    said: list[str] = []
    scan = CleanupScan(backends)
    assert clean_runs(scan, said.append, yes=True) == 0
    assert view_of(run).ended == RunEnded(4, "stopped", resume_with="--max-cost 2")
    assert view_of(run).jobs.succeeded == {"one": 1}
    assert world.jobs == {}


def test_the_backends_of_a_run_are_all_it_was_carried_out_on() -> None:
    def facts(settings: Mapping[str, object]) -> RunFacts:
        return RunFacts(RUN, "", "", 0.0, dict(settings), simulated=True)

    events = [event_of(Kind.RUN_STARTED, 0.0, data={"backend": name}) for name in "aba"]
    assert used_backends(facts({"backend": "c"}), replay(RUN, events)) == ("c", "a", "b")
    assert used_backends(facts({"backend": 7}), RunView()) == ()
