"""The package as people install it: what the wheel holds, and that nothing foreign gets in."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from parallel_task_orchestrator.launcher import home

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "parallel_task_orchestrator"
ROOMS = ("backends", "claude", "core", "docker", "engine")
OUTSIDE = ("tests/", "docs/", "bench/", ".")
NO_MODULES_OF_THE_PROGRAM = ("hatch_build.py",)
HOSTILE = ("config", "core", "backends", "claude", "engine", "planner_agent", "orchestrator")

pytestmark = pytest.mark.wheel


def run(*command: str | Path, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COV", "PIP_"))}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=kept | environ,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )


def checked(*command: str | Path, cwd: Path) -> str:
    done = run(*command, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def sources() -> list[str]:
    """What git tracks, or would track if it were added."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs git and a git checkout to tell the project's files from others")
    listed = checked("git", "ls-files", "-co", "--exclude-standard", "-z", cwd=ROOT)
    return sorted(path for path in listed.split("\0") if path and (ROOT / path).is_file())


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory, sources: list[str]) -> Path:
    """A copy of the checkout with the leftovers of work in it, which git ignores."""
    root = tmp_path_factory.mktemp("checkout")
    for path in sources:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, root / path)
    for junk in ("core/__pycache__/x.pyc", "engine/build/x.py", f"{PACKAGE}/__pycache__/y.pyc"):
        (root / junk).parent.mkdir(parents=True, exist_ok=True)
        (root / junk).write_text("junk")
    (root / "README.md").touch()
    return root


