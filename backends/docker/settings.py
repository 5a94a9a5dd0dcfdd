"""The settings of containers of the Docker Engine."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated

from core.settings.options import PLANNING_COMMANDS, RUN_COMMANDS, Group, Setting
from core.settings.types import Cpus, Name, Size
from core.settings.worker import WorkerSettings

_docker = partial(Setting, Group.DOCKER, commands=PLANNING_COMMANDS | {"doctor"})


@dataclass(frozen=True, kw_only=True)
class DockerSettings(WorkerSettings):
    """An empty network is the engine's default one."""

    docker: Annotated[
        bool,
        _docker(
            "same as --backend docker",
            commands=RUN_COMMANDS | {"doctor"},
            sets="backend",
            sets_to="docker",
        ),
    ] = False
    docker_planner_in_docker: Annotated[
        bool,
        _docker(
            "make the plan in a container too",
            commands=PLANNING_COMMANDS,
            sets="planner_in_docker",
            sets_to=True,
        ),
    ] = False
    docker_image: Annotated[Name, _docker("image of the containers", "IMAGE")] = (
        "parallel-orchestrator:latest"
    )
    docker_network: Annotated[
        str, _docker("network of the containers", "NETWORK", default_text="the engine's default")
    ] = ""
    docker_cpus: Annotated[Cpus, _docker("CPUs of each container", "N")] = 1.0
    docker_memory: Annotated[Size, _docker("memory of each container", "SIZE")] = "2g"
