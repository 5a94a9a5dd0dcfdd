"""What one real node cannot be made to do, on a cluster of fake commands that behave.

The jobs are real: the real worker runs in them, with the simulated Claude.
"""

from __future__ import annotations

import functools
import json
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backends.slurm.host import LocalHost, run_command
from backends.slurm.settings import SlurmSettings
from backends.slurm_backend import SlurmBackend
from core.bundle import AttemptDir, SimulationSettings, build_manifest, write_result
from core.credentials import Credentials
from core.errors import BackendBusy, BackendError, CollectError, SubmitError
from core.events import Kind
from core.job import JobHandle, JobKey, JobState, Outcome, Reason, TaskResult, TaskState
from engine.scheduling.job_end import end_of
from tests.conformance.scheduled_run import schedule
from tests.fakes.plans import make_plan
from tests.fakes.slurm import FakeSlurmRun, fake_slurm_run

pytestmark = pytest.mark.slow  # starts many processes, or waits

TIMED_OUT = "Batch job submission failed: Socket timed out on send/recv operation"
NO_CONTACT = "Unable to contact slurm controller (connect failure)"
THREE = make_plan({"fast-a": [], "fast-b": [], "fast-c": ["fast-a", "fast-b"]})


def only_once(live: FakeSlurmRun, handle: JobHandle) -> None:
    """The attempt was worked on by one worker, which came to its end."""
    result, attempt = live.result(handle), live.attempt(handle)
    lines = [json.loads(line) for line in attempt.transcript.read_text("utf-8").splitlines()]
    assert result.outcome is Outcome.OK, result.message
    assert ["attempt" in line for line in lines].count(True) == 1


# -- what sbatch says


def test_an_id_is_found_in_a_sites_decoration_and_greetings_are_no_jobs(tmp_path: Path) -> None:
    with fake_slurm_run(
        tmp_path,
        sbatch_prints="Welcome!\n{id};fake\nYour balance: 12 hours\n",
        greeting="Dear user | maintenance | tomorrow\n",
    ) as live:
        handles = live.submit("fast-01", "fast-02")
        assert [handle.native_id for handle in handles] == ["1_0", "1_1"]
        statuses = live.wait_ended(*handles)
        assert {status.state for status in statuses} == {JobState.SUCCEEDED}
        assert live.result(handles[1]).outcome is Outcome.OK


def test_an_answer_without_an_id_is_no_reason_to_submit_again(tmp_path: Path) -> None:
    with fake_slurm_run(tmp_path, sbatch_prints="Submitted array job {id}\n") as live:
        job = live.prepare("fast-01")
        with pytest.raises(BackendError, match="printed no job id: 'Submitted array job 1'"):
            live.backend.submit([job])
        [handle] = live.submit_jobs(job)
        assert handle.native_id == "1"
        live.wait_ended(handle)
        only_once(live, handle)
        assert len(live.slurm.calls("sbatch")) == 1


@pytest.mark.parametrize("comment", [{}, {"comment": "project=physics"}], ids=["ours", "a site's"])
def test_jobs_that_were_taken_though_the_answer_was_lost_are_found_and_run_once(
    tmp_path: Path, comment: dict[str, Any]
) -> None:
    with fake_slurm_run(tmp_path, holds=True, sbatch_loses_answer=[TIMED_OUT], **comment) as live:
        jobs = [live.prepare("fast-01"), live.prepare("fast-02")]
        with pytest.raises(BackendError, match="Socket timed out"):
            live.backend.submit(jobs)
        handles = live.submit_jobs(*jobs)
        assert [handle.native_id for handle in handles] == ["1_0", "1_1"]
        assert len(live.slurm.calls("sbatch")) == 1
        live.slurm.release()
        live.wait_ended(*handles)
        only_once(live, handles[0])
        only_once(live, handles[1])


def test_of_two_jobs_of_one_key_one_works_and_its_result_counts(tmp_path: Path) -> None:
    """The controller took a job after sbatch and squeue had been told otherwise."""
    with fake_slurm_run(tmp_path, holds=True, sbatch_loses_answer=[TIMED_OUT]) as live:
        job = live.prepare("fast-01")
        with pytest.raises(BackendError):
            live.backend.submit([job])
        early = JobHandle(job.key, "slurm", "1")
        live.slurm.forget(early)
        [late] = live.submit_jobs(job)
        assert late.native_id == "2"
        live.slurm.change(early, listed=True)
        live.slurm.release("1")
        live.eventually(lambda: live.slurm.states()["1"] == "COMPLETED", "the first job's end")
        assert live.poll(late)[0].state is JobState.SUCCEEDED
        assert live.slurm.states() == {"1": "COMPLETED", "2": "CANCELLED"}, "nothing is left to do"
        only_once(live, late)