@pytest.fixture(scope="module")
def wheel(checkout: Path) -> Path:
    pip = (sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index")
    checked(*pip, "-q", "-w", checkout / "dist", ".", cwd=checkout)
    return next((checkout / "dist").glob("*.whl"))


def fresh_environment(where: Path) -> Path:
    """A new virtual environment that sees the dependencies of this one, after its own packages."""
    checked(sys.executable, "-m", "venv", "--without-pip", where, cwd=where.parent)
    packages = next(where.glob("lib/python*/site-packages"))
    (packages / "zz_dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return where


def install(environment: Path, *what: str | Path) -> None:
    pip = (sys.executable, "-m", "pip", "--python", environment / "bin" / "python", "install")
    options = ("-q", "--no-deps", "--no-index", "--no-build-isolation")
    checked(*pip, *options, *what, cwd=environment)


@pytest.fixture(scope="module", params=["wheel", "editable"])
def installed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, checkout: Path
) -> Path:
    environment = fresh_environment(tmp_path_factory.mktemp(request.param) / "venv")
    if request.param == "wheel":
        install(environment, request.getfixturevalue("wheel"))
    else:
        install(environment, "-e", checkout)
    return environment


def own_packages(environment: Path) -> set[str]:
    packages = next(environment.glob("lib/python*/site-packages"))
    return {p.name for p in packages.iterdir() if not p.name.endswith((".dist-info", ".pth"))}


def test_the_wheel_holds_the_program_and_nothing_else(wheel: Path, sources: list[str]) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    held = {n.removeprefix(f"{PACKAGE}/_app/") for n in names if ".dist-info/" not in n}
    top = {p for p in sources if p.endswith(".py") and "/" not in p}
    inside = {p for p in sources if PurePosixPath(p).parts[0] in (*ROOMS, PACKAGE)}
    assert held == inside | top - set(NO_MODULES_OF_THE_PROGRAM)
    assert not [p for p in held if p.startswith(OUTSIDE)]


def test_the_wheel_holds_samples_prompts_and_the_licence(wheel: Path, sources: list[str]) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    told = [p for p in sources if p.startswith(("claude/prompts/", "claude/simulation/samples/"))]
    assert {f"{PACKAGE}/_app/{p}" for p in told} <= set(names)
    assert any(n.endswith("licenses/LICENSE") for n in names)


def test_the_wheel_has_one_import_name(wheel: Path) -> None:
    tops = {PurePosixPath(n).parts[0] for n in zipfile.ZipFile(wheel).namelist()}
    assert {t for t in tops if not t.endswith(".dist-info")} == {PACKAGE}


def test_an_installation_adds_at_most_one_import_name(installed: Path) -> None:
    assert own_packages(installed) <= {PACKAGE}


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A directory whose modules have our names, and end the process when they are imported."""
    for name in HOSTILE:
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('hostile {name} was imported')\n")
    (tmp_path / "core.py").unlink()
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "__init__.py").write_text("raise SystemExit('hostile core')\n")
    return tmp_path


@pytest.mark.parametrize("how", ["script", "module"])
def test_foreign_modules_of_our_names_are_never_imported(
    installed: Path, hostile: Path, how: str
) -> None:
    script = (installed / "bin" / "parallel-orchestrator",)
    module = (installed / "bin" / "python", "-m", PACKAGE)
    command = script if how == "script" else module
    for arguments, code in ((("--help",), 0), (("--version",), 0), ((" ",), 2)):
        done = run(*command, *arguments, cwd=hostile, PYTHONPATH=str(hostile))
        assert done.returncode == code, done.stdout + done.stderr
        assert "hostile" not in done.stdout + done.stderr


@pytest.mark.slow
def test_an_installed_program_builds_a_project(installed: Path, hostile: Path) -> None:
    done = run(
        installed / "bin" / "parallel-orchestrator",
        *("Build a todo list app with add/delete/complete", "--sim-speed", "0"),
        *("--output-dir", hostile / "out"),
        cwd=hostile,
        PYTHONPATH=str(hostile),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert list((hostile / "out").iterdir())


def test_an_installed_program_brings_what_builds_its_image(installed: Path, checkout: Path) -> None:
    packages = next(installed.glob("lib/python*/site-packages"))
    private = packages / PACKAGE / "_app"
    root = private if private.is_dir() else checkout
    assert "--base-image" in checked(root / "docker" / "build.sh", "--help", cwd=installed)
    digests = [
        checked(
            installed / "bin" / "python", "-I", top / "core" / "worker" / "source.py", cwd=installed
        )
        for top in (root, checkout)
    ]
    assert digests[0] == digests[1]


def test_home_is_the_private_folder_where_there_is_one(tmp_path: Path) -> None:
    package = tmp_path / PACKAGE
    assert home(package) == tmp_path
    (package / "_app").mkdir(parents=True)
    assert home(package) == tmp_path
    (package / "_app" / "orchestrator.py").touch()
    assert home(package) == package / "_app"


LOCKS = (
    *("requirements.lock", "requirements-dev.lock"),
    *("docker/requirements.txt", "docker/requirements-npm.txt"),
)


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_no_machine_and_no_index(name: str) -> None:
    lock = (ROOT / name).read_text()
    lines = [line for line in lock.splitlines() if not line.lstrip().startswith(("#", "--hash="))]
    assert lines
    assert not [line for line in lines if "://" in line or "/" in line or line.startswith("-")]


@pytest.mark.parametrize("extras", [(), ("dev", "otel")], ids=["runtime", "development"])
def test_a_lock_pins_everything_the_project_asks_for(extras: tuple[str, ...]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = list(project["dependencies"])
    for extra in extras:
        asked += project["optional-dependencies"][extra]
    names = {a.split(">=")[0].split("[")[0] for a in asked}
    assert names <= set(pins("requirements-dev.lock" if extras else "requirements.lock"))


def test_the_lock_of_the_cli_names_no_registry_and_a_hash_for_each_package() -> None:
    lock = (ROOT / "docker" / "package-lock.json").read_text()
    assert "://" not in lock
    packages = {k: v for k, v in json.loads(lock)["packages"].items() if k}
    assert packages
    assert all(v["integrity"].startswith("sha512-") for v in packages.values())


def pins(name: str) -> dict[str, str]:
    """Package to version of a lock; markers and hashes are left out."""
    lines = (ROOT / name).read_text().splitlines()
    return dict(line.split(" ")[0].split("==", 1) for line in lines if "==" in line.split(" ")[0])


def test_the_demo_and_the_image_run_the_versions_that_the_tests_run_with() -> None:
    demo, tested = pins("requirements.lock"), pins("requirements-dev.lock")
    inside = pins("docker/requirements.txt")
    assert {"anthropic", "boto3", "genai-prices", "pydantic"} <= set(inside)
    assert inside.items() <= demo.items() <= tested.items()
    assert not {"click", "rich", "docker", "pydantic-settings"} & set(inside)
    assert not {"moto", "mypy", "pytest", "ruff"} & set(demo)


@pytest.fixture(scope="module")
def with_example(
    tmp_path_factory: pytest.TempPathFactory, wheel: Path, checkout: Path
) -> tuple[Path, Path]:
    """An environment with the wheel and the example of a backend, and the example's folder."""
    environment = fresh_environment(tmp_path_factory.mktemp("example") / "venv")
    example = checkout / "examples" / "backend-subprocess"
    install(environment, wheel, example)
    return environment, example


@pytest.mark.slow
@pytest.mark.timeout(400)  # each test starts processes, on cores that others use too
def test_the_example_of_a_backend_passes_the_suite_that_the_wheel_brings(
    with_example: tuple[Path, Path],
) -> None:
    environment, example = with_example
    told = checked(environment / "bin" / "python", "-m", "pytest", "-q", "-n", "0", cwd=example)
    assert re.search(r"^\d\d passed", told, re.M), told


@pytest.mark.slow
def test_the_example_of_a_backend_carries_out_a_run(
    with_example: tuple[Path, Path], tmp_path: Path
) -> None:
    done = run(
        with_example[0] / "bin" / "parallel-orchestrator",
        *("Write a script that counts words", "--sim-speed", "0", "--no-verify"),
        *("--backend", "subprocess", "--output-dir", tmp_path / "out"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "out" / "word_count.py").is_file()
    assert list(tmp_path.glob(".orchestrator/runs/*/tasks/*/1/process.log"))


def test_the_plugin_of_pytest_changes_nothing_for_those_who_do_not_ask(
    with_example: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "test_other.py").write_text(
        "import sys\n"
        "def test_other():\n"
        f"    assert '{PACKAGE}.pytest_plugin' in sys.modules\n"
        "    assert not {'core', 'backends', 'claude', 'anthropic', 'boto3'} & set(sys.modules)\n"
        "    assert not [path for path in sys.path if path.endswith('_app')]\n"
    )
    python = with_example[0] / "bin" / "python"
    checked(python, "-m", "pytest", "-q", cwd=tmp_path)
    told = run(python, "-c", f"import {PACKAGE}.conformance", cwd=tmp_path)
    assert "Set parallel_orchestrator = true" in told.stderr
