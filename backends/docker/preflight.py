"""Whether jobs can run on this Docker Engine: checked from outside, then in one short container.

That probe finds what only a container can know: whether it starts at all, the free space of its
volume, and the content of the image.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from backends.docker.client import DockerHost
from backends.docker.connection import engine_message
from backends.docker.container import PROBE, VOLUME, RunLabels, build_spec, is_running
from backends.docker.settings import DockerSettings
from backends.shared.output import cause_first
from backends.shared.worker_image import LABEL, worker_command
from core.bundle import WIRE_VERSION
from core.clock import Clock
from core.errors import BackendError, Problem
from core.worker.source import SOURCE_ROOT, source_digest

SOURCE_LABEL = f"{LABEL}.source"
LEAST_FREE_BYTES = 1024**3
PROBE_TIMEOUT_S = 60.0
_LOOK_EVERY_S = 0.05
_BUILD = "cd docker && ./build.sh"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The answer of docker_executor.py --check."""

    wire: int
    free_bytes: int
    claude_problem: str
    claude_fix: str
    programs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Preflight:
    """`programs` become those of the image, with versions, once the probe has run."""

    host: DockerHost
    settings: DockerSettings
    labels: RunLabels
    clock: Clock
    programs: dict[str, str] = field(default_factory=dict, init=False)

    def problems(self) -> list[Problem]:
        """What is missing, each with its fix; the probe runs only when nothing else is."""
        try:
            found = [
                *self.image_problems(),
                *self._machine_problems(self.host.info()),
                *self._network_problems(),
            ]
            return found or list(self._probe_problems())
        except BackendError as exc:
            return [Problem(exc.message, exc.remedy)]

    def image_problems(self) -> Iterator[Problem]:
        """Whether the image is there, and of this version."""
        name = self.settings.docker_image
        try:
            image = self.host.image(name)
        except self.host.refusal:
            yield Problem(f"The Docker Engine has no image {name}.", f"Build it: {_BUILD}.")
            return
        labels = image["Config"].get("Labels") or {}
        if SOURCE_LABEL not in labels:
            fix = f"Name another one with --docker-image, or build it: {_BUILD}."
            yield Problem(f"The image {name} is not one of this program's.", fix)
        elif labels[SOURCE_LABEL] != source_digest(SOURCE_ROOT):
            fix = f"Rebuild it: {_BUILD}."
            yield Problem(f"The image {name} was built from another version of this program.", fix)

    def _machine_problems(self, info: Mapping[str, Any]) -> Iterator[Problem]:
        settings = self.settings
        memory, cpus = int(info.get("MemTotal") or 0), int(info.get("NCPU") or 0)
        if 0 < memory < settings.docker_memory_bytes:
            needed = _mib(settings.docker_memory_bytes)
            what = f"The engine's machine has {_mib(memory)}, less than one executor's {needed}."
            yield Problem(what, "Give the machine more memory, or lower --docker-memory.")
        if 0 < cpus < settings.docker_cpus:
            needed = f"{settings.docker_cpus:g}"
            what = f"The engine's machine has {cpus} CPU(s), fewer than one executor's {needed}."
            yield Problem(what, "Lower --docker-cpus.")

    def _network_problems(self) -> Iterator[Problem]:
        settings, known = self.settings, self.host.networks()
        network = settings.docker_network
        if network and not network.startswith("container:") and network not in ("default", *known):
            fix = f"Choose one of: {', '.join(sorted(known))}; or create it: docker network create."
            yield Problem(f"The Docker Engine has no network {network!r}.", fix)
        url = settings.bedrock_base_url if settings.provider == "bedrock" else settings.base_url
        if settings.real and network != "host" and urlsplit(url).hostname in _LOOPBACK:
            yield Problem(
                f"The API's address {url} is this machine; in a container it means the container.",
                "Use an address that containers can reach, or --docker-network host.",
            )

    def _probe_problems(self) -> Iterator[Problem]:
        answer, image = self._probe(self.settings.engine), self.settings.docker_image
        if isinstance(answer, Problem):
            yield answer
            return
        self.programs.update(answer.programs)
        if answer.wire != WIRE_VERSION:
            what = f"The image {image} reads bundles of version {answer.wire}, not {WIRE_VERSION}."
            yield Problem(what, f"Rebuild it: {_BUILD}.")
        if answer.free_bytes < LEAST_FREE_BYTES:
            yield Problem(
                f"The engine's disk has only {_mib(answer.free_bytes)} left for volumes.",
                "Free some space: docker system df lists what uses it, docker system prune"
                " removes it.",
            )
        if answer.claude_problem:
            fix = f"Rebuild it without --slim: {_BUILD}. {answer.claude_fix}".rstrip()
            yield Problem(f"In the image {image}: {answer.claude_problem}", fix)

    def _probe(self, engine: str) -> ProbeResult | Problem:
        """Run one container to its end and remove it."""
        host, name, image = self.host, self.labels.name(PROBE), self.settings.docker_image
        command = worker_command("docker_executor.py", "--check", VOLUME, engine)
        host.remove(name)
        try:
            image_id = host.image_id(image)
            spec = build_spec(image_id, command, self.labels.for_role(PROBE), self.settings)
            container = host.create(name, spec)
            host.start(container)
            return self._await(container)
        except host.refusal as exc:
            what = f"No container could be started from {image}: {engine_message(exc)}."
            return Problem(what, "Correct the --docker options, or fix what the engine reports.")
        finally:
            host.remove(name)

    def _await(self, container: str) -> ProbeResult | Problem:
        deadline = self.clock.monotonic() + PROBE_TIMEOUT_S
        while (found := self.host.inspect(container)) is not None:
            if not is_running(found["State"]["Status"]):
                break
            if self.clock.monotonic() >= deadline:
                fix = "Check whether the engine's machine is overloaded."
                return Problem(f"A container had not answered after {PROBE_TIMEOUT_S:g} s.", fix)
            self.clock.sleep(_LOOK_EVERY_S)
        if found is not None and found["State"].get("OOMKilled"):
            return Problem("A container has too little memory to start.", "Raise --docker-memory.")
        output = self.host.log(container, stderr=False).decode(errors="replace").strip()
        try:
            return ProbeResult(**json.loads(output))
        except (ValueError, TypeError):
            cause = cause_first(self.host.log(container).decode(errors="replace"))
            fix = f"Rebuild the image: {_BUILD}."
            return Problem(
                f"A container of the image failed: {cause or 'it printed nothing'}.", fix
            )


def _mib(count: int) -> str:
    return f"{count / 1024**2:,.0f} MiB"
