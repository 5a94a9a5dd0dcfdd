"""The command line as a person or a script meets it: whole runs, simulated and over loopback."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import orchestrator
from claude.simulation.server import serve
from core.bundle import SimulationSettings, build_manifest
from core.clock import SystemClock
from core.plan import parse_plan
from engine.planning.plan_file import read_plan
from tests.fakes.scripted_server import Told, api_refusal, hello, scripted_server
from tests.fakes.surroundings import free_port
from tests.fakes.waiting import until

pytestmark = pytest.mark.slow  # starts many processes, or waits

ROOT = Path(__file__).parents[2]
PROMPT = "Build a todo list app with add/delete/complete"
FAST = ("--sim-speed", "0")
ALL_FAULTS = (
    "rate_limit=0.1,overloaded=0.05,server_error=0.05,disconnect=0.05,truncate=0.1,"
    "bad_plan=0.5,bad_tool=0.1,escape=0.2,wrong_files=0.2,refusal=0.05"
)


@pytest.fixture(autouse=True)
def _surroundings(clean_here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    # what a project's tests compile would lie in the tree that is compared
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def orchestrate(*args: str) -> int:
    return orchestrator.main(list(args))


def tree(path: Path) -> str:
    return hashlib.sha256(repr(build_manifest(path)).encode()).hexdigest()


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree of PROMPT with seed 0, by a run of its own."""
    place = tmp_path_factory.mktemp("expected")
    args = [PROMPT, *FAST, "--quiet", "--max-executors", "1"]
    where = ["--output-dir", str(place / "out"), "--work-dir", str(place / "work")]
    assert orchestrate(*args, *where) == 0
    return place / "out"


def python(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *args], cwd=cwd, capture_output=True, text=True, timeout=60
    )


class Terminal(io.TextIOWrapper):
    """Standard input on which somebody types `answer`."""

    def __init__(self, answer: str) -> None:
        super().__init__(io.BytesIO(answer.encode()), encoding="utf-8")

    def isatty(self) -> bool:
        return True


# -- the main job


def test_the_generated_project_passes_its_own_tests(expected: Path) -> None:
    done = python("-m", "unittest", "discover", "-s", "tests", "-t", ".", cwd=expected)
    assert done.returncode == 0, done.stderr
    assert "Ran 0 tests" not in done.stderr


def test_todos_can_be_added_completed_and_deleted_on_the_command_line(
    expected: Path, tmp_path: Path
) -> None:
    store = ("--data", str(tmp_path / "todos.json"))

    def app(*args: str) -> str:
        done = python("-m", "todo_app", *store, *args, cwd=expected)
        assert done.returncode == 0, done.stderr
        return done.stdout

    app("add", "Buy milk")
    app("add", "Wash car")
    assert "Buy milk" in app("list")
    app("complete", "1")
    app("delete", "2")
    left = app("list")
    assert "Buy milk" in left
    assert "Wash car" not in left


def test_todos_can_be_managed_through_the_page(expected: Path, tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "todo_app", "--data", str(tmp_path / "t.json"), "serve"]
    with subprocess.Popen([*command, "--port", str(port)], cwd=expected) as server:
        try:
            base = f"http://127.0.0.1:{port}"
            until(lambda: answers(base))
            body = json.dumps({"title": "Buy <milk>"}).encode()
            request = urllib.request.Request(f"{base}/api/todos", body, method="POST")
            request.add_header("Content-Type", "application/json")
            with urllib.request.urlopen(request, timeout=10) as reply:
                assert reply.status == 201
            with urllib.request.urlopen(base, timeout=10) as reply:
                page = reply.read().decode()
            assert "Buy &lt;milk&gt;" in page
            assert "<milk>" not in page
        finally:
            server.terminate()


def answers(base: str) -> bool:
    try:
        with urllib.request.urlopen(base, timeout=5):
            return True
    except OSError:
        return False


