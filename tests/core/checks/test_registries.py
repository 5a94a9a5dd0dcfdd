"""Where an installation gets packages from, and what it is not told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.checks.registries import Registries, read_registries

OURS = {"PIP_CONFIG_FILE": os.devnull, "npm_config_registry": "https://npm.corp/"}


def read(home: Path, **environ: str) -> Registries:
    return read_registries(OURS | environ, home)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("environ", "seen"),
    [
        ({"PIP_INDEX_URL": "https://pypi.corp/simple"}, "https://pypi.corp/simple"),
        ({"PIP_INDEX_URL": "https://me:pass@pypi.corp/simple"}, "https://pypi.corp/simple"),
        ({"PIP_INDEX_URL": "https://me:p@ss@pypi.corp/s?t=pass"}, "https://pypi.corp/s"),
        ({"PIP_INDEX_URL": "https://me:p/pass@pypi.corp/s"}, None),
        (
            {"PIP_EXTRA_INDEX_URL": "https://a/ file:///b /c https://pass@d/"},
            "https://a/ https://d/",
        ),
        ({"https_proxy": "http://me:pass@proxy:3128"}, "http://proxy:3128"),
        ({"HTTPS_PROXY": "me:pass@proxy:3128"}, "proxy:3128"),
        ({"no_proxy": "localhost,.corp"}, "localhost,.corp"),
        ({"NPM_CONFIG_HTTPS_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
        ({"NPM_CONFIG__AUTH": "pass", "PIP_PASSWORD": "pass"}, None),
    ],
)
def test_addresses_are_passed_on_without_credentials(
    tmp_path: Path, environ: dict[str, str], seen: str | None
) -> None:
    found = read(tmp_path, **environ)
    others = {k: v for k, v in found.environ.items() if k != "npm_config_registry"}
    assert list(others.values()) == ([] if seen is None else [seen])
    assert "pass" not in "".join(found.environ.values())


def test_configuration_files_count_less_than_variables(tmp_path: Path) -> None:
    write(tmp_path / ".config/pip/pip.conf", "[global]\nindex-url = https://a/\nproxy = http://p\n")
    npmrc = "registry=https://b/\n//b/:_authToken=secret\ncafile='{}'\n"
    write(tmp_path / ".npmrc", npmrc.format(write(tmp_path / "ca.pem", "")))
    found = read_registries({"PIP_INDEX_URL": "https://c/", "PIP_CONFIG_FILE": ""}, tmp_path)
    assert found.environ["PIP_INDEX_URL"] == "https://c/"
    assert found.environ["PIP_PROXY"] == "http://p"
    assert found.environ["npm_config_registry"] == "https://b/"
    assert found.files["npm_config_cafile"] == tmp_path / "ca.pem"
    assert found.withheld == ("b",)
    assert "secret" not in repr(found)


def test_certificates_that_are_not_there_are_left_out(tmp_path: Path) -> None:
    there = write(tmp_path / "ca.pem", "")
    found = read(tmp_path, SSL_CERT_FILE=str(there), REQUESTS_CA_BUNDLE="/nowhere/ca.pem")
    assert found.files["SSL_CERT_FILE"] == there
    assert "REQUESTS_CA_BUNDLE" not in found.files


@pytest.mark.parametrize(
    ("output", "lack"),
    [
        ("npm error code E401", "a package registry (b) wants credentials"),
        ("ERROR: 403 Client Error: Forbidden", "a package registry (b) wants credentials"),
        ("npm error code ENOTFOUND", "cannot be reached from here: ENOTFOUND"),
        ("[Errno -3] Temporary failure in name resolution", "cannot be reached from here"),
        ("npm error code E404", ""),
        ("ERROR: No matching distribution found for nothing==1.401", ""),
    ],
)
def test_what_a_registry_lacks_here_is_no_fault_of_the_project(output: str, lack: str) -> None:
    found = Registries(withheld=("b",)).lack(output)
    assert lack in found
    assert bool(lack) == bool(found)
