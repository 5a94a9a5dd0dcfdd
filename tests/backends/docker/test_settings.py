"""Tests for backends.docker.settings: limits out of settings."""

from __future__ import annotations

from backends.docker.settings import DEFAULT_IMAGE, container_limits


def test_settings_that_are_absent_have_their_defaults() -> None:
    limits = container_limits({})
    assert (limits.image, limits.cpus, limits.network) == (DEFAULT_IMAGE, 1.0, "")
    assert limits.memory_bytes == 2 * 1024**3
    asked = {"docker_memory": "512m", "docker_cpus": 2, "docker_network": "n", "docker_image": "i"}
    limits = container_limits(asked)
    assert (limits.memory_bytes, limits.cpus) == (512 * 1024**2, 2.0)
    assert (limits.network, limits.image) == ("n", "i")
