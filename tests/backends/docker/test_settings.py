"""The settings of containers, and the memory that follows from them."""

from __future__ import annotations

from backends.docker.settings import DockerSettings


def test_limits_follow_from_the_settings_by_name() -> None:
    settings = DockerSettings.read({})
    assert settings == DockerSettings(
        docker_image="parallel-orchestrator:latest", docker_cpus=1.0, docker_network=""
    )
    assert settings.docker_memory_bytes == 2 * 1024**3
    given = {"docker_memory": "512m", "docker_cpus": 2.0, "docker_network": "n", "other": 1}
    settings = DockerSettings.read({**given, "docker_image": "i"})
    assert (settings.docker_image, settings.docker_cpus) == ("i", 2.0)
    assert (settings.docker_memory_bytes, settings.docker_network) == (512 * 1024**2, "n")


def test_what_is_none_or_absent_has_its_default_and_a_list_becomes_a_tuple() -> None:
    from backends.slurm.settings import SlurmSettings

    given = {"slurm_mem": None, "slurm_arg": ["--exclusive"], "slurm_cpus": 4}
    assert SlurmSettings.read(given) == SlurmSettings(slurm_arg=("--exclusive",), slurm_cpus=4)