@pytest.mark.slow
def test_a_plan_comes_to_its_end_though_answers_are_lost_and_the_controller_is_away(
    tmp_path: Path,
) -> None:
    with fake_slurm_run(
        tmp_path,
        plan=THREE,
        sbatch_refuses=[f"Batch job submission failed: {NO_CONTACT}"],
        sbatch_loses_answer=[TIMED_OUT],
        squeue_fails=["", "", NO_CONTACT, NO_CONTACT],
    ) as live:
        outcome, history = schedule(live, SimulationSettings(speed=0))
        assert set(outcome.states.values()) == {TaskState.SUCCEEDED}, outcome.messages
        for task in ("fast-a", "fast-b", "fast-c"):
            assert history.count((Kind.JOB_INTENDED, task)) == 1
        assert len(live.slurm.jobs()) == 3, "each key has one job"


def test_a_replaced_comment_hides_no_job_from_another_instance(tmp_path: Path) -> None:
    with fake_slurm_run(tmp_path, comment="project=physics") as live:
        handles = live.submit("slow-a", "fast-01")
        live.wait_ended(handles[1])
        live.backend = live.another_backend()
        found = live.backend.reattach(live.run.run_id)
        assert {h.key: h.native_id for h in found} == {h.key: h.native_id for h in handles}
        assert live.poll(handles[0])[0].state is JobState.RUNNING


def test_a_refusal_is_reported_in_slurms_words_and_leaves_nothing(tmp_path: Path) -> None:
    words = "invalid partition specified: nope"
    with fake_slurm_run(tmp_path, sbatch_refuses=[words]) as live:
        job, twin = live.prepare("fast-01"), live.prepare("fast-02")
        answers = live.backend.submit([job, twin])
        for answer in answers:
            assert isinstance(answer, SubmitError)
            assert not answer.retryable
            assert f"refused the jobs: {words}." in answer.message
            assert "--slurm" in answer.remedy
        assert list((live.run.root / "slurm").glob("*/index.json")) == []
        assert live.backend.reattach(live.run.run_id) == []
        [handle] = live.submit_jobs(job)
        assert live.wait_ended(handle)[0].state is JobState.SUCCEEDED


def test_a_limit_on_submitted_jobs_takes_what_fits_and_keeps_the_rest_waiting(
    tmp_path: Path,
) -> None:
    with fake_slurm_run(tmp_path, submit_limit=2, holds=True) as live:
        jobs = [live.prepare(f"fast-{n:02}") for n in range(5)]
        with pytest.raises(BackendBusy, match="QOSMaxSubmitJobPerUserLimit") as caught:
            live.backend.submit(jobs)
        assert "--max-executors" in caught.value.remedy
        assert len(live.slurm.states()) == 2, "what fits is handed over"
        live.slurm.set(submit_limit=5)
        handles = live.submit_jobs(*jobs)
        assert len({handle.native_id for handle in handles}) == 5
        assert len(live.slurm.states()) == 5, "nothing is handed over twice"


# -- arrays


@pytest.mark.parametrize(
    ("size", "arrays"),
    [(4, ["0-2", "0-2", ""]), (0, [""] * 7), (1, [""] * 7), (1001, ["0-6"])],
    ids=["small", "off", "of none", "large"],
)
def test_as_few_arrays_as_the_cluster_allows(tmp_path: Path, size: int, arrays: list[str]) -> None:
    with fake_slurm_run(tmp_path, max_array_size=size, holds=True) as live:
        handles = live.submit(*(f"fast-{n:02}" for n in range(7)))
        asked = [_value(call, "--array") for call in live.slurm.calls("sbatch")]
        assert asked == arrays
        assert len({handle.native_id for handle in handles}) == 7
        assert {status.state for status in live.poll(*handles)} == {JobState.QUEUED}
        live.backend.cancel(handles)
        assert len(live.slurm.calls("scancel")) == 1
        assert {status.state for status in live.poll(*handles)} == {JobState.CANCELLED}


