"""A model with a shell, through the whole worker: what it may do, and what it cannot falsify."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from claude.client.types import Call, Reply
from claude.engines.own_checks import LIMIT_S
from claude.engines.tools import build_tools
from claude.prompts import load_executor_prompt, load_prompt
from core.bundle import (
    AttemptDir,
    ContractFile,
    Limits,
    ModelSettings,
    Request,
    SimulationSettings,
    claim,
    read_result,
    read_spent,
    write_request,
)
from core.checks.sandbox import Bare, Sandbox
from core.clock import Clock, StoppableClock, SystemClock
from core.credentials import Credentials
from core.errors import BundleError
from core.job import JobKey, Outcome, TaskResult
from core.plan import Task
from core.workspace.confined import remove_tree
from executor_agent import ExecutorAgent
from tests.fakes.scripted_claude import (
    USAGE,
    Answer,
    ScriptedClaude,
    ScriptedConnect,
    act,
    say,
    tool_results,
    use,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")

SECRET = "sk-ant-canary-0123456789"
KEY = JobKey("r1", "store", 1)
CONTRACT, CONTRACT_TEXT = "app/types.py", b"PORT = 8000\n"
WRITE = use("write_file", path="src/a.py", content="A = 1\n")
SUBMIT = use("submit_result", summary="Wrote it.")
DONE = act(WRITE, SUBMIT)


class Bench:
    """An attempt, and a worker for it that lets the model run commands."""

    def __init__(self, root: Path) -> None:
        self.attempt = AttemptDir(root / "attempt")
        self.claude = ScriptedClaude([])
        self.clock: Clock = SystemClock()
        self.limits = Limits(timeout_s=60.0)
        self.model = ModelSettings(allow_commands=True)
        self.echoed: list[str] = []
        self.checks: tuple[str, ...] = ()
        self.sandbox: Sandbox | None = None
        self.is_whole = False

    def write(self) -> None:
        (self.attempt.inputs / "app").mkdir(parents=True)
        (self.attempt.inputs / CONTRACT).write_bytes(CONTRACT_TEXT)
        (self.attempt.inputs / "lib.py").write_text("import app\n")
        task = Task(
            id=KEY.task,
            title="The store",
            instructions="Write the store.",
            owns=("src/",),
            checks=self.checks,
            estimate=100,
        )
        contract = ContractFile(CONTRACT, hashlib.sha256(CONTRACT_TEXT).hexdigest())
        brief, whole = "# Store\n", self.is_whole
        request = Request(
            KEY, "Build", brief, task, (contract,), self.model, self.limits, is_whole=whole
        )
        write_request(self.attempt, request)

    def run(self, *answers: Answer, contained: bool = False) -> TaskResult:
        if not self.attempt.task_json.exists():
            self.write()
        self.claude = ScriptedClaude(answers, forever=True)
        agent = ExecutorAgent(
            Credentials(anthropic_api_key=SECRET),
            self.clock,
            connect=ScriptedConnect(self.claude),
            find_sandbox=lambda: self.sandbox,
            contained=contained,
            echo=self.echoed.append,
        )
        result = agent.run(self.attempt, "worker-1")
        assert result is not None
        assert result == read_result(self.attempt, KEY)
        assert {p.name for p in self.attempt.root.iterdir()} <= {
            *("request", "result", "claim", "work")
        }
        return result

    def said(self, number: int = 1) -> str:
        """What the command of the call before that request printed."""
        return str(tool_results(self.claude.calls[number])[0]["content"])


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    it = Bench(tmp_path)
    yield it
    remove_tree(it.attempt.root)  # some of it is more than pytest's own removal can take


def sh(command: str, **more: Any) -> dict[str, Any]:
    return use("run_command", command=command, **more)


# -- what is offered


def test_a_shell_is_offered_where_it_is_allowed_or_contained_and_nowhere_else(
    tmp_path: Path,
) -> None:
    for number, (allowed, contained) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        bench = Bench(tmp_path / str(number))
        bench.model = ModelSettings(allow_commands=bool(allowed))
        bench.run(DONE, contained=bool(contained))
        (call,) = bench.claude.calls
        offered = "run_command" in {tool["name"] for tool in call.tools}
        assert offered == bool(allowed or contained)
        assert call.system[0]["text"] == load_executor_prompt(commands=offered)
        tools = build_tools(bench.model.max_output_tokens, commands=offered)
        assert call.tools == tuple(tool.schema() for tool in tools.values())
    assert [*tools][-2:] == ["run_command", "submit_result"]


def test_without_a_shell_the_tasks_own_checks_are_run_on_a_copy(bench: Bench) -> None:
    bench.model, bench.sandbox = ModelSettings(), Bare()
    bench.is_whole = True
    bench.checks = ("cat src/a.py; rm -r src; touch lib.pyc", "echo spam; exit 3")
    result = bench.run(act(WRITE), act(use("run_checks")), act(SUBMIT))
    assert result.outcome is Outcome.OK
    assert bench.said(2) == (
        "$ cat src/a.py; rm -r src; touch lib.pyc\npassed in 0 s\n"
        "$ echo spam; exit 3\nexit code 3\nspam"
    )
    assert bench.attempt.files.joinpath("src/a.py").exists()
    assert bench.claude.calls[0].system[0]["text"] == load_executor_prompt(
        commands=False, checks=True
    )


def test_a_check_that_passed_takes_a_line_and_one_that_was_stopped_tells_the_limit(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("claude.engines.own_checks.LIMIT_S", 1.0)
    bench.model, bench.sandbox, bench.is_whole = ModelSettings(), Bare(), True
    bench.checks = ("yes | head -n 999; echo 12 passed in 3.45s", "echo begun; sleep 60")
    bench.run(act(WRITE), act(use("run_checks")), act(SUBMIT))
    assert bench.said(2) == (
        f"$ {bench.checks[0]}\npassed in 0 s, 12 tests\n$ {bench.checks[1]}\nstopped after 1 s."
        " It has more when the project is proven: submit if it is only slow, else find what it"
        " waits for.\nbegun"
    )


@pytest.mark.parametrize("tool", ["run_checks", "run_command"])
def test_a_submission_is_not_looked_at_before_a_failure_of_its_turn_was_seen(
    bench: Bench, tool: str
) -> None:
    calls = [sh("exit 3"), sh("true")]
    if tool == "run_checks":
        bench.model, bench.sandbox, bench.is_whole = ModelSettings(), Bare(), True
        bench.checks, calls = ("exit 3", "true"), [use(tool)]
    result = bench.run(act(WRITE, *calls, SUBMIT), act(SUBMIT))
    assert result.outcome is Outcome.OK  # as it is, if the model means it so
    refused = tool_results(bench.claude.calls[1])[-1]["content"]
    assert f"Not looked at, since {tool} of this turn did not pass." in refused


def test_the_tool_tells_how_long_a_check_may_take() -> None:
    tool = build_tools(1_000, commands=False, checks=True)["run_checks"]
    assert f"at most {LIMIT_S:.0f} s" in tool.description


@pytest.mark.parametrize(
    ("model", "contained", "is_whole", "is_offered"),
    [
        (ModelSettings(), False, True, True),
        (ModelSettings(), False, False, False),
        (ModelSettings(allow_commands=True), False, True, False),
        (ModelSettings(), True, True, False),
        (ModelSettings(simulation=SimulationSettings()), False, True, False),
    ],
)
def test_checks_are_offered_where_the_project_is_whole_and_there_is_no_shell(
    bench: Bench, model: ModelSettings, contained: bool, is_whole: bool, is_offered: bool
) -> None:
    bench.model, bench.sandbox, bench.is_whole = model, Bare(), is_whole
    bench.checks = ("true",)
    bench.run(DONE, contained=contained)
    names = {tool["name"] for tool in bench.claude.calls[0].tools}
    assert ("run_checks" in names) == is_offered


NODE = """#!/bin/sh
[ "$1" = --check ] || exit 9
grep -q '(1;' "$2" || exit 0
printf '%s\\n' "$2:1" "$(cat "$2")" '          ^' '' "SyntaxError: Unexpected token ';'" >&2
exit 1
"""


def test_scripts_are_shown_to_node_where_it_may_be_run(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = tmp_path / "bin" / "node"
    node.parent.mkdir()
    node.write_text(NODE)
    node.chmod(0o755)
    monkeypatch.setenv("PATH", f"{node.parent}:{os.environ['PATH']}")
    writes = [
        use("write_file", path="src/it's.js", content="const a = (1;\n"),
        use("write_file", path="src/b.mjs", content="const a = 1;\n"),
        use("write_file", path="src/c.ts", content="const a = (1;\n"),
    ]
    bench.run(act(*writes), DONE)
    said = [str(result["content"]) for result in tool_results(bench.claude.calls[1])]
    fault = "not valid JavaScript: line 1: Unexpected token ';': const a = (1;"
    assert said == [
        f"wrote src/it's.js (1 line)\n{fault}",
        "wrote src/b.mjs (1 line)",
        "wrote src/c.ts (1 line)",
    ]


@pytest.mark.parametrize("shell", [True, False])
def test_scripts_are_not_judged_without_node_or_without_a_shell(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, shell: bool
) -> None:
    if shell:
        monkeypatch.setenv("PATH", "/nowhere")
    bench.model = ModelSettings(allow_commands=shell)
    bench.run(act(use("write_file", path="src/a.js", content="const a = (1;\n")), DONE)
    assert bench.said() == "wrote src/a.js (1 line)"


def test_the_instructions_agree_with_the_tools() -> None:
    with_shell, without = (load_executor_prompt(commands=c) for c in (True, False))
    assert "run_command" in with_shell
    assert "no shell" not in with_shell
    assert "run_command" not in without
    assert "You have no shell" in without
    for text in (with_shell, without):
        assert text.startswith(load_prompt("executor_team") + load_prompt("executor"))


def test_a_tool_that_is_not_offered_cannot_be_called(bench: Bench) -> None:
    bench.model = ModelSettings()
    bench.run(act(sh("touch ../x")), DONE)
    assert "There is no tool 'run_command'" in bench.said()
    assert not (bench.attempt.root / "x").exists()


# -- what it does


def test_the_model_can_run_what_it_wrote(bench: Bench) -> None:
    result = bench.run(
        act(WRITE),
        act(sh("python3 -c 'from src.a import A; print(A)' && cat lib.py")),
        act(sh("echo 2 > src/b.txt; exit 7", timeout_s=5)),
        act(SUBMIT),
    )
    assert bench.said(2) == "exit code 0\n1\nimport app"
    assert bench.said(3).startswith("exit code 7")
    assert not tool_results(bench.claude.calls[3])[0]["is_error"]
    assert (result.outcome, result.manifest.paths) == (Outcome.OK, ("src/a.py", "src/b.txt"))
    told = [json.loads(line).get("text") for line in bench.echoed]
    assert "runs echo 2 > src/b.txt; exit 7" in told


def test_each_line_of_the_events_is_echoed(bench: Bench) -> None:
    bench.run(act(sh(f"echo {SECRET}")), DONE)
    assert bench.attempt.events.read_text().splitlines() == bench.echoed
    assert [line for line in bench.echoed if "usage" in line]
    assert "runs echo ********" in "".join(bench.echoed)


def test_a_command_has_no_key_and_cannot_read_the_workers(bench: Bench) -> None:
    os_environ = os.environ.copy()
    os.environ["ANTHROPIC_API_KEY"] = SECRET
    try:
        bench.run(act(sh("env")), DONE)
    finally:
        os.environ.clear()
        os.environ.update(os_environ)
    assert SECRET not in bench.said()
    assert "HOME=" in bench.said()


@pytest.mark.parametrize("timeout", [0, -1, 1.5, "9"])
def test_a_bad_timeout_is_refused(bench: Bench, timeout: object) -> None:
    bench.run(act(sh("true", timeout_s=timeout)), DONE)
    assert tool_results(bench.claude.calls[1])[0]["is_error"]


def test_a_command_past_its_time_is_reported_and_the_work_goes_on(bench: Bench) -> None:
    assert bench.run(act(sh("sleep 300", timeout_s=1)), DONE).outcome is Outcome.OK
    assert bench.said() == "stopped: it was not done within 1 s\n(no output)"


def test_the_attempts_limit_ends_a_command_and_the_attempt(bench: Bench) -> None:
    bench.limits = Limits(timeout_s=1.0)
    started = time.monotonic()
    result = bench.run(act(sh("sleep 300")), DONE)
    assert time.monotonic() - started < 20
    assert (result.outcome, result.usage) == (Outcome.INTERRUPTED, (USAGE,))


def test_a_stop_ends_a_command_and_the_attempt(bench: Bench) -> None:
    stop = threading.Event()
    bench.clock = StoppableClock(stop)
    timer = threading.Timer(1.0, stop.set)
    timer.start()
    result = bench.run(act(sh("trap '' TERM; sleep 300")), DONE)
    timer.join()
    assert (result.outcome, result.usage) == (Outcome.INTERRUPTED, (USAGE,))


# -- what is too much, or no file


MANY = "import os; [os.close(os.open(f'src/{n}', os.O_CREAT)) for n in range(50_000)]"


@pytest.mark.slow
def test_fifty_thousand_files_are_refused_with_the_limit(bench: Bench) -> None:
    result = bench.run(act(sh(f'mkdir src; python3 -c "{MANY}"')), act(SUBMIT))
    assert "[too much for a result, remove some of it: 50,000 files; at most 10,000]" in (
        bench.said()
    )
    assert result.outcome is Outcome.DEFECT
    assert "50,000 files; at most 10,000" in result.message
    assert result.manifest.entries == ()


@pytest.mark.parametrize("contained", [False, True])
def test_too_much_can_be_put_right(bench: Bench, contained: bool) -> None:
    bench.limits = Limits(max_files=100)
    result = bench.run(
        act(sh("mkdir src; cd src; touch $(seq 101)")),
        act(SUBMIT),
        act(sh("rm src/*")),
        DONE,
        contained=contained,
    )
    assert "101 files; at most 100" in bench.said(1)
    assert "101 files; at most 100" in bench.said(2)
    assert (result.outcome, result.manifest.paths) == (Outcome.OK, ("src/a.py",))


@pytest.mark.parametrize(
    "command",
    [
        "truncate -s 1G src/big",
        "head -c 1G /dev/zero > src/big",
        "for n in 1 2 3 4 5; do truncate -s 60M src/$n; done",
    ],
)
def test_a_gibibyte_is_refused_sparse_or_not(bench: Bench, command: str) -> None:
    bench.limits = Limits(max_bytes=100 * 1024 * 1024)
    result = bench.run(act(sh(f"mkdir src; {command}; ls -l src")), act(SUBMIT), act(SUBMIT))
    if "60M" in command:
        assert "314,572,800 bytes; at most 104,857,600" in bench.said()
        assert result.outcome is Outcome.DEFECT
        assert "314,572,800 bytes; at most 104,857,600" in result.message
    else:
        assert "File size limit exceeded" in bench.said()
    sizes = [path.stat().st_size for path in bench.attempt.result.rglob("*")]
    assert sum(sizes) <= 101 * 1024 * 1024


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("ln -s /etc/passwd src/x", "'src/x' is a symbolic link"),
        ("mkfifo src/x", "'src/x' is a special file"),
        ("touch src/x; chmod 000 src/x", "'src/x' may not be read"),
        ("mkdir src/x; touch src/x/y; chmod 000 src/x", "'src/x' is closed to its owner"),
        ("touch $(printf 'src/\\377')", "has characters that are not valid Unicode"),
        ("touch stray", "'stray' is on no path that this task owns"),
        ("rm -r src; ln -s /tmp src", "'src' is on no path"),
        ("echo x > app/types.py", "the contract 'app/types.py' was changed and has been restored"),
        ("rm -r app; ln -s /tmp app", "'app/types.py' was changed and cannot be restored"),
        ("rm lib.py; mkfifo lib.py", "'lib.py' was changed and has been restored"),
        ("truncate -s 200M lib.py", "'lib.py' was changed and has been restored"),
        (
            'python3 -c \'import os\nfor _ in range(3000): os.mkdir("d"); os.chdir("d")\'',
            "is longer than 240",
        ),
        ('mkdir -p $(python3 -c \'print("src/" + "d/" * 300)\')', "is longer than 240"),
    ],
)
def test_what_is_no_result_is_reported_and_ends_as_a_defect(
    bench: Bench, command: str, words: str
) -> None:
    result = bench.run(act(WRITE), act(sh(command)), act(SUBMIT))
    assert words in bench.said(3)
    assert result.usage == (USAGE,) * len(bench.claude.calls)
    if "restored" not in words or "cannot" in words:
        assert result.outcome is Outcome.DEFECT
        assert words in result.message
        assert result.manifest.entries == ()
    else:
        assert result.outcome is Outcome.OK


def test_an_input_changed_at_its_source_too_ends_the_attempt(bench: Bench) -> None:
    command = "echo 'PORT = 1' | tee app/types.py > ../request/inputs/app/types.py"
    result = bench.run(act(WRITE), act(sh(command)), act(SUBMIT))
    assert result.outcome is Outcome.DEFECT
    assert "'app/types.py' was changed, and so was the copy" in result.message
    assert len(bench.claude.calls) == 3


# -- what it cannot falsify


TAMPERING = {
    "forged events": "echo '{\"usage\": {}}' > ../result/events.jsonl",
    "events gone": "rm ../result/events.jsonl",
    "events elsewhere": "ln -sf $TMPDIR/../../../victim ../result/events.jsonl",
    "events hang": "rm ../result/events.jsonl; mkfifo ../result/events.jsonl",
    "log and transcript": "cd ../result; rm *t*; mkdir -p log.txt/x; mkfifo transcript.jsonl",
    "result forged": "echo '{}' > ../result/result.json",
    "result a directory": "mkdir -p ../result/result.json/x",
    "result elsewhere": "ln -s /dev/full ../result/result.json",
    "all gone": "rm -r ../result ../request ../claim",
    "all elsewhere": "rm -r ../result; mkdir ../../there; ln -s ../there ../result",
    "a pipe for all": "rm -r ../result; mkfifo ../result",
    "files planted": "mkdir -p ../result/files/src; cd ../result/files; touch evil src/b",
    "files elsewhere": "ln -s / ../result/files",
    "other things": "cd ../result; mkdir -p more/x; truncate -s 1G big; chmod 0 more",
    "closed": "chmod 000 ../result ../result/events.jsonl",
    "request": "echo '{}' > ../request/task.json; rm -r ../request/inputs",
    "claim": "rm ../claim; mkfifo ../claim",
}


@pytest.mark.parametrize(
    ("way", "last"),
    [
        *((way, DONE) for way in TAMPERING),
        *((way, say("no", "refusal")) for way in ("all gone", "files planted")),
    ],
    ids=lambda given: given if isinstance(given, str) else given.stop_reason,
)
def test_tampering_beside_the_workspace_changes_no_result(
    bench: Bench, tmp_path: Path, way: str, last: Reply
) -> None:
    command = TAMPERING[way]
    victim = tmp_path / "victim"
    victim.write_text("theirs\n")
    result = bench.run(act(sh(command)), act(sh(command)), last)
    good = last is DONE
    assert result.outcome is (Outcome.OK if good else Outcome.REFUSED)
    assert result.usage == (USAGE,) * 3
    assert result.manifest.paths == (("src/a.py",) if good else ())
    attempt = bench.attempt
    assert not attempt.result.is_symlink()
    names = {"events.jsonl", "log.txt", "transcript.jsonl", "result.json"}
    assert {p.name for p in attempt.result.iterdir()} == names | ({"files"} if good else set())
    assert attempt.events.read_text().splitlines() == bench.echoed
    assert list(read_spent(attempt)) == [USAGE] * 3
    lines = [json.loads(line) for line in attempt.transcript.read_text().splitlines()]
    assert [line.get("turn") for line in lines] == [None, 1, 2, 3, None]
    assert str(result.outcome) in attempt.log.read_text()
    assert victim.read_text() == "theirs\n"


@pytest.mark.parametrize("place", ["claim", "result/result.json", "result/events.jsonl"])
def test_a_pipe_in_place_of_a_file_hangs_no_later_worker(bench: Bench, place: str) -> None:
    bench.write()
    assert claim(bench.attempt, "worker-1")
    path = bench.attempt.root / place
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    os.mkfifo(path)
    if place == "claim":
        assert not claim(bench.attempt, "worker-1")
        return
    with pytest.raises(BundleError):
        read_result(bench.attempt, KEY)
    assert bench.run(DONE).outcome is Outcome.OK


def test_what_a_command_left_running_changes_nothing_later(bench: Bench) -> None:
    forge = "while :; do echo '{}' > ../result/result.json; echo evil > src/a.py; done"
    result = bench.run(act(WRITE), act(sh(f'(setsid env -i sh -c "{forge}" &) ; sleep 0.2')), DONE)
    assert "[2 process(es)" in bench.said(2) or "[1 process(es)" in bench.said(2)
    time.sleep(0.2)
    assert (bench.attempt.files / "src/a.py").read_text() == "A = 1\n"
    assert read_result(bench.attempt, KEY) == result


def test_a_disk_that_failed_in_the_middle_leaves_a_result_all_the_same(bench: Bench) -> None:
    def break_off(_: Call) -> Reply:
        raise OSError(28, "No space left on device")

    result = bench.run(act(WRITE), break_off)
    assert result.outcome is Outcome.DEFECT
    assert "No space left on device" in result.message
    assert result.usage == (USAGE,)


# -- the simulation


def simulated(bench: Bench, faults: str = "", *, allowed: bool = True) -> TaskResult:
    bench.checks = ("python3 -m unittest",)
    simulation = SimulationSettings(speed=0.0, faults=faults)
    bench.model = ModelSettings(allow_commands=allowed, simulation=simulation)
    if not bench.attempt.task_json.exists():
        bench.write()
    agent = ExecutorAgent(Credentials(), SystemClock(), echo=bench.echoed.append)
    result = agent.run(bench.attempt, "worker-1")
    assert result is not None
    return result


def test_a_simulated_executor_looks_at_what_it_wrote_with_a_command(bench: Bench) -> None:
    result = simulated(bench)
    assert result.outcome is Outcome.OK
    runs = [line for line in bench.echoed if '"runs python3' in line]
    assert len(runs) == 1
    assert "exit code 0" in bench.attempt.transcript.read_text()


@pytest.mark.slow
def test_a_simulated_model_that_snoops_leaves_the_same_files(tmp_path: Path) -> None:
    plain, snooping = Bench(tmp_path / "1"), Bench(tmp_path / "2")
    first = simulated(plain)
    second = simulated(snooping, "snooping=1")
    assert (second.outcome, second.manifest) == (Outcome.OK, first.manifest)
    assert second.turns == first.turns + 1
    assert [line for line in snooping.echoed if '"runs env; exec python3' in line]
    assert " found; " in snooping.attempt.transcript.read_text()


def test_without_a_shell_the_simulated_files_are_the_same_and_nothing_is_run(
    tmp_path: Path,
) -> None:
    with_shell, without = Bench(tmp_path / "1"), Bench(tmp_path / "2")
    first = simulated(with_shell)
    second = simulated(without, "snooping=1", allowed=False)
    assert second.manifest == first.manifest
    assert second.turns == first.turns - 1
    assert [line for line in without.echoed if '"runs ' in line] == []
