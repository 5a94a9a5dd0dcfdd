"""What can happen to a job on a real Slurm: its outcome, and its words."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from backends.slurm.host import CommandResult, run_command
from backends.slurm_backend import SlurmBackend
from core.bundle import ModelSettings, SimulationSettings, read_spent
from core.errors import BackendError, CollectError, SubmitError
from core.events import Event, Kind
from core.job import Job, JobHandle, JobState, Outcome, Reason, TaskState
from engine.scheduling.job_end import end_of
from tests.conformance.scheduled_run import design, merged_files, schedule
from tests.live.slurm_clusters import Cluster, OwnCluster, cluster_of_its_own, service_conf
from tests.live.slurm_run import SlurmRun, held_run, slurm_run

pytestmark = [pytest.mark.slurm, pytest.mark.slow]


@pytest.fixture(scope="module")
def own() -> Iterator[OwnCluster]:
    """Of these tests alone: its node goes down, its controller too."""
    with cluster_of_its_own(requeue_wait=5, kill_wait=3, node_timeout=20) as cluster:
        yield cluster


@pytest.fixture
def shared() -> Cluster:
    return Cluster(service_conf())


Limited = tuple[SlurmRun, JobHandle, SlurmRun, JobHandle]


@pytest.fixture(scope="module", autouse=True)
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Limited]:
    """A job that may run for two minutes, since a busy machine takes long to begin, and one of a
    minute, the least that Slurm knows, whose setup hangs: it is warned in its first half minute,
    which a worker might still heed. Begun before all else here, since the last test waits for their
    ends."""
    cluster = Cluster(service_conf())
    two_minutes, one_minute = {"slurm_time": "00:02:00"}, {"slurm_time": "00:01:00"}
    # At the usual speed it is done after 36 s; Slurm warns 30 s ahead and looks every 15 s.
    unhurried = ModelSettings(simulation=SimulationSettings(speed=0.15))
    heeding, hanging = (tmp_path_factory.mktemp(name) for name in ("heeding", "hanging"))
    (hanging / "setup.sh").write_text("exec sleep 300\n")
    one_minute |= {"slurm_setup": str(hanging / "setup.sh")}
    with (
        slurm_run(heeding, cluster, options=two_minutes, model=unhurried) as live,
        slurm_run(hanging, cluster, options=one_minute) as held,
    ):
        [heeds], [hangs] = live.submit("spending"), held.submit("fast-01")
        yield live, heeds, held, hangs


def pid_of(live: SlurmRun, place: int) -> int:
    """Of the worker in a job of an array."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            array = bytes(live.run.root / "slurm") + b"/"
            if str(place).encode() in words and any(part.startswith(array) for part in words):
                return int(process.name)
    raise AssertionError(f"no worker at place {place}")


def workers_of(live: SlurmRun, task: str, number: int = 1) -> list[list[str]]:
    """The lines of a transcript, by the worker that wrote them."""
    found: list[list[str]] = []
    for line in live.attempt(task, number).transcript.read_text("utf-8").splitlines():
        if "attempt" in json.loads(line):
            found.append([])
        found[-1].append(line)
    return found


# -- somebody else's hand


def test_a_job_cancelled_from_outside_leaves_what_it_spent(shared: Cluster, tmp_path: Path) -> None:
    with slurm_run(tmp_path, shared) as live:
        [handle] = live.submit("spending")
        live.eventually(lambda: '"usage"' in "".join(live.read_log(handle)[0]), "the first usage")
        shared.run("scancel", handle.native_id)
        [status] = live.wait_ended(handle)
        assert status.state is JobState.CANCELLED
        assert end_of(status, None).cause == Reason.PREEMPTED
        assert live.result(handle).outcome is Outcome.INTERRUPTED
        assert list(read_spent(live.attempt("spending")))


def test_a_held_job_says_so_and_runs_once_it_is_released(shared: Cluster, tmp_path: Path) -> None:
    with slurm_run(tmp_path, shared, options={"slurm_arg": ["--hold"]}) as live:
        [handle] = live.submit("fast-01")
        [status] = live.poll(handle)
        assert (status.state, status.reason) == (JobState.QUEUED, Reason.UNSCHEDULABLE)
        assert "JobHeldUser" in status.message
        shared.run("scontrol", "release", handle.native_id)
        assert live.wait_ended(handle)[0].state is JobState.SUCCEEDED


