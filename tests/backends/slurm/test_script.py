"""A job's script, run by a real bash: where it runs what, with paths that a shell would mangle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backends.slurm.script import ATTEMPTS_NAME, WorkerPaths, render_probe, render_script

# Says how it was called, in a file below the directory that it runs in.
TELLER = """
import json, os, sys
call = {"argv": sys.argv[1:], "environ": dict(os.environ), "cwd": os.getcwd(), "pid": os.getpid()}
open("call.json", "w").write(json.dumps(call))
"""
HOSTILE = ["with spaces", "it's", 'a"b', "$HOME", "`id`", "100%", "a;b", "ä\\nö", "new\nline", "-x"]


def place_of(root: Path, **more: str) -> WorkerPaths:
    code = root / "code"
    code.mkdir(parents=True)
    (code / "batch_executor.py").write_text(TELLER)
    return WorkerPaths(str(root), str(code), sys.executable, **more)


def run(script: str, root: Path, **environ: str) -> dict[str, Any]:
    """What the worker call; the script is a file that bash runs, as slurmd does it."""
    path = root / "job.sh"
    path.write_text(script)
    path.chmod(0o755)
    variables = {"PATH": "/usr/bin:/bin", "SLURM_JOB_ID": "77", **environ}
    with subprocess.Popen([path], cwd=root, env=variables) as process:
        assert process.wait(60) == 0
    call = dict(json.loads((root / "call.json").read_text()))
    return call | {"is_the_scripts_process": call["pid"] == process.pid}


@pytest.mark.parametrize("name", HOSTILE)
def test_paths_arrive_as_they_are(tmp_path: Path, name: str) -> None:
    root, tools = tmp_path / name, tmp_path / "tools"
    worker_paths = place_of(root, setup=f"{root}/setup.sh")
    tools.mkdir()
    (tools / "python3").symlink_to(sys.executable)
    (root / "setup.sh").write_text(f"export SET_UP=yes PATH='{tools}':$PATH\n")
    plain = WorkerPaths(worker_paths.run_dir, worker_paths.code, worker_paths.python)
    for paths in (plain, worker_paths):
        call = run(render_script(paths, f"{root}/slurm/b"), root)
        assert call["argv"][0] == f"{root}/slurm/b"
        assert ("SET_UP" in call["environ"]) is (paths is worker_paths)


def test_a_place_in_an_array_and_the_claimant_come_from_slurm(tmp_path: Path) -> None:
    script = render_script(place_of(tmp_path), "/b")
    assert script.startswith("#!/bin/bash\n")
    call = run(script, tmp_path, SLURM_ARRAY_TASK_ID="3", SLURM_CLUSTER_NAME="c1")
    assert call["argv"] == ["/b", "3", "c1:77#0"]
    call = run(script, tmp_path, SLURM_RESTART_COUNT="2")
    assert call["argv"] == ["/b", "0", "slurm:77#2"]


def test_the_worker_takes_the_scripts_place_so_that_signals_reach_it(tmp_path: Path) -> None:
    call = run(render_script(place_of(tmp_path), "/b"), tmp_path)
    assert call["is_the_scripts_process"]
    assert call["environ"]["PYTHONUNBUFFERED"] == "1"


def test_a_setup_chooses_the_python(tmp_path: Path) -> None:
    tools = tmp_path / "environment" / "bin"
    tools.mkdir(parents=True)
    (tools / "python3").write_text(f'#!/bin/sh\nCHOSEN=1 exec {sys.executable} "$@"\n')
    (tools / "python3").chmod(0o755)
    setup = tmp_path / "setup.sh"
    setup.write_text(f"export PATH='{tools}':$PATH\nfalse\n")
    script = render_script(place_of(tmp_path, setup=str(setup)), "/b")
    call = run(script, tmp_path)
    assert call["environ"]["CHOSEN"] == "1"
    assert call["is_the_scripts_process"]


def test_a_warning_that_comes_before_the_worker_listens_ends_nothing(
    tmp_path: Path,
) -> None:
    """With a limit of a minute Slurm sends it in the first half, be the worker there or not."""
    setup = tmp_path / "setup.sh"
    setup.write_text(f"kill -USR1 $$\nPATH='{tmp_path}':$PATH\n")
    paths = place_of(tmp_path, setup=str(setup))
    (tmp_path / "python3").write_text(f'#!/bin/sh\nkill -USR1 $$; exec {sys.executable} "$@"\n')
    (tmp_path / "python3").chmod(0o755)
    assert run(render_script(paths, "/b"), tmp_path)["argv"][0] == "/b"


@pytest.mark.parametrize("name", [name for name in HOSTILE if not name.startswith("-")])
def test_in_a_container_apptainer_gets_the_attempt_and_what_is_read_and_nothing_else(
    tmp_path: Path, name: str
) -> None:
    root = tmp_path / name
    worker_paths = place_of(root, container=f"/images/{name}.sif", credentials=f"{root}/slurm/key")
    array_dir = root / "slurm" / "b"
    array_dir.mkdir(parents=True)
    (array_dir / ATTEMPTS_NAME).write_text("tasks/first/1\ntasks/second/2\n")
    (root / "slurm" / "key").write_text("what nobody else is to see")
    tools = tmp_path / "node"
    tools.mkdir()
    teller = root / "code" / "batch_executor.py"
    (tools / "apptainer").write_text(
        f'#!/bin/sh\nGIVEN="$(cat)" exec {sys.executable} "$TELLER" "$@"\n'
    )
    (tools / "apptainer").chmod(0o755)
    variables = {"PATH": f"{tools}:{os.environ['PATH']}", "TELLER": str(teller)}
    call = run(
        render_script(worker_paths, str(array_dir)), root, SLURM_ARRAY_TASK_ID="1", **variables
    )
    attempt = f"{root}/tasks/second/2"
    assert call["argv"] == [
        *("exec", "--containall", "--cleanenv", "--no-home", f"--bind={attempt}"),
        *(
            f"--bind={root}/code:{root}/code:ro",
            f"--bind={array_dir}:{array_dir}:ro",
            f"--pwd={attempt}",
        ),
        "--env=PYTHONDONTWRITEBYTECODE=1,PYTHONUNBUFFERED=1",
        *(f"/images/{name}.sif", "python3", f"{root}/code/batch_executor.py"),
        *(str(array_dir), "1", "slurm:77#0", "--contained"),
    ]
    assert call["environ"]["GIVEN"] == "what nobody else is to see"
    plain = replace(worker_paths, credentials="")
    assert run(render_script(plain, str(array_dir)), root, **variables)["environ"]["GIVEN"] == ""


def test_a_probe_runs_the_same_worker_with_its_question(tmp_path: Path) -> None:
    host = "it's $HOST"
    script = render_probe(place_of(tmp_path), f"{tmp_path}/a b.json", "api", "bedrock", host, 443)
    call = run(script, tmp_path)
    assert call["argv"] == ["--check", f"{tmp_path}/a b.json", "api", "bedrock", host, "443"]


@pytest.mark.parametrize(
    "more", [{}, {"setup": "/s.sh"}, {"container": "i.sif"}, {"setup": "/s.sh", "container": "i"}]
)
def test_every_script_is_one_that_bash_can_read(more: Mapping[str, str]) -> None:
    script = render_script(WorkerPaths("/r", "/c", "/usr/bin/python3", **more), "/b")
    done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert script.splitlines()[-1].startswith("exec ")
    assert ("--contained" in script) is ("container" in more)
    assert ("/usr/bin/python3" in script) is (not more)
