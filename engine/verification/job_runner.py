"""Checks as one job of the run's backend, carried out like any task besides the plan."""

from dataclasses import dataclass, field
from pathlib import Path

from core.check_request import CheckJob, CheckRequest
from core.checks.job import CHECKS_NAME, read_report
from core.checks.runner import Tell
from core.errors import BackendError, BundleError
from core.plan import Task
from engine.delivery.merge import MergePlan
from engine.scheduling.types import StopCause
from engine.verification.added_task import AddedEnd, AddedTasks
from engine.verification.verify import CheckRunner, ChecksNotRun


@dataclass(slots=True)
class JobRunner(CheckRunner):
    """`unprotected`: also where a node has no sandbox. `backend` is its name. Every pass over the
    checks is a task of its own, unless there is to be only one, `task`, before all others: what
    none of these would survive is then raised as a BackendError."""

    tasks: AddedTasks
    backend: str
    unprotected: bool
    task: str = ""
    name: str = field(default="a job", init=False)

    def run(self, request: CheckRequest, merged: MergePlan, tell: Tell) -> None:
        """Raises KeyboardInterrupt once the job of an interrupted run has stopped."""
        try:
            end = self.tasks.run(self._task(request), merged, CheckJob(request, self.unprotected))
            report = read_report(self._result(end), request)
        except (BackendError, BundleError) as exc:
            if self.task and isinstance(exc, BackendError):
                raise
            raise ChecksNotRun(f"the job failed: {exc.message.rstrip('.')}") from exc
        if report.why_not:
            raise ChecksNotRun(report.why_not)
        self.name = f"{report.sandbox}, as a job of {self.backend}"
        for ended in report.ended:
            tell(ended)

    def _task(self, request: CheckRequest) -> Task:
        """A pass that was not finished goes on."""
        done, number = self.tasks.session.run_view.jobs.succeeded, 1
        while f"verify-{number}" in done:
            number += 1
        return Task(
            id=self.task or f"verify-{number}",
            title="Try the command that is said to fail" if self.task else "Run the checks",
            instructions="Run the checks.",
            owns=(CHECKS_NAME,),
            checks=(*request.setup.install, *(check.command for check in request.checks)),
            estimate=1,
        )

    def _result(self, end: AddedEnd) -> Path:
        if end.attempt is not None:
            return end.attempt.files / CHECKS_NAME
        stop = end.outcome.stop
        if stop is not None and stop.cause is StopCause.INTERRUPTED:
            raise KeyboardInterrupt
        if stop is not None and self.task:
            raise BackendError(stop.message)
        raise ChecksNotRun(f"the job failed: {end.why_not.rstrip('.')}")
