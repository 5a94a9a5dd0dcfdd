"""What every backend must do, as tests: a backend's own test file subclasses the suite and passes.

A subclass names its backend and may give the fixture `options`; mixins add what only some backends
promise, or what only some tests can reach:

    from parallel_task_orchestrator.conformance import BackendConformance, Bounds, DurableJobs

    class TestSlurm(BackendConformance, DurableJobs):
        backend = "slurm"
        bounds = Bounds(state_s=60, cancel_s=60, look_every_s=1)

        @pytest.fixture(scope="class")
        @classmethod
        def options(cls): return {"slurm_partition": "debug"}

Whatever else differs (another clock, a backend built by hand) is a fixture of ConformanceFixtures
to override. Jobs are real request bundles, run by the real ExecutorAgent with the simulated Claude
wherever the backend runs them: nothing here depends on threads or on this process. See `live_run`
for which task does what. Outside a checkout, parallel_task_orchestrator.pytest_plugin comes first.
"""

try:
    from parallel_task_orchestrator.conformance.lifecycle import LifecycleConformance
    from parallel_task_orchestrator.conformance.live_run import Bounds
    from parallel_task_orchestrator.conformance.promises import DurableJobs, ReachableResults
    from parallel_task_orchestrator.conformance.suite import BackendConformance
except ModuleNotFoundError as exc:
    raise ImportError(
        f"{exc}. Set parallel_orchestrator = true in the configuration of pytest."
    ) from exc

__all__ = [
    "BackendConformance",
    "Bounds",
    "DurableJobs",
    "LifecycleConformance",
    "ReachableResults",
]
