"""Choosing a backend by name."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends import BACKENDS, backend_class
from backends.base import Backend
from backends.threading_backend import ThreadingBackend
from core.errors import UsageError
from engine.scheduling.virtual_backend import VirtualBackend

HERE = "tests.backends.test_registry"
not_a_class = 1


@pytest.mark.parametrize("name", BACKENDS)
def test_every_name_gives_a_backend_that_has_this_name(name: str) -> None:
    found = backend_class(name)
    assert issubclass(found, Backend)
    assert found.name == name


def test_a_full_path_gives_a_class_that_has_no_name_here() -> None:
    assert backend_class("engine.scheduling.virtual_backend:VirtualBackend") is VirtualBackend
    assert backend_class("backends.threading_backend:ThreadingBackend") is ThreadingBackend


@pytest.mark.parametrize(
    "name", ["slurrm", "", "Threading", "threading ", "backends", "../x", "a\0"]
)
def test_an_unknown_name_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        backend_class(name)
    assert repr(name) in caught.value.message
    assert all(known in caught.value.remedy for known in BACKENDS)


@pytest.mark.parametrize(
    "path",
    [
        ":",
        "backends.base:",
        ":Backend",
        ".base:Backend",
        "..base:Backend",
        "no.such.module:Backend",
        "backends.base:NoSuchClass",
        "back\0ends:Backend",
        "backends.base:Backend",  # abstract
        "backends.base:LogChunk",
        "pathlib:Path",
        f"{HERE}:not_a_class",
    ],
)
def test_a_path_to_no_backend_is_refused_with_those_there_are(path: str) -> None:
    with pytest.raises(UsageError) as caught:
        backend_class(path)
    assert repr(path) in caught.value.message
    assert "threading" in caught.value.remedy


def test_a_name_without_a_colon_imports_nothing() -> None:
    assert "antigravity" not in sys.modules
    with pytest.raises(UsageError):
        backend_class("antigravity")
    assert "antigravity" not in sys.modules


@pytest.fixture
def module_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("needy_backend", None)


def test_what_a_backend_lacks_is_named(module_dir: Path) -> None:
    (module_dir / "needy_backend.py").write_text("import a_library_nobody_has\n")
    with pytest.raises(UsageError, match="a_library_nobody_has"):
        backend_class("needy_backend:NeedyBackend")


def test_knowing_the_names_imports_no_backend() -> None:
    code = (
        "import sys, backends; print([m for m in sys.modules if m.endswith('_backend')], "
        "'engine' in sys.modules)"
    )
    told = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert told.stdout.strip() == "[] False"
