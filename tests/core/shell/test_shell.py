"""The model's shell: what a command gets, and that nothing of it goes on or goes without bound."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.clock import Clock, DeadlineClock, StoppableClock, SystemClock
from core.errors import Interrupted, WorkspaceError
from core.shell import supervisor
from core.shell.processes import children, kill_children, kill_marked, marked_processes
from core.shell.shell import (
    MAX_COMMAND_BYTES,
    Shell,
    build_environment,
    find_shell,
)
from tests.fakes.waiting import until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")

SECRETS = {
    "ANTHROPIC_API_KEY": "sk-ant-canary",
    "AWS_SECRET_ACCESS_KEY": "canary",
    "ORCHESTRATOR_BASE_URL": "canary",
    "GITHUB_TOKEN": "canary",
    "PYTHONPATH": "canary",
    "LD_PRELOAD": "canary",
    "BASH_ENV": "canary",
    "XLC_ALL": "canary",
}
AROUND = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "LC_TIME": "C", "TZ": "UTC", **SECRETS}


class Bench:
    """A workspace with a shell, and a way to find what runs beside it."""

    def __init__(self, base: Path) -> None:
        self.root = base / "work"
        self.root.mkdir()
        self.scratch = base / "shell"
        self.clock: Clock = SystemClock()
        self.limits: dict[str, int] = {}
        self.alone = False

    def shell(self) -> Shell:
        return Shell(
            self.root,
            self.clock,
            environ=AROUND,
            scratch=self.scratch,
            alone=self.alone,
            **self.limits,
        )

    def run(self, command: str, timeout_s: float = 30.0) -> str:
        with self.shell() as shell:
            return shell.run(command, timeout_s)

    def pids(self) -> list[int]:
        """Those that a command wrote down in *.pid."""
        texts = [path.read_text() for path in self.root.glob("*.pid")]
        return [int(pid) for text in texts for pid in text.split()]

    def alive(self) -> list[int]:
        return [pid for pid in self.pids() if is_alive(pid)]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    it = Bench(tmp_path)
    yield it
    for pid in it.alive():
        os.kill(pid, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return False


# -- what it gives back


def test_a_command_runs_in_the_workspace_and_reports_what_it_printed(bench: Bench) -> None:
    (bench.root / "a.txt").write_text("here\n")
    assert bench.run("cat a.txt; echo wrong >&2; exit 3") == "exit code 3\nhere\nwrong"
    assert bench.run("true") == "exit code 0\n(no output)"


def test_nothing_can_be_typed_in(bench: Bench) -> None:
    assert bench.run("cat; echo done") == "exit code 0\ndone"


def test_a_command_that_a_signal_ends_says_so(bench: Bench) -> None:
    assert bench.run("kill -9 $$").startswith("ended by SIGKILL, as when memory runs out\n")
    assert bench.run("kill -SEGV $$").startswith("ended by SIGSEGV\n")
    assert bench.run("kill -40 $$").startswith("ended by signal 40\n")


def test_long_output_keeps_its_head_and_its_tail(bench: Bench) -> None:
    text = bench.run("seq 1 100000")
    lines = text.splitlines()
    assert lines[:3] == ["exit code 0", "1", "2"]
    assert lines[-1] == "100000"
    assert "[564,319 bytes left out here; print less, or only what matters]" in lines
    assert len(text) < 25_000


def test_output_that_is_no_text_can_be_reported_all_the_same(bench: Bench) -> None:
    text = bench.run(r"printf 'a\0b\377c\033[31m'")
    assert text == "exit code 0\na\ufffdb\ufffdc\x1b[31m"
    text.encode()


@pytest.mark.parametrize(
    ("command", "timeout_s", "words"),
    [
        ("a\0b", 1, "no valid text"),
        ("\ud800", 1, "no valid text"),
        ("x" * (MAX_COMMAND_BYTES + 1), 1, "100,001 bytes; at most 100,000"),
        ("true", 0, "counts from 1"),
    ],
)
def test_what_cannot_be_run_is_refused(
    bench: Bench, command: str, timeout_s: int, words: str
) -> None:
    with pytest.raises(WorkspaceError, match=words):
        bench.run(command, timeout_s)


def test_the_longest_command_allowed_is_run(bench: Bench) -> None:
    assert bench.run("#" * (MAX_COMMAND_BYTES - 1)).startswith("exit code 0")


# -- what a command gets


def test_a_command_sees_nothing_of_the_workers_environment_but_what_programs_need(
    bench: Bench,
) -> None:
    seen = bench.run("env")
    assert "canary" not in seen
    names = {line.partition("=")[0] for line in seen.splitlines()[1:]}
    wanted = {"PATH", "LANG", "LC_TIME", "TZ", "HOME", "TMPDIR", "PYTHONDONTWRITEBYTECODE"}
    assert wanted | {"PAGER", "TERM"} == names - {"PWD", "SHLVL", "_", "OLDPWD"}


def test_there_is_a_path_where_the_worker_has_none(tmp_path: Path) -> None:
    assert build_environment({}, tmp_path)["PATH"] == os.defpath
    assert Path(find_shell()).exists()


def test_home_and_temporary_files_are_outside_the_workspace_and_go_with_the_shell(
    bench: Bench,
) -> None:
    with bench.shell() as shell:
        shell.run("touch ~/mine $TMPDIR/mine; mkdir -p ~/deep/er; chmod 0 ~/deep")
        assert shell.run("ls ~/mine $TMPDIR/mine").startswith("exit code 0")
        assert list(bench.root.iterdir()) == []
        assert (bench.scratch / "home").stat().st_mode & 0o777 == 0o700
    assert not bench.scratch.exists()


def test_a_home_that_was_replaced_is_made_anew(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    with bench.shell() as shell:
        shell.run(f"rm -r ~; ln -s {tmp_path}/theirs ~; rm -r $TMPDIR; touch $TMPDIR")
        assert shell.run("touch ~/x $TMPDIR/x").startswith("exit code 0")
    assert list((tmp_path / "theirs").iterdir()) == []


def test_what_an_earlier_worker_left_is_not_there(bench: Bench) -> None:
    (bench.scratch / "home").mkdir(parents=True)
    (bench.scratch / "home/.profile").write_text("echo profile")
    assert bench.run("ls -A ~; bash -lc true") == "exit code 0\n(no output)"


def test_a_file_can_grow_no_further_than_the_limit(bench: Bench) -> None:
    bench.limits = {"max_bytes": 64 * 1024}
    bench.run("head -c 1000000 /dev/zero > a; truncate -s 1G b; ulimit -f unlimited; ulimit -c")
    assert (bench.root / "a").stat().st_size == 64 * 1024
    assert (bench.root / "b").stat().st_size == 0
    assert bench.run("ulimit -c").endswith("\n0")


def test_the_kernel_takes_a_command_before_the_worker(bench: Bench) -> None:
    assert bench.run("cat /proc/self/oom_score_adj").endswith("\n1000")


@pytest.mark.parametrize("damage", ["removed", "replaced"])
def test_a_workspace_that_is_gone_is_reported(bench: Bench, damage: str, tmp_path: Path) -> None:
    with bench.shell() as shell:
        shell.run("rm -r ../work")
        if damage == "replaced":
            (tmp_path / "work").symlink_to("/")
        with pytest.raises(WorkspaceError, match="could not be started"):
            shell.run("true")


# -- how it ends


@pytest.mark.parametrize(
    "start",
    [
        "sleep 300 & echo $! > a.pid",
        "setsid sleep 300 & echo $! > a.pid",
        "(setsid env -i sh -c 'echo $$ > a.pid; exec sleep 300' &); sleep 0.3",
        "nohup sh -c 'trap \"\" TERM HUP; echo $$ > a.pid; sleep 300' >/dev/null & sleep 0.5",
        "python3 -c \"import os\nfor _ in 'abc':\n  if os.fork(): os._exit(0)\n  os.setsid()\n"
        "os.execvpe('sh', ['sh', '-c', 'echo \\$\\$ > a.pid; sleep 300'], {})\"; sleep 0.3",
    ],
    ids=["background", "session", "no environment", "deaf", "daemon"],
)
def test_what_a_command_leaves_running_is_ended(bench: Bench, start: str) -> None:
    text = bench.run(start)
    assert bench.pids()
    assert bench.alive() == []
    assert text.startswith("exit code 0\n[")
    assert "that it left running were ended]" in text


@pytest.mark.parametrize(
    "command",
    [
        "sleep 300",
        "trap '' TERM INT HUP; while :; do sleep 1; done",
        "exec >&- 2>&- <&-; sleep 300",
        "kill -STOP $PPID; sleep 300",
        "setsid -w sh -c 'trap \"\" TERM; sleep 300'",
    ],
    ids=["plain", "deaf", "closed", "stopped supervisor", "session"],
)
def test_a_command_past_its_time_is_ended(bench: Bench, command: str) -> None:
    started = time.monotonic()
    text = bench.run(f"echo $$ > a.pid; echo so far; {command}", 1)
    assert text == "stopped: it was not done within 1 s\nso far"
    assert bench.pids()
    assert bench.alive() == []
    assert time.monotonic() - started < 10


def test_output_without_end_is_ended(bench: Bench) -> None:
    bench.limits = {"max_printed_bytes": 3_000_000}
    text = bench.run("yes")
    assert text.startswith("stopped: it printed more than 3,000,000 bytes\ny\n")
    assert len(text) < 25_000


def test_a_crowd_of_processes_is_ended(bench: Bench) -> None:
    text = bench.run("for i in $(seq 600); do sleep 300 & done; echo $$ > a.pid; wait")
    # a user's own limit may stop it first
    assert text.startswith("stopped: it started more than 512 processes") or "fork" in text
    assert bench.alive() == []


def test_a_command_that_ends_its_supervisor_is_ended_all_the_same(bench: Bench) -> None:
    text = bench.run("echo $$ > a.pid; kill -9 $PPID; sleep 300")
    assert text.startswith("stopped: the process that watches over it was ended")
    until(lambda: not bench.alive())


_ALONE = """
import os, sys, time
from pathlib import Path
from core.shell.shell import Shell
from core.clock import SystemClock
root = Path(sys.argv[1])
with Shell(root, SystemClock(), environ=os.environ, scratch=root / "../shell", alone=True) as shell:
    print(shell.run(sys.argv[2]))
    print(*(pid for pid in Path(root, "a.pid").read_text().split() if Path("/proc", pid).exists()))