def test_a_job_that_was_put_back_and_held_waits_for_somebody(
    own: OwnCluster, tmp_path: Path
) -> None:
    with slurm_run(tmp_path, own) as live:
        [handle] = live.submit("slow-a")
        live.wait_running(handle)
        own.run("scontrol", "requeuehold", handle.native_id)

        def held() -> bool:
            [status] = live.poll(handle)
            return status.reason is Reason.UNSCHEDULABLE and "held" in status.message

        live.eventually(held, "that it is held")


# -- what can never run


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"slurm_partition": "nope"}, "invalid partition specified: nope"),
        ({"slurm_constraint": "nope"}, "Invalid feature specification"),
        ({"slurm_mem": "900T"}, "Memory specification can not be satisfied"),
        ({"slurm_time": "nonsense"}, "Invalid --time specification"),
        ({"slurm_gpus": 9}, "Requested node configuration is not available"),
        ({"slurm_arg": ["--no-such-option"]}, "unrecognized option"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_sbatch_refuses_is_reported_in_its_words(
    shared: Cluster, tmp_path: Path, options: Mapping[str, object], words: str
) -> None:
    with slurm_run(tmp_path, shared, options=options) as live:
        [answer] = live.backend.submit([live.prepare("fast-01")])
        assert isinstance(answer, SubmitError)
        assert not answer.retryable
        assert words in answer.message
        assert "--slurm" in answer.remedy


@pytest.mark.parametrize(
    ("options", "word"),
    [({"slurm_partition": "closed"}, "PartitionDown"), ({"slurm_cpus": 1000}, "PartitionConfig")],
)
def test_what_sbatch_takes_and_slurm_never_starts_waits_for_somebody(
    shared: Cluster, tmp_path: Path, options: Mapping[str, object], word: str
) -> None:
    with slurm_run(tmp_path, shared, options=options) as live:
        [handle] = live.submit("fast-01")

        def waits() -> bool:
            [status] = live.poll(handle)
            assert status.state is JobState.QUEUED
            return status.reason is Reason.UNSCHEDULABLE and word in status.message

        live.eventually(waits, f"that it waits for {word}")


# -- the node


def test_a_job_whose_node_was_lost_runs_again_as_the_same_and_has_one_result(
    own: OwnCluster, tmp_path: Path
) -> None:
    with held_run(tmp_path, own) as (live, api):
        [handle] = live.submit("fast")
        live.eventually(lambda: bool(api.asked), "the first request")
        own.kill_node()
        own.run("scontrol", "update", f"nodename={own.node}", "state=down", "reason=test")
        [status] = live.poll(handle)
        assert status.state is JobState.QUEUED
        before = len(api.asked)
        own.start_node()
        live.eventually(lambda: len(api.asked) > before, "the second worker's request")
        api.released.set()
        assert live.wait_ended(handle)[0].state is JobState.SUCCEEDED
        assert live.result(handle).outcome is Outcome.OK
        killed, ended = workers_of(live, "fast")
        assert "ended" not in json.loads(killed[-1])
        assert "ended" in json.loads(ended[-1])


def test_a_job_that_may_not_be_put_back_fails_with_its_node_and_the_next_attempt_runs(
    own: OwnCluster, tmp_path: Path
) -> None:
    with slurm_run(tmp_path, own, options={"slurm_arg": ["--no-requeue"]}) as live:
        [handle] = live.submit("slow-a")
        live.wait_running(handle)
        own.run("scontrol", "update", f"nodename={own.node}", "state=down", "reason=test")
        [status] = live.wait_ended(handle)
        assert (status.state, status.reason) == (JobState.FAILED, Reason.NODE_LOST)
        assert "NODE_FAIL" in end_of(status, None).message
        own.start_node()
        [again] = live.submit_jobs(live.prepare("fast-01", 2))
        assert live.wait_ended(again)[0].state is JobState.SUCCEEDED


def test_what_a_preempted_job_saved_is_its_result_and_it_waits_no_more(
    own: OwnCluster, tmp_path: Path
) -> None:
    with slurm_run(tmp_path, own, options={"slurm_partition": "scavenge"}) as live:
        [handle] = live.submit("spending")
        live.eventually(lambda: '"usage"' in "".join(live.read_log(handle)[0]), "the first usage")
        urgent = own.submit("true", "--partition=urgent", "--exclusive")
        seen = {JobState.RUNNING}

        def ended() -> bool:
            seen.add(live.poll(handle)[0].state)
            return JobState.SUCCEEDED in seen

        live.eventually(ended, "its end, though Slurm would start it again")
        assert seen == {JobState.RUNNING, JobState.SUCCEEDED}
        own.await_states(handle.native_id, "CANCELLED")
        own.await_states(urgent, "COMPLETED")
        result = live.result(handle)
        assert result.outcome is Outcome.INTERRUPTED, "the next attempt does the work"
        assert tuple(read_spent(live.attempt("spending"))) == result.usage
        assert len(workers_of(live, "spending")) == 1


def test_a_job_requeued_by_hand_saves_its_work_and_ends(own: OwnCluster, tmp_path: Path) -> None:
    with held_run(tmp_path, own) as (live, api):
        [handle] = live.submit("fast")
        live.eventually(lambda: bool(api.asked), "the first request")
        own.run("scontrol", "requeue", handle.native_id)
        assert live.poll(handle)[0].state is not JobState.LOST
        assert live.wait_ended(handle)[0].state is JobState.SUCCEEDED
        assert live.result(handle).outcome is Outcome.INTERRUPTED, "the next attempt does the work"
        assert len(workers_of(live, "fast")) == 1


# -- jobs that Slurm has forgotten


def test_of_forgotten_jobs_those_with_a_result_succeeded_and_the_others_are_lost(
    tmp_path: Path,
) -> None:
    with (
        cluster_of_its_own(min_job_age=2) as cluster,
        slurm_run(tmp_path, cluster) as live,
    ):
        done, killed = live.submit("fast-01", "slow-a")
        live.eventually(live.attempt("slow-a").claim.exists, "its claim")
        os.kill(pid_of(live, 1), signal.SIGKILL)
        cluster.await_states(done.native_id.partition("_")[0], within_s=60)
        well, lost = live.poll(done, killed)
        assert well.state is JobState.SUCCEEDED
        assert live.result(done).outcome is Outcome.OK
        assert (lost.state, lost.reason) == (JobState.LOST, Reason.MISSING)
        assert isinstance(live.collect(killed), CollectError)
        live.backend.cancel([done, killed])
        live.backend = live.another_backend()
        found = {handle.key: handle for handle in live.backend.reattach(live.run.run_id)}
        assert set(found) == {done.key, killed.key}, "their traces are on disk"


# -- the controller


class Outage:
    """Stops the controller at the first task's end, and starts it again some seconds later."""

    def __init__(self, cluster: OwnCluster) -> None:
        self._cluster = cluster
        self._thread = threading.Thread(target=self._happen)
        self.notices: list[str] = []

    def emit(self, event: Event) -> None:
        if event.kind is Kind.TASK_ENDED and self._thread.ident is None:
            self._thread.start()

    def _happen(self) -> None:
        self._cluster.stop_controller()
        threading.Event().wait(4)
        self._cluster.start_controller()

    def join(self) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive()


def test_a_run_goes_on_when_its_controller_was_away_for_a_while(
    own: OwnCluster, tmp_path: Path
) -> None:
    plan, files = design()
    with slurm_run(tmp_path, own, plan=plan) as live:
        outage = Outage(own)
        outcome, history = schedule(live, SimulationSettings(speed=20), listeners=[outage])
        outage.join()
        assert set(outcome.states.values()) == {TaskState.SUCCEEDED}, outcome.messages
        assert merged_files(live.run, outcome) == files
        for task in plan.tasks:
            assert history.count((Kind.JOB_INTENDED, task.id)) == 1


def test_while_the_controller_is_away_no_call_takes_that_for_news_of_a_job(
    own: OwnCluster, tmp_path: Path
) -> None:
    with slurm_run(tmp_path, own) as live:
        [handle] = live.submit("slow-a")
        live.wait_running(handle)
        job = live.prepare("fast-01")
        own.stop_controller()
        try:
            for call in (lambda: live.backend.poll([handle]), lambda: live.backend.submit([job])):
                with pytest.raises(BackendError) as caught:
                    call()
                assert "Unable to contact slurm controller" in caught.value.message
        finally:
            own.start_controller()
        assert live.poll(handle)[0].state is JobState.RUNNING
        [late] = live.submit_jobs(job)
        assert live.wait_ended(late)[0].state is JobState.SUCCEEDED


# -- a submit that nobody hears the answer of


def submit_and_die(live: SlurmRun, jobs: Sequence[Job], *, after: bool) -> None:
    """Hand jobs over in a process that is killed the moment it calls sbatch, or just after."""

    def execute(command: Sequence[str], environ: Mapping[str, str], stdin: str) -> CommandResult:
        if command[0] != "sbatch":
            return run_command(command, environ=environ, stdin=stdin)
        if after:
            assert run_command(command, environ=environ, stdin=stdin).exit_code == 0
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("unreachable")

    backend = live.backend_with(execute)
    process = multiprocessing.get_context("fork").Process(target=backend.submit, args=(jobs,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    live.backend = live.another_backend()


@pytest.mark.parametrize("after", [False, True], ids=["before sbatch", "after sbatch"])
def test_jobs_whose_submitter_was_killed_run_once(
    shared: Cluster, tmp_path: Path, after: bool
) -> None:
    with slurm_run(tmp_path, shared) as live:
        jobs = [live.prepare("fast-01"), live.prepare("slow-a")]
        submit_and_die(live, jobs, after=after)
        found = live.backend.reattach(live.run.run_id)
        assert [handle.key for handle in found] == ([job.key for job in jobs] if after else [])
        handles = live.submit_jobs(*jobs)
        assert live.wait_ended(handles[0])[0].state is JobState.SUCCEEDED
        assert live.result(handles[0]).outcome is Outcome.OK
        assert len(workers_of(live, "fast-01")) == 1
        listed = shared.run(
            *("squeue", "-h", "-r", "-t", "all", "-o", "%i"),
            *("--name", f"orchestrator-{live.run.run_id}"),
        )
        ours = [line for line in listed.split() if line in {h.native_id for h in handles}]
        assert len(ours) == 2
        assert isinstance(live.backend, SlurmBackend)
        assert [len(b.job_ids) for b in live.backend._arrays.all.values()] == [int(not after)]


def test_a_handle_without_an_id_is_enough_to_watch_and_to_cancel_a_job(
    shared: Cluster, tmp_path: Path
) -> None:
    with slurm_run(tmp_path, shared) as live:
        job = live.prepare("slow-a")
        submit_and_die(live, [job], after=True)
        nameless = JobHandle(job.key, "slurm", "")
        live.wait_running(nameless)
        live.backend.cancel([nameless])
        assert live.wait_ended(nameless)[0].state is JobState.CANCELLED


# -- the time limit


@pytest.mark.timeout(420)
def test_work_is_saved_ahead_of_a_time_limit_and_a_worker_that_hangs_is_killed_at_it(
    limited: Limited,
) -> None:
    live, heeding, held, hanging = limited
    [saved] = live.wait_ended(heeding, within_s=200)
    [killed] = held.wait_ended(hanging, within_s=200)
    assert saved.state is JobState.FAILED
    result = live.result(heeding)
    assert result.outcome is Outcome.INTERRUPTED
    assert result.message == "The job's time limit was reached (--slurm-time)."
    assert result.usage
    assert (killed.state, killed.reason) == (JobState.FAILED, Reason.TIMEOUT)
    assert isinstance(held.collect(hanging), CollectError)
    message = end_of(killed, None).message
    assert "time limit" in message
    assert "--slurm-time" in message
