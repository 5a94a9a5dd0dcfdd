"""The settings of containers, and the limits that follow from them."""

from __future__ import annotations

from backends.docker.container import ContainerLimits
from backends.docker.settings import DockerSettings


def test_limits_follow_from_the_settings_by_name() -> None:
    limits = ContainerLimits.of(DockerSettings.read({}))
    assert limits == ContainerLimits("parallel-orchestrator:latest", 2 * 1024**3, 1.0)
    given = {"docker_memory": "512m", "docker_cpus": 2.0, "docker_network": "n", "other": 1}
    limits = ContainerLimits.of(DockerSettings.read({**given, "docker_image": "i"}))
    assert limits == ContainerLimits("i", 512 * 1024**2, 2.0, "n")


def test_what_is_none_or_absent_has_its_default_and_a_list_becomes_a_tuple() -> None:
    from backends.slurm.settings import SlurmSettings

    given = {"slurm_mem": None, "slurm_arg": ["--exclusive"], "slurm_cpus": 4}
    assert SlurmSettings.read(given) == SlurmSettings(slurm_arg=("--exclusive",), slurm_cpus=4)