def test_neither_the_number_of_executors_nor_the_seed_changes_the_tree(expected: Path) -> None:
    other = ("--max-executors", "8", "--sim-seed", "7")
    assert orchestrate(PROMPT, *FAST, *other, "--output-dir", "out", "--quiet") == 0
    assert tree(Path("out")) == tree(expected)


def test_a_random_plan_of_many_tasks_is_carried_out_and_says_that_it_is_random(
    capsys: pytest.CaptureFixture[str],
) -> None:
    many = ("--sim-tasks", "60", "--max-executors", "20")
    assert orchestrate("Build it", *FAST, *many, "--output-dir", "out") == 0
    assert len(succeeded()) == 60
    assert len(list(Path("out/files").iterdir())) == 60
    notice = "Simulated: a random plan of 60 tasks. Your prompt was not read by Claude;"
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.count(notice) == 2  # when it is planned, and in the summary
    assert Path("out/README.md").read_text().startswith(notice)


def test_a_plan_of_a_person_is_carried_out_with_placeholders(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert orchestrate("plan", "x y", *FAST, "--sim-tasks", "3", "-o", "plan.json") == 0
    edited = {**json.loads(Path("plan.json").read_text()), "title": "Mine"}
    edited["tasks"][0]["owns"] = ["mine.py", "docs/"]
    Path("plan.json").write_text(json.dumps(edited))
    assert orchestrate("--plan", "plan.json", *FAST, "--output-dir", "out") == 0
    assert 'the plan "Mine" with sample or placeholder files' in capsys.readouterr().out
    for path in ("mine.py", "docs/README.md", "files/task-00002.txt"):
        assert "Simulated: a placeholder" in Path("out", path).read_text()


@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_question_gets_the_notice_that_a_simulation_cannot_answer_it(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert orchestrate(command, "what is 2+2", *FAST) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "A simulation cannot answer questions or change existing code" in shown
    assert 'Simulated: the sample project "todo list".' in shown


def test_bedrock_simulated_gives_the_same_tree(expected: Path) -> None:
    assert orchestrate(PROMPT, *FAST, "--docker-use-bedrock", "--output-dir", "out") == 0
    assert tree(Path("out")) == tree(expected)


@pytest.fixture
def simulated_api() -> Iterator[str]:
    with serve(0, SimulationSettings(seed=0, speed=0), SystemClock()) as server:
        yield server.base_url


def test_real_over_loopback_gives_the_same_tree(
    expected: Path, simulated_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-canary-1")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", simulated_api)
    assert orchestrate(PROMPT, "--real", "--output-dir", "out") == 0
    assert tree(Path("out")) == tree(expected)
    assert_nowhere("sk-canary-1")


def test_real_bedrock_over_loopback_gives_the_same_tree(
    expected: Path, simulated_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIACANARY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-secret")
    monkeypatch.setenv("ANTHROPIC_BEDROCK_BASE_URL", simulated_api)
    assert orchestrate(PROMPT, "--real", "--provider", "bedrock", "--output-dir", "out") == 0
    assert tree(Path("out")) == tree(expected)
    assert_nowhere("AKIACANARY", "canary-secret")


def assert_nowhere(*secrets: str) -> None:
    files = [path for path in Path.cwd().rglob("*") if path.is_file()]
    assert len(files) > 50
    for path in files:
        data = path.read_bytes()
        assert not any(secret.encode() in data for secret in secrets), path


# -- faults


@pytest.mark.parametrize("seed", range(3))
def test_under_all_faults_at_once_the_tree_is_the_same_or_the_failure_is_named(
    seed: int, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before = {path for path in tmp_path.parent.iterdir() if path != tmp_path}
    args = (PROMPT, *FAST, "--sim-seed", str(seed))
    assert orchestrate(*args, "--output-dir", "plain", "--quiet") == 0
    code = orchestrate(*args, "--output-dir", "faulty", "--sim-faults", ALL_FAULTS)
    output = capsys.readouterr()
    if code == 0:
        assert tree(Path("faulty")) == tree(Path("plain"))
    else:
        assert code == 1
        assert "failed" in output.out
        assert "No valid plan after" in output.err or "  failed    " in output.out
    assert {path for path in tmp_path.parent.iterdir() if path != tmp_path} == before
    assert {path.name for path in tmp_path.iterdir()} <= {"plain", "faulty", ".orchestrator"}


def test_a_failed_task_blocks_its_descendants_only_and_the_rest_is_delivered(
    expected: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = (PROMPT, *FAST, "--sim-faults", "refusal=0.15", "--max-retries", "1", "--json")
    for seed in range(5, 40):  # the first has them, unless the sample has changed
        code = orchestrate(*args, "--sim-seed", str(seed), "--output-dir", f"out-{seed}")
        events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        ends = {e["task"]: e["data"]["state"] for e in events if e["kind"] == "task_ended"}
        if {"FAILED", "BLOCKED", "SUCCEEDED"} <= set(ends.values()):
            break
    else:
        pytest.fail("no seed had a failure, a blocked task and a success")
    assert code == 1
    needs = {t[0]: t[2] for e in events if e["kind"] == "plan_ready" for t in e["data"]["tasks"]}
    for task, state in ends.items():
        bad = any(ends[name] != "SUCCEEDED" for name in needs[task])
        assert bad == (state == "BLOCKED"), task
    delivered = next(e for e in events if e["kind"] == "delivered")["data"]
    assert delivered["files"] == len(build_manifest(Path(f"out-{seed}")).entries)

    assert orchestrate("resume", "last", "--sim-faults", "", *FAST) == 0
    assert tree(Path(f"out-{seed}")) == tree(expected)


# -- stopping and going on


def start(*args: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "orchestrator.py"), *args]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def journal() -> list[dict[str, object]]:
    files = sorted(Path(".orchestrator/runs").glob("*/journal.jsonl"))
    text = files[-1].read_text() if files else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def succeeded() -> dict[str, object]:
    return {
        str(e["task"]): e["attempt"]
        for e in journal()
        if e["kind"] == "task_ended" and e["data"]["state"] == "SUCCEEDED"  # type: ignore[index]
    }


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -9)]
)
def test_a_run_that_was_stopped_goes_on_where_it_was(
    number: int, code: int, expected: Path
) -> None:
    with start(PROMPT, "--sim-speed", "8", "--output-dir", "out", "--max-executors", "3") as run:
        try:
            until(lambda: len(succeeded()) >= 2)
            run.send_signal(number)
            run.communicate(timeout=30)
        finally:
            run.kill()
    assert run.returncode == code
    assert not Path("out").exists()
    done = succeeded()
    begun = [(e["task"], e["attempt"]) for e in journal() if e["kind"] == "job_intended"]

    assert orchestrate("resume", "last", *FAST) == 0
    assert tree(Path("out")) == tree(expected)
    again = [(e["task"], e["attempt"]) for e in journal() if e["kind"] == "job_intended"]
    assert not [task for task, _ in again[len(begun) :] if task in done]
    ended = [(e["task"], e["attempt"]) for e in journal() if e["kind"] == "job_ended"]
    assert len(set(ended)) == len(ended), "a job key ran twice"
    assert {task: succeeded()[task] for task in done} == done


def test_a_second_orchestrator_is_kept_off_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    with start(PROMPT, "--sim-speed", "2", "--output-dir", "out") as run:
        try:
            until(lambda: bool(journal()))
            assert orchestrate("resume", "last") == 2
            assert "is being worked on by process" in capsys.readouterr().err
            assert orchestrate("runs") == 0
            assert "running" in capsys.readouterr().out
        finally:
            run.kill()
            run.communicate()


def test_a_delivery_that_was_changed_is_not_replaced(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert orchestrate(PROMPT, *FAST, "--output-dir", "out") == 0
    assert orchestrate("resume", "last", *FAST) == 0
    Path("out/README.md").write_text("mine now")
    assert orchestrate("resume", "last", *FAST) == 2
    assert "was changed after its delivery" in capsys.readouterr().err
    assert Path("out/README.md").read_text() == "mine now"
    assert orchestrate("resume", "last", *FAST, "--output-dir", "other") == 0
    assert Path("other/README.md").exists()


def test_a_result_that_was_changed_is_made_again(expected: Path) -> None:
    assert orchestrate(PROMPT, *FAST, "--output-dir", "out") == 0
    found = sorted(Path(".orchestrator").glob("runs/*/tasks/docs/1/result/files/README.md"))
    found[0].write_text("tampered with")
    assert orchestrate("resume", "last", *FAST) == 0
    assert tree(Path("out")) == tree(expected)
    assert succeeded()["docs"] == 2


# -- errors of the provider


class _Refusing(http.server.BaseHTTPRequestHandler):
    """Lets the preflight pass and refuses everybody after that: keys may be withdrawn."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if asked["max_tokens"] == 1:
            self._accept(hello())
            return
        body = json.dumps(
            {"type": "error", "error": {"type": "authentication_error", "message": "invalid key"}}
        ).encode()
        self.send_response(401)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _accept(self, told: Told) -> None:
        self.send_response(told.status)
        for name, value in told.headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(told.body)))
        self.end_headers()
        self.wfile.write(told.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        pass


@pytest.fixture
def refusing_api() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Refusing)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_refused_credentials_stop_the_run_and_leave_it_resumable(
    refusing_api: str,
    expected: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert orchestrate("plan", PROMPT, *FAST, "-o", "plan.json", "--quiet") == 0
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-canary-2")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", refusing_api)
    args = ("--plan", "plan.json", "--prompt-file", "prompt.txt", "--output-dir", "out")
    Path("prompt.txt").write_text(PROMPT)
    assert orchestrate(*args, "--real") == 4
    output = capsys.readouterr()
    assert "resume" in output.out
    assert "sk-canary-2" not in output.out + output.err
    monkeypatch.delenv("ANTHROPIC_BASE_URL")
    with serve(0, SimulationSettings(seed=0, speed=0), SystemClock()) as server:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.base_url)
        assert orchestrate("resume", "last") == 0
    assert tree(Path("out")) == tree(expected)


def test_planning_with_refused_credentials_is_exit_code_4(
    refusing_api: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-canary-3")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", refusing_api)
    assert orchestrate(PROMPT, "--real", "--output-dir", "out") == 4
    assert "ANTHROPIC_API_KEY" in capsys.readouterr().err
    assert not Path("out").exists()


@pytest.mark.parametrize("command", ["run", "plan"])
def test_credentials_that_the_preflight_finds_refused_are_exit_code_3(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refusal = api_refusal(401, "authentication_error", "invalid x-api-key")
    with scripted_server(refusal) as server:
        monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-canary-4")
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        assert orchestrate(command, PROMPT, "--real") == 3
        assert len(server.asked) == 1
    told = capsys.readouterr()
    assert "invalid x-api-key" in told.err
    assert "expected" not in told.err + told.out
    assert list(Path.cwd().iterdir()) == []


def test_what_the_preflight_took_is_in_the_journal(
    simulated_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-canary-5")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", simulated_api)
    prompt = "Write a script that counts words in a file"
    assert orchestrate(prompt, "--real", "--output-dir", "out", "--quiet") == 0
    spent = [e["data"]["usage"] for e in journal() if "usage" in e["data"]]  # type: ignore[index, operator]
    assert spent[0]["output_tokens"] == 1


# -- plans


@pytest.mark.parametrize("name", ["plan.json", "plan.toml"])
def test_a_plan_can_be_written_edited_and_run(name: str, expected: Path) -> None:
    assert orchestrate("plan", PROMPT, *FAST, "-o", name) == 0
    path = Path(name)
    assert 4 <= len(read_plan(path).tasks) <= 12
    path.write_text(path.read_text().replace('"Todo List"', '"Mine"', 1))
    assert read_plan(path).title == "Mine"
    assert orchestrate(PROMPT, "--plan", name, *FAST, "--output-dir", "out") == 0
    assert tree(Path("out")) == tree(expected)


def test_plan_shows_tasks_and_forecast_and_writes_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert orchestrate("plan", PROMPT, *FAST) == 0
    output = capsys.readouterr().out
    assert "Forecast" in output
    assert all(len(line) <= 80 for line in output.splitlines())
    assert list(tmp_path.iterdir()) == []
    assert orchestrate("plan", PROMPT, *FAST, "--json") == 0
    assert parse_plan(capsys.readouterr().out, "stdout").tasks


def test_a_small_job_is_one_task() -> None:
    assert orchestrate("Write a hello world script", *FAST, "--output-dir", "out") == 0
    assert len(succeeded()) == 1


# -- what a script sees


def test_json_output_is_one_event_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert orchestrate(PROMPT, *FAST, "--output-dir", "out", "--json") == 0
    output = capsys.readouterr()
    kinds = [json.loads(line)["kind"] for line in output.out.splitlines()]
    assert kinds[0] == "run_started"
    assert kinds[-1] == "run_ended"
    assert output.err == ""


def test_runs_lists_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert orchestrate("runs") == 0
    assert "No runs" in capsys.readouterr().out
    assert orchestrate(PROMPT, *FAST, "--output-dir", "out", "--quiet") == 0
    capsys.readouterr()
    assert orchestrate("runs", "--json") == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["state"], row["prompt"]) == ("succeeded", PROMPT)
    assert row["tokens"] > 0
    assert orchestrate("runs") == 0
    assert "Todo List: Build a" in capsys.readouterr().out


def test_a_run_its_tasks_and_their_logs_can_be_read_after_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert orchestrate(PROMPT, *FAST, "--output-dir", "out", "--quiet") == 0
    assert orchestrate("show", "last") == 0
    assert "Data file and field checks" in capsys.readouterr().out
    assert orchestrate("show", "last", "storage", "--verbose") == 0
    content = Path("out/todo_app/storage.py").read_text()
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert {line.strip() for line in content.splitlines()} <= set(lines)
    assert orchestrate("logs", "last", "storage") == 0
    assert "wrote todo_app/storage.py" in capsys.readouterr().out
    assert orchestrate("show", "last", "nothing") == 2
    assert "storage" in capsys.readouterr().err


# -- bad input: one message with the remedy, and nothing written

CYCLE = {
    "title": "t",
    "summary": "s",
    "analysis": {
        "complexity": 2,
        "rationale": "r",
        "recommended_executors": 1,
        "parallel_pays": True,
    },
    "contracts": [],
    "tasks": [
        {
            "id": name,
            "title": name,
            "instructions": "i",
            "depends_on": [other],
            "owns": [f"{name}.py"],
            "checks": [],
            "estimate": 10,
        }
        for name, other in (("a", "b"), ("b", "a"))
    ],
    "acceptance_criteria": [{"text": "c", "served_by": ["a"]}],
}

BAD = [
    (("",), 2, "empty"),
    (("   ",), 2, "empty"),
    (("--prompt-file", "binary.bin"), 2, "not text"),
    (("--prompt-file", "absent.txt"), 2, "No such file"),
    ((PROMPT, "--max-executors", "0"), 2, "max-executors"),
    ((PROMPT, "--max-executors", "-3"), 2, "max-executors"),
    ((PROMPT, "--max-executors", "many"), 2, "max-executors"),
    ((PROMPT, "--backend", "kubernetes"), 2, "threading"),
    ((PROMPT, "--output-dir", "full"), 2, "not empty"),
    ((PROMPT, "--output-dir", "a-file"), 2, "a-file"),
    ((PROMPT, "--output-dir", "a-file/below"), 2, "a-file"),
    ((PROMPT, "--output-dir", "."), 2, "current directory"),
    ((PROMPT, "--work-dir", "a-file"), 2, "work directory"),
    ((PROMPT, "--plan", "cycle.json"), 2, "cycle"),
    ((PROMPT, "--plan", "binary.bin"), 2, "binary.bin"),
    ((PROMPT, "--plan", "absent.json"), 2, "absent.json"),
    ((PROMPT, "--real"), 3, "ANTHROPIC_API_KEY"),
    ((PROMPT, "--real", "--provider", "bedrock"), 3, "AWS"),
    ((PROMPT, "--sim-faults", "rate_limt=0.1"), 2, "rate_limit"),
    ((PROMPT, "--sim-faults", "refusal=7"), 2, "refusal"),
    ((PROMPT, "--sim-tasks", "0"), 2, "--sim-tasks"),
    ((PROMPT, "--sim-tasks", "10001"), 2, "from 1 to 10,000"),
    ((PROMPT, "--config", "absent.toml"), 2, "absent.toml"),
    ((PROMPT, "--config", "typo.toml"), 2, "max_executors"),
    ((PROMPT, "--no-such-option"), 2, "no-such-option"),
    ((PROMPT, "--approve"), 2, "--approve"),
    (("resume", "nothing"), 2, "no runs"),
    (("resum",), 2, "resume"),
    ((), 2, "prompt"),
]


@pytest.mark.parametrize(("args", "code", "words"), BAD, ids=lambda v: str(v)[:40])
def test_bad_input_gets_one_message_and_nothing_is_written(
    args: tuple[str, ...], code: int, words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "binary.bin").write_bytes(b"\xff\x00\xfe")
    (tmp_path / "a-file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "cycle.json").write_text(json.dumps(CYCLE))
    (tmp_path / "typo.toml").write_text("max_executers = 3\n")
    before = build_manifest(tmp_path)
    assert orchestrate(*args) == code
    output = capsys.readouterr()
    assert words.lower() in (output.err + output.out).lower()
    assert "Traceback" not in output.err
    assert build_manifest(tmp_path) == before


def test_an_internal_error_is_one_line_and_a_traceback_only_with_debug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> int:
        raise ZeroDivisionError("out of cheese")

    monkeypatch.setattr(orchestrator, "runs", broken)
    assert orchestrate("runs") == 1
    assert capsys.readouterr().err.startswith("error: Internal error: ZeroDivisionError")
    assert orchestrate("runs", "--debug") == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_plan_file_keeps_its_prompt(expected: Path) -> None:
    assert orchestrate("plan", PROMPT, *FAST, "-o", "plan.json", "--quiet") == 0
    assert orchestrate("--plan", "plan.json", *FAST, "--output-dir", "out") == 0
    assert tree(Path("out")) == tree(expected)


def test_the_simulated_api_serves_until_ctrl_c() -> None:
    with start("simulated-api", "--sim-speed", "0") as api:
        try:
            assert api.stdout is not None
            assert "http://127.0.0.1:" in api.stdout.readline()
            api.send_signal(signal.SIGINT)
            _, output = api.communicate(timeout=30)
        finally:
            api.kill()
    assert (api.returncode, output) == (0, "")


def test_a_work_directory_that_takes_no_more_is_named_and_the_run_can_go_on(expected: Path) -> None:
    script = 'ulimit -f 16; exec "$@"'  # no file of more than 8 KiB (16 blocks): the journal's end
    run = [sys.executable, str(ROOT / "orchestrator.py"), PROMPT, *FAST, "--output-dir", "out"]
    done = subprocess.run(
        ["sh", "-c", script, "sh", *run], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert "error: The work directory cannot be used: " in done.stderr
    assert "resume the run" in done.stderr
    assert "  continue  " in done.stdout
    assert not Path("out").exists()
    assert orchestrate("resume", "last", *FAST) == 0
    assert tree(Path("out")) == tree(expected)


@pytest.mark.parametrize(
    "place", ["a-directory", "nowhere/plan.json", "/proc/plan.json", "mine.json"]
)
def test_a_plan_that_could_not_be_kept_is_not_asked_for(
    place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("a-directory").mkdir()
    Path("mine.json").write_text("mine")
    assert orchestrate("plan", PROMPT, *FAST, "-o", place) == 2
    assert Path("mine.json").read_text() == "mine"
    output = capsys.readouterr()
    assert "The plan cannot be written to" in output.err
    assert "asking for a plan" not in output.err


def test_a_run_that_turns_to_another_target_settles_the_earlier_one_first() -> None:
    assert orchestrate(PROMPT, *FAST, "--output-dir", "one") == 0
    run_id = next(Path(".orchestrator/runs").glob("*/run.json")).parent.name
    Path("one").rename(f".one.replaced-{run_id}")  # killed between the two renames
    assert orchestrate("resume", "last", *FAST, "--output-dir", "two") == 0
    assert tree(Path("one")) == tree(Path("two"))
    assert not Path(f".one.replaced-{run_id}").exists()


def test_a_plan_that_is_not_approved_is_exit_code_1_and_the_question_is_no_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    assert orchestrate(PROMPT, *FAST, "--approve", "--json") == 1
    output = capsys.readouterr()
    kinds = [json.loads(line)["kind"] for line in output.out.splitlines()]
    assert kinds[-1] == "run_ended"
    assert "forecast" not in kinds
    assert "Carry out this plan?" in output.err


@pytest.mark.parametrize("cap", ["max-cost", "max-tokens"])
@pytest.mark.parametrize("by_environment", [False, True])
def test_plan_alone_heeds_the_caps_wherever_they_stand(
    cap: str, by_environment: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    amount = {"max-cost": "0.01", "max-tokens": "5000"}[cap]
    if by_environment:
        monkeypatch.setenv(f"ORCHESTRATOR_{cap.replace('-', '_').upper()}", amount)
        assert orchestrate("plan", PROMPT, *FAST, "-o", "plan.json") == 4
    else:
        assert orchestrate("plan", PROMPT, *FAST, "-o", "plan.json", f"--{cap}", amount) == 4
    assert not (tmp_path / "plan.json").exists()


def test_plan_alone_needs_a_price_for_a_cap_on_cost(capsys: pytest.CaptureFixture[str]) -> None:
    assert orchestrate("plan", PROMPT, *FAST, "--model", "nobody-knows", "--max-cost", "1") == 2
    assert "--price-input" in capsys.readouterr().err


def test_the_request_of_the_preflight_counts_against_the_caps_of_plan(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    with scripted_server(hello()) as server:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        assert orchestrate("plan", "x" * 201, "--real", "--max-tokens", "14000") == 4
    output = capsys.readouterr().err
    assert len(server.asked) == 1  # the second did not fit
    assert "what is left of the budget: 13,979 tokens" in output
    assert "Planning used 21 tokens" in output


def test_plan_alone_reports_what_it_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert orchestrate("plan", PROMPT, *FAST) == 0
    assert re.search(r"Planning used \d,\d+ tokens, \$0\.0\d+ \(simulated", capsys.readouterr().err)
    assert orchestrate("plan", PROMPT, *FAST, "--quiet") == 0
    assert "Planning used" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "warned"), [("touch seen", False), ("touch seen; false", True)]
)
def test_a_command_is_run_at_the_end_and_never_fails_the_run(
    command: str, warned: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert orchestrate(PROMPT, *FAST, "--output-dir", "out", "--quiet", "--notify", command) == 0
    assert Path("seen").exists()
    assert ("warning: --notify" in capsys.readouterr().err) is warned
