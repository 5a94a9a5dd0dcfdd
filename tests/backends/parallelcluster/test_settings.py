"""The settings of a cluster behind SSH: how to choose it, and which hosts are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from config import Settings, load_settings
from core.errors import SettingsError


def load(place: Path, environ: dict[str, str] | None = None, **given: object) -> Settings:
    return load_settings(given, environ or {}, place).settings


@pytest.mark.parametrize("name", ["aws", "parallelcluster"])
def test_both_options_choose_the_backend(tmp_path: Path, name: str) -> None:
    assert load_settings({name: True}, {}, tmp_path).settings.backend == "parallelcluster"


def test_both_options_at_once_agree(tmp_path: Path) -> None:
    assert load(tmp_path, aws=True, parallelcluster=True).backend == "parallelcluster"


def test_another_backend_at_once_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--aws"):
        load(tmp_path, aws=True, slurm=True)


def test_the_region_is_the_one_of_aws_unless_it_is_given(tmp_path: Path) -> None:
    environ = {"AWS_REGION": "eu-west-1"}
    assert load(tmp_path).aws_region == "eu-central-1"
    assert load(tmp_path, environ).aws_region == "eu-west-1"
    assert load(tmp_path, environ, aws_region="us-east-1").aws_region == "us-east-1"


def test_a_key_is_found_from_where_the_command_was_started(tmp_path: Path) -> None:
    assert load(tmp_path, aws_ssh_key="my.pem").aws_ssh_key == tmp_path / "my.pem"


@pytest.mark.parametrize("host", ["-oProxyCommand=x", "a b", "a\nb", "a;b", "$(x)"])
def test_what_could_be_an_option_of_ssh_is_no_host(tmp_path: Path, host: str) -> None:
    with pytest.raises(SettingsError, match="aws_head_node"):
        load(tmp_path, aws_head_node=host)
    with pytest.raises(SettingsError, match="aws_ssh_user"):
        load(tmp_path, aws_ssh_user=host)


@pytest.mark.parametrize(
    "host", ["203.0.113.7", "head.example.org", "i-0123", "2001:db8::1", "h_1"]
)
def test_hosts_are_addresses_names_and_instances(tmp_path: Path, host: str) -> None:
    assert load(tmp_path, aws_head_node=host).aws_head_node == host


@pytest.mark.parametrize("folder", ["~", "~/", "~/a~b", "/fsx/my data", "/~ada", "scratch"])
def test_shared_directories_are_paths_there(tmp_path: Path, folder: str) -> None:
    assert load(tmp_path, aws_shared_dir=folder).aws_shared_dir == folder


@pytest.mark.parametrize("folder", ["~bob/x", "~bob", "~~", "~ /x"])
def test_the_home_of_another_login_is_given_by_its_path(tmp_path: Path, folder: str) -> None:
    with pytest.raises(SettingsError, match=r"for aws_shared_dir .* as a full path"):
        load(tmp_path, aws_shared_dir=folder)
