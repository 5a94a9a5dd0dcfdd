"""A plan's tools that are not where its checks will run, told before a task is paid for."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from backends.base import Backend
from backends.docker_backend import DockerBackend
from backends.slurm_backend import SlurmBackend
from backends.threading_backend import ThreadingBackend
from engine.planning.lacking_tools import lacking_tools
from tests.engine.verification.conftest import planned


def backend_of(kind: type[Backend], **programs: str) -> Backend:
    """One that has been looked at, without a connection to anything."""
    made = cast(Any, object.__new__(kind))
    made.programs = programs
    return cast(Backend, made)


@pytest.mark.parametrize(
    ("tools", "starts", "fix"),
    [
        (("Python 3.12", "Node.js 24"), "", ""),
        (("Go 1.22",), "go is not in the image", "docker/build.sh --with go"),
        (("Rust", "PHP 8"), "cargo and php are not in the image", "--with php,rust"),
        (("deno 2",), "deno is not in the image", "docker/README.md"),
    ],
)
def test_what_an_image_lacks(tools: tuple[str, ...], starts: str, fix: str) -> None:
    backend = backend_of(DockerBackend, python3="3.12", node="24.19")
    notice = lacking_tools(planned(tools=tools), backend)
    assert notice.startswith(starts)
    assert fix in notice
    assert bool(notice) == bool(starts)


def test_what_this_machine_lacks_where_it_has_a_sandbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, backend = planned(tools=("python 3.11", "Elixir")), backend_of(ThreadingBackend)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert lacking_tools(plan, backend) == ""
    tmp_path.joinpath("bwrap").touch(0o755)
    assert lacking_tools(plan, backend).startswith("elixir is not on this machine")
    tmp_path.joinpath("elixir").touch(0o755)
    assert lacking_tools(plan, backend) == ""


def test_nothing_is_told_of_a_place_that_nobody_has_looked_at() -> None:
    assert lacking_tools(planned(tools=("Go",)), backend_of(SlurmBackend)) == ""
    assert lacking_tools(planned(tools=("Go",)), backend_of(DockerBackend)) == ""
