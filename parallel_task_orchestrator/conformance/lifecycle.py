"""The part of the conformance suite that looks into no bundle: submit, poll, cancel, reattach."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace

from core.job import JobHandle, JobKey, JobState
from core.wire import decode, encode
from parallel_task_orchestrator.conformance.fixtures import AT_ONCE, ConformanceFixtures
from parallel_task_orchestrator.conformance.live_run import LiveRun


class LifecycleConformance(ConformanceFixtures):
    """Submit, poll, cancel and reattach: all that can be said without looking into a bundle."""

    def test_preflight_finds_nothing_missing(self, live: LiveRun) -> None:
        assert live.backend.preflight() == []

    def test_asking_about_nothing_is_answered_with_nothing(self, live: LiveRun) -> None:
        assert live.backend.submit([]) == []
        assert live.backend.poll([]) == {}
        assert live.backend.collect([], live.run.tasks) == {}
        live.backend.cancel([])
        assert live.backend.reattach(live.run.run_id) == []

    def test_submit_answers_one_per_job_in_order(self, shared: LiveRun) -> None:
        handles = list(shared.handles.values())[: len(AT_ONCE)]
        assert tuple(handle.key.task for handle in handles) == AT_ONCE
        assert {handle.backend for handle in handles} == {shared.backend.name}

    def test_a_handle_survives_a_round_trip_through_json(self, shared: LiveRun) -> None:
        handle = shared.handles["fast-01"]
        again = decode(JobHandle, json.dumps(json.loads(encode(handle))), "the journal")
        assert again == handle
        assert shared.poll(again)[0].state is JobState.SUCCEEDED

    def test_jobs_succeed_while_another_says_running_and_goes_on_saying_so(
        self, shared: LiveRun
    ) -> None:
        fast = [handle for task, handle in shared.handles.items() if task.startswith("fast")]
        assert {s.state for s in shared.poll(*fast)} == {JobState.SUCCEEDED}
        assert shared.poll(shared.handles["slow-a"])[0].state is JobState.RUNNING

    def test_a_key_submitted_twice_is_one_job_that_runs_once(self, live: LiveRun) -> None:
        [slow] = live.submit("slow-a")
        [again] = live.submit("slow-a")
        job, twin = live.prepare("fast-01"), live.prepare("fast-01")
        first, second = live.submit_jobs(job, twin)
        assert (again.key, again.native_id) == (slow.key, slow.native_id)
        assert first.native_id == second.native_id
        assert {h.key for h in live.backend.reattach(live.run.run_id)} == {slow.key, first.key}
        handles = [first, second, *live.submit_jobs(job)]
        live.wait_ended(*handles)
        handles += live.submit_jobs(job)
        live.wait_ended(*handles)
        self.check_ran_once(live, first)

    def check_ran_once(self, live: LiveRun, handle: JobHandle) -> None:
        """For suites that look into bundles."""

    def test_poll_answers_for_handles_it_never_saw(self, shared: LiveRun) -> None:
        handle = shared.handles["fast-01"]
        never = [
            replace(handle, key=replace(handle.key, task="never"), native_id="nobody:1"),
            replace(handle, key=replace(handle.key, attempt=7), native_id=""),
            JobHandle(JobKey("another-run", "fast-01", 1), shared.backend.name, "x", {"y": 1}),
        ]
        found = shared.backend.poll([*never, handle])
        assert set(found) == {h.key for h in [*never, handle]}
        assert {found[h.key].state for h in never} <= {JobState.UNKNOWN, JobState.LOST}
        assert found[handle.key].state is JobState.SUCCEEDED

    def test_cancel_ends_a_job_and_spares_the_others(self, live: LiveRun) -> None:
        [slow, spared] = live.submit("slow-a", "slow-b")
        live.wait_running(slow, spared)
        live.backend.cancel([slow])
        [status] = live.wait_ended(slow, within_s=self.bounds.cancel_s)
        assert status.state is not JobState.SUCCEEDED
        assert live.poll(spared)[0].state is JobState.RUNNING

    def test_cancel_of_an_ended_or_unknown_job_is_no_error(self, shared: LiveRun) -> None:
        handle = shared.handles["fast-01"]
        before = shared.poll(handle)
        unknown = replace(handle, key=replace(handle.key, task="never"), native_id="nobody:1")
        shared.backend.cancel([handle, unknown])
        shared.backend.cancel([handle])
        assert shared.poll(handle) == before, "a final state does not change"

    def test_reattach_finds_every_job_of_the_run_and_none_of_another(self, shared: LiveRun) -> None:
        found = shared.backend.reattach(shared.run.run_id)
        assert sorted(h.key for h in found) == sorted(h.key for h in shared.handles.values())
        assert shared.backend.reattach("another-run") == []
        states = {s.state for s in shared.poll(*found)}
        assert states == {JobState.RUNNING, JobState.SUCCEEDED}

    def test_two_runs_side_by_side_do_not_see_each_other_nor_a_cleanup(
        self, start_run: Callable[..., LiveRun]
    ) -> None:
        here, there = start_run("20260101-120000-bbbb"), start_run("20260101-120000-bbbb2")
        [mine] = here.submit("slow-a")
        [other] = there.submit("slow-a")
        here.wait_running(mine)
        there.wait_running(other)
        assert [h.key for h in here.backend.reattach(here.run.run_id)] == [mine.key]
        assert [h.key for h in there.backend.reattach(there.run.run_id)] == [other.key]
        here.backend.cancel(here.backend.reattach(here.run.run_id))
        here.wait_ended(mine, within_s=self.bounds.cancel_s)
        for _ in range(2):
            here.backend.cleanup(here.run.run_id)
            here.backend.cleanup("another-run")
        here.backend.close()
        there.wait_ended(*there.submit("fast-01"))  # time for a stray cancel to be felt
        assert there.poll(other)[0].state is JobState.RUNNING
        here.backend.close()

    def test_a_change_is_seen_by_one_who_waits_for_the_wake_or_the_pace(
        self, live: LiveRun
    ) -> None:
        woken = threading.Event()
        live.backend.on_change(lambda *_: woken.set())
        [handle] = live.submit("fast-01")
        pace, asked_at = live.backend.pace, live.clock.monotonic()

        def look() -> bool:
            nonlocal asked_at
            due = live.clock.monotonic() >= asked_at + pace.first_s
            if not (woken.is_set() or due):
                return False
            woken.clear()
            asked_at = live.clock.monotonic()
            return live.poll(handle)[0].state.final

        live.eventually(look, "the end seen without polling all the time")
