"""The commands of a cluster on this machine: what they get, what they say, and what lies where."""

from __future__ import annotations

import os
import py_compile
import signal
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.slurm.host import (
    KEPT_VARIABLES,
    CommandResult,
    LocalHost,
    Upload,
    UploadFile,
    copy_code,
    read_tail,
    remove_path,
    run_command,
    slurm_environment,
)
from core.errors import BackendError
from core.job import JobKey
from core.worker.source import SOURCE_ROOT, worker_files
from tests.fakes.waiting import until

ROOT = Path(__file__).parents[3]
ENVIRON = {"PATH": os.environ["PATH"]}
KEY = JobKey("r1", "t", 1)


# -- the environment


names = st.sampled_from([*KEPT_VARIABLES, "SLURM_JOB_ID", "SBATCH_EXPORT", "ANTHROPIC_API_KEY"])


@given(st.dictionaries(names | st.text(), st.text()))
def test_of_the_environment_only_what_is_listed_is_passed_on(environ: dict[str, str]) -> None:
    kept = slurm_environment(environ)
    assert kept.pop("LC_ALL") == "C"
    assert kept == {name: value for name, value in environ.items() if name in KEPT_VARIABLES}


def test_nothing_on_the_list_steers_slurm_or_holds_a_secret() -> None:
    steering = {name for name in KEPT_VARIABLES if name.startswith(("SLURM_", "SBATCH_", "S"))}
    assert steering == {"SLURM_CONF", "SLURM_CONF_SERVER"}
    assert not [name for name in KEPT_VARIABLES if "KEY" in name or "TOKEN" in name]


def test_a_command_really_gets_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQUEUE_FORMAT", "%i")
    environ = {**ENVIRON, "SLURM_JOB_ID": "7", "AWS_SECRET_ACCESS_KEY": "canary"}
    done = LocalHost(tmp_path, environ).run([sys.executable, "-c", "import os; print(os.environ)"])
    assert done.exit_code == 0
    for name in ("SQUEUE_FORMAT", "SLURM_JOB_ID", "canary"):
        assert name not in done.stdout


# -- commands


def test_a_command_comes_to_its_exit_code_and_both_its_texts() -> None:
    script = "cat; echo bad >&2; exit 3"
    done = run_command(["sh", "-c", script], environ=ENVIRON, stdin="größe\n")
    assert done == CommandResult(3, "größe\n", "bad\n")


def test_what_is_no_text_is_read_all_the_same() -> None:
    done = run_command(["printf", r"a\377b"], environ=ENVIRON)
    assert done.stdout == "a\N{REPLACEMENT CHARACTER}b"


def test_a_command_that_is_not_there_is_named_with_what_to_do() -> None:
    with pytest.raises(BackendError, match="no-such-command could not be started") as caught:
        run_command(["no-such-command"], environ=ENVIRON)
    assert "login node" in caught.value.remedy


def test_a_command_that_does_not_end_is_given_up() -> None:
    with pytest.raises(BackendError, match=r"sleep did not answer within 0\.2 s"):
        run_command(["sleep", "100"], environ=ENVIRON, timeout_s=0.2)


