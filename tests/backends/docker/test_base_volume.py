"""The existing code that a run changes: one volume for all its containers, which only read it."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import IO, Any, cast

import pytest

from backends.docker.base_volume import BaseVolume
from backends.docker.client import DockerHost
from backends.docker.container import BASE, BASE_PLACE, ROLE, RunLabels, build_spec
from backends.docker.settings import DockerSettings
from core.bundle import BASE_NAME
from core.errors import BackendError
from core.job import JobKey


class Engine:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.volumes = dict[str, dict[str, str]]()
        self.containers = dict[str, dict[str, Any]]()
        self.held = list[bytes]()
        self.fails = False

    def create_volume(self, name: str, labels: dict[str, str]) -> None:
        self.volumes[name] = labels

    def create(self, name: str, spec: dict[str, Any]) -> str:
        self.containers[name] = spec
        return name

    def put(self, container: str, path: str, stream: IO[bytes]) -> None:
        if self.fails:
            raise BackendError("The engine is gone.")
        [mount] = self.containers[container]["HostConfig"]["Mounts"]
        assert (mount["Source"], mount["Target"]) == (next(iter(self.volumes)), path)
        with tarfile.open(fileobj=stream) as tar:
            member = tar.extractfile(BASE_NAME)
            assert member is not None
            self.held.append(member.read())

    def remove(self, container: str) -> None:
        del self.containers[container]


def volume_of(engine: Engine, run: Path) -> BaseVolume:
    return BaseVolume(cast(DockerHost, engine), RunLabels.of(run), run)


def test_the_archive_is_put_into_one_volume_once(tmp_path: Path) -> None:
    (tmp_path / BASE_NAME).write_bytes(b"packed")
    engine = Engine()
    volume = volume_of(engine, tmp_path)
    names = {volume.name("image") for _ in range(3)}
    assert names == engine.volumes.keys()
    assert (engine.held, engine.containers) == ([b"packed"], {})
    [labels] = engine.volumes.values()
    assert labels[ROLE] == BASE
    assert labels.items() >= RunLabels.of(tmp_path).for_role(BASE).items(), "cleanup finds it"


def test_a_run_without_existing_code_has_none(tmp_path: Path) -> None:
    engine = Engine()
    assert volume_of(engine, tmp_path).name("image") == ""
    assert engine.volumes == {}


def test_one_that_could_not_be_filled_is_never_used(tmp_path: Path) -> None:
    (tmp_path / BASE_NAME).write_bytes(b"packed")
    engine = Engine()
    engine.fails = True
    volume = volume_of(engine, tmp_path)
    with pytest.raises(BackendError):
        volume.name("image")
    [half] = engine.volumes
    engine.fails, engine.volumes = False, {}
    assert volume.name("image") not in ("", half)
    assert (engine.held, engine.containers) == ([b"packed"], {})


def test_a_job_cannot_write_to_it(tmp_path: Path) -> None:
    labels = RunLabels.of(tmp_path).for_job(JobKey("r1", "task", 1))
    settings = DockerSettings(docker_memory="512m", docker_cpus=1.0, docker_network="none")
    mounts = build_spec("image", ["true"], labels, settings, "of-the-base")["HostConfig"]["Mounts"]
    [shared] = [mount for mount in mounts if mount.get("Source") == "of-the-base"]
    assert (shared["Target"], shared["ReadOnly"]) == (BASE_PLACE, True)
