"""The settings of Slurm: what is passed on as it is, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends.slurm.settings import check_argument
from config import load_settings
from core.errors import SettingsError


def load(place: Path, **given: object) -> object:
    return load_settings(given, {}, place).settings


def test_slurm_is_another_spelling_of_the_backend(tmp_path: Path) -> None:
    assert load_settings({"slurm": True}, {}, tmp_path).settings.backend == "slurm"


def test_two_backends_at_once_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--slurm"):
        load(tmp_path, slurm=True, docker=True)


@pytest.mark.parametrize(
    "text", ["--exclusive", "--nice=100", "-w node-[1-3]", "--nodes=1", "-q x"]
)
def test_arguments_of_sbatch_pass(text: str) -> None:
    assert check_argument(text) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("job.sh", "one option"),
        ("-", "one option"),
        ("--", "one option"),
        ("--nice=1\n#SBATCH", "one option"),
        ("--array=1-5", "this program sets itself"),
        ("--wrap=true", "this program sets itself"),
        ("-o/tmp/x", "this program sets itself"),
        ("-J", "this program sets itself"),
        ("--partition=p", "--slurm-partition"),
        ("--cpus-per-task=2", "--slurm-cpus"),
    ],
)
def test_arguments_that_are_no_option_or_one_of_ours_are_refused(
    tmp_path: Path, text: str, reason: str
) -> None:
    with pytest.raises(SettingsError, match="slurm_arg") as refused:
        load(tmp_path, slurm_arg=[text])
    assert reason in str(refused.value)


@pytest.mark.parametrize("name", ["slurm_partition", "slurm_time", "slurm_mem", "slurm_constraint"])
def test_a_value_with_white_space_is_refused_here(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        load(tmp_path, **{name: "a b"})


def test_a_setup_file_is_found_from_where_the_command_was_started(tmp_path: Path) -> None:
    settings = load_settings({"slurm_setup": "setup.sh"}, {}, tmp_path).settings
    assert settings.slurm_setup == tmp_path / "setup.sh"
