"""Parts of the conformance suite that only some backends, or some tests, can take."""

from __future__ import annotations

import json
from pathlib import Path

from core.bundle import AttemptDir, read_spent
from core.errors import CollectError
from core.job import JobHandle, JobKey, JobState
from parallel_task_orchestrator.conformance.fixtures import ConformanceFixtures
from parallel_task_orchestrator.conformance.live_run import LiveRun
from parallel_task_orchestrator.conformance.reading import turns_of


class DurableJobs(ConformanceFixtures):
    """For backends whose jobs outlive the process that submitted them."""

    def test_a_running_job_outlives_its_instance(self, live: LiveRun) -> None:
        [handle] = live.submit("slow-a")
        live.wait_running(handle)
        live.backend.close()
        live.backend = live.another_backend()
        [found] = live.backend.reattach(live.run.run_id)
        assert found.key == handle.key
        live.wait_running(handle)
        live.backend.cancel([found])
        [status] = live.wait_ended(handle, within_s=self.bounds.cancel_s)
        assert status.state is not JobState.SUCCEEDED

    def test_a_key_submitted_again_by_another_instance_runs_once(self, live: LiveRun) -> None:
        job = live.prepare("fast-01")
        [first] = live.submit_jobs(job)
        live.backend = live.another_backend()
        [again] = live.submit_jobs(job)
        assert again.key == first.key
        assert live.wait_ended(again)[0].state is JobState.SUCCEEDED
        result, here = live.result(again), live.run.attempt(first.key)
        assert tuple(read_spent(here)) == result.usage
        assert len(turns_of(here)) == result.turns


class ReachableResults(ConformanceFixtures):
    """For tests that can change a result before it is collected."""

    def kept_attempt(self, live: LiveRun, key: JobKey) -> AttemptDir:
        """Where the backend keeps the attempt until it is collected."""
        return live.run.attempt(key)

    def test_a_result_changed_in_place_is_not_taken(self, shared: LiveRun, tmp_path: Path) -> None:
        handle = shared.handles["fast-02"]
        path = self.kept_attempt(shared, handle.key).files / "parts" / "fast-02.md"
        path.write_text("not what the worker wrote")
        self._refused(shared, handle, tmp_path / "changed")
        path.unlink()
        self._refused(shared, handle, tmp_path / "absent")
        path.symlink_to("/etc/hostname")
        self._refused(shared, handle, tmp_path / "linked")

    def test_a_result_that_cannot_be_read_is_not_taken(
        self, shared: LiveRun, tmp_path: Path
    ) -> None:
        handle = shared.handles["fast-odd"]
        path = self.kept_attempt(shared, handle.key).result_json
        text = path.read_text(encoding="utf-8")
        whole = json.loads(text)
        entries = whole["manifest"]["entries"]
        of_another = {**whole, "key": {**whole["key"], "attempt": 2}}
        turned = {**whole, "manifest": {"entries": entries[::-1]}}
        for n, bad in enumerate(["", "{", json.dumps(of_another), json.dumps(turned)]):
            path.write_text(bad, encoding="utf-8")
            self._refused(shared, handle, tmp_path / str(n))
        path.write_text(text, encoding="utf-8")

    def _refused(self, live: LiveRun, handle: JobHandle, destination: Path) -> None:
        assert isinstance(live.collect(handle, destination), CollectError)