def test_when_a_later_array_is_lost_the_earlier_one_is_not_submitted_again(tmp_path: Path) -> None:
    with fake_slurm_run(
        tmp_path,
        max_array_size=3,
        holds=True,
        sbatch_refuses=["", f"Batch job submission failed: {NO_CONTACT}"],
    ) as live:
        jobs = [live.prepare(f"fast-{n:02}") for n in range(4)]
        with pytest.raises(BackendError, match="Unable to contact"):
            live.backend.submit(jobs)
        handles = live.submit_jobs(*jobs)
        assert [handle.native_id for handle in handles] == ["1_0", "1_1", "2_0", "2_1"]
        assert len(live.slurm.jobs()) == 4


def _value(call: dict[str, Any], option: str) -> str:
    found = [part for part in call["argv"] if part.startswith(f"{option}=")]
    return found[0].partition("=")[2] if found else ""


def test_the_first_worker_that_reaches_an_attempt_has_it(tmp_path: Path) -> None:
    with fake_slurm_run(tmp_path) as live:
        job = live.prepare("fast-01")
        AttemptDir(job.attempt_dir).claim.write_text("another:1")
        [handle] = live.submit_jobs(job)
        live.eventually(lambda: live.slurm.states()["1"] == "FAILED", "its end")
        [status] = live.poll(handle)
        assert (status.state, status.reason) == (JobState.LOST, Reason.MISSING)
        assert "another job had claimed the attempt" in status.message
        assert isinstance(live.collect(handle), CollectError)


@pytest.mark.parametrize("forgets", [False, True], ids=["squeue", "sacct"])
def test_of_two_ended_jobs_of_one_key_the_one_that_worked_tells(
    tmp_path: Path, forgets: bool
) -> None:
    """The later one found the attempt taken, and knows nothing of what became of it."""
    with fake_slurm_run(tmp_path, sbatch_loses_answer=[TIMED_OUT], accounting="slurmdbd") as live:
        job, backend = live.prepare("slow-a"), live.backend
        assert isinstance(backend, SlurmBackend)
        with pytest.raises(BackendError):
            backend.submit([job])
        early = JobHandle(job.key, "slurm", "1")
        live.eventually(AttemptDir(job.attempt_dir).claim.exists, "the first worker")
        live.slurm.forget(early)
        backend._arrays.add_job_id(backend._arrays.containing(job.key)[0], "1")
        backend._submission.submit([job])  # it could not be seen that there was one
        late = backend._handles[job.key]
        assert late.native_id == "2"
        live.eventually(lambda: live.slurm.states()["2"] == "FAILED", "the second job's end")
        live.slurm.change(early, listed=not forgets)
        live.slurm.end(early, "OUT_OF_MEMORY", 9)
        [status] = live.poll(late)
        assert (status.state, status.reason) == (JobState.FAILED, Reason.OOM)


# -- how a job ends


@pytest.mark.parametrize(
    ("word", "status", "state", "cause", "expected"),
    [
        ("OUT_OF_MEMORY", 9, JobState.FAILED, Reason.OOM, "--slurm-mem"),
        ("PREEMPTED", 15, JobState.FAILED, Reason.PREEMPTED, "Slurm reports PREEMPTED"),
        ("CANCELLED", 15, JobState.CANCELLED, Reason.PREEMPTED, "stopped by somebody else"),
        ("NODE_FAIL", 1, JobState.FAILED, Reason.NODE_LOST, "Slurm reports NODE_FAIL"),
        ("TIMEOUT", 0, JobState.FAILED, Reason.TIMEOUT, "--slurm-time"),
        ("FAILED", 9, JobState.FAILED, Reason.EXIT, "exit code 137"),
    ],
)
def test_a_job_that_was_ended_says_how_and_where_its_log_is(
    tmp_path: Path, word: str, status: int, state: JobState, cause: Reason, expected: str
) -> None:
    with fake_slurm_run(tmp_path) as live:
        [handle] = live.submit("slow-a")
        live.wait_running(handle)
        live.slurm.end(handle, word, status)
        [found] = live.wait_ended(handle)
        assert found.state is state
        assert isinstance(live.collect(handle), CollectError)
        end = end_of(found, None)
        assert end.cause == cause
        assert expected in end.message
        if state is JobState.FAILED:
            [log] = (live.run.root / "slurm").glob("*/0.log")
            assert f"full log: {log}" in end.message


