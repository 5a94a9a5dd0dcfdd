"""The engine on the Claude Code CLI against a stand-in for it, polite and hostile."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from claude.allowance import guarded
from claude.client.client import connect
from claude.client.types import Claude, Hooks
from claude.engines import load_engine
from claude.engines.base import EngineContext, EngineResult
from claude.engines.claude_code import ClaudeCodeEngine
from claude.engines.cli_process import MAX_LINE_BYTES
from claude.engines.cli_setup import (
    OLDEST,
    CliApi,
    CliHome,
    build_environment,
    find_cli,
    find_cli_problems,
    judge_version,
)
from claude.engines.cli_stream import CliStream, describe_call
from claude.engines.transcript import Transcript
from claude.http.loopback import LoopbackServer
from claude.http.plain_http import Incoming, Outgoing
from claude.limits.governor import Governor
from claude.prices import pricing
from claude.prompts import load_cli_prompt
from core.bundle import (
    Allowance,
    AttemptDir,
    ContractFile,
    Limits,
    ModelSettings,
    Request,
    SimulationSettings,
    build_manifest,
    read_spent,
)
from core.clock import Clock, DeadlineClock, StoppableClock, SystemClock
from core.credentials import Credentials
from core.errors import Problem
from core.job import JobKey, Outcome, Usage
from core.plan import Task
from core.shell.processes import marked_processes
from core.workspace.result_check import find_defects
from core.workspace.unsent import Unsent
from core.workspace.workspace import Workspace
from tests.fakes.simulated import message_events, sse, text_block

pytestmark = pytest.mark.slow  # starts many processes, or waits

SECRET = "sk-ant-canary-0123456789"
STAND_IN = Path(__file__).parents[2] / "bin" / "claude"
CONTRACT, CONTRACT_TEXT = "app/types.py", "PORT = 8000\n"
TASK = Task(
    id="store",
    title="The store",
    instructions="Write the store.",
    owns=("app/store.py",),
    estimate=100,
)
WRITE = {"write": ["app/store.py", "STORE = {}\n"]}

Step = dict[str, Any]


def turn(*blocks: Step, number: int = 1, stop: str = "tool_use", out: int = 5) -> list[Step]:
    """The lines of one request, as the CLI writes them with partial messages."""
    usage = {
        "input_tokens": 10,
        "output_tokens": 1,
        "cache_read_input_tokens": 20,
        "cache_creation_input_tokens": 30,
    }
    start = {"type": "message_start", "message": {"id": f"msg_{number}", "usage": usage}}
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta"}}
    end = {
        "type": "message_delta",
        "delta": {"stop_reason": stop},
        "usage": {"output_tokens": out},
    }
    answer = {"content": list(blocks), "usage": usage}
    return [
        {"say": {"type": "system", "subtype": "status", "status": "requesting"}},
        *({"say": {"type": "stream_event", "event": event}} for event in (start, delta)),
        {"say": {"type": "assistant", "message": answer, "request_id": f"req_{number}"}},
        *(
            {"say": {"type": "stream_event", "event": event}}
            for event in (end, {"type": "message_stop"})
        ),
    ]


def result(text: str = "Wrote it.", **changes: Any) -> Step:
    event = {"type": "result", "subtype": "success", "is_error": False, "result": text}
    return {"say": event | changes}


def call(name: str, **given: Any) -> Step:
    return {"type": "tool_use", "id": "toolu_1", "name": name, "input": given}


def words(text: str) -> Step:
    return {"type": "text", "text": text}


Answering = Callable[[httpx2.Request], httpx2.Response]
ASK = {"ask": {"messages": [{"role": "user", "content": "Write the store."}]}}


def answered(**usage: int) -> httpx2.Response:
    """What the provider answers."""
    told = {"input_tokens": 10, "output_tokens": 1} | usage
    return sse(*message_events(text_block("Well."), usage=told), **{"request-id": "req_1"})


def refused(status: int, text: str = "no", **headers: str) -> httpx2.Response:
    error = {"type": "error", "error": {"type": "some_error", "message": text}}
    return httpx2.Response(status, headers=headers, json=error)


DONE = [*turn(words("Wrote it."), stop="end_turn"), result()]


@dataclass
class Bench:
    """An engine with a stand-in for the CLI in a directory of its own."""

    base: Path
    prompt: str = "Build a store"
    model: ModelSettings = field(default_factory=lambda: ModelSettings(engine="claude-code"))
    limits: Limits = field(default_factory=lambda: Limits(timeout_s=30.0))
    allowance: Allowance = field(default_factory=Allowance)
    answer: Answering = field(default=lambda _: answered())
    governor: Governor = field(default_factory=Governor)
    credentials: Credentials = field(default_factory=lambda: Credentials(anthropic_api_key=SECRET))
    clock: Clock = field(default_factory=SystemClock)
    spent: list[Usage] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    throttled: list[None] = field(default_factory=list)
    environ: dict[str, str] = field(default_factory=dict)
    unsent: dict[str, int] = field(default_factory=dict)

    @property
    def attempt(self) -> AttemptDir:
        return AttemptDir(self.base / "attempt")

    @property
    def bin(self) -> Path:
        return self.base / "bin"

    def install(self, *rounds: list[Step], **plan: Any) -> None:
        self.bin.mkdir(exist_ok=True)
        shutil.copy(STAND_IN, self.bin / "claude")
        (self.bin / "plan.json").write_text(json.dumps({"rounds": rounds, **plan}))

    def around(self) -> dict[str, str]:
        return {"PATH": f"{self.bin}:{os.environ['PATH']}", **self.environ}

    def run(self, *rounds: list[Step], **plan: Any) -> EngineResult:
        self.install(*rounds, **plan)
        return ClaudeCodeEngine(self.context(), self.around()).work()

    def calls(self) -> list[Mapping[str, Any]]:
        lines = (self.bin / "calls.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def asked(self, number: int) -> str:
        """The text of the prompt of that number."""
        message = json.loads(self.calls()[number]["prompt"])["message"]
        return "\n".join(block["text"] for block in message["content"])

    def answers(self) -> list[dict[str, Any]]:
        lines = (self.bin / "answers.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def connect(self, clock: Clock) -> AbstractContextManager[Claude]:
        """The real client above a scripted server, as a worker hands it to an engine."""
        told = Hooks(self.spent.append, self.told.append, on_throttle=self.throttle)
        earlier = list(read_spent(self.attempt))
        over_http = self.model.base_url or self.model.simulation
        return connect(
            self.model,
            self.credentials,
            clock=clock,
            governor=self.governor,
            limits=self.limits,
            hooks=guarded(told, self.allowance, self.model, pricing(self.model), earlier),
            transport=None if over_http else httpx2.MockTransport(self.answer),
        )

    def throttle(self) -> None:
        self.throttled.append(None)

    def context(self) -> EngineContext:
        attempt = self.attempt
        for root in (attempt.inputs, attempt.work):
            (root / "app").mkdir(parents=True, exist_ok=True)
            (root / CONTRACT).write_text(CONTRACT_TEXT)
        attempt.result.mkdir(exist_ok=True)
        workspace = Workspace(attempt.work, TASK.owns, frozenset({CONTRACT}))
        workspace.unsent = Unsent(self.unsent)
        inputs = build_manifest(attempt.inputs)
        digest = hashlib.sha256(CONTRACT_TEXT.encode()).hexdigest()
        request = Request(
            key=JobKey("r1", TASK.id, 1),
            prompt=self.prompt,
            brief="# Store\n",
            task=TASK,
            contracts=(ContractFile(CONTRACT, digest),),
            model=self.model,
            limits=self.limits,
            allowance=self.allowance,
        )

        return EngineContext(
            request=request,
            workspace=workspace,
            clock=DeadlineClock(self.clock, self.limits.timeout_s),
            connect=self.connect,
            find_defects=lambda: find_defects(workspace, inputs, attempt.inputs),
            transcript=Transcript(attempt.transcript, self.credentials.mask),
            progress=self.told.append,
            attempt=attempt,
        )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


# -- the good case


def test_work_that_left_its_evidence_is_ok(bench: Bench) -> None:
    verdict = bench.run([WRITE, *DONE])
    assert verdict == EngineResult(Outcome.OK, "Wrote it.", 1)
    assert load_engine("claude-code") is ClaudeCodeEngine
    assert not (bench.attempt.root / "claude-code").exists()


def test_each_request_is_on_the_bill_once_whatever_the_cli_says(bench: Bench) -> None:
    bench.answer = lambda _: answered(cache_read_input_tokens=20, cache_creation_input_tokens=30)
    said = result(modelUsage={"claude-haiku-4-5": {"inputTokens": 100, "outputTokens": 9}})
    assert bench.run([ASK, WRITE, *turn(number=7), ASK, said]).outcome is Outcome.OK
    assert [answer["status"] for answer in bench.answers()] == [200, 200]
    assert len(bench.spent) == 2
    usage = bench.spent[0]
    assert (usage.provider, usage.model, usage.simulated) == ("anthropic", bench.model.model, False)
    assert (usage.input_tokens, usage.cache_read_tokens, usage.cache_write_tokens) == (10, 20, 30)
    assert (usage.output_tokens, usage.request_id) == (7, "req_1")


def test_people_see_what_it_does(bench: Bench) -> None:
    place = bench.attempt.work.resolve()
    blocks = [
        call("Write", file_path=f"{place}/app/store.py", content="x"),
        call("Edit", file_path=f"{place}/app/store.py"),
        call("Bash", command="python -m\n  app " + "x" * 200),
        call("Read", file_path="y"),
        words("hm"),
    ]
    bench.run([WRITE, *turn(*blocks), *DONE])
    assert bench.told[:2] == ["writes app/store.py", "edits app/store.py"]
    assert bench.told[2].startswith("runs python -m app x")
    assert len(bench.told[2]) < 100
    assert len(bench.told) == 3


def test_the_transcript_can_be_read(bench: Bench) -> None:
    answer = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "File created"}
    heard = {"say": {"type": "user", "message": {"role": "user", "content": [answer]}}}
    plain = {"say": {"type": "user", "message": {"role": "user", "content": "go on"}}}
    bench.run([WRITE, *turn(call("Write", file_path="x")), heard, plain, *DONE])
    text = bench.attempt.transcript.read_text()
    for part in ('"engine": "claude-code"', '"Write"', "File created", "go on", '"ended": "OK"'):
        assert part in text


def test_the_prompt_is_the_one_of_all_engines_and_says_where_to_work(bench: Bench) -> None:
    bench.run([WRITE, *DONE])
    asked = bench.asked(0)
    for part in (
        "<request>\nBuild a store\n</request>",
        f'<contract path="{CONTRACT}">\n{CONTRACT_TEXT}',
        '<task id="store" attempt="1">',
        f"<workspace>{bench.attempt.work.resolve()}</workspace>",
    ):
        assert part in asked
    assert "not_sent" not in asked


def test_of_a_large_project_it_says_what_was_not_sent(bench: Bench) -> None:
    bench.unsent = {"lib/far.py": 5, "lib/deep/a.py": 5, "b<.md": 7}
    bench.run([WRITE, *DONE])
    lines = ("b\\u003c.md (7 bytes, not sent)", "lib/ (2 files, not sent)")
    assert "\n".join(("<not_sent>", *lines, "</not_sent>")) in bench.asked(0)


# -- what the CLI is given


HELD = Credentials(
    anthropic_api_key="canary-key",
    anthropic_auth_token="canary-token",
    aws_access_key_id="canary-id",
    aws_secret_access_key="canary-secret",
    aws_session_token="canary-session",
    aws_bearer_token_bedrock="canary-bearer",
    aws_profile="canary-profile",
)


@pytest.mark.parametrize("provider", ["anthropic", "bedrock"])
@pytest.mark.parametrize("simulation", [None, SimulationSettings(speed=0.0)])
def test_no_credentials_reach_the_cli(
    bench: Bench, provider: str, simulation: SimulationSettings | None
) -> None:
    bench.model = ModelSettings(provider=provider, engine="claude-code", simulation=simulation)
    bench.credentials = HELD
    bench.environ = {
        "ANTHROPIC_API_KEY": "canary-of-the-environment",
        "AWS_SECRET_ACCESS_KEY": "canary-too",
        "AWS_ROLE_ARN": "canary-role",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "canary-role",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "canary-file",
        "AWS_CONFIG_FILE": "canary-file",
        "CLAUDE_CODE_USE_VERTEX": "1",
        "GITHUB_TOKEN": "canary-of-another",
        "HOME": "/home/canary",
        "LANG": "C.UTF-8",
    }
    assert bench.run([WRITE, *DONE]).outcome is Outcome.OK
    seen = bench.calls()[0]
    assert "canary" not in json.dumps(seen)
    environ = seen["environ"]
    assert not [name for name in environ if name.startswith(("AWS_", "CLAUDE_CODE_USE_"))]
    assert environ["ANTHROPIC_BASE_URL"].startswith("http://127.0.0.1:")
    assert len(environ["ANTHROPIC_API_KEY"]) > 40
    assert environ["LANG"] == "C.UTF-8"
    assert environ["CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"] == "1"
    home = str(bench.attempt.root / "claude-code")
    assert environ["HOME"] == home
    assert environ["CLAUDE_CONFIG_DIR"].startswith(home)


def test_each_attempt_shows_another_token(tmp_path: Path) -> None:
    benches = [Bench(tmp_path / name) for name in ("a", "b")]
    for bench in benches:
        bench.base.mkdir()
        bench.run([WRITE, *DONE])
    assert len({bench.calls()[0]["environ"]["ANTHROPIC_API_KEY"] for bench in benches}) == 2


def test_no_permission_is_skipped_and_no_setting_of_the_person_is_read(bench: Bench) -> None:
    bench.run([WRITE, *DONE])
    argv = bench.calls()[0]["argv"]
    assert "--permission-mode=acceptEdits" in argv
    assert "--setting-sources=" in argv
    assert "--strict-mcp-config" in argv
    assert "--tools=Read,Write,Edit,Glob,Grep,Bash" in argv
    assert f"--max-turns={bench.limits.max_turns}" in argv
    assert not [a for a in argv if "dangerously" in a]


def environment(model: ModelSettings, timeout_s: float = 9.0, **environ: str) -> dict[str, str]:
    api, limits = CliApi("http://127.0.0.1:1", "token"), Limits(timeout_s=timeout_s)
    return build_environment(model, limits, api, CliHome(Path("/h")), environ)


def test_the_cli_leaves_waiting_and_retries_to_the_proxy() -> None:
    found = environment(ModelSettings(), 1.5)
    assert found["CLAUDE_CODE_MAX_RETRIES"] == "2"
    assert found["API_FORCE_IDLE_TIMEOUT"] == "0"
    assert found["API_TIMEOUT_MS"] == found["CLAUDE_STREAM_IDLE_TIMEOUT_MS"] == "1500"
    assert environment(ModelSettings(), 1e9)["API_TIMEOUT_MS"] == "2147483647"


def test_for_bedrock_it_asks_as_bedrock_wants_to_be_asked() -> None:
    name = "CLAUDE_CODE_DISABLE_EXPERIMENTAL_BETAS"
    assert environment(ModelSettings(provider="bedrock"))[name] == "1"
    assert name not in environment(ModelSettings())


def test_proxies_are_for_what_the_model_runs_and_not_for_the_way_to_our_own() -> None:
    found = environment(ModelSettings(), HTTPS_PROXY="http://proxy:1", NO_PROXY="intranet")
    assert found["HTTPS_PROXY"] == "http://proxy:1"
    assert found["NO_PROXY"] == found["no_proxy"] == "intranet,127.0.0.1"
    assert environment(ModelSettings(), http_proxy="http://p")["NO_PROXY"] == "127.0.0.1"
    assert "NO_PROXY" not in environment(ModelSettings())
    simulated = ModelSettings(simulation=SimulationSettings())
    assert not [name for name in environment(simulated, HTTPS_PROXY="p") if "PROXY" in name]


# -- evidence


def test_defects_go_back_to_the_same_session(bench: Bench) -> None:
    stray = {"write": ["app/other.py", "x"]}
    tidy = {"write": ["app/store.py", "STORE = {}\n"]}
    verdict = bench.run([stray, *DONE], [tidy, *DONE], DONE, DONE)
    assert verdict.outcome is Outcome.DEFECT  # the stray file was never removed
    first, second, third, *_ = bench.calls()
    session = next(a for a in first["argv"] if a.startswith("--session-id=")).split("=")[1]
    assert f"--resume={session}" in second["argv"]
    assert "there are no files yet" in bench.asked(1)
    assert bench.asked(1).startswith("<defects>")
    assert "'app/other.py' is on no path" in bench.asked(2)
    assert f"--resume={session}" in third["argv"]


def test_a_defect_put_right_is_ok(bench: Bench) -> None:
    assert bench.run(DONE, [WRITE, *DONE]).outcome is Outcome.OK
    assert bench.told == ["not done yet: there are no files yet; this task owns app/store.py"]


def test_corrections_are_bounded(bench: Bench) -> None:
    bench.limits = Limits(timeout_s=30.0, max_corrections=1)
    verdict = bench.run(DONE, DONE, DONE)
    assert verdict.outcome is Outcome.DEFECT
    assert "there are no files yet" in verdict.message
    assert len(bench.calls()) == 2


def test_a_contract_that_was_changed_is_restored(bench: Bench) -> None:
    bench.run([WRITE, {"write": [CONTRACT, "PORT = 1\n"]}, *DONE], DONE)
    assert (bench.attempt.work / CONTRACT).read_text() == CONTRACT_TEXT
    assert "was changed and has been restored" in bench.asked(1)


# -- limits


def test_the_turns_of_all_prompts_together_are_bounded(bench: Bench) -> None:
    bench.limits = Limits(timeout_s=30.0, max_turns=2)
    verdict = bench.run(DONE, [*DONE], [WRITE, *DONE])
    assert verdict == EngineResult(Outcome.DEFECT, "The task was not done within 2 turns.", 2)
    assert "--max-turns=1" in bench.calls()[1]["argv"]


def test_the_clis_own_turn_limit_is_a_defect(bench: Bench) -> None:
    end = result("", subtype="error_max_turns", is_error=True)
    verdict = bench.run([*turn(), end, {"exit": 1}])
    assert verdict.outcome is Outcome.DEFECT
    assert "turns" in verdict.message


def test_a_cli_that_hangs_is_ended_at_the_time_limit(bench: Bench) -> None:
    bench.limits = Limits(timeout_s=3.0)
    started = time.monotonic()
    verdict = bench.run([*turn()[:3], {"leave": 300}, {"ignore": "SIGTERM"}, {"sleep": 300}])
    assert verdict.outcome is Outcome.INTERRUPTED
    assert "time limit of 3 s" in verdict.message
    assert time.monotonic() - started < 20
    mark = f"CLAUDE_CONFIG_DIR={bench.attempt.root}/claude-code/config"
    assert not list(marked_processes(mark.encode()))


class Endless:
    """A provider that begins an answer and goes on with it for as long as somebody reads."""

    def handle(self, incoming: Incoming) -> Outgoing:
        return Outgoing(200, {"content-type": "text/event-stream"}, self._body(), None)

    def _body(self) -> Iterator[bytes]:
        yield sse(message_events()[0]).content
        while True:
            time.sleep(0.05)
            yield b"event: ping\ndata: {}\n\n"


def test_the_time_limit_holds_in_the_middle_of_an_answer(bench: Bench) -> None:
    bench.limits = Limits(timeout_s=2.0)
    started = time.monotonic()
    with LoopbackServer(0, Endless(), "endless") as server:
        bench.model = ModelSettings(engine="claude-code", base_url=server.base_url)
        verdict = bench.run([ASK, {"sleep": 300}])
    assert verdict.outcome is Outcome.INTERRUPTED
    assert time.monotonic() - started < 10
    # what came of it is on the bill
    assert [usage.input_tokens for usage in bench.spent] == [10]
    assert not [t for t in threading.enumerate() if t.name.startswith("claude-code-proxy")]


def test_a_cli_that_ends_in_the_middle_of_an_answer_ends_the_answer(bench: Bench) -> None:
    with LoopbackServer(0, Endless(), "endless") as server:
        bench.model = ModelSettings(engine="claude-code", base_url=server.base_url)
        verdict = bench.run([WRITE, {"background": ASK}, {"sleep": 1}, *DONE])
    assert verdict.outcome is Outcome.OK
    assert [usage.input_tokens for usage in bench.spent] == [10]
    assert not [t for t in threading.enumerate() if t.name.startswith("claude-code-proxy")]


def test_a_stop_ends_it_at_once(bench: Bench) -> None:
    stop = threading.Event()
    bench.clock = StoppableClock(stop)
    timer = threading.Timer(0.5, stop.set)
    timer.start()
    verdict = bench.run([{"sleep": 300}])
    timer.join()
    assert verdict.outcome is Outcome.INTERRUPTED
    assert "was stopped" in verdict.message


def test_what_it_left_running_is_ended_with_it(bench: Bench) -> None:
    assert bench.run([{"leave": 300}, WRITE, *DONE]).outcome is Outcome.OK
    mark = f"CLAUDE_CONFIG_DIR={bench.attempt.root}/claude-code/config"
    assert not list(marked_processes(mark.encode()))


@pytest.mark.parametrize(
    "allowance", [Allowance(max_tokens=1_500), Allowance(max_cost_usd=0.000_000_1)]
)
def test_a_request_that_does_not_fit_into_what_is_left_is_not_sent(
    bench: Bench, allowance: Allowance
) -> None:
    bench.allowance = allowance
    verdict = bench.run([WRITE, ASK, ASK, {"sleep": 300}])
    assert verdict.outcome is Outcome.BUDGET
    assert "does not fit into what is left" in verdict.message
    assert bench.spent == []


def test_requests_go_out_until_one_does_not_fit(bench: Bench) -> None:
    bench.allowance = Allowance(max_tokens=30_000)
    bench.answer = lambda _: answered(input_tokens=9_000)
    ask = {"ask": {"messages": [{"role": "user", "content": "x" * 9_000}]}}
    assert bench.run([*([ask] * 50), {"sleep": 300}]).outcome is Outcome.BUDGET
    assert len(bench.spent) == 3
    assert sum(usage.total_tokens for usage in bench.spent) <= 30_000


def test_what_a_killed_worker_of_this_attempt_spent_counts(bench: Bench) -> None:
    bench.allowance = Allowance(max_tokens=100_000)
    bench.attempt.result.mkdir(parents=True)
    spent = {"provider": "anthropic", "model": "m", "input_tokens": 99_000}
    bench.attempt.events.write_text(json.dumps({"kind": "progress", "usage": spent}) + "\n")
    assert bench.run([ASK, {"sleep": 300}]).outcome is Outcome.BUDGET


def test_within_the_allowance_nothing_is_ended(bench: Bench) -> None:
    bench.allowance = Allowance(max_tokens=10_000, max_cost_usd=10.0)
    assert bench.run([ASK, WRITE, *turn(), *DONE]).outcome is Outcome.OK


# -- failures


def failing(text: str, **changes: Any) -> list[Step]:
    return [result(text, is_error=True, **changes), {"exit": 1}]


@pytest.mark.parametrize(
    ("status", "text", "outcome"),
    [
        (429, "slow down", Outcome.RATE_LIMITED),
        (529, "overloaded", Outcome.RATE_LIMITED),
        (500, "oops", Outcome.RATE_LIMITED),
        (401, "invalid x-api-key", Outcome.AUTH),
        (403, "forbidden", Outcome.AUTH),
        (404, "no such model", Outcome.AUTH),
        (400, "Your credit balance is too low", Outcome.BILLING),
        (402, "pay", Outcome.BILLING),
    ],
)
def test_what_no_request_can_overcome_ends_the_attempt_whatever_the_cli_makes_of_it(
    bench: Bench, status: int, text: str, outcome: Outcome
) -> None:
    asked = []

    def refuse(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        return refused(status, text)

    bench.answer = refuse
    bench.limits = Limits(timeout_s=30.0, request_retries=0)
    verdict = bench.run([WRITE, *([ASK] * 50), *DONE, {"sleep": 300}])
    assert verdict.outcome is outcome
    assert text in verdict.message
    assert len(asked) == 1


def test_it_ends_the_attempt_also_where_the_cli_is_done_first(bench: Bench) -> None:
    bench.answer = lambda _: refused(401)
    assert bench.run([WRITE, ASK, *DONE]).outcome is Outcome.AUTH


def test_a_request_that_is_wrong_is_reported_to_the_cli_which_may_do_better(bench: Bench) -> None:
    answers = [refused(400, "prompt is too long: 9 tokens > 8 maximum"), answered()]
    bench.answer = lambda _: answers.pop(0)
    assert bench.run([ASK, ASK, WRITE, *DONE]).outcome is Outcome.OK
    first, second = bench.answers()
    assert (first["status"], second["status"]) == (400, 200)
    assert "prompt is too long: 9 tokens > 8 maximum" in first["body"]


def test_a_cli_that_gives_up_over_a_wrong_request_ends_in_a_defect_that_names_it(
    bench: Bench,
) -> None:
    bench.answer = lambda _: refused(400, "it has to change")
    verdict = bench.run([ASK, *failing("API Error: 400 something")])
    assert verdict.outcome is Outcome.DEFECT
    assert "it has to change" in verdict.message


@pytest.mark.parametrize(
    ("steps", "outcome", "message"),
    [
        (failing("API Error: 401 of its own making"), Outcome.DEFECT, "401 of its own making"),
        (failing("declined", stop_reason="refusal"), Outcome.REFUSED, "declined"),
        (failing("", subtype="error_during_execution"), Outcome.DEFECT, "error_during_execution"),
        ([result("", subtype="error_x", errors=["it broke"])], Outcome.DEFECT, "it broke"),
    ],
)
def test_what_the_cli_says_counts_for_nothing(
    bench: Bench, steps: list[Step], outcome: Outcome, message: str
) -> None:
    verdict = bench.run([WRITE, *steps])
    assert verdict.outcome is outcome
    assert message in verdict.message


def test_words_of_the_cli_about_an_error_are_no_turn(bench: Bench) -> None:
    answer = {"content": [words("Something is wrong.")]}
    event = {"type": "assistant", "message": answer, "error": "authentication_failed"}
    verdict = bench.run([{"say": event}, *failing("Something is wrong.")])
    assert verdict == EngineResult(Outcome.DEFECT, "Claude Code: Something is wrong.", 0)


def test_requests_that_the_api_refused_for_its_load_are_asked_again_and_counted(
    bench: Bench,
) -> None:
    wait = {"retry-after": "0.01"}
    answers = [refused(429, **wait), refused(529, **wait), answered()]
    bench.answer = lambda _: answers.pop(0)
    assert bench.run([ASK, WRITE, *DONE]).outcome is Outcome.OK
    assert len(bench.throttled) == 2
    assert [answer["status"] for answer in bench.answers()] == [200]


def test_what_the_cli_tries_again_itself_is_reported(bench: Bench) -> None:
    retry = {"type": "system", "subtype": "api_retry", "retry_delay_ms": 1500}
    lost = {"say": {"type": "system", "subtype": "api_retry"}}
    bench.run([WRITE, {"say": retry | {"error_status": 500}}, lost, *DONE])
    assert bench.told[0] == "Claude Code tries again in 1.5 s (500)"
    assert bench.told[1] == "Claude Code tries again in 0.0 s (connection lost)"
    record = json.loads(bench.attempt.transcript.read_text().splitlines()[1])
    assert record["retries"] == 2


def test_a_cli_that_ends_without_a_result_is_explained(bench: Bench) -> None:
    verdict = bench.run([{"print": "{"}, {"print": "[1]"}, {"complain": "boom"}, {"exit": 7}])
    assert verdict.outcome is Outcome.DEFECT
    assert verdict.message == (
        "Claude Code ended (exit code 7) without a result."
        " 2 line(s) could not be read. Its standard error: boom"
    )


def test_rubbish_between_good_lines_is_left_out(bench: Bench) -> None:
    rubbish = [
        {"print": text}
        for text in (
            "",
            "not json",
            '"text"',
            '{"type": "stream_event"}',
            '{"type": "stream_event", "event": {"type": "message_stop"}}',
            '{"type": "stream_event", "event": {"type": "ping"}}',
            '{"type": "assistant", "message": 5}',
            '{"type": "user", "message": {"content": 7}}',
            '{"type": "system", "subtype": "new"}',
            '{"type": "result", "modelUsage": 5}',
            '{"type": "result", "modelUsage": {"m": 5, "n": {"inputTokens": "x"}}}',
            "[" * 100_000,
        )
    ]
    assert bench.run([*rubbish, WRITE, *rubbish, *DONE]) == EngineResult(Outcome.OK, "Wrote it.", 1)


def test_a_request_that_was_cut_ends_its_turn(bench: Bench) -> None:
    cut = turn(number=1)[:3]
    assert bench.run([WRITE, *cut, *turn(number=2, stop="end_turn"), result()]).turns == 2


def test_a_cli_killed_in_the_middle_is_interrupted(bench: Bench) -> None:
    verdict = bench.run([*turn(), {"kill": "SIGKILL"}])
    assert verdict == EngineResult(Outcome.INTERRUPTED, "Claude Code was ended by signal 9.", 1)


def test_a_cli_that_refuses_root_is_named_with_what_to_do(bench: Bench) -> None:
    said = "--dangerously-skip-permissions cannot be used with root/sudo privileges"
    verdict = bench.run([{"complain": said}, {"exit": 1}])
    assert verdict.outcome is Outcome.DEFECT
    assert "another user" in verdict.message


def test_a_result_counts_though_the_cli_does_not_end(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("claude.engines.cli_process.LINGER_S", 0.3)
    assert bench.run([WRITE, *DONE, {"sleep": 300}]).outcome is Outcome.OK


def test_a_cli_that_closes_its_output_and_stays_is_ended(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("claude.engines.cli_process.LINGER_S", 0.3)
    verdict = bench.run([{"close": True}, {"sleep": 300}])
    assert verdict.outcome is Outcome.DEFECT
    assert verdict.message == "Claude Code closed its output without a result."


def test_a_last_line_without_an_end_is_read(bench: Bench) -> None:
    last = json.dumps(result()["say"])
    steps = [WRITE, *turn(stop="end_turn"), {"complain": "x"}]
    assert bench.run([*steps, {"print": last}]).outcome is Outcome.OK


def test_a_long_line_is_read_and_an_endless_one_is_not(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = result("y" * 3_000_000)
    assert len(bench.run([WRITE, long]).message) == 3_000_000
    monkeypatch.setattr("claude.engines.cli_process.MAX_LINE_BYTES", 1_000_000)
    (bench.bin / "calls.jsonl").unlink()
    verdict = bench.run([{"flood": 5_000_000}, {"sleep": 300}])
    assert verdict.outcome is Outcome.DEFECT
    assert "1000000 bytes" in verdict.message
    assert MAX_LINE_BYTES > 32 * 1024 * 1024  # a file of the largest request comes whole


@pytest.mark.parametrize("reads", [True, False])
def test_a_prompt_larger_than_any_pipe_is_no_trouble(bench: Bench, *, reads: bool) -> None:
    bench.prompt = "Build a store. " * 100_000
    assert bench.run([WRITE, *DONE], reads=reads).outcome is Outcome.OK
    assert bool(bench.calls()[0]["prompt"]) == reads
    if reads:
        assert bench.prompt in bench.asked(0)


def test_an_unexpected_error_ends_the_transcript_too(bench: Bench) -> None:
    bench.install(DONE)

    def fail() -> list[str]:
        raise ZeroDivisionError("oops")

    with pytest.raises(ZeroDivisionError):
        ClaudeCodeEngine(replace(bench.context(), find_defects=fail), bench.around()).work()
    *_, last = bench.attempt.transcript.read_text().splitlines()
    assert (json.loads(last)["ended"], json.loads(last)["message"]) == ("ZeroDivisionError", "oops")
    assert not (bench.attempt.root / "claude-code").exists()


# -- the binary


def test_a_missing_binary_is_named(bench: Bench, tmp_path: Path) -> None:
    verdict = ClaudeCodeEngine(bench.context(), {"PATH": str(tmp_path)}).work()
    assert verdict.outcome is Outcome.DEFECT
    assert "not on the PATH" in verdict.message
    assert "npm install" in verdict.message


def test_an_old_version_is_named_with_the_oldest_that_will_do(bench: Bench) -> None:
    verdict = bench.run(version="2.1.99 (Claude Code)")
    assert verdict.outcome is Outcome.DEFECT
    assert "2.1.99" in verdict.message
    assert ".".join(map(str, OLDEST)) in verdict.message


def test_versions_are_compared_as_numbers() -> None:
    assert judge_version("c", "2.1.100 (Claude Code)", 0) == "c"
    assert judge_version("c", "10.0.0", 0) == "c"
    assert isinstance(judge_version("c", "2.0.999", 0), Problem)


@pytest.mark.parametrize(
    ("said", "code", "words"),
    [
        ("/usr/bin/env: 'node': No such file or directory", 127, "needs Node.js"),
        ("Segmentation fault", -11, "exit code -11"),
        ("", 0, "no output"),
        ("hello", 0, "hello"),
    ],
)
def test_a_binary_that_does_not_tell_its_version_is_a_problem(
    said: str, code: int, words: str
) -> None:
    problem = judge_version("c", said, code)
    assert isinstance(problem, Problem)
    assert words in problem.what


def test_a_binary_that_cannot_be_run_is_a_problem(tmp_path: Path) -> None:
    binary = tmp_path / "claude"
    binary.write_text("#!/no/such/interpreter\n")
    binary.chmod(0o755)
    problem = find_cli({"PATH": str(tmp_path)})
    assert isinstance(problem, Problem)
    assert "cannot be run" in problem.what


# -- preflight


def problems(bench: Bench, *, in_process: bool = True, **model: Any) -> list[str]:
    settings = ModelSettings(**({"engine": "claude-code"} | model))
    found = find_cli_problems(settings, bench.around(), in_process)
    return [problem.what for problem in found]


def test_on_this_host_commands_have_to_be_allowed(bench: Bench) -> None:
    bench.install()
    (what,) = problems(bench)
    assert "lets the model run commands" in what
    assert problems(bench, allow_commands=True) == []
    assert problems(bench, in_process=False) == []
    assert problems(bench, engine="api") == []


def test_a_missing_cli_is_found_before_anything_starts(bench: Bench, tmp_path: Path) -> None:
    model = ModelSettings(engine="claude-code", allow_commands=True)
    (problem,) = find_cli_problems(model, {"PATH": str(tmp_path)}, True)
    assert "not on the PATH" in problem.what


def test_credentials_are_the_workers_matter(bench: Bench) -> None:
    bench.credentials = Credentials()
    for provider in ("anthropic", "bedrock"):
        assert problems(bench, in_process=False, provider=provider) == []


# -- the stream alone


def test_a_stream_calls_back_outside_of_its_guard() -> None:
    """An error of the listener is no malformed line."""

    def refuse(*_: object) -> None:
        raise KeyError("mine")

    stream = CliStream(Usage("p", "m"), "/w", lambda: 0.0, refuse, lambda _: None)
    *lines, last = (json.dumps(step["say"], separators=(",", ":")).encode() for step in turn())
    for line in lines:
        stream.feed(line)
    with pytest.raises(KeyError, match="mine"):
        stream.feed(last)
    assert stream.unreadable == 0


def test_calls_that_change_nothing_are_not_reported() -> None:
    assert describe_call({"type": "tool_use", "name": "Write", "input": "x"}, "/w") == ""


def test_a_task_in_existing_code_is_told_so() -> None:
    alone, existing = (load_cli_prompt(existing=value) for value in (False, True))
    assert existing.startswith(alone)
    assert "The workspace holds the project as it is" in existing.removeprefix(alone)
    part = load_cli_prompt(existing=True, part=True)
    assert "<not_sent> names what is there besides" in part.removeprefix(existing)