def test_ctrl_c_does_not_cut_a_command_in_the_middle(tmp_path: Path) -> None:
    """A terminal sends it to all processes of the group in front."""
    ready, go_on = tmp_path / "ready", tmp_path / "go-on"
    command = f"touch '{ready}'; until [ -e '{go_on}' ]; do sleep 0.05; done; echo whole"
    program = (
        "import os, signal, sys\n"
        "from backends.slurm.host import run_command\n"
        "signal.signal(signal.SIGINT, lambda *_: None)\n"
        "done = run_command(['sh', '-c', sys.argv[1]], environ=os.environ)\n"
        "print(done.exit_code, done.stdout)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, command],
        cwd=ROOT,
        env={**ENVIRON, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        until(ready.exists)
        os.killpg(process.pid, signal.SIGINT)
        go_on.touch()
        output, _ = process.communicate(timeout=60)
    assert output.split() == ["0", "whole"]


# -- files


class RecordingRunner:
    """Runs nothing; keeps what was asked for, and what lay in `root` then."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.asked: list[tuple[Sequence[str], str]] = []
        self.seen: set[str] = set()

    def __call__(
        self, command: Sequence[str], environ: Mapping[str, str], stdin: str
    ) -> CommandResult:
        self.asked.append((command, stdin))
        self.seen = {p.relative_to(self.root).as_posix() for p in self.root.rglob("*")}
        return CommandResult(0)


def test_files_and_code_are_there_before_the_command_runs(tmp_path: Path) -> None:
    runner = RecordingRunner(tmp_path)
    host = LocalHost(tmp_path, ENVIRON, runner)
    files = [UploadFile("slurm/b/job.sh", b"x", 0o755), UploadFile("slurm/secret", b"y", 0o600)]
    host.run(["sbatch"], Upload(files, [KEY]), stdin="in")
    assert runner.asked == [(["sbatch"], "in")]
    assert {"slurm/b/job.sh", "slurm/secret"} <= runner.seen
    code = Path(host.worker_code())
    assert f"slurm/{code.name}/batch_executor.py" in runner.seen
    assert stat.S_IMODE((tmp_path / "slurm/secret").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "slurm/b/job.sh").stat().st_mode) == 0o755


def test_a_question_lays_nothing_down(tmp_path: Path) -> None:
    LocalHost(tmp_path, ENVIRON, RecordingRunner(tmp_path)).poll(["squeue"], [KEY])
    assert list(tmp_path.iterdir()) == []


def test_the_code_is_all_that_a_worker_needs_and_no_more(tmp_path: Path) -> None:
    copy_code(tmp_path / "code")
    found = {p.relative_to(tmp_path / "code").as_posix() for p in (tmp_path / "code").rglob("*.*")}
    assert {path for path in found if not path.endswith(".pyc")} == set(worker_files(SOURCE_ROOT))


def test_what_is_compiled_here_no_worker_compiles(tmp_path: Path) -> None:
    py_compile.compile(str(SOURCE_ROOT / "core/bundle.py"))
    copy_code(tmp_path / "code")
    command = [sys.executable, "-v", "-c", "import core.bundle"]
    done = subprocess.run(command, cwd=tmp_path / "code", capture_output=True, text=True)
    [line] = [line for line in done.stderr.splitlines() if line.endswith("core/bundle.py")]
    assert line.startswith(f"# {tmp_path}/code/core/__pycache__/bundle.")


def test_code_that_is_there_is_left_as_it_is_and_nothing_half_done_stays(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "mark").touch()
    copy_code(tmp_path / "code")
    assert [path.name for path in tmp_path.rglob("*")] == ["code", "mark"]


def test_of_two_that_lay_down_the_code_at_once_one_is_faster(tmp_path: Path) -> None:
    place = tmp_path / "code"
    children = []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            copy_code(place)
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    assert [path.name for path in tmp_path.iterdir()] == ["code"]
    assert (place / "batch_executor.py").exists()


def test_what_a_job_has_left_is_seen(tmp_path: Path) -> None:
    host = LocalHost(tmp_path, ENVIRON)
    assert (host.trace(KEY).claimed, host.trace(KEY).has_result) == (False, False)
    attempt = tmp_path / "tasks" / "t" / "1"
    (attempt / "result").mkdir(parents=True)
    (attempt / "claim").touch()
    assert (host.trace(KEY).claimed, host.trace(KEY).has_result) == (True, False)
    (attempt / "result" / "result.json").touch()
    assert host.fetch([KEY]) == {}
    assert host.trace(KEY).has_result


def test_of_a_long_file_the_end_is_read_and_of_none_nothing(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"x" * 100 + b"end\xff")
    assert read_tail(tmp_path / "log", 4) == "end\N{REPLACEMENT CHARACTER}"
    tails = LocalHost(tmp_path, ENVIRON).tails(["log", "none"])
    assert tails["log"].startswith("xxx")
    assert tails["none"] == ""


def test_files_directories_and_links_are_removed_and_nothing_behind_a_link(tmp_path: Path) -> None:
    kept, tree = tmp_path / "kept", tmp_path / "tree"
    for directory in (kept, tree / "below"):
        directory.mkdir(parents=True)
        (directory / "file").touch()
    (tmp_path / "link").symlink_to(kept)
    LocalHost(tmp_path, ENVIRON).remove(["tree", "link", "none", "kept/file"])
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    remove_path(kept)
    assert not kept.exists()


def test_missing_commands_are_looked_for_on_the_path_that_was_given(tmp_path: Path) -> None:
    tool = tmp_path / "sbatch"
    tool.touch(mode=0o755)
    host = LocalHost(tmp_path, {"PATH": str(tmp_path)})
    assert host.missing_commands(["sbatch", "squeue"]) == ["squeue"]


def test_a_local_host_is_this_machine(tmp_path: Path) -> None:
    host = LocalHost(tmp_path, ENVIRON)
    assert (host.run_dir, host.python) == (str(tmp_path), sys.executable)
    assert host.shares_disk
    assert Path(host.worker_code()).parent == tmp_path / "slurm"
    host.close()
