"""Backends that packages of others declare by entry points."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import orchestrator
from backends import BACKENDS, GROUP, Installed, backend_class, installed_backends
from backends.threading_backend import ThreadingBackend
from config import load_settings
from core.errors import PreflightFailed, UsageError
from engine.cli.doctor import check_installed_backends, render_check
from engine.cli.show_config import render_settings

GOOD = """
from dataclasses import dataclass

from backends.threading_backend import ThreadingBackend
from core.settings.options import Group, setting
from core.settings.worker import WorkerSettings


@dataclass(frozen=True, kw_only=True)
class FarSettings(WorkerSettings):
    far_miles: int = setting(Group.CORE, 3, "how far")
    sim_seed: int = setting(Group.CORE, 9, "a name that the program has")


class Far(ThreadingBackend):
    name = "far"
    settings = FarSettings
"""
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts a package on the path: its entry `far = far_away:Far`, or others, and its module."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def put(
        source: str = GOOD, entry: str = "far = far_away:Far", package: str = "far-away"
    ) -> None:
        (tmp_path / "far_away.py").write_text(source)
        records = tmp_path / f"{package}-1.0.dist-info"
        records.mkdir()
        (records / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (records / "entry_points.txt").write_text(f"[{GROUP}]\n{entry}\n")

    yield put
    sys.modules.pop("far_away", None)


def test_a_package_adds_a_name_and_is_imported_once_it_is_chosen(install: Install) -> None:
    install()
    assert installed_backends() == [Installed("far", "far_away:Far", "far-away 1.0")]
    with pytest.raises(UsageError, match="parallelcluster, far;"):
        backend_class("farr")
    assert backend_class("threading") is ThreadingBackend
    assert "far_away" not in sys.modules
    assert backend_class("far").__name__ == "Far"


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("raise SystemExit(0)", "ends with SystemExit"),
        ("raise RuntimeError('no licence')", "no licence"),
        ("import a_library_nobody_has", "a_library_nobody_has"),
        ("class Other: ...", "'Far'"),
        ("Far = 1", "is not a backend class"),
        ("from backends.base import Backend as Far", "is not a backend class"),
        (GOOD.replace('name = "far"', "name = None"), "has no name"),
        (GOOD + "    settings = 7", "cannot be read"),
        (GOOD.replace("setting(Group.CORE, 3,", "int(3) or ("), "not declared with setting"),
    ],
)
def test_a_package_that_is_not_usable_is_told_in_a_message_with_exit_code_3(
    install: Install, capsys: pytest.CaptureFixture[str], source: str, why: str
) -> None:
    install(source)
    assert orchestrator.main(["Build a thing", "--backend", "far"]) == 3
    told = capsys.readouterr().err
    assert "'far'" in told
    assert why in told
    assert "Traceback" not in told


def test_a_name_of_the_program_stays_its_own_and_a_name_of_two_packages_is_nobodys(
    install: Install,
) -> None:
    for name in BACKENDS:
        install(entry=f"{name} = far_away:Far", package=f"evil-{name}")
    assert backend_class("threading") is ThreadingBackend
    assert "far_away" not in sys.modules
    install(package="one")
    install(package="two")
    with pytest.raises(PreflightFailed, match=r"one 1\.0 and two 1\.0"):
        backend_class("far")


def test_a_damaged_record_of_one_package_hides_no_other(install: Install) -> None:
    install(entry="no entry at all", package="damaged")
    install()
    assert [each.package for each in installed_backends()] == ["far-away 1.0"]


def test_doctor_and_help_name_them_without_importing_them(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install()
    install(entry="docker = far_away:Far", package="evil")
    orchestrator.main(["--help-all"])
    checks = "".join(render_check(c, as_json=False) for c in check_installed_backends())
    told = " ".join((capsys.readouterr().out + checks).split())
    assert "Backends of other packages here: far." in told
    assert "far (far-away 1.0); not looked at" in told
    assert "docker of evil 1.0 is not used" in told
    assert "far_away" not in sys.modules


def test_its_settings_come_from_file_and_environment_and_are_kept(
    install: Install, tmp_path: Path
) -> None:
    install()
    (tmp_path / "orchestrator.toml").write_text("far_miles = 4\nsim_seed = 5\n")
    chosen = {"backend": "far"}
    loaded = load_settings(chosen, {}, tmp_path)
    assert "far_miles                     4" in render_settings(loaded)
    options = loaded.settings.options()
    assert (options["far_miles"], options["sim_seed"]) == (4, 5)
    told = {"ORCHESTRATOR_FAR_MILES": "6"}
    changed = load_settings(chosen, told, tmp_path)
    assert changed.origin["far_miles"] == "environment ORCHESTRATOR_FAR_MILES"
    assert changed.kept()["far_miles"] == 6
    resumed = load_settings({}, {}, tmp_path, saved=changed.kept(), saved_by="r1")
    assert resumed.settings.options()["far_miles"] == 6
    with pytest.raises(UsageError, match="far_miles"):
        load_settings(chosen, {"ORCHESTRATOR_FAR_MILES": "many"}, tmp_path)


def test_its_keys_disturb_no_command_on_another_backend(install: Install, tmp_path: Path) -> None:
    install()
    (tmp_path / "orchestrator.toml").write_text("far_miles = 4\n")
    assert "far_miles" not in load_settings({}, {}, tmp_path).kept()
    (tmp_path / "orchestrator.toml").write_text("near_miles = 4\n")
    with pytest.raises(UsageError, match="near_miles"):
        load_settings({}, {}, tmp_path)