def test_what_slurm_printed_into_the_log_tells_of_memory_where_the_state_does_not(
    tmp_path: Path,
) -> None:
    with fake_slurm_run(tmp_path) as live:
        [handle] = live.submit("slow-a")
        live.wait_running(handle)
        [log] = (live.run.root / "slurm").glob("*/0.log")
        log.write_text("slurmstepd: error: Detected 1 oom_kill event in StepId=1.batch.\n")
        live.slurm.end(handle, "FAILED", 9)
        assert live.wait_ended(handle)[0].reason is Reason.OOM


def test_a_forged_result_of_a_killed_worker_is_not_taken(tmp_path: Path) -> None:
    with fake_slurm_run(tmp_path) as live:
        [handle] = live.submit("slow-a")
        live.wait_running(handle)
        attempt = live.attempt(handle)
        attempt.files.joinpath("parts").mkdir(parents=True, exist_ok=True)
        attempt.files.joinpath("parts/slow-a.md").write_text("It is done.")
        whole = build_manifest(attempt.files)
        write_result(attempt, TaskResult(handle.key, Outcome.OK, "Done.", manifest=whole))
        assert live.poll(handle)[0].state is JobState.RUNNING, "a result alone is no end"
        live.slurm.end(handle, "FAILED", 9)
        live.wait_ended(handle)
        found = live.collect(handle)
        assert isinstance(found, CollectError)
        assert "its job did not succeed" in found.message
        assert not found.retryable


def test_what_an_interrupted_worker_saved_is_taken(tmp_path: Path) -> None:
    with fake_slurm_run(tmp_path) as live:
        [handle] = live.submit("spending")
        live.eventually(lambda: '"usage"' in "".join(live.read_log(handle)[0]), "the first usage")
        live.slurm.end(handle, "PREEMPTED", 15, kill=15)
        live.wait_ended(handle)
        live.eventually(live.attempt(handle).result_json.exists, "the result")
        result = live.result(handle)
        assert (result.outcome, bool(result.usage)) == (Outcome.INTERRUPTED, True)
        assert result.message == "The job was told to stop."


def test_a_job_that_is_being_ended_has_not_ended_whatever_it_left(tmp_path: Path) -> None:
    """Slurm says COMPLETING and exit code 0 of a job that it cancels, too."""
    with fake_slurm_run(tmp_path) as live:
        [handle] = live.submit("slow-a")
        live.wait_running(handle)
        write_result(live.attempt(handle), TaskResult(handle.key, Outcome.OK, "It is done."))
        live.slurm.end(handle, "COMPLETING")
        assert live.poll(handle)[0].state is JobState.RUNNING
        live.slurm.change(handle, state="TIMEOUT")
        live.wait_ended(handle)
        assert isinstance(live.collect(handle), CollectError)


def test_a_result_that_a_slow_file_system_shows_later_is_waited_for(tmp_path: Path) -> None:
    with fake_slurm_run(tmp_path) as live:
        [handle] = live.submit("fast-01")
        live.eventually(lambda: set(live.slurm.states().values()) == {"COMPLETED"}, "its end")
        result = live.attempt(handle).result_json
        unseen = result.rename(result.with_name("not-visible-yet"))
        assert live.wait_ended(handle)[0].state is JobState.SUCCEEDED
        found = live.collect(handle)
        assert isinstance(found, CollectError)
        assert found.retryable
        unseen.rename(result)
        assert live.result(handle).outcome is Outcome.OK


def test_a_word_that_nobody_knows_is_reported_and_the_job_is_watched_on(tmp_path: Path) -> None:
    with fake_slurm_run(tmp_path) as live:
        [handle] = live.submit("slow-a")
        live.wait_running(handle)
        live.slurm.change(handle, state="FROBNICATING")
        [status] = live.poll(handle)
        assert (status.state, status.message) == (JobState.UNKNOWN, "Slurm reports FROBNICATING")
        live.slurm.change(handle, state="RUNNING")
        assert live.poll(handle)[0].state is JobState.RUNNING


# -- a job that waits


