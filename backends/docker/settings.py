"""From settings to what a container may have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backends.docker.container import ContainerLimits

DEFAULT_IMAGE = "parallel-orchestrator:latest"
DEFAULT_MEMORY = "2g"
DEFAULT_CPUS = 1.0


def container_limits(options: Mapping[str, Any]) -> ContainerLimits:
    """What the settings `docker_*` ask for; what is not there has its default."""
    from docker.utils import parse_bytes

    return ContainerLimits(
        image=options.get("docker_image") or DEFAULT_IMAGE,
        memory_bytes=int(parse_bytes(options.get("docker_memory") or DEFAULT_MEMORY)),
        cpus=float(options.get("docker_cpus") or DEFAULT_CPUS),
        network=options.get("docker_network") or "",
    )