"""


def test_where_the_worker_is_alone_nothing_gets_away_at_all(bench: Bench) -> None:
    command = (
        "(setsid env -i sh -c 'echo $$ > a.pid; trap \"\" TERM; sleep 300' &); sleep 0.5;"
        " kill -9 $PPID; sleep 300"
    )
    said = subprocess.run(
        [sys.executable, "-c", _ALONE, bench.root, command],
        capture_output=True,
        text=True,
        cwd=Path(supervisor.__file__).parents[2],
        timeout=60,
        check=True,
    ).stdout
    assert bench.pids()
    assert said == "stopped: the process that watches over it was ended\n(no output)\n\n"


def test_the_attempts_time_limit_and_a_stop_end_a_command(bench: Bench) -> None:
    bench.clock = DeadlineClock(SystemClock(), 0.7)
    with pytest.raises(Interrupted, match="time limit"):
        bench.run("echo $$ > a.pid; sleep 300", 600)
    assert bench.alive() == []
    stop = threading.Event()
    bench.clock = StoppableClock(stop)
    timer = threading.Timer(0.5, stop.set)
    timer.start()
    with pytest.raises(Interrupted, match="was stopped"):
        bench.run("echo $$ > b.pid; sleep 300")
    timer.join()
    assert bench.pids()
    assert bench.alive() == []


def test_a_worker_that_is_killed_takes_its_command_along(bench: Bench) -> None:
    worker = subprocess.Popen(
        [sys.executable, "-c", _ALONE, bench.root, "echo $$ > a.pid; setsid sleep 300"],
        cwd=Path(supervisor.__file__).parents[2],
    )
    until(lambda: bench.pids())
    worker.kill()
    worker.wait()
    until(lambda: not bench.alive())


def test_several_shells_at_once_do_not_end_each_other(tmp_path: Path) -> None:
    said: dict[int, str] = {}

    def one(number: int) -> None:
        (tmp_path / str(number)).mkdir()
        said[number] = Bench(tmp_path / str(number)).run(f"sleep 0.{number}; echo {number}")

    threads = [threading.Thread(target=one, args=(n,)) for n in range(1, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == {n: f"exit code 0\n{n}" for n in range(1, 6)}


# -- the parts


def test_processes_are_found_by_their_mark_and_by_their_parent() -> None:
    mark = f"MARK={os.getpid()}-{time.monotonic()}"
    name, _, value = mark.partition("=")
    child = subprocess.Popen(["sleep", "300"], env={name: value, "PATH": os.environ["PATH"]})
    until(lambda: child.pid in marked_processes(mark.encode()))
    assert child.pid in children(os.getpid())
    assert child.pid in supervisor.descendants()
    kill_marked(mark.encode())
    assert child.wait() == -signal.SIGKILL
    assert list(marked_processes(mark.encode())) == []


def test_children_that_appeared_are_ended_and_those_before_are_spared() -> None:
    before = subprocess.Popen(["sleep", "300"])
    spared = children(os.getpid())
    after = subprocess.Popen(["sleep", "300"])
    kill_children(spared)
    assert not is_alive(after.pid)
    assert is_alive(before.pid)
    before.kill()
    before.wait()
    after.wait()


def test_what_was_found_is_stopped_then_ended_and_counted() -> None:
    child = subprocess.Popen(["sleep", "300"])

    def find() -> list[int]:
        return [child.pid] if is_alive(child.pid) else []

    assert supervisor.end_descendants(find) == 1
    assert child.wait() in (-signal.SIGKILL, 0)  # 0: somebody else has reaped it