@pytest.mark.parametrize(
    ("word", "reason", "expected"),
    [
        ("REQUEUE_HOLD", "None", "REQUEUE_HOLD"),
        ("PENDING", "BadConstraints", "no node satisfies its constraints"),
        ("PENDING", "JobHeldUser", "scontrol release"),
        ("PENDING", "job_requeued_in_held_state", "scontrol release"),
        ("PENDING", "PartitionDown", "the partition is down"),
        ("PENDING", "QOSMaxWallDurationPerJobLimit", "a limit of the account"),
    ],
)
def test_a_job_that_will_never_start_is_named_unschedulable(
    tmp_path: Path, word: str, reason: str, expected: str
) -> None:
    with fake_slurm_run(tmp_path, holds=True) as live:
        [handle] = live.submit("fast-01")
        live.slurm.change(handle, state=word, reason=reason)
        [status] = live.poll(handle)
        assert (status.state, status.reason) == (JobState.QUEUED, Reason.UNSCHEDULABLE)
        assert expected in status.message


def test_a_job_that_is_put_back_into_the_queue_waits_and_runs_again_as_the_same(
    tmp_path: Path,
) -> None:
    with fake_slurm_run(tmp_path) as live:
        [handle] = live.submit("slow-a")
        live.wait_running(handle)
        live.slurm.end(handle, "PENDING")
        live.slurm.change(handle, reason="BeginTime")
        [status] = live.poll(handle)
        assert (status.state, status.reason) == (JobState.QUEUED, None)
        assert status.message.startswith("BeginTime: requeued")
        live.slurm.release()
        live.wait_running(handle)


# -- a job that squeue does not list any more


def forgotten(live: FakeSlurmRun, task: str = "slow-a") -> JobHandle:
    """A job that was killed, and then forgotten before anybody looked."""
    [handle] = live.submit(task)
    live.eventually(lambda: live.slurm.states()[handle.native_id] == "RUNNING", "its start")
    live.slurm.end(handle, "OUT_OF_MEMORY", 9)
    live.slurm.forget(handle)
    return handle


def test_the_accounting_database_tells_how_a_forgotten_job_ended(tmp_path: Path) -> None:
    with fake_slurm_run(tmp_path, accounting="slurmdbd") as live:
        handle, [done] = forgotten(live), live.submit("fast-01")
        live.eventually(lambda: live.slurm.states()[done.native_id] == "COMPLETED", "its end")
        live.slurm.forget(done)
        killed, well = live.poll(handle, done)
        assert (killed.state, killed.reason) == (JobState.FAILED, Reason.OOM)
        assert well.state is JobState.SUCCEEDED
        assert len(live.slurm.calls("sacct")) == 1, "both are asked for in one go"
        assert live.poll(handle, done) == [killed, well]
        assert len(live.slurm.calls("sacct")) == 1, "an end is an end"


def test_a_job_that_the_database_holds_for_running_is_looked_for_on_disk(tmp_path: Path) -> None:
    with fake_slurm_run(tmp_path, accounting="slurmdbd") as live:
        handle = forgotten(live)
        live.slurm.change(handle, accounted="RUNNING")
        [status] = live.poll(handle)
        assert (status.state, status.reason) == (JobState.LOST, Reason.MISSING)


@pytest.mark.parametrize(
    ("settings", "leave_out", "asked"),
    [
        ({"accounting": "none"}, (), 0),
        ({"accounting": "slurmdbd", "sacct_fails": "Problem talking to the database"}, (), 1),
        ({"accounting": "slurmdbd"}, ("sacct",), 0),
    ],
    ids=["none", "broken", "not installed"],
)
def test_without_a_database_the_result_on_disk_tells_and_nobody_asks_twice(
    tmp_path: Path, settings: dict[str, Any], leave_out: tuple[str, ...], asked: int
) -> None:
    with fake_slurm_run(tmp_path, leave_out=leave_out, **settings) as live:
        lost, [done] = forgotten(live), live.submit("fast-01")
        live.eventually(lambda: live.slurm.states()[done.native_id] == "COMPLETED", "its end")
        live.slurm.forget(done)
        for _ in range(2):
            gone, well = live.poll(lost, done)
            assert (gone.state, gone.reason) == (JobState.LOST, Reason.MISSING)
            assert well.state is JobState.SUCCEEDED
        assert live.result(done).outcome is Outcome.OK
        assert isinstance(live.collect(lost), CollectError)
        assert len(live.slurm.calls("sacct")) == asked


