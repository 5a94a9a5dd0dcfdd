"""The images that docker/build.sh makes: what is inside, what is not, who may do what there."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from core.bundle import WIRE_VERSION
from core.worker.source import SOURCE_ROOT, source_digest, worker_files
from orchestrator import VERSION
from tests.live.executor_images import FULL, SLIM, docker, require_image, run_in, said_in

pytestmark = pytest.mark.docker_engine

CODE = "/opt/orchestrator"
TOOLS = (
    *("cc", "gcc", "g++", "clang", "ld", "make", "cargo", "go"),
    *("pip", "pip3", "uv", "corepack"),
)
# A .pyc whose flags are 1 is taken without a look at its source (PEP 552).
UNCOMPILED = """
import importlib.util, pathlib, sys, sysconfig
below = [pathlib.Path(p) for p in sys.argv[1:]]
for path in (p for top in below for p in top.rglob("*.py")):
    cached = pathlib.Path(importlib.util.cache_from_source(str(path)))
    flags = cached.read_bytes()[4:8] if cached.exists() else b""
    if flags != b"\\x01\\x00\\x00\\x00":
        print(path)
"""
WITHOUT_BYTECODE = """
import importlib.util, pathlib, sysconfig
stdlib = pathlib.Path(sysconfig.get_path("stdlib"))
for name in ("abc", "argparse", "json/__init__", "ssl", "subprocess", "http/client"):
    if not pathlib.Path(importlib.util.cache_from_source(f"{stdlib}/{name}.py")).exists():
        print(name)
"""
IMPORT_ALL = """
import importlib, sys
sys.path.insert(0, sys.argv[1])
for line in sys.stdin:
    importlib.import_module(line.strip())
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
ATTEMPTS = """
cd /opt/orchestrator
touch new core/new && echo made a file
echo x >> executor_agent.py && echo wrote a file
rm -f core/errors.py && [ ! -e core/errors.py ] && echo removed a file
chmod u+w executor_agent.py && echo changed a mode
mkdir /opt/own && echo made a directory
find / -xdev ! -type l -writable ! -path '/tmp*' ! -path '/proc/*' ! -path '/dev/*' \
  ! -path /var/tmp ! -path /run/lock 2>/dev/null
find / -xdev -type f -perm /6000 2>/dev/null
true
"""


@pytest.fixture(params=[FULL, SLIM])
def image(request: pytest.FixtureRequest) -> str:
    require_image(request.param)
    return str(request.param)


@pytest.fixture
def slim() -> str:
    require_image(SLIM)
    return SLIM


@pytest.fixture
def full() -> str:
    require_image(FULL)
    return FULL


def config_of(image: str) -> dict[str, Any]:
    config: dict[str, Any] = require_image(image)["Config"]
    return config


def cli_version() -> str:
    package = json.loads((SOURCE_ROOT / "docker" / "package.json").read_text())
    return str(package["dependencies"]["@anthropic-ai/claude-code"])


def test_the_labels_say_version_wire_and_the_source_that_is_inside(image: str) -> None:
    labels = config_of(image)["Labels"]
    assert labels["org.opencontainers.image.title"] == "parallel-orchestrator"
    assert labels["org.opencontainers.image.version"] == VERSION
    assert labels["parallel-orchestrator.wire"] == str(WIRE_VERSION)
    inside = said_in(image, "python", f"{CODE}/core/worker/source.py")
    assert labels["parallel-orchestrator.source"] == inside


def test_the_image_is_of_the_source_of_this_checkout(image: str) -> None:
    label = config_of(image)["Labels"]["parallel-orchestrator.source"]
    assert label == source_digest(SOURCE_ROOT), "tests/services/executor_image.sh builds it anew"


def test_the_image_holds_the_code_of_the_worker_and_no_other(image: str) -> None:
    find = ("find", CODE, "-type", "f", "!", "-name", "*.pyc", "-printf", "%P\\n")
    held = said_in(image, *find).splitlines()
    assert sorted(held) == list(worker_files(SOURCE_ROOT))


def test_the_worker_is_nobody_special(image: str) -> None:
    assert config_of(image)["User"] == "10001:10001"
    told = said_in(image, "sh", "-c", "id -u; id -g; id -G; id -un; echo $HOME; pwd")
    assert told.split() == ["10001", "10001", "10001", "worker", "/tmp", "/tmp"]


def test_nothing_outside_of_tmp_can_be_written_even_where_the_root_is_writable(image: str) -> None:
    done = docker("run", "--rm", "--network", "none", image, "sh", "-c", ATTEMPTS)
    assert (done.returncode, done.stdout) == (0, "")
    assert "Permission denied" in done.stderr


@pytest.mark.parametrize("tool", TOOLS)
def test_no_build_tool_is_left(full: str, tool: str) -> None:
    done = run_in(full, "sh", "-c", f"command -v {tool}")
    assert done.returncode in (1, 127)
    assert done.stdout == ""


