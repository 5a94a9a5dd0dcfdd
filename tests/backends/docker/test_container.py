"""Tests for backends.docker.container: names, labels, the create request and what an end means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backends.docker.container import (
    ATTEMPT,
    EXECUTOR,
    PIDS,
    PLANNER,
    ROLE,
    RUN,
    TASK,
    VOLUME,
    RunLabels,
    build_spec,
    end_status,
    has_ended,
    is_running,
    job_key,
)
from backends.docker.settings import DockerSettings
from core.job import JobKey, JobState, JobStatus, Reason

LIMITS = DockerSettings(docker_memory="512m", docker_cpus=1.5, docker_network="none")
KEY = JobKey("r1", "some-task", 3)


def labels_of(work_dir: str, run: str = "r1") -> RunLabels:
    return RunLabels.of(Path(work_dir) / "runs" / run)


def test_a_name_tells_run_task_and_attempt_and_work_directories_apart() -> None:
    here, there = labels_of("/a"), labels_of("/b")
    assert here.job_name(KEY).startswith("orchestrator-r1-some-task-3-")
    assert here.job_name(KEY) == labels_of("/a").job_name(KEY)
    assert here.job_name(KEY) != there.job_name(KEY)
    assert here.filters() != there.filters()
    assert here.filters("r2") == labels_of("/a", "r2").filters()


def test_labels_lead_back_to_the_job() -> None:
    labels = labels_of("/a").for_job(KEY)
    assert job_key(labels) == KEY
    assert labels[ROLE] == EXECUTOR
    for wrong in ({ROLE: PLANNER}, {ATTEMPT: "x"}, {ATTEMPT: ""}, {ATTEMPT: "-1"}):
        assert job_key(labels | wrong) is None
    assert job_key({}) is None
    assert set(labels) >= {RUN, TASK, ATTEMPT, ROLE}


def test_a_container_may_do_nothing_but_work() -> None:
    labels = labels_of("/a").for_job(KEY)
    spec = build_spec("sha256:1", ["python", "x"], labels, LIMITS)
    host: dict[str, Any] = spec["HostConfig"]
    assert spec["User"] == "10001:10001"
    assert "Env" not in spec, "an environment shows in docker inspect"
    assert (host["ReadonlyRootfs"], host["CapDrop"], host["Init"]) == (True, ["ALL"], True)
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["PidsLimit"] == PIDS
    assert host["Memory"] == host["MemorySwap"] == 512 * 1024**2
    assert host["NanoCpus"] == 1_500_000_000
    assert host["NetworkMode"] == "none"
    assert not {"PortBindings", "Binds", "Privileged", "AutoRemove", "PublishAllPorts"} & set(host)
    [mount] = host["Mounts"]
    assert (mount["Type"], mount["Target"]) == ("volume", VOLUME)
    assert mount["VolumeOptions"]["Labels"] == labels
    assert "nosuid" in host["Tmpfs"]["/tmp"]


def test_without_a_network_the_engine_chooses() -> None:
    spec = build_spec("i", [], {}, DockerSettings())
    assert "NetworkMode" not in spec["HostConfig"]


@pytest.mark.parametrize(
    ("state", "running", "ended"),
    [
        ("created", False, False),
        ("running", True, False),
        ("paused", True, False),
        ("restarting", True, False),
        ("removing", False, False),
        ("exited", False, True),
        ("dead", False, True),
    ],
)
def test_what_a_listed_state_means(state: str, running: bool, ended: bool) -> None:
    assert (is_running(state), has_ended(state)) == (running, ended)


def judge(cancelled: bool = False, **state: Any) -> JobStatus:
    return end_status(state, was_cancelled=cancelled, stderr="its last words")


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"ExitCode": 0}, (JobState.SUCCEEDED, None)),
        ({"ExitCode": 0, "OOMKilled": True}, (JobState.SUCCEEDED, None)),
        ({"ExitCode": 1}, (JobState.FAILED, Reason.EXIT)),
        ({"ExitCode": 137}, (JobState.FAILED, Reason.EXIT)),
        ({"ExitCode": 137, "OOMKilled": True}, (JobState.FAILED, Reason.OOM)),
        ({"ExitCode": 143}, (JobState.CANCELLED, None)),
        ({"ExitCode": 127}, (JobState.FAILED, Reason.LAUNCH)),
        ({"ExitCode": 128, "Error": "no such runtime"}, (JobState.FAILED, Reason.EXIT)),
        ({"ExitCode": 0, "Error": "it broke"}, (JobState.FAILED, Reason.EXIT)),
    ],
)
def test_an_end_is_judged_by_its_code_and_what_the_engine_says(
    state: dict[str, Any], expected: tuple[JobState, Reason | None]
) -> None:
    status = judge(**state)
    assert (status.state, status.reason) == expected
    assert status.exit_code == state["ExitCode"]


def test_what_was_cancelled_and_did_not_succeed_is_cancelled() -> None:
    assert judge(cancelled=True, ExitCode=137).state is JobState.CANCELLED
    assert judge(cancelled=True, ExitCode=0).state is JobState.SUCCEEDED


def test_the_words_of_the_engine_beat_those_of_the_worker() -> None:
    assert judge(ExitCode=1).message == "its last words"
    assert judge(ExitCode=1, Error="no space left").message == "no space left"
    assert "--docker-memory" in judge(ExitCode=137, OOMKilled=True).message
    assert "outside" in judge(ExitCode=137).message
