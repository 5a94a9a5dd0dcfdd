"""The whole contract as tests, for backends that run real executors."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from backends.base import Backend
from core.bundle import WIRE_VERSION, AttemptDir, build_manifest, read_spent
from core.errors import CollectError
from core.job import JobHandle, JobKey, JobState, JobStatus, Outcome, TaskResult
from engine.run.rundir import RunDir
from parallel_task_orchestrator.conformance.fixtures import CANARY
from parallel_task_orchestrator.conformance.lifecycle import LifecycleConformance
from parallel_task_orchestrator.conformance.live_run import LiveRun
from parallel_task_orchestrator.conformance.reading import (
    files_holding,
    progress_lines,
    texts_in,
    turns_of,
)

THIS_VERSION = f'"version":{WIRE_VERSION}'


class BackendConformance(LifecycleConformance):
    """The whole contract, for backends that run real executors."""

    def test_making_a_backend_touches_nothing(
        self, make_backend: Callable[[RunDir], Backend], tmp_path: Path
    ) -> None:
        run = RunDir(tmp_path / "20260101-120000-9999")
        run.tasks.mkdir(parents=True)
        make_backend(run).close()
        assert list(tmp_path.rglob("*")) == [run.root, run.tasks]

    def test_no_call_waits_for_a_job(self, live: LiveRun, tmp_path: Path) -> None:
        job, handles = live.prepare("slow-a"), list[JobHandle]()
        calls: list[Callable[[], object]] = [
            lambda: handles.extend(live.submit_jobs(job)),
            lambda: live.backend.reattach(live.run.run_id),
            lambda: live.poll(*handles),
            lambda: live.read_log(handles[0]),
            lambda: live.collect(handles[0], tmp_path),
            lambda: live.backend.cancel(handles),
        ]
        times = [live.clock.monotonic()]
        for call in calls:
            call()
            times.append(live.clock.monotonic())
        assert max(after - before for before, after in pairwise(times)) < self.bounds.state_s
        live.wait_ended(*handles, within_s=self.bounds.cancel_s)

    def test_the_result_arrives_with_its_files(self, shared: LiveRun, tmp_path: Path) -> None:
        handle = shared.handles["fast-01"]
        result = shared.result(handle, tmp_path / "fetched")
        there = AttemptDir(tmp_path / "fetched" / "fast-01" / "1")
        assert (result.key, result.outcome) == (handle.key, Outcome.OK), result.message
        assert result.manifest.paths == ("parts/fast-01.md",)
        assert build_manifest(there.files) == result.manifest
        assert there.transcript.read_text(encoding="utf-8")
        assert there.log.exists()

    def test_names_that_a_shell_would_mangle_arrive_as_they_are(self, shared: LiveRun) -> None:
        result = shared.result(shared.handles["fast-odd"])
        assert result.outcome is Outcome.OK, result.message
        odd, *below = result.manifest.paths
        assert odd == "odd/it's $HOME; `x` & größe.md"
        assert below
        assert all(path.startswith("odd/with spaces/") for path in below)

    def test_what_earlier_tasks_wrote_is_there_for_a_later_one(self, shared: LiveRun) -> None:
        written = shared.result(shared.handles["fast-odd"]).manifest.paths
        [last] = shared.submit_jobs(shared.prepare("fast-last", fast_odd=1))
        shared.wait_ended(last)
        assert shared.result(last).outcome is Outcome.OK
        transcript = shared.run.attempt(last.key).transcript.read_text(encoding="utf-8")
        texts = "\n".join(texts_in([json.loads(line) for line in transcript.splitlines()]))
        assert written
        assert all(path in texts for path in written)
        assert "contracts/Maße & co.json" in texts

    def check_ran_once(self, live: LiveRun, handle: JobHandle) -> None:
        result, here = live.result(handle), live.run.attempt(handle.key)
        turns = turns_of(here)
        assert result.outcome is Outcome.OK, result.message
        assert result.turns == len(turns) == len(result.usage)
        assert tuple(read_spent(here)) == result.usage

    def test_a_refusing_model_is_told_in_the_result(self, shared: LiveRun) -> None:
        result = shared.result(shared.handles["refused"])
        assert result.outcome is Outcome.REFUSED
        assert result.message
        assert result.manifest.entries == ()

    def test_a_damaged_bundle_fails_and_says_so(self, live: LiveRun) -> None:
        cut, newer = jobs = live.prepare("fast-01"), live.prepare("fast-02")
        path = AttemptDir(cut.attempt_dir).task_json
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        path = AttemptDir(newer.attempt_dir).task_json
        path.write_bytes(path.read_bytes().replace(THIS_VERSION.encode(), b'"version":99'))
        handles = live.submit_jobs(*jobs)
        statuses = live.wait_ended(*handles)
        assert {status.state for status in statuses} == {JobState.FAILED}
        assert "task.json" in self._words(live, handles[0], statuses[0])
        assert "wire version 99" in self._words(live, handles[1], statuses[1])

    def _words(self, live: LiveRun, handle: JobHandle, status: JobStatus) -> str:
        """What the engine tells a person: the status's words, else why there is no result."""
        found = live.collect(handle)
        assert isinstance(found, CollectError)
        return status.message or str(found)

    def test_collecting_again_and_elsewhere_gives_the_same(
        self, shared: LiveRun, tmp_path: Path
    ) -> None:
        handle = shared.handles["fast-odd"]
        first = shared.result(handle)
        assert shared.collect(handle) == first
        for _ in range(2):
            assert shared.collect(handle, tmp_path / "elsewhere") == first
        elsewhere = AttemptDir(tmp_path / "elsewhere" / "fast-odd" / "1")
        assert build_manifest(elsewhere.files) == first.manifest
        shutil.rmtree(elsewhere.files)
        assert shared.collect(handle, tmp_path / "elsewhere") == first

    def test_a_result_that_was_pulled_after_it_was_collected_is_not_said_to_be_there(
        self, shared: LiveRun
    ) -> None:
        handle = shared.handles["fast-03"]
        first, here = shared.result(handle), shared.run.attempt(handle.key)
        shutil.rmtree(here.files)
        found = shared.collect(handle)
        if not isinstance(found, CollectError):  # it was fetched once more
            assert build_manifest(here.files) == found.manifest == first.manifest

    def test_no_result_is_an_answer_and_does_not_spoil_the_others(self, shared: LiveRun) -> None:
        done, running = shared.handles["fast-01"], shared.handles["slow-a"]
        shared.result(done)
        never = JobHandle(JobKey("another-run", "fast-01", 1), shared.backend.name, "x")
        found = shared.backend.collect([never, done, running], shared.run.tasks)
        assert isinstance(found[done.key], TaskResult)
        assert isinstance(found[never.key], CollectError)
        assert isinstance(found[running.key], CollectError)

    def test_what_a_cancelled_job_spent_can_be_read_after_collect(
        self, live: LiveRun, tmp_path: Path
    ) -> None:
        [handle] = live.submit("spending")

        def spent_in_log() -> list[str] | None:
            return [line for line in live.read_log(handle)[0] if '"usage"' in line] or None

        seen = live.eventually(spent_in_log, "the first usage in the log")
        live.backend.cancel([handle])
        [status] = live.wait_ended(handle, within_s=self.bounds.cancel_s)
        assert status.state is not JobState.SUCCEEDED
        there = AttemptDir(tmp_path / "spending" / "1")

        def spent() -> bool:
            found = live.collect(handle, tmp_path)
            assert isinstance(found, CollectError) or found.outcome is Outcome.INTERRUPTED
            return len(list(read_spent(there))) >= len(seen)

        live.eventually(spent, "what was spent, after collect")

    def test_logs_are_whole_lines_in_order_and_nothing_twice(self, live: LiveRun) -> None:
        [handle] = live.submit("fast-odd")
        lines: list[str] = []
        cursor = ""

        def follow() -> list[str]:
            nonlocal cursor
            more, cursor = live.read_log(handle, cursor)
            lines.extend(more)
            return progress_lines(lines)

        live.eventually(lambda: bool(follow()) and live.poll(handle)[0].state.final, "the end")
        live.result(handle)
        told = live.run.attempt(handle.key).events.read_text(encoding="utf-8").splitlines()
        live.eventually(lambda: follow()[-1:] == told[-1:], "the worker's last line in the log")
        assert progress_lines(lines) == told
        assert live.read_log(handle, cursor)[0] == []
        assert live.read_log(handle)[0] == lines

    def test_the_log_of_a_job_nobody_knows_is_empty(self, shared: LiveRun) -> None:
        never = JobHandle(JobKey(shared.run.run_id, "never", 1), shared.backend.name, "nobody:1")
        assert shared.read_log(never) == ([], "")

    def test_another_instance_finds_what_ended_before(self, live: LiveRun, tmp_path: Path) -> None:
        [handle] = live.submit("fast-01")
        live.wait_ended(handle)
        live.backend.close()
        live.backend = live.another_backend()
        [found] = live.backend.reattach(live.run.run_id)
        assert found.key == handle.key
        assert live.wait_ended(found)[0].state is JobState.SUCCEEDED
        assert live.result(found, tmp_path).outcome is Outcome.OK

    def test_another_run_does_not_take_results_for_its_own(
        self, start_run: Callable[..., LiveRun], tmp_path: Path
    ) -> None:
        here, there = start_run("20260101-120000-cccc"), start_run("20260101-120000-dddd")
        [mine] = here.submit("fast-01")
        here.wait_ended(mine)
        foreign = replace(mine, key=replace(mine.key, run=there.run.run_id))
        assert isinstance(there.collect(foreign, tmp_path), CollectError)
        assert isinstance(there.collect(mine, tmp_path), CollectError)
        assert there.read_log(mine)[0] == []

    def test_a_secret_is_nowhere_to_be_seen_and_a_cleanup_leaves_nothing(
        self, live: LiveRun
    ) -> None:
        broken = live.prepare("fast-02")
        AttemptDir(broken.attempt_dir).task_json.write_text("{}")
        handles = [*live.submit("fast-01", "refused", "spending"), *live.submit_jobs(broken)]
        live.wait_ended(*(h for h in handles if h.key.task != "spending"))
        live.backend.cancel(handles)
        live.wait_ended(*handles, within_s=self.bounds.cancel_s)
        for handle in handles:
            live.said.append(str(live.collect(handle)))
            live.read_log(handle)
        for path in files_holding(live.run.root, CANARY):
            assert live.run.tasks not in path.parents
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, f"{path} can be read by others"
        live.backend.cleanup(live.run.run_id)
        assert live.backend.leftovers(live.run.run_id) == []
        assert files_holding(live.run.root, CANARY) == []
        assert len(live.said) > len(handles)
        assert [text for text in live.said if CANARY in text] == []
