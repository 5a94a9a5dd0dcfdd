from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.dying_runs import DyingRuns, dying_runs
from tests.fakes.stopped_runs import Cli, opened_here
from tests.fakes.surroundings import clean


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def clean_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clean(tmp_path, monkeypatch)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def verified_here(here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ORCHESTRATOR_VERIFY")


@pytest.fixture
def cli(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Cli]:
    with opened_here(tmp_path, monkeypatch, capsys) as cli:
        yield cli


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DyingRuns]:
    with dying_runs(tmp_path_factory.mktemp("home")) as runs:
        yield runs
