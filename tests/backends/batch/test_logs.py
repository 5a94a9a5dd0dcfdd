"""Log streams of jobs as lines since a cursor, and what instances of the backend are built from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from backends.aws_batch_backend import AwsBatchBackend
from backends.batch.logs import MOST_PAGES, LogStreams, is_progress
from core.aws.calls import AwsService
from core.errors import BackendError
from core.job import JobHandle, JobState
from parallel_task_orchestrator.conformance.live_run import LiveRun
from tests.fakes.aws import FakeAws
from tests.fakes.aws_calls import Call, fault
from tests.fakes.batch_run import NoWaiting, site_of
from tests.fakes.strict_batch import Refusal


@pytest.fixture
def aws() -> FakeAws:
    made = FakeAws()
    made.runner.never_ends = True
    return made


def stream_of(handle: JobHandle, attempt: int = 1) -> str:
    return f"a-definition/default/{handle.native_id}#{attempt}"


def test_lines_come_once_and_in_order(live: LiveRun, aws: FakeAws) -> None:
    [handle] = live.submit("fast-01")
    assert live.read_log(handle) == ([], "")
    lines = aws.logs[stream_of(handle)] = ["one", '{"kind": "progress"}']
    first, cursor = live.read_log(handle)
    assert first == lines
    assert live.read_log(handle, cursor)[0] == []
    lines += ["three", "four\nfive"]
    assert live.read_log(handle, cursor)[0] == ["three", "four", "five"]
    assert live.read_log(handle)[0] == [*lines[:3], "four", "five"]


def test_a_job_that_goes_on_elsewhere_is_followed_there(live: LiveRun, aws: FakeAws) -> None:
    [handle] = live.submit("fast-01")
    live.poll(handle)
    aws.logs[stream_of(handle)] = ["one"]
    _, cursor = live.read_log(handle)
    aws.batch.lose_host(handle.native_id)
    live.poll(handle)
    aws.logs[stream_of(handle, 2)] = ["two"]
    assert live.read_log(handle, cursor)[0] == ["two"]


def test_a_job_without_a_stream_is_asked_about_now_and_then(
    live: LiveRun, aws: FakeAws, clock: NoWaiting
) -> None:
    aws.batch.stuck = "CAPACITY:X"
    [handle] = live.submit("fast-01")
    for _ in range(10):
        assert live.read_log(handle) == ([], "")
    assert aws.count("describejobs") == 1
    clock.now += 2.5
    live.read_log(handle)
    assert aws.count("describejobs") == 2


def test_what_is_not_this_runs_or_no_jobs_id_is_asked_of_nobody(
    live: LiveRun, aws: FakeAws
) -> None:
    [handle] = live.submit("fast-01")
    before = len(aws.calls)
    foreign = replace(handle, key=replace(handle.key, run="another"))
    assert live.read_log(foreign, "cursor") == ([], "cursor")
    assert live.read_log(replace(handle, native_id="nobody")) == ([], "")
    live.backend.cancel([foreign, replace(handle, native_id="nobody")])
    assert live.backend.poll([foreign])[foreign.key].state is JobState.LOST
    assert len(aws.calls) == before


def test_a_log_that_may_not_be_read_is_an_error(live: LiveRun, aws: FakeAws) -> None:
    [handle] = live.submit("fast-01")
    aws.faults.append(fault("GetLogEvents", Refusal("not you", "AccessDeniedException")))
    with pytest.raises(BackendError, match="GetLogEvents on /aws/batch/job"):
        live.read_log(handle)


def test_the_tail_is_the_last_words_that_are_no_progress(aws: FakeAws) -> None:
    streams = LogStreams(AwsService("logs", aws.client, NoWaiting()))
    aws.logs["s"] = ["word " * 200, '{"kind": "progress"}', "error: It broke."]
    assert streams.tail("", "s").endswith("word \nerror: It broke.")
    assert streams.tail("", "other") == ""
    assert streams.lines("", "s") == aws.logs["s"]


def test_an_empty_page_is_not_the_end_of_a_stream(live: LiveRun, aws: FakeAws) -> None:
    aws.log_gaps = 2
    streams = LogStreams(AwsService("logs", aws.client, NoWaiting()))
    aws.logs["s"] = [f"line {n}" for n in range(20_001)]
    assert streams.lines("", "s") == aws.logs["s"]
    assert streams.tail("", "s").endswith("line 20000")
    [handle] = live.submit("fast-01")
    lines = aws.logs[stream_of(handle)] = ["one", "two"]
    told: list[str] = []
    cursor = ""
    for _ in range(4):
        some, cursor = live.read_log(handle, cursor)
        told += some
    assert told == lines


def test_a_stream_that_holds_nothing_yet_is_asked_until_it_says_so(aws: FakeAws) -> None:
    streams = LogStreams(AwsService("logs", aws.client, NoWaiting()))
    aws.logs["s"] = []
    assert streams.tail("", "s") == ""
    assert streams.lines("", "s") == []
    assert aws.count("GetLogEvents") == 4


def test_a_stream_that_never_ends_is_left_at_some_point(aws: FakeAws) -> None:
    streams = LogStreams(AwsService("logs", aws.client, NoWaiting()))
    aws.logs["s"] = ["word"]

    def goes_on(call: Call) -> None:
        if call.action == "GetLogEvents":
            aws.logs["s"].append("word")

    aws.after = goes_on
    assert 1 < len(streams.lines("", "s")) <= MOST_PAGES + 1
    aws.log_gaps = 10**9
    assert streams.tail("", "s") == ""


def test_progress_is_told_from_other_lines() -> None:
    assert is_progress('{"kind": "progress", "text": "x"}')
    assert not any(map(is_progress, ["x", "{", '{"x": 1}', "[1]", ""]))


def test_cancelling_what_has_ended_or_is_forgotten_asks_nobody(live: LiveRun, aws: FakeAws) -> None:
    [ended, forgotten] = live.submit("fast-01", "fast-02")
    live.backend.cancel([ended])
    assert live.poll(ended)[0].state is JobState.CANCELLED
    aws.batch.forget(forgotten.native_id)
    before = aws.count("terminatejob")
    live.backend.cancel([ended, forgotten])
    assert aws.count("terminatejob") == before + 1
    [there] = live.submit("fast-03")
    aws.faults.append(fault("terminatejob", Refusal("not you", "AccessDeniedException")))
    with pytest.raises(BackendError, match="TerminateJob"):
        live.backend.cancel([there])


def test_more_jobs_than_a_page_holds_are_all_found(
    live: LiveRun, aws: FakeAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.fakes.strict_batch.PAGE", 2)
    handles = [live.submit(f"fast-{n:02}")[0] for n in range(5)]
    live.backend = live.another_backend()
    assert live.backend.reattach(live.run.run_id) == handles
    assert aws.count("listjobs") == 3


def test_a_damaged_pack_is_told_with_what_to_do(live: LiveRun, aws: FakeAws) -> None:
    live.submit("fast-01")
    [name] = [name for name in aws.objects if "/requests/" in name]
    aws.objects[name] = b"rubbish"
    live.backend = live.another_backend()
    with pytest.raises(BackendError, match="Clean the run up, and start it anew"):
        live.backend.reattach(live.run.run_id)


def test_a_backend_is_built_without_asking_anybody(tmp_path: Path) -> None:
    backend = AwsBatchBackend.build(site_of(tmp_path / "runs" / "r", NoWaiting()))
    assert backend.poll([]) == {}
    assert backend.collect([], tmp_path) == {}
    assert backend.submit([]) == []
    backend.close()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_takes_no_result_is_waited_for(live: LiveRun, aws: FakeAws) -> None:
    aws.runner.never_ends = False
    [handle] = live.submit("fast-01")
    live.poll(handle)
    root = live.run.attempt(handle.key).root
    moved = root.rename(root.with_name("aside"))
    root.write_text("in the way")
    found = live.collect(handle)
    assert "could not be stored" in str(found)
    root.unlink()
    moved.rename(root)
    assert live.result(handle).key == handle.key
