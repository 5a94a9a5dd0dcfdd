"""Has a plan made in a container: the same planner as everywhere, shut in as executors are."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from backends.base import BackendContext
from backends.docker.client import DockerHost
from backends.docker.connection import said
from backends.docker.container import (
    BUNDLE,
    CODE,
    PLANNER,
    VOLUME,
    WORKER_UID,
    ContainerLimits,
    Home,
    build_spec,
    has_ended,
)
from backends.docker.logs import Cursor, parse_log
from backends.docker.preflight import find_problems
from backends.docker.settings import DockerSettings
from backends.shared.worker_credentials import sent_credentials
from core.bundle import UNLIMITED, Allowance, Limits, ModelSettings
from core.clock import Clock
from core.credentials import Credentials
from core.errors import BackendError, BundleError, PlanningFailed, Problem
from core.job import Usage
from core.plan import Plan, parse_plan
from core.transfer.archive import packed, unpack
from core.wire import decode, encode, write_atomic
from core.worker.planning import PlanningDir, PlanningFailure, PlanningRequest
from core.worker.process import CREDENTIALS_FILE, render_credentials


class ContainedPlannerSettings(Protocol):
    """The settings that planning needs."""

    def model_settings(self) -> ModelSettings: ...

    def limits(self) -> Limits: ...


class Hearing(Protocol):
    """Who wants to hear how planning gets on."""

    @property
    def on_usage(self) -> Callable[[Usage], None]: ...

    @property
    def on_progress(self) -> Callable[[str], None]: ...


class ContainedPlanner:
    """Asks for plans in place of planner_agent.ask_for_plan, of which it has the signature; there
    is nothing to share with the planner's governor, which is in the container."""

    def __init__(self, context: BackendContext) -> None:
        self._context = context
        self._settings = DockerSettings.read(context.options)
        self._limits = ContainerLimits.of(self._settings)
        self._home = Home.of(context.run_dir)

    def problems(self) -> list[Problem]:
        """What is missing for containers, each with its fix."""
        context = self._context
        with closing(DockerHost(context.environ)) as host:
            return find_problems(host, self._limits, self._settings, self._home, context.clock)

    def __call__(
        self,
        prompt: str,
        wishes: ContainedPlannerSettings,
        credentials: Credentials,
        governor: object,
        clock: Clock,
        hooks: Hearing,
        allowance: Allowance = UNLIMITED,
        spent: Iterable[Usage] = (),
    ) -> Plan:
        model, limits = wishes.model_settings(), wishes.limits()
        request = PlanningRequest(prompt, model, limits, allowance, tuple(spent))
        with closing(DockerHost(self._context.environ)) as host:
            planner = DockerPlanner(
                host,
                self._limits,
                self._home,
                clock,
                lambda: sent_credentials(credentials, self._settings),
                hooks.on_usage,
                hooks.on_progress,
            )
            return planner.plan(request)


LOOK_EVERY_S = 0.25
PATIENCE_S = 120.0
"""How long the engine may be out of reach while the planner works."""
_TAIL_CHARS = 600
_AGAIN = "Run it again, or resume the run."


@dataclass(frozen=True)
class DockerPlanner:
    """Makes plans for one run; `on_usage` and `on_progress` hear what the planner tells."""

    host: DockerHost
    limits: ContainerLimits
    home: Home
    clock: Clock
    credentials: Callable[[], Credentials]
    on_usage: Callable[[Usage], None]
    on_progress: Callable[[str], None]

    def plan(self, request: PlanningRequest) -> Plan:
        """The plan for `request`; whatever happens, the container is gone afterwards.

        Raises what the planner in it raised, and BackendError when there could be none.
        """
        name = self.home.name(PLANNER)
        self.host.remove(name)  # of a session that was killed
        try:
            container = self._start(name, request)
            state = self._follow(container)
            return self._result(container, state)
        finally:
            self.host.remove(name)

    def _start(self, name: str, request: PlanningRequest) -> str:
        host, command = self.host, ["python", f"{CODE}/docker_planner.py", f"{VOLUME}/{BUNDLE}"]
        try:
            image = host.image_id(self.limits.image)
            spec = build_spec(image, command, self.home.labels(PLANNER), self.limits)
            container = host.create(name, spec)
            self._send(container, request)
            host.start(container)
        except host.refusal as exc:
            raise BackendError(
                f"The planner's container was refused: {said(exc)}.",
                "See what doctor --backend docker says.",
            ) from exc
        return container

    def _send(self, container: str, request: PlanningRequest) -> None:
        extra = {CREDENTIALS_FILE: render_credentials(self.credentials())}
        with tempfile.TemporaryDirectory() as directory:
            place = PlanningDir(Path(directory))
            place.request.mkdir()
            write_atomic(place.planning_json, encode(request))
            with packed(place.request, BUNDLE, WORKER_UID, extra) as stream:
                self.host.put(container, VOLUME, stream)

    def _follow(self, container: str) -> Mapping[str, Any]:
        """Tell what it tells until it ends; its last state."""
        cursor, unreachable_since = Cursor(), None
        while True:
            try:
                found = self.host.inspect(container)
                cursor = self._tell(container, cursor)
                unreachable_since = None
            except BackendError:
                now = self.clock.monotonic()
                unreachable_since = now if unreachable_since is None else unreachable_since
                if now - unreachable_since >= PATIENCE_S:
                    raise
            else:
                if found is None:
                    raise PlanningFailed("The planner's container was removed by somebody.", _AGAIN)
                if has_ended(found["State"]["Status"]):
                    return dict(found["State"])
            self.clock.sleep(LOOK_EVERY_S)

    def _tell(self, container: str, cursor: Cursor) -> Cursor:
        data = self.host.log(container, stderr=False, times=True, since_s=cursor.since_s)
        chunk = parse_log(data, cursor)
        for line in chunk.lines:
            with suppress(ValueError, BundleError):  # whatever else is printed is nobody's concern
                told = json.loads(line)
                if not isinstance(told, dict):
                    continue
                if "usage" in told:
                    self.on_usage(decode(Usage, json.dumps(told["usage"]), "the planner"))
                elif "text" in told:
                    self.on_progress(str(told["text"]))
        return Cursor.parse(chunk.cursor)

    def _result(self, container: str, state: Mapping[str, Any]) -> Plan:
        with tempfile.TemporaryDirectory() as directory:
            place = PlanningDir(Path(directory))
            with self.host.archive(container, f"{VOLUME}/{BUNDLE}/result") as chunks:
                if chunks is not None:
                    unpack(chunks, place.result, Limits())
            if place.plan_json.exists():
                return parse_plan(place.plan_json.read_text(encoding="utf-8"), "The planner's plan")
            if place.failure_json.exists():
                data = place.failure_json.read_bytes()
                raise decode(PlanningFailure, data, "The planner's answer").error()
        raise PlanningFailed(self._why_nothing(container, state), _AGAIN)

    def _why_nothing(self, container: str, state: Mapping[str, Any]) -> str:
        if state.get("OOMKilled"):
            return "The planner ran out of memory; --docker-memory allows more."
        words = self.host.log(container, stdout=False).decode(errors="replace").strip()
        masked = self.credentials().mask(words[-_TAIL_CHARS:])
        code = state.get("ExitCode")
        return f"The planner's container ended (exit code {code}) without a plan. {masked}".rstrip()
