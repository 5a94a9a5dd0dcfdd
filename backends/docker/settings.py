"""The settings of containers of the Docker Engine."""

from dataclasses import dataclass
from functools import partial

from core.settings.options import PLANNING_COMMANDS, RUN_COMMANDS, Group, setting
from core.settings.size import size_bytes
from core.settings.types import Cpus, Name, Size
from core.settings.worker import WorkerSettings

_docker = partial(setting, Group.DOCKER, commands=PLANNING_COMMANDS | {"doctor"})


@dataclass(frozen=True, kw_only=True)
class DockerSettings(WorkerSettings):
    """An empty network is the engine's default one."""

    docker: bool = _docker(
        False,
        "same as --backend docker",
        commands=RUN_COMMANDS | {"doctor"},
        sets="backend",
        sets_to="docker",
    )
    docker_planner_in_docker: bool = _docker(
        False,
        "make the plan in a container too",
        commands=PLANNING_COMMANDS,
        sets="planner_in_docker",
        sets_to=True,
    )
    docker_image: Name = _docker("parallel-orchestrator:latest", "image of the containers", "IMAGE")
    docker_network: str = _docker(
        "", "network of the containers", "NETWORK", default_text="the engine's default"
    )
    docker_cpus: Cpus = _docker(1.0, "CPUs of each container", "N")
    docker_memory: Size = _docker("2g", "memory of each container", "SIZE")

    @property
    def docker_memory_bytes(self) -> int:
        return size_bytes(self.docker_memory)
