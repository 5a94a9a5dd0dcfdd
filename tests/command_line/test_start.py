"""What stands in the way before a program has begun: packages, an interrupt, the directory."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

from core.startup import PACKAGES

ROOT = Path(__file__).parents[2]
WORKERS = ("docker_executor.py", "docker_planner.py", "batch_executor.py")
RUN = ("orchestrator.py", "Build a todo list app")


def start(
    args: Sequence[str], cwd: Path, *flags: str, **environ: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *flags, ROOT / args[0], *args[1:]],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def package(tmp_path: Path, name: str, text: str, version: str = "") -> str:
    """A directory for PYTHONPATH that has a package of that name."""
    folder = tmp_path / "other"
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(text)
    if version:
        (folder / f"{name}-{version}.dist-info").mkdir()
    return str(folder)


def test_the_packages_and_versions_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = (re.match(r"([\w-]+).*>=([\d.]+),", text) for text in project["dependencies"])
    assert PACKAGES.items() <= {(each[1], each[2]) for each in found if each}


@pytest.mark.parametrize(
    ("name", "text", "version", "told"),
    [
        ("pydantic", "", "1.10.2", r"pydantic 1\.10\.2 in .*/other is too old: 2\.12 or newer"),
        ("pydantic", "BaseModel = object", "", r"cannot import name .* from 'pydantic' \(.*/other"),
        ("anthropic", "import missing_one", "", "The package missing_one is not installed for /"),
        ("click", "import missing_one", "", "The package missing_one is not installed for /"),
        ("rich", "raise SystemError('another core')", "", "cannot be used by .*: another core"),
    ],
)
def test_a_package_that_cannot_be_used_is_told_before_anything_is_written(
    tmp_path: Path, name: str, text: str, version: str, told: str
) -> None:
    cwd = tmp_path / "empty"
    cwd.mkdir()
    done = start(RUN, cwd, PYTHONPATH=package(tmp_path, name, text, version))
    assert re.search(told, done.stderr)
    assert "PYTHONPATH" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == 3
    assert list(cwd.iterdir()) == []


@pytest.mark.parametrize("worker", WORKERS)
def test_a_worker_tells_it_in_one_line(tmp_path: Path, worker: str) -> None:
    done = start([worker], tmp_path, PYTHONPATH=package(tmp_path, "pydantic", ""))
    assert done.stderr.startswith("error: A package cannot be used by")
    assert done.stderr.count("\n") == 1
    assert done.returncode == 1


@pytest.mark.parametrize("script", ["orchestrator.py", *WORKERS])
def test_an_older_python_is_told_as_such(tmp_path: Path, script: str) -> None:
    older = "import sys; sys.version_info, sys.version = (3, 10, 13), '3.10.13 (main)'\n"
    code = older + f"import runpy; runpy.run_path({str(ROOT / script)!r}, run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert "Python 3.11 or newer is needed, and this is 3.10.13." in done.stderr
    assert done.returncode == (3 if script == "orchestrator.py" else 1)


@pytest.mark.parametrize(("flags", "environ"), [(("-I",), {}), ((), {"PYTHONSAFEPATH": "1"})])
def test_an_isolated_python_finds_the_program(
    tmp_path: Path, flags: tuple[str, ...], environ: dict[str, str]
) -> None:
    assert start(["orchestrator.py", "runs"], tmp_path, *flags, **environ).stdout == "No runs.\n"
    done = start(["docker_executor.py", "--check", "/", "api"], tmp_path, *flags, **environ)
    assert done.returncode == 0, done.stderr


def test_an_interrupt_while_packages_are_imported_is_one_line(tmp_path: Path) -> None:
    ctrl_c = package(tmp_path, "click", "import os, signal; os.kill(os.getpid(), signal.SIGINT)")
    done = start(RUN, tmp_path, PYTHONPATH=ctrl_c)
    assert (done.stderr, done.returncode) == ("Interrupted.\n", 130)


@pytest.mark.parametrize(
    ("args", "code"), [(["--help"], 0), (["runs"], 2), (["Build a todo list app"], 2)]
)
def test_a_current_directory_that_was_deleted_is_told(
    tmp_path: Path, args: list[str], code: int
) -> None:
    gone = f"import os, runpy, sys; os.rmdir(os.getcwd()); sys.argv[1:] = {args!r}"
    run = f"runpy.run_path({str(ROOT / 'orchestrator.py')!r}, run_name='__main__')"
    cwd = tmp_path / "gone"
    cwd.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", f"{gone}; {run}"], cwd=cwd, capture_output=True, text=True
    )
    told = "error: The current directory cannot be used: No such file or directory.\n"
    assert done.stderr == (told + "  Change to a directory that exists.\n" if code else "")
    assert done.returncode == code
