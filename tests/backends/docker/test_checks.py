"""Tests for backends.docker.checks: the container that checks run in."""

from __future__ import annotations

from pathlib import Path

from backends.docker.checks import checks_spec
from backends.docker.container import CHECKS, ROLE, RunLabels, build_spec
from backends.docker.settings import DockerSettings


def test_it_is_confined_like_an_executor_and_its_worker_comes_first() -> None:
    labels, settings = RunLabels.of(Path("/a/runs/r1")), DockerSettings(docker_network="none")
    spec = checks_spec("sha256:1", ["python", "x"], "volume", labels, settings)
    usual = build_spec("sha256:1", ["python", "x"], labels.for_role(CHECKS), settings)
    host, of_executor = spec["HostConfig"], usual["HostConfig"]
    assert spec["Labels"][ROLE] == CHECKS
    assert "Env" not in spec
    assert (host["Init"], host["Mounts"][0]["Source"]) == (False, "volume")
    assert host["PidsLimit"] == 2 * of_executor["PidsLimit"]
    changed = ("Init", "PidsLimit", "Mounts")
    assert {**host, **{name: of_executor[name] for name in changed}} == of_executor
    assert {**spec, "HostConfig": None} == {**usual, "HostConfig": None}