@pytest.mark.parametrize("module", ["pip", "setuptools", "wheel"])
@pytest.mark.parametrize("python", ["/opt/venv/bin/python", "/usr/bin/env -i python3"])
def test_no_python_has_an_installer_of_its_own(slim: str, python: str, module: str) -> None:
    done = run_in(slim, *python.split(), "-c", f"import {module}")
    assert f"No module named '{module}'" in done.stderr


def test_all_code_is_compiled_and_taken_as_it_is(image: str) -> None:
    assert said_in(image, "python", "-c", UNCOMPILED, CODE, "/opt/venv/lib") == ""
    assert said_in(image, "python", "-c", WITHOUT_BYTECODE) == ""


def test_every_module_of_the_worker_can_be_imported_inside(image: str) -> None:
    sources = [p for p in worker_files(SOURCE_ROOT) if "/samples/" not in p]  # which are data
    modules = [p.removesuffix(".py") for p in sources if p.endswith(".py")]
    lines = "\n".join(m.replace("/", ".").removesuffix(".__init__") for m in modules)
    loaded = said_in(image, "python", "-c", IMPORT_ALL, CODE, stdin=lines).split()
    assert {"core", "claude", "executor_agent", "pydantic"} <= set(loaded)
    needed = "import anthropic, boto3, genai_prices; from anthropic import AnthropicBedrock"
    said_in(image, "python", "-c", needed)


@pytest.mark.parametrize("module", ["click", "rich", "docker", "engine", "backends", "config"])
def test_what_only_the_host_needs_is_not_inside(slim: str, module: str) -> None:
    code = f"import sys; sys.path.insert(0, '{CODE}'); import {module}"
    assert f"No module named '{module}'" in run_in(slim, "python", "-c", code).stderr


def test_the_model_finds_python_git_and_a_shell(image: str) -> None:
    script = "cd $HOME && git init -q . && python3 -m unittest --help >/dev/null && python -V"
    assert said_in(image, "sh", "-c", script).startswith("Python 3.")


def test_a_project_gets_an_environment_with_pip(slim: str) -> None:
    script = "cd /tmp && python3 -m venv .venv && .venv/bin/python -m pip --version"
    assert said_in(slim, "sh", "-c", script).startswith("pip ")


def test_the_full_image_has_node_and_the_slim_one_has_not(full: str, slim: str) -> None:
    told = said_in(full, "sh", "-c", "cd /tmp && node --version && npm --version && npx --version")
    assert re.match(r"v24\.\d+\.\d+\n\d+\.", told)
    assert said_in(full, "npm", "config", "get", "cafile").endswith("ca-certificates.crt")
    assert run_in(slim, "sh", "-c", "command -v node npm npx").stdout == ""
    labels = [
        config_of(name)["Labels"]["parallel-orchestrator.toolchains"] for name in (full, slim)
    ]
    assert labels == ["python,node", "python"]


def test_the_full_image_has_the_cli_and_the_slim_one_has_not(full: str, slim: str) -> None:
    assert said_in(full, "claude", "--version") == f"{cli_version()} (Claude Code)"
    absent = run_in(slim, "sh", "-c", "command -v claude; ls /opt")
    assert absent.stdout.split() == ["orchestrator", "venv"]


def test_the_cli_of_the_image_is_the_one_that_the_engine_is_tested_with() -> None:
    script = (SOURCE_ROOT / "tests" / "services" / "claude_code.sh").read_text()
    assert f'VERSION="${{CLAUDE_CODE_VERSION:-{cli_version()}}}"' in script


def build_slim(tag: str, environ: dict[str, str], *options: str) -> None:
    base = require_image("parallel-orchestrator-base:test")["RepoTags"][0]
    command: list[str | Path] = [SOURCE_ROOT / "docker" / "build.sh", "--slim", "--tag", tag]
    command += ["--with", "make", "--base-image", base]
    command += ["--", "--quiet", "--network", "host", *options]
    done = subprocess.run(
        command, env={**os.environ, **environ}, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(300)  # only where the engine has lost its build cache
def test_a_build_adds_a_toolchain_and_leaves_no_proxy_or_secret_in_the_image(slim: str) -> None:
    canary, tag = "canary-7f3a.invalid", f"parallel-orchestrator-test:canary-{os.getpid()}"
    secrets = {"ANTHROPIC_API_KEY": canary, "AWS_SECRET_ACCESS_KEY": canary, "PIP_TOKEN": canary}
    build_slim(tag, secrets, "--build-arg", f"NO_PROXY={canary}")
    try:
        told = docker("image", "inspect", tag).stdout
        told += docker("history", "--no-trunc", tag).stdout
        told += said_in(tag, "sh", "-c", f"env; grep -rsl {canary} /opt /etc /tmp /root; true")
        assert said_in(tag, "make", "--version").startswith("GNU Make")
    finally:
        docker("image", "rm", tag)
    assert "parallel-orchestrator.source" in told
    assert canary not in told
    assert "proxy" not in told.lower()
