"""Runs the checks of a project in containers, confined like executors, with no secret in them.

What is installed stays in a volume, so that the checks have a container of their own: it was never
on a network, whichever the installation needed.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from io import BufferedReader
from pathlib import Path
from typing import Any

from backends.docker.client import DockerHost
from backends.docker.connection import engine_message
from backends.docker.container import (
    BUNDLE,
    CHECKS,
    PIDS,
    VOLUME,
    WORKER_UID,
    RunLabels,
    build_spec,
)
from backends.docker.follow import follow
from backends.docker.preflight import Preflight
from backends.docker.settings import DockerSettings
from backends.shared.output import cause_first
from backends.shared.worker_image import worker_command
from core.check_request import CheckRequest
from core.checks.registries import Registries
from core.checks.report import CheckReport
from core.checks.runner import CHECK_S, INSTALL_S, TOGETHER_S, Tell
from core.checks.worker import CHECK, INSTALL, REQUEST_FILE, WorkerRequest
from core.clock import Clock
from core.errors import BackendError
from core.transfer.archive import packed
from core.transfer.untrusted_tar import ChunkSource, open_untrusted
from core.wire import encode

_START_S = 60.0


@dataclass(frozen=True, slots=True)
class DockerChecks:
    """For one run, which has one such container at a time. `registries` are where an installation
    gets packages from."""

    host: DockerHost
    settings: DockerSettings
    labels: RunLabels
    clock: Clock
    registries: Registries

    def problem(self) -> str:
        """Why no container can be used here; or nothing."""
        check = Preflight(self.host, self.settings, self.labels, self.clock)
        try:
            return " ".join(f"{found.what} {found.fix}" for found in check.image_problems())
        except BackendError as exc:
            return exc.message

    def run(
        self, project: Path, request: CheckRequest, tell: Tell, taken: str = "", most_bytes: int = 0
    ) -> bytes | None:
        """Run all commands in a copy of `project`, a directory of that name, and tell of each as it
        ends. Gives what they have left at the path `taken`, if one is given: None unless that is a
        regular file of at most so many bytes.

        Raises BackendError where none could be run, and what the clock raises; nothing is left.
        """
        report, data = CheckReport(request, tell), None
        try:
            with self._removing():
                reason = self._run_all(project, request, report)
                data = self._take(f"{project.name}/{taken}", most_bytes) if taken else None
        except BackendError as exc:
            if not report.has_begun:
                raise
            reason = exc.message.rstrip(".")
        report.end(reason or "nothing was told of it")
        return data

    @contextmanager
    def _removing(self) -> Iterator[None]:
        """Before: what a session left that was killed."""
        self._remove()
        try:
            yield
        except self.host.refusal as exc:
            message = f"The container for checks was refused: {engine_message(exc)}."
            raise BackendError(message) from exc
        finally:
            with suppress(BackendError):  # another error may be on its way
                self._remove()

    def _remove(self) -> None:
        self.host.remove(self._name)
        self.host.remove_volume(self._name)

    @property
    def _name(self) -> str:
        """Of the container, and of its volume."""
        return self.labels.name(CHECKS)

    def _run_all(self, project: Path, request: CheckRequest, report: CheckReport) -> str:
        """Why what was not told of is not proven; of no meaning where all was."""
        offline = replace(self.settings, docker_network="none")
        if not request.installs_with_network:
            self._create(offline, INSTALL, CHECK)
            self._send(project, request)
            return self._run(request, report)
        self._create(self.settings, INSTALL)
        self._send(project, request)
        if reason := self._run(request, report):
            return reason
        self.host.remove(self._name)  # the volume stays
        self._create(offline, CHECK)
        return self._run(request, report)

    def _create(self, settings: DockerSettings, *phases: str) -> None:
        command = worker_command("docker_executor.py", "--checks", f"{VOLUME}/{BUNDLE}", *phases)
        image = self.host.image_id(settings.docker_image)
        self.host.create(self._name, checks_spec(image, command, self._name, self.labels, settings))

    def _send(self, project: Path, request: CheckRequest) -> None:
        files = {name: path.read_bytes() for name, path in self.registries.files.items()}
        places = {name: Path(VOLUME, BUNDLE, name) for name in files}
        told = WorkerRequest(request, replace(self.registries, files=places))
        extra = {**files, REQUEST_FILE: encode(told).encode()}
        with packed(project, BUNDLE, WORKER_UID, extra) as stream:
            self.host.put(self._name, VOLUME, stream)

    def _take(self, path: str, most_bytes: int) -> bytes | None:
        with self.host.archive(self._name, f"{VOLUME}/{BUNDLE}/{path}") as chunks:
            if chunks is None:
                return None
            with open_untrusted(BufferedReader(ChunkSource(chunks))) as tar:
                member = tar.next()
                if member is None or not member.isreg() or member.size > most_bytes:
                    return None
                source = tar.extractfile(member)
                return source.read() if source is not None else None

    def _run(self, request: CheckRequest, report: CheckReport) -> str:
        self.host.start(self._name)
        state = follow(self.host, self._name, self.clock, report.take, _limit_s(request))
        if state is None:
            return "their container was removed by another program"
        if state["ExitCode"] == 0 and report.ends:
            return report.ends.pop()
        if state.get("OOMKilled"):
            return "their container ran out of memory; raise --docker-memory"
        cause = cause_first(self.host.log(self._name, stdout=False).decode(errors="replace"))
        return f"their container ended with exit code {state['ExitCode']}: {cause}".rstrip(": ")


def checks_spec(
    image_id: str, command: list[str], volume: str, labels: RunLabels, settings: DockerSettings
) -> dict[str, Any]:
    """As an executor's, but that its process is the first one, and its limit of processes is met
    before the container's."""
    spec = build_spec(image_id, command, labels.for_role(CHECKS), settings)
    host: dict[str, Any] = spec["HostConfig"]
    host |= {"Init": False, "PidsLimit": 2 * PIDS}
    host["Mounts"] = [{**mount, "Source": volume} for mount in host["Mounts"]]
    return spec


def _limit_s(request: CheckRequest) -> float:
    """More than the worker takes, which keeps to its own limits."""
    installs = INSTALL_S * (1 + len(request.setup.install))
    return _START_S + installs + TOGETHER_S + 2 * CHECK_S