def test_a_database_that_never_answers_is_given_up(tmp_path: Path) -> None:
    with fake_slurm_run(tmp_path, accounting="slurmdbd") as live:
        asked = tmp_path / "asked"
        live.slurm.add_command("sacct", f"echo asked >> '{asked}'\nexec /bin/sleep 100")
        lost = forgotten(live)
        impatient = functools.partial(run_command, timeout_s=2)
        host = LocalHost(live.run.root, live.slurm.environ, impatient)
        with closing(
            SlurmBackend(live.run.root, host, SlurmSettings(), clock=live.clock)
        ) as backend:
            for _ in range(2):
                assert backend.poll([lost])[lost.key].state is JobState.LOST
        assert asked.read_text() == "asked\n"


def test_a_job_that_comes_back_into_the_list_is_no_longer_lost(tmp_path: Path) -> None:
    with fake_slurm_run(tmp_path) as live:
        [handle] = live.submit("slow-a")
        live.wait_running(handle)
        live.slurm.forget(handle)
        assert live.poll(handle)[0].state is JobState.LOST
        live.slurm.change(handle, listed=True)
        assert live.poll(handle)[0].state is JobState.RUNNING


# -- a controller that does not answer


def test_what_cannot_be_asked_is_an_error_of_the_whole_and_nothing_is_taken_for_ended(
    tmp_path: Path,
) -> None:
    with fake_slurm_run(tmp_path) as live:
        [handle] = live.submit("slow-a")
        live.wait_running(handle)
        live.slurm.set(squeue_fails=NO_CONTACT, scancel_fails=NO_CONTACT)
        with pytest.raises(BackendError, match="squeue could not reach the Slurm controller"):
            live.backend.poll([handle])
        with pytest.raises(BackendError, match=r"scancel failed: .*Unable to contact"):
            live.backend.cancel([handle])
        with pytest.raises(BackendError, match="squeue"):
            live.another_backend().reattach(live.run.run_id)
        live.slurm.set(squeue_fails=None, scancel_fails=None)
        assert live.poll(handle)[0].state is JobState.RUNNING


def test_another_failure_of_squeue_is_reported_in_its_own_words(tmp_path: Path) -> None:
    with fake_slurm_run(tmp_path, squeue_fails="Invalid user id") as live:
        [handle] = live.submit("fast-01")
        with pytest.raises(BackendError, match=r"squeue failed: .*Invalid user id"):
            live.backend.poll([handle])


def test_a_submission_that_did_not_reach_the_controller_is_made_again(tmp_path: Path) -> None:
    words = f"Batch job submission failed: {NO_CONTACT}"
    with fake_slurm_run(tmp_path, sbatch_refuses=[words, words]) as live:
        job = live.prepare("fast-01")
        for _ in range(2):
            with pytest.raises(BackendError, match="sbatch could not reach the Slurm controller"):
                live.backend.submit([job])
        assert live.slurm.jobs() == []
        [handle] = live.submit_jobs(job)
        live.wait_ended(handle)
        only_once(live, handle)
        assert len(live.slurm.jobs()) == 1


def test_a_configuration_that_cannot_be_read_submits_no_array(tmp_path: Path) -> None:
    with fake_slurm_run(tmp_path, scontrol_fails=NO_CONTACT) as live:
        with pytest.raises(BackendError, match="scontrol could not reach the Slurm controller"):
            live.backend.submit([live.prepare("fast-01"), live.prepare("fast-02")])
        assert live.slurm.jobs() == []


def test_jobs_are_looked_at_often_enough_to_be_seen_before_they_are_forgotten(
    tmp_path: Path,
) -> None:
    with fake_slurm_run(tmp_path, min_job_age=12) as live:
        assert live.backend.preflight() == []
        assert live.backend.pace.most_s == 4.0
    with fake_slurm_run(tmp_path / "for ever", min_job_age=0) as live:
        usual = live.backend.pace
        assert live.backend.preflight() == []
        assert live.backend.pace == usual


# -- where workers run


