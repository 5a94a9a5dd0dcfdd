"""Whether jobs can run on this Docker Engine: looked at from outside, then in one short container.

The probe tells what only a container can know: whether it starts at all, how much room its volume
has, and what is in the image.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from backends.docker.client import DockerHost
from backends.docker.connection import said
from backends.docker.container import (
    CODE,
    LABEL,
    PROBE,
    VOLUME,
    ContainerLimits,
    Home,
    build_spec,
    is_running,
)
from backends.docker.settings import DockerSettings
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


def find_problems(
    host: DockerHost,
    limits: ContainerLimits,
    settings: DockerSettings,
    home: Home,
    clock: Clock,
) -> list[Problem]:
    """What is missing, each with its fix; the probe runs only when nothing else is."""
    try:
        found = [
            *_image_problems(host, limits.image),
            *_machine_problems(host.info(), limits),
            *_network_problems(host, limits.network, settings),
        ]
        return found or list(_probed(host, limits, settings.engine, home, clock))
    except BackendError as exc:
        return [Problem(exc.message, exc.remedy)]


def _image_problems(host: DockerHost, name: str) -> Iterator[Problem]:
    try:
        image = host.image(name)
    except host.refusal:
        yield Problem(f"The Docker Engine has no image {name}.", f"Build it: {_BUILD}.")
        return
    labels = image["Config"].get("Labels") or {}
    if SOURCE_LABEL not in labels:
        yield Problem(
            f"The image {name} is not one of this program's.",
            f"Give another --docker-image, or build ours: {_BUILD}.",
        )
    elif labels[SOURCE_LABEL] != source_digest(SOURCE_ROOT):
        yield Problem(
            f"The image {name} was built from another version of this program.",
            f"Build it anew: {_BUILD}.",
        )


def _machine_problems(info: Mapping[str, Any], limits: ContainerLimits) -> Iterator[Problem]:
    memory, cpus = int(info.get("MemTotal") or 0), int(info.get("NCPU") or 0)
    if 0 < memory < limits.memory_bytes:
        yield Problem(
            f"The engine's machine has {_mib(memory)}, less than one executor's"
            f" {_mib(limits.memory_bytes)}.",
            "Give it more memory, or ask for less with --docker-memory.",
        )
    if 0 < cpus < limits.cpus:
        yield Problem(
            f"The engine's machine has {cpus} CPU(s), fewer than one executor's {limits.cpus:g}.",
            "Ask for fewer with --docker-cpus.",
        )


def _network_problems(
    host: DockerHost, network: str, settings: DockerSettings
) -> Iterator[Problem]:
    known = host.networks()
    shared = network.startswith("container:")
    if network and not shared and network not in ("default", *known):
        yield Problem(
            f"The Docker Engine has no network {network!r}.",
            f"Choose one of: {', '.join(sorted(known))}; or make it: docker network create.",
        )
    bedrock = settings.provider == "bedrock"
    url = settings.bedrock_base_url if bedrock else settings.base_url
    if settings.real and network != "host" and urlsplit(url).hostname in _LOOPBACK:
        yield Problem(
            f"The API's address {url} means this machine; in a container it means the container.",
            "Give an address that containers reach, or --docker-network host.",
        )


@dataclass(frozen=True, slots=True)
class Probed:
    """What docker_executor.py --check says."""

    wire: int
    free_bytes: int
    claude_problem: str
    claude_fix: str


def _probed(
    host: DockerHost,
    limits: ContainerLimits,
    engine: str,
    home: Home,
    clock: Clock,
) -> Iterator[Problem]:
    answer = _run_probe(host, limits, engine, home, clock)
    if isinstance(answer, Problem):
        yield answer
        return
    if answer.wire != WIRE_VERSION:
        yield Problem(
            f"The image {limits.image} reads bundles of version {answer.wire}, not {WIRE_VERSION}.",
            f"Build it anew: {_BUILD}.",
        )
    if answer.free_bytes < LEAST_FREE_BYTES:
        yield Problem(
            f"The engine's disk has only {_mib(answer.free_bytes)} left for volumes.",
            "Free some: docker system df tells where it went, docker system prune removes.",
        )
    if answer.claude_problem:
        yield Problem(
            f"In the image {limits.image}: {answer.claude_problem}",
            f"Build it without --slim: {_BUILD}. {answer.claude_fix}".rstrip(),
        )


def _run_probe(
    host: DockerHost, limits: ContainerLimits, engine: str, home: Home, clock: Clock
) -> Probed | Problem:
    """Run one container to its end and remove it."""
    name = home.name(PROBE)
    command = ["python", f"{CODE}/docker_executor.py", "--check", VOLUME, engine]
    host.remove(name)
    try:
        image = host.image_id(limits.image)
        container = host.create(name, build_spec(image, command, home.labels(PROBE), limits))
        host.start(container)
        return _await(host, container, clock)
    except host.refusal as exc:
        return Problem(
            f"No container can be started from {limits.image}: {said(exc)}.",
            "Correct the --docker options, or what the engine complains of.",
        )
    finally:
        host.remove(name)


def _await(host: DockerHost, container: str, clock: Clock) -> Probed | Problem:
    ends = clock.monotonic() + PROBE_TIMEOUT_S
    while (found := host.inspect(container)) is not None:
        if not is_running(found["State"]["Status"]):
            break
        if clock.monotonic() >= ends:
            return Problem(
                f"A container needed more than {PROBE_TIMEOUT_S:g} s to say a word.",
                "See how busy the engine's machine is.",
            )
        clock.sleep(_LOOK_EVERY_S)
    if found is not None and found["State"].get("OOMKilled"):
        return Problem(
            "A container has too little memory to start.", "Give it more with --docker-memory."
        )
    said_last = host.log(container, stderr=False).decode(errors="replace").strip()
    try:
        return Probed(**json.loads(said_last))
    except (ValueError, TypeError):
        words = host.log(container).decode(errors="replace").strip()[-300:]
        return Problem(
            f"A container of the image did not work: {words or 'it said nothing'}",
            f"Build the image anew: {_BUILD}.",
        )


def _mib(count: int) -> str:
    return f"{count / 1024**2:,.0f} MiB"
