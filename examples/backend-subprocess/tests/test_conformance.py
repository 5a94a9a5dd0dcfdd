"""What every backend must do."""

from parallel_task_orchestrator.conformance import BackendConformance, Bounds, DurableJobs


class TestSubprocess(BackendConformance, DurableJobs):
    backend = "subprocess"
    bounds = Bounds(state_s=60, cancel_s=30, look_every_s=0.1)