def test_a_setup_is_sourced_from_a_copy_and_its_python_runs_the_worker(tmp_path: Path) -> None:
    setup, traces = tmp_path / "my setup.sh", tmp_path / "traces"
    tools = tmp_path / "environment" / "bin"
    tools.mkdir(parents=True)
    python = _python_wrapper(tools / "python3", traces)
    setup.write_text(f"export PATH='{python.parent}':\"$PATH\" FROM_SETUP=1\n")
    with fake_slurm_run(tmp_path, options={"slurm_setup": setup}, holds=True) as live:
        [handle] = live.submit("fast-01")
        setup.write_text("exit 3\n")
        live.slurm.release()
        assert live.wait_ended(handle)[0].state is JobState.SUCCEEDED
        assert live.result(handle).outcome is Outcome.OK
        assert "FROM_SETUP=1" in traces.read_text()


def _python_wrapper(path: Path, traces: Path) -> Path:
    """This interpreter under another name, which leaves its environment and arguments."""
    path.write_text(
        f"#!/bin/sh\nenv > '{traces}'\necho \"$@\" >> '{traces}'\nexec {sys.executable} \"$@\"\n"
    )
    path.chmod(0o755)
    return path


def test_a_setup_that_is_gone_when_jobs_are_submitted_is_reported(tmp_path: Path) -> None:
    with (
        fake_slurm_run(tmp_path, options={"slurm_setup": tmp_path / "gone.sh"}) as live,
        pytest.raises(BackendError, match=r"gone\.sh could not be read") as caught,
    ):
        live.backend.submit([live.prepare("fast-01")])
    assert "--slurm-setup" in caught.value.remedy


# It checks what it is told, as apptainer does: unknown options and absent places are refused.
APPTAINER = """
[ "$1" = exec ] || exit 90; shift
pwd_=; env_=; binds=
while :; do case "$1" in
  --containall|--cleanenv|--no-home) shift ;;
  --bind=*) bound="${1#--bind=}"; [ -d "${bound%%:*}" ] || exit 91; binds="$binds$1;"; shift ;;
  --pwd=*) pwd_="${1#--pwd=}"; shift ;;
  --env=*) env_="${1#--env=}"; shift ;;
  -*) exit 92 ;;
  *) break ;;
esac; done
[ "$1" = "IMAGE" ] || exit 93; shift
[ "$1" = python3 ] || exit 94
cd "$pwd_" || exit 95
echo "$binds" > 'TRACES'
exec env -i PATH='TOOLS:/usr/bin:/bin' $(echo "$env_" | tr , ' ') "$@"
"""


def test_in_a_container_the_worker_sees_its_attempt_and_its_code_alone(tmp_path: Path) -> None:
    image, traces = "docker://registry.example/worker:1", tmp_path / "traces"
    tools = tmp_path / "inside"
    tools.mkdir()
    _python_wrapper(tools / "python3", tmp_path / "environment")
    program = APPTAINER.replace("TRACES", str(traces)).replace("TOOLS", str(tools))
    with fake_slurm_run(tmp_path, options={"slurm_container": image}) as live:
        live.slurm.add_command("apptainer", program.replace("IMAGE", image), on_node=True)
        [handle] = live.submit("fast-01")
        [status] = live.wait_ended(handle)
        assert status.state is JobState.SUCCEEDED, status
        assert live.result(handle).outcome is Outcome.OK
        assert isinstance(live.backend, SlurmBackend)
        code = live.backend._host.worker_code()
        [array] = [index.parent for index in live.run.root.glob("slurm/*/index.json")]
        read = f"--bind={code}:{code}:ro;--bind={array}:{array}:ro"
        assert traces.read_text() == f"--bind={live.run.attempt(handle.key).root};{read};\n"
        seen = (tmp_path / "environment").read_text()
        assert "--contained" in seen.splitlines()[-1]
        assert "SLURM_" not in "".join(line for line in seen.splitlines(True)[:-1])
        assert "PYTHONUNBUFFERED=1" in seen


