"""Has a plan made in a container: by the same planner as everywhere, confined like executors."""

import json
import tempfile
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from backends.base import BackendContext
from backends.docker.client import DockerHost
from backends.docker.connection import engine_message
from backends.docker.container import (
    BUNDLE,
    PLANNER,
    VOLUME,
    WORKER_UID,
    RunLabels,
    build_spec,
)
from backends.docker.follow import follow
from backends.docker.preflight import Preflight
from backends.docker.settings import DockerSettings
from backends.shared.output import cause_first
from backends.shared.worker_credentials import sent_credentials
from backends.shared.worker_image import worker_command
from core.bundle import Limits
from core.clock import Clock
from core.credentials import Credentials
from core.errors import BackendError, BundleError, PlanningFailed, Problem
from core.events import AnswerProgress, Kind
from core.job import Usage
from core.plan import Plan, parse_plan
from core.program import program_line
from core.transfer.archive import packed, unpack
from core.wire import decode, encode, write_atomic
from core.worker.planning import PlanningDir, PlanningFailure, PlanningRequest
from core.worker.process import CREDENTIALS_FILE, render_credentials

_TRY_AGAIN = "Run it again, or resume the run."


class PlanningHooks(Protocol):
    """Called with the usage and the progress of planning."""

    @property
    def on_usage(self) -> Callable[[Usage], None]: ...

    @property
    def on_progress(self) -> Callable[[str], None]: ...

    @property
    def on_answering(self) -> Callable[[AnswerProgress], None]: ...


class ContainedPlanner:
    """Takes the place of planner_agent.ask_for_plan, whose signature it has; the governor is not
    shared with the planner, which has one of its own in the container."""

    def __init__(self, context: BackendContext) -> None:
        self._context = context
        self._settings = DockerSettings.read(context.options)
        self._labels = RunLabels.of(context.run_dir)

    def problems(self) -> list[Problem]:
        """What is missing for containers, each with its fix."""
        context = self._context
        with closing(DockerHost(context.environ)) as host:
            check = Preflight(host, self._settings, self._labels, context.clock)
            return check.problems()

    def __call__(
        self,
        request: PlanningRequest,
        credentials: Credentials,
        governor: object,
        clock: Clock,
        hooks: PlanningHooks,
    ) -> Plan:
        with closing(DockerHost(self._context.environ)) as host:
            sent = partial(sent_credentials, credentials, self._settings)
            planner = DockerPlanner(host, self._settings, self._labels, clock, sent, hooks)
            return planner.plan(request)


@dataclass(frozen=True)
class DockerPlanner:
    """Makes plans for one run; `hooks` are called meanwhile."""

    host: DockerHost
    settings: DockerSettings
    labels: RunLabels
    clock: Clock
    credentials: Callable[[], Credentials]
    hooks: PlanningHooks

    def plan(self, request: PlanningRequest) -> Plan:
        """The plan for `request`; the container is removed in any case.

        Raises what the planner in it raised, and BackendError when it could not run.
        """
        name = self.labels.name(PLANNER)
        self.host.remove(name)  # of a session that was killed
        try:
            container = self._start(name, request)
            return self._result(container, self._follow(container))
        finally:
            self.host.remove(name)

    def _start(self, name: str, request: PlanningRequest) -> str:
        host, command = self.host, worker_command("docker_planner.py", f"{VOLUME}/{BUNDLE}")
        try:
            image = host.image_id(self.settings.docker_image)
            spec = build_spec(image, command, self.labels.for_role(PLANNER), self.settings)
            container = host.create(name, spec)
            self._send(container, request)
            host.start(container)
        except host.refusal as exc:
            raise BackendError(
                f"The planner's container was refused: {engine_message(exc)}.",
                f"Run `{program_line('doctor', '--backend', 'docker')}` to find out why.",
            ) from exc
        return container

    def _send(self, container: str, request: PlanningRequest) -> None:
        extra = {CREDENTIALS_FILE: render_credentials(self.credentials())}
        with tempfile.TemporaryDirectory() as root:
            directory = PlanningDir(Path(root))
            directory.request.mkdir()
            # this machine's directories are not there: the map of existing code has to do
            write_atomic(directory.planning_json, encode(replace(request, root="")))
            with packed(directory.request, BUNDLE, WORKER_UID, extra) as stream:
                self.host.put(container, VOLUME, stream)

    def _follow(self, container: str) -> Mapping[str, Any]:
        """Report progress until the container ends; its last state."""
        if (state := follow(self.host, container, self.clock, self._report)) is None:
            message = "The planner's container was removed by another program."
            raise PlanningFailed(message, _TRY_AGAIN)
        return state

    def _report(self, line: str) -> None:
        with suppress(ValueError, BundleError):  # other output is ignored
            event = json.loads(line)
            if not isinstance(event, dict):
                return
            if event.pop("kind", "") == Kind.ANSWER_PROGRESS:
                told = decode(AnswerProgress, json.dumps(event), "the planner")
                self.hooks.on_answering(told)
            elif "usage" in event:
                self.hooks.on_usage(decode(Usage, json.dumps(event["usage"]), "the planner"))
            elif "text" in event:
                self.hooks.on_progress(str(event["text"]))

    def _result(self, container: str, state: Mapping[str, Any]) -> Plan:
        with tempfile.TemporaryDirectory() as root:
            directory = PlanningDir(Path(root))
            with self.host.archive(container, f"{VOLUME}/{BUNDLE}/result") as chunks:
                if chunks is not None:
                    unpack(chunks, directory.result, Limits())
            if directory.plan_json.exists():
                text = directory.plan_json.read_text(encoding="utf-8")
                return parse_plan(text, "The planner's plan")
            if directory.failure_json.exists():
                data = directory.failure_json.read_bytes()
                raise decode(PlanningFailure, data, "The planner's answer").error()
        raise self._no_result(container, state)

    def _no_result(self, container: str, state: Mapping[str, Any]) -> PlanningFailed:
        if state.get("OOMKilled"):
            remedy = "Raise --docker-memory, then run it again or resume the run."
            return PlanningFailed("The planner ran out of memory.", remedy)
        output = self.host.log(container, stdout=False).decode(errors="replace")
        cause = cause_first(self.credentials().mask(output))
        message = f"The planner's container ended without a plan, exit code {state.get('ExitCode')}"
        return PlanningFailed(f"{message}: {cause}." if cause else f"{message}.", _TRY_AGAIN)
