"""What can happen to a job in a container, each on a real engine: its outcome, and its words."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from backends.docker.client import DockerHost
from backends.docker_backend import KILL_AFTER_S, DockerBackend
from core.bundle import Limits, read_spent
from core.errors import CollectError, SubmitError
from core.job import Job, JobHandle, JobState, Outcome, Reason
from engine.scheduling.job_end import end_of
from tests.fakes.plans import make_plan
from tests.fakes.scripted_model import KEYS, Step, model_that, run, tool_answers, write
from tests.live.docker_engines import CuttableLine
from tests.live.docker_run import (
    IMAGE,
    DockerRun,
    another_worker,
    docker_run,
    left_behind,
    read_volume,
)

pytestmark = [pytest.mark.docker_engine, pytest.mark.slow]
ON_LOOPBACK = {"docker_network": "host", "real": True}
ONE_TASK = make_plan({"fast": []})


def act(
    place: Path, *steps: Step, check: Callable[[DockerRun, JobHandle], None] | None = None
) -> tuple[DockerRun, JobHandle, list[str]]:
    """Have a model do this in a container; the run, its job, and what the model was told."""
    with (
        model_that(*steps) as (model, server),
        docker_run(
            place,
            options=ON_LOOPBACK,
            model=model,
            credentials=KEYS,
            plan=ONE_TASK,
            limits=Limits(max_corrections=1),
        ) as live,
    ):
        [handle] = live.submit("fast")
        live.wait_ended(handle)
        if check:
            check(live, handle)
        return live, handle, tool_answers(server)


# -- memory and time


def test_a_worker_that_needs_more_memory_than_it_has_is_named_so(tmp_path: Path) -> None:
    with docker_run(tmp_path, options={"docker_memory": "24m"}) as live:
        [handle] = live.submit("fast-01")
        [status] = live.wait_ended(handle)
        assert (status.state, status.reason, status.exit_code) == (
            JobState.FAILED,
            Reason.OOM,
            137,
        )
        assert isinstance(live.collect(handle), CollectError)
        told = end_of(status, None).message
        assert "ran out of memory" in told
        assert "--docker-memory" in told
        assert str(live.attempt("fast-01").root / "container.log") in told
        assert (live.attempt("fast-01").root / "container.log").exists()


def test_a_command_that_needs_more_memory_than_there_is_ends_alone(tmp_path: Path) -> None:
    def check(live: DockerRun, handle: JobHandle) -> None:
        assert live.poll(handle)[0].state is JobState.SUCCEEDED
        assert live.result(handle).outcome is Outcome.OK

    greedy = run("python3 -c 'x = bytearray(2**30); print(len(x))'")
    _, _, told = act(tmp_path, greedy, write("fast/a.txt", "x"), check=check)
    assert "SIGKILL, as when memory runs out" in told[0]


def test_a_worker_keeps_to_the_time_limit_of_its_job_itself(tmp_path: Path) -> None:
    with docker_run(tmp_path, limits=Limits(timeout_s=1.0)) as live:
        result = live.finish("slow-a")
        assert result.outcome is Outcome.INTERRUPTED
        assert "time limit of 1 s" in result.message


def test_a_paused_job_runs_on_for_all_one_can_tell(tmp_path: Path) -> None:
    with docker_run(tmp_path) as live:
        [handle] = live.submit("slow-a")
        live.wait_running(handle)
        _docker(live, "pause", "slow-a")
        assert live.poll(handle)[0].state is JobState.RUNNING
        live.backend.cancel([handle])
        assert live.wait_ended(handle)[0].state is JobState.CANCELLED


def test_a_worker_that_hangs_is_killed_some_time_after_it_was_asked(tmp_path: Path) -> None:
    with docker_run(tmp_path) as live:
        [handle] = live.submit("slow-a")
        live.wait_running(handle)
        _docker(live, "kill", "slow-a", "SIGSTOP")
        live.backend.cancel([handle])
        asked_at = live.clock.monotonic()
        [status] = live.wait_ended(handle, within_s=30)
        assert live.clock.monotonic() >= asked_at + KILL_AFTER_S
        assert (status.state, status.exit_code) == (JobState.CANCELLED, 137)
        assert isinstance(live.collect(handle), CollectError)


# -- somebody else's hand


def test_a_container_killed_from_outside_fails_and_says_so(tmp_path: Path) -> None:
    with docker_run(tmp_path) as live:
        [handle] = live.submit("slow-a")
        live.wait_running(handle)
        _docker(live, "kill", "slow-a")
        [status] = live.wait_ended(handle)
        assert (status.state, status.reason, status.exit_code) == (
            JobState.FAILED,
            Reason.EXIT,
            137,
        )
        assert "killed from outside" in status.message


def test_a_container_stopped_from_outside_leaves_what_it_spent(tmp_path: Path) -> None:
    with docker_run(tmp_path) as live:
        [handle] = live.submit("spending")
        live.eventually(lambda: '"usage"' in "".join(live.read_log(handle)[0]), "the first usage")
        _docker(live, "stop", "spending")
        [status] = live.wait_ended(handle)
        assert (status.state, status.exit_code) == (JobState.CANCELLED, 143)
        assert live.result(handle).outcome is Outcome.INTERRUPTED
        assert list(read_spent(live.attempt("spending")))


def test_a_container_removed_from_outside_is_lost_and_the_next_attempt_runs(tmp_path: Path) -> None:
    with docker_run(tmp_path) as live:
        [handle] = live.submit("slow-a")
        live.wait_running(handle)
        live.host.remove(live.name("slow-a"))
        [status] = live.wait_ended(handle)
        assert (status.state, status.reason) == (JobState.LOST, Reason.MISSING)
        assert isinstance(live.collect(handle), CollectError)
        [again] = live.submit_jobs(live.prepare("fast-01", 2))
        assert live.wait_ended(again)[0].state is JobState.SUCCEEDED


def test_a_container_removed_after_its_end_is_lost_unless_its_result_was_fetched(
    tmp_path: Path,
) -> None:
    with docker_run(tmp_path) as live:
        fetched, lost = live.submit("fast-01", "fast-02")
        live.wait_ended(fetched, lost)
        live.result(fetched)
        live.host.remove(live.name("fast-02"))
        live.backend = live.another_backend()
        first, second = live.poll(fetched, lost)
        assert first.state is JobState.SUCCEEDED
        assert (second.state, second.reason) == (JobState.LOST, Reason.MISSING)


# -- too much of a result


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("[open(f'{n}', 'w').close() for n in range(50_000)]", "more than 10,000 files"),
        ("open('big', 'wb').truncate(2**30)", "more than 268,435,456 bytes"),
        ("os.symlink('/etc/passwd', 'result.json')", "not a regular file"),
        ("os.mkfifo('result.json')", "not a regular file"),
    ],
    ids=["50,000 files", "a gibibyte", "a link", "a pipe"],
)
def test_a_worker_gone_wrong_is_stopped_by_the_host_at_the_same_limits(
    tmp_path: Path, program: str, told: str
) -> None:
    begin = "import os, sys; os.chdir(sys.argv[1]); os.mkdir('result'); os.chdir('result')\n"
    with (
        another_worker(begin + program) as image,
        docker_run(tmp_path, options={"docker_image": image}) as live,
    ):
        [handle] = live.submit("fast-01")
        live.wait_ended(handle)
        found = live.collect(handle)
        assert isinstance(found, CollectError)
        assert told in found.message
        assert not found.retryable
        assert not live.attempt("fast-01").result.exists()
        assert list(live.attempt("fast-01").root.glob(".result-*")) == []


# -- a submit that nobody hears the answer of


class _DyingHost(DockerHost):
    """Is killed the moment it would start a container; or just after, when told."""

    after = False

    def start(self, container: str) -> None:
        if self.after:
            super().start(container)
        os.kill(os.getpid(), signal.SIGKILL)


def _submit_and_die(live: DockerRun, job: Job, *, after: bool) -> None:
    assert isinstance(live.backend, DockerBackend)
    live.backend._host = host = _DyingHost(dict(os.environ))
    host.after = after
    process = multiprocessing.get_context("fork").Process(target=live.backend.submit, args=([job],))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    live.backend = live.another_backend()


@pytest.mark.parametrize("after", [False, True], ids=["before its start", "after its start"])
def test_a_job_whose_submitter_was_killed_is_submitted_again_and_runs_once(
    tmp_path: Path, after: bool
) -> None:
    secret = "sk-ant-canary-of-a-killed-process"
    with (
        model_that(write("fast/a.txt", "x")) as (model, server),
        docker_run(
            tmp_path,
            options=ON_LOOPBACK,
            model=model,
            credentials=replace(KEYS, anthropic_api_key=secret),
            plan=ONE_TASK,
        ) as live,
    ):
        job = live.prepare("fast")
        _submit_and_die(live, job, after=after)
        if not after:
            assert secret.encode() in read_volume(live, "fast"), "it did not get that far"
            assert live.backend.reattach(live.run.run_id) == [], "it never ran"
        [handle] = live.submit_jobs(job)
        live.wait_ended(handle)
        assert len(left_behind(tmp_path / "work dir")) == 2, "one container, one volume"
        assert secret.encode() not in read_volume(live, "fast")
        assert live.result(handle).outcome is Outcome.OK
        assert len(server.asked) == 2, "the model was asked by one worker alone"


# -- the image


def test_a_job_goes_on_when_its_image_loses_its_name_and_a_new_one_is_refused_when_it_is_gone(
    tmp_path: Path,
) -> None:
    name = f"pto-test-{os.getpid()}:gone"
    with docker_run(tmp_path, options={"docker_image": name}) as live:
        _make_image(live, name)
        with live.host._calling() as engine:
            [handle] = live.submit("fast-01")
            engine.remove_image(name, force=True, noprune=True)
            live.wait_ended(handle)
            assert live.result(handle).outcome is Outcome.OK
            engine.remove_image(live.host.image_id(name), force=True)
        [answer] = live.backend.submit([live.prepare("fast-02")])
        assert isinstance(answer, SubmitError)
        assert not answer.retryable
        assert "No such image" in answer.message
        assert left_behind(tmp_path / "work dir") == []


def _make_image(live: DockerRun, name: str) -> None:
    """Ours, with an id of its own."""
    container = live.host.create(f"pto-test-{os.getpid()}", {"Image": IMAGE, "Cmd": ["true"]})
    try:
        with live.host._calling() as engine:
            repository, tag = name.split(":")
            engine.commit(container, repository, tag)
    finally:
        live.host.remove(container)


# -- the line to the engine


def test_a_lost_connection_for_events_is_made_again_and_costs_no_news(tmp_path: Path) -> None:
    with (
        CuttableLine(tmp_path) as line,
        docker_run(tmp_path, environ={"DOCKER_HOST": f"unix://{line.path}"}) as live,
    ):
        woken: list[int] = []
        live.backend.on_change(lambda *_: woken.append(line.accepted))
        [slow] = live.submit("slow-a")
        live.wait_running(slow)
        live.eventually(lambda: bool(woken), "the first news")
        before = line.accepted
        assert line.cut() >= 1
        live.eventually(lambda: any(count > before for count in woken), "news on a new connection")
        woken.clear()
        _docker(live, "kill", "slow-a")
        live.eventually(lambda: bool(woken), "news of the end")
        assert live.wait_ended(slow)[0].state is JobState.FAILED


def test_the_first_look_after_the_news_of_an_end_sees_it(tmp_path: Path) -> None:
    with docker_run(tmp_path) as live:
        assert isinstance(live.backend, DockerBackend)
        ended = live.backend._watch.died
        for task in ("fast-01", "fast-02", "fast-03"):
            [handle] = live.submit(task)
            while handle.native_id not in ended:
                live.clock.sleep(0.001)
            assert live.poll(handle)[0].state is JobState.SUCCEEDED, "it waits for the next poll"


def _docker(live: DockerRun, what: str, task: str, *more: str) -> None:
    """What somebody does with the docker command."""
    with live.host._calling() as engine:
        getattr(engine, what)(live.name(task), *more)