WITHOUT_A_PACKAGE = """
import runpy, sys
sys.argv, sys.modules["anthropic"] = sys.argv[1:], None
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize(
    ("python", "cause"),
    [
        ("echo 'error: Python 3.11 or newer is needed.' >&2; exit 1", "Python 3.11 or newer"),
        (f"exec {sys.executable} -c '{WITHOUT_A_PACKAGE}' \"$@\"", "The package anthropic is not"),
        ("exit 7", ""),
    ],
)
def test_a_worker_that_cannot_start_on_its_node_says_why_and_what_to_do(
    tmp_path: Path, python: str, cause: str
) -> None:
    setup, wrapper = tmp_path / "setup.sh", tmp_path / "python3"
    setup.write_text(f"echo Welcome\nPATH='{tmp_path}':$PATH\n")
    wrapper.write_text(f"#!/bin/sh\n{python}\n")
    wrapper.chmod(0o755)
    with fake_slurm_run(tmp_path, options={"slurm_setup": setup}) as live:
        [handle] = live.submit("fast-01")
        [status] = live.wait_ended(handle)
        assert (status.state, status.reason) == (JobState.FAILED, Reason.LAUNCH)
        assert status.message.startswith(cause or "Welcome")
        assert "Correct --slurm-setup" in status.message
        assert not live.attempt(handle).claim.exists()


def test_a_site_without_apptainer_says_so(tmp_path: Path) -> None:
    with fake_slurm_run(tmp_path, options={"slurm_container": "image.sif"}) as live:
        [handle] = live.submit("fast-01")
        [status] = live.wait_ended(handle)
        assert (status.reason, status.exit_code) == (Reason.LAUNCH, 127)
        assert "apptainer: " in status.message
        assert "the nodes need apptainer" in status.message


# -- what a run holds


def test_what_waits_or_runs_is_named_and_goes_with_the_cleanup(tmp_path: Path) -> None:
    with fake_slurm_run(tmp_path, holds=True) as live:
        handles = live.submit("fast-01", "fast-02")
        work_dir = live.run.root.parent.parent
        live.slurm.change(handles[1], state="RUNNING")
        found = live.backend.leftovers(live.run.run_id)
        assert found == ["Slurm job 1_0 (PENDING)", "Slurm job 1_1 (RUNNING)"]
        assert live.backend.known_runs(work_dir) == [live.run.run_id]
        live.backend.cleanup("20260101-120000-other")
        assert live.slurm.calls("scancel") == []
        live.backend.cleanup(live.run.run_id)
        assert live.slurm.calls("scancel")[0]["argv"] == ["1_0", "1_1"]
        assert live.backend.leftovers(live.run.run_id) == []
        assert live.backend.known_runs(work_dir) == []
        assert list((live.run.root / "slurm").glob("code-*")) == []


def test_a_run_of_another_work_directory_is_none_of_ours(tmp_path: Path) -> None:
    with fake_slurm_run(tmp_path, holds=True) as live:
        [handle] = live.submit("fast-01")
        elsewhere = f"/elsewhere/runs/{live.run.run_id}"
        live.slurm.change(handle, chdir=elsewhere)
        assert live.backend.known_runs(live.run.root.parent.parent) == []
        assert live.backend.leftovers(live.run.run_id) == []
        live.backend.cleanup(live.run.run_id)
        assert live.slurm.calls("scancel") == []


def test_commands_get_nothing_of_this_programs_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SBATCH_PARTITION", "wrong")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-canary")
    with fake_slurm_run(tmp_path, holds=True) as live:
        live.submit("fast-01")
        [call] = live.slurm.calls("sbatch")
        assert set(call["environ"]) <= {"PATH", "HOME", "LC_ALL", "PWD", "SHLVL", "_", "LC_CTYPE"}


def test_a_job_that_asks_no_model_finds_no_credentials(tmp_path: Path) -> None:
    key = Credentials(anthropic_api_key="sk-ant-canary")
    with fake_slurm_run(tmp_path, options={"real": True}, credentials=key, holds=True) as live:

        def holding() -> list[str]:
            files = [path for path in tmp_path.rglob("*") if path.is_file()]
            return [path.name for path in files if b"sk-ant-canary" in path.read_bytes()]

        live.submit("fast-01")
        assert holding() == ["credentials.json"]
        live.submit_jobs(replace(live.prepare("fast-02"), asks_model=False))
        assert holding() == []
        live.submit("fast-03")  # such as a repair
        assert holding() == ["credentials.json"]


def test_a_handle_of_another_run_is_known_to_nobody(tmp_path: Path) -> None:
    with fake_slurm_run(tmp_path) as live:
        foreign = JobHandle(JobKey("another-run", "fast-01", 1), "slurm", "1")
        live.backend.cancel([foreign])
        assert live.slurm.calls("scancel") == []
        assert live.backend.poll([foreign])[foreign.key].state is JobState.LOST
