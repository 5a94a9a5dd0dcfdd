"""The engine on the Claude Code CLI against a stand-in for it, polite and hostile."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from claude.client import Hooks
from claude.engines import Assignment, Verdict, load_engine
from claude.engines.claude_code import PLACEHOLDER, ClaudeCodeEngine
from claude.engines.cli_preflight import find_cli_problems
from claude.engines.cli_process import MAX_LINE_BYTES, marked_processes
from claude.engines.cli_setup import (
    OLDEST,
    Cli,
    CliHome,
    build_environment,
    find_cli,
    judge_version,
)
from claude.engines.cli_stream import CliResult, CliStream, Turn, error_of, tell_call
from claude.transcript import Transcript, render_transcript
from core.bundle import (
    Allowance,
    AttemptDir,
    ContractFile,
    Limits,
    ModelSettings,
    Request,
    SimulationSettings,
    build_manifest,
)
from core.clock import Clock, DeadlineClock, StoppableClock, SystemClock
from core.credentials import Credentials
from core.errors import (
    BillingRefused,
    ConnectionLost,
    CredentialsRefused,
    ModelUnknown,
    Overloaded,
    Problem,
    RateLimited,
    RequestRejected,
    ServerFault,
)
from core.evidence import find_defects
from core.job import JobKey, Outcome, Usage
from core.plan import Task
from core.workspace import Workspace

SECRET = "sk-ant-canary-0123456789"
STAND_IN = Path(__file__).parent / "bin" / "claude"
CONTRACT, CONTRACT_TEXT = "app/types.py", "PORT = 8000\n"
TASK = Task(
    id="store",
    title="The store",
    instructions="Write the store.",
    depends_on=(),
    owns=("app/store.py",),
    checks=(),
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


DONE = [*turn(words("Wrote it."), stop="end_turn"), result()]


@dataclass
class Bench:
    """An engine with a stand-in for the CLI in a directory of its own."""

    base: Path
    prompt: str = "Build a store"
    model: ModelSettings = field(default_factory=lambda: ModelSettings(engine="claude-code"))
    limits: Limits = field(default_factory=lambda: Limits(timeout_s=30.0))
    allowance: Allowance = field(default_factory=Allowance)
    credentials: Credentials = field(default_factory=lambda: Credentials(anthropic_api_key=SECRET))
    clock: Clock = field(default_factory=SystemClock)
    spent: list[Usage] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    throttled: list[None] = field(default_factory=list)
    environ: dict[str, str] = field(default_factory=dict)

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

    def run(self, *rounds: list[Step], **plan: Any) -> Verdict:
        self.install(*rounds, **plan)
        return ClaudeCodeEngine(self.assignment(), self.around()).work()

    def calls(self) -> list[Mapping[str, Any]]:
        lines = (self.bin / "calls.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def asked(self, number: int) -> str:
        """The text of the prompt of that number."""
        message = json.loads(self.calls()[number]["prompt"])["message"]
        return "\n".join(block["text"] for block in message["content"])

    def assignment(self) -> Assignment:
        attempt = self.attempt
        for root in (attempt.inputs, attempt.work):
            (root / "app").mkdir(parents=True, exist_ok=True)
            (root / CONTRACT).write_text(CONTRACT_TEXT)
        attempt.result.mkdir(exist_ok=True)
        workspace = Workspace(attempt.work, TASK.owns, frozenset({CONTRACT}))
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

        def connect() -> Any:
            raise AssertionError("the CLI reaches the API by itself")

        return Assignment(
            request=request,
            workspace=workspace,
            clock=DeadlineClock(self.clock, self.limits.timeout_s),
            connect=connect,
            find_defects=lambda: find_defects(workspace, inputs, attempt.inputs),
            transcript=Transcript(attempt.transcript, self.credentials.mask),
            progress=self.told.append,
            credentials=self.credentials,
            hooks=Hooks(
                on_usage=self.spent.append, on_throttle=lambda: self.throttled.append(None)
            ),
            attempt=attempt,
        )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


# -- the good case


def test_work_that_left_its_evidence_is_ok(bench: Bench) -> None:
    verdict = bench.run([WRITE, *DONE])
    assert verdict == Verdict(Outcome.OK, "Wrote it.", 1)
    assert load_engine("claude-code") is ClaudeCodeEngine
    assert not (bench.attempt.root / "claude-code").exists()


def test_each_request_is_told_with_its_own_usage(bench: Bench) -> None:
    first = turn(call("Write", file_path="x"), number=1, out=7)
    bench.run([WRITE, *first, *turn(words("Done."), number=2, stop="end_turn", out=3), result()])
    assert [(u.request_id, u.output_tokens, u.total_tokens) for u in bench.spent] == [
        ("req_1", 7, 67),
        ("req_2", 3, 63),
    ]
    usage = bench.spent[0]
    assert (usage.provider, usage.model, usage.simulated) == (
        "anthropic",
        bench.model.model,
        False,
    )
    assert (usage.input_tokens, usage.cache_read_tokens, usage.cache_write_tokens) == (10, 20, 30)


def test_what_the_cli_used_beyond_the_requests_seen_is_on_the_bill_too(bench: Bench) -> None:
    totals = {
        bench.model.model: {
            "inputTokens": 10,
            "outputTokens": 5,
            "cacheReadInputTokens": 20,
            "cacheCreationInputTokens": 30,
        },
        "claude-haiku-4-5": {"inputTokens": 100, "outputTokens": 9, "costUSD": 0.1},
    }
    bench.run([WRITE, *turn(stop="end_turn"), result(modelUsage=totals)])
    assert len(bench.spent) == 2
    unseen = bench.spent[1]
    assert (unseen.model, unseen.input_tokens, unseen.output_tokens) == ("claude-haiku-4-5", 100, 9)
    assert unseen.total_tokens == 109


def test_people_are_told_what_it_does(bench: Bench) -> None:
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
    text = render_transcript(bench.attempt.transcript)
    for part in ("engine claude-code", "[Write]", "result: File created", "go on", "Ended OK"):
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


# -- what the CLI is given


def test_the_cli_gets_no_secret_in_its_arguments_and_none_it_does_not_need(bench: Bench) -> None:
    bench.environ = {
        "ANTHROPIC_API_KEY": "of the environment",
        "AWS_SECRET_ACCESS_KEY": "not for it",
        "CLAUDE_CODE_USE_VERTEX": "1",
        "GITHUB_TOKEN": "not for it",
        "HOME": "/home/somebody",
        "LANG": "C.UTF-8",
        "HTTPS_PROXY": "http://proxy:1",
    }
    bench.run([WRITE, *DONE])
    seen = bench.calls()[0]
    assert SECRET not in json.dumps(seen["argv"])
    environ = seen["environ"]
    assert environ["ANTHROPIC_API_KEY"] == SECRET
    assert environ["LANG"] == "C.UTF-8"
    assert environ["HTTPS_PROXY"] == "http://proxy:1"
    assert environ["CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"] == "1"
    home = str(bench.attempt.root / "claude-code")
    assert environ["HOME"] == home
    assert environ["CLAUDE_CONFIG_DIR"].startswith(home)
    assert "not for it" not in environ.values()
    assert "CLAUDE_CODE_USE_VERTEX" not in environ


def test_no_permission_is_skipped_and_no_setting_of_the_person_is_read(bench: Bench) -> None:
    bench.run([WRITE, *DONE])
    argv = bench.calls()[0]["argv"]
    assert "--permission-mode=acceptEdits" in argv
    assert "--setting-sources=" in argv
    assert "--strict-mcp-config" in argv
    assert "--tools=Read,Write,Edit,Glob,Grep,Bash" in argv
    assert f"--max-turns={bench.limits.max_turns}" in argv
    assert not [a for a in argv if "dangerously" in a]


def environment(model: ModelSettings, credentials: Credentials, **environ: str) -> dict[str, str]:
    return build_environment(model, Limits(), credentials, CliHome(Path("/h")), environ)


def test_bedrock_gets_its_region_and_keys_and_the_role_of_the_job() -> None:
    model = ModelSettings(provider="bedrock", region="eu-west-1", base_url="http://there")
    held = Credentials(
        anthropic_api_key="no", aws_access_key_id="id", aws_secret_access_key="s", aws_profile="p"
    )
    found = environment(model, held, HOME="/home/x", AWS_ROLE_ARN="arn", AWS_CONFIG_FILE="/c")
    wanted = {
        "CLAUDE_CODE_USE_BEDROCK": "1",
        "AWS_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_PROFILE": "p",
        "AWS_ROLE_ARN": "arn",
        "AWS_CONFIG_FILE": "/c",
        "AWS_SHARED_CREDENTIALS_FILE": "/home/x/.aws/credentials",
        "ANTHROPIC_BEDROCK_BASE_URL": "http://there",
    }
    assert found.items() >= wanted.items()
    assert not {"ANTHROPIC_API_KEY", "AWS_SESSION_TOKEN"} & found.keys()


def test_bedrock_without_a_home_or_an_address_gets_neither() -> None:
    found = environment(ModelSettings(provider="bedrock"), Credentials())
    assert not {"AWS_CONFIG_FILE", "ANTHROPIC_BEDROCK_BASE_URL"} & found.keys()


def test_a_token_is_given_only_without_a_key() -> None:
    both = Credentials(anthropic_api_key="k", anthropic_auth_token="t")
    assert "ANTHROPIC_AUTH_TOKEN" not in environment(ModelSettings(), both)
    token = environment(ModelSettings(base_url="http://x"), Credentials(anthropic_auth_token="t"))
    assert (token["ANTHROPIC_AUTH_TOKEN"], token["ANTHROPIC_BASE_URL"]) == ("t", "http://x")


@pytest.mark.parametrize(
    ("provider", "key", "address"),
    [
        ("anthropic", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"),
        ("bedrock", "AWS_BEARER_TOKEN_BEDROCK", "ANTHROPIC_BEDROCK_BASE_URL"),
    ],
)
def test_in_simulation_it_gets_a_placeholder_and_an_address_on_loopback(
    bench: Bench, provider: str, key: str, address: str
) -> None:
    bench.model = ModelSettings(
        provider=provider, engine="claude-code", simulation=SimulationSettings(speed=0.0)
    )
    bench.environ = {"HTTPS_PROXY": "http://proxy:1", "HOME": "/home/x"}
    assert bench.run([WRITE, *DONE]).outcome is Outcome.OK
    environ = bench.calls()[0]["environ"]
    assert environ[key] == PLACEHOLDER
    assert environ[address].startswith("http://127.0.0.1:")
    assert SECRET not in environ.values()
    assert "HTTPS_PROXY" not in environ
    assert bench.spent[0].simulated


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
    assert verdict == Verdict(Outcome.DEFECT, "The task was not done within 2 turns.", 2)
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
    # the request in flight is on the bill, with what is known of it
    assert [u.input_tokens for u in bench.spent] == [10]
    mark = f"CLAUDE_CONFIG_DIR={bench.attempt.root}/claude-code/config"
    assert not list(marked_processes(mark.encode()))


def test_a_stop_ends_it_at_once(bench: Bench) -> None:
    stop = threading.Event()
    bench.clock = StoppableClock(stop)
    timer = threading.Timer(0.5, stop.set)
    timer.start()
    verdict = bench.run([{"sleep": 300}])
    timer.join()
    assert verdict.outcome is Outcome.INTERRUPTED
    assert "told to stop" in verdict.message


def test_what_it_left_running_is_ended_with_it(bench: Bench) -> None:
    assert bench.run([{"leave": 300}, WRITE, *DONE]).outcome is Outcome.OK
    mark = f"CLAUDE_CONFIG_DIR={bench.attempt.root}/claude-code/config"
    assert not list(marked_processes(mark.encode()))


@pytest.mark.parametrize(
    "allowance", [Allowance(max_tokens=129), Allowance(max_cost_usd=0.000_000_1)]
)
def test_it_is_ended_when_the_next_request_does_not_fit_into_what_is_left(
    bench: Bench, allowance: Allowance
) -> None:
    bench.allowance = allowance
    verdict = bench.run([*turn(), {"sleep": 300}])
    assert verdict.outcome is Outcome.BUDGET
    assert bench.spent


def test_what_a_killed_worker_of_this_attempt_spent_counts(bench: Bench) -> None:
    bench.allowance = Allowance(max_tokens=1_000)
    bench.attempt.result.mkdir(parents=True)
    spent = {"provider": "anthropic", "model": "m", "input_tokens": 900}
    bench.attempt.events.write_text(json.dumps({"kind": "progress", "usage": spent}) + "\n")
    assert bench.run([*turn(), {"sleep": 300}]).outcome is Outcome.BUDGET


def test_within_the_allowance_nothing_is_ended(bench: Bench) -> None:
    bench.allowance = Allowance(max_tokens=10_000, max_cost_usd=10.0)
    assert bench.run([WRITE, *turn(), *DONE]).outcome is Outcome.OK


# -- failures


def failing(text: str, **changes: Any) -> list[Step]:
    return [result(text, is_error=True, **changes), {"exit": 1}]


@pytest.mark.parametrize(
    ("steps", "outcome"),
    [
        (failing("API Error: Request rejected (429) · slow down", api_error_status=429), "RATE"),
        (failing("API Error: 529 overloaded"), "RATE"),
        (failing("API Error: 500 oops", api_error_status=500), "RATE"),
        (failing("API Error: Connection error."), "RATE"),
        (failing("Not logged in · Please run /login"), "AUTH"),
        (failing("API Error: 403 forbidden", api_error_status=403), "AUTH"),
        (failing("API Error: 404 no such model", api_error_status=404), "AUTH"),
        (failing("Credit balance is too low"), "BILLING"),
        (failing("declined", stop_reason="refusal"), "REFUSED"),
        (failing("API Error: 400 bad", api_error_status=400), "DEFECT"),
        ([result("", subtype="error_during_execution", errors=["it broke"])], "DEFECT"),
    ],
)
def test_an_error_has_its_outcome(bench: Bench, steps: list[Step], outcome: str) -> None:
    verdict = bench.run([WRITE, *steps])
    assert str(verdict.outcome).startswith(outcome)
    assert verdict.message


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("billing_error", BillingRefused),
        ("authentication_failed", CredentialsRefused),
        ("model_not_found", ModelUnknown),
        ("rate_limit", RateLimited),
        ("overloaded", Overloaded),
        ("server_error", ServerFault),
        ("something new", RequestRejected),
    ],
)
def test_an_error_is_known_by_the_name_the_cli_gives_it(kind: str, error: type) -> None:
    assert type(error_of(CliResult("success", True, "Something failed."), kind)) is error


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("API Error: 402 pay", BillingRefused),
        ("Invalid API key · Fix external API key", CredentialsRefused),
        ("Unable to connect to API (ConnectionRefused)", ConnectionLost),
        ("API Error: 503 unavailable", ServerFault),
    ],
)
def test_an_error_is_known_by_its_words_otherwise(text: str, error: type) -> None:
    assert type(error_of(CliResult("success", True, text), "unknown")) is error


def test_the_name_of_an_error_comes_with_an_answer_before_the_result(bench: Bench) -> None:
    answer = {"content": [words("Something is wrong.")]}
    event = {"type": "assistant", "message": answer, "error": "authentication_failed"}
    verdict = bench.run([{"say": event}, *failing("Something is wrong.")])
    assert verdict.outcome is Outcome.AUTH
    assert verdict.turns == 0


def test_requests_that_the_api_refused_for_its_load_are_counted(bench: Bench) -> None:
    retry = {"type": "system", "subtype": "api_retry", "retry_delay_ms": 1500}
    steps = [{"say": retry | {"error_status": status}} for status in (429, 529, 500)]
    lost = {"say": {"type": "system", "subtype": "api_retry"}}
    bench.run([WRITE, *steps, lost, *DONE])
    assert len(bench.throttled) == 2
    assert bench.told[0] == "Claude Code tries again in 1.5 s (429)"
    assert bench.told[3] == "Claude Code tries again in 0.0 s (connection lost)"
    record = json.loads(bench.attempt.transcript.read_text().splitlines()[1])
    assert record["retries"] == 4


def test_a_cli_that_ends_without_its_last_word_says_why(bench: Bench) -> None:
    verdict = bench.run([{"print": "{"}, {"print": "[1]"}, {"complain": "boom"}, {"exit": 7}])
    assert verdict.outcome is Outcome.DEFECT
    assert verdict.message == (
        "Claude Code ended (exit code 7) without a result."
        " 2 line(s) could not be read. It said: boom"
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
    assert bench.run([*rubbish, WRITE, *rubbish, *DONE]) == Verdict(Outcome.OK, "Wrote it.", 1)


def test_a_request_that_was_cut_and_asked_again_counts_twice(bench: Bench) -> None:
    bench.run([WRITE, *turn(number=1)[:3], *turn(number=2, stop="end_turn"), result()])
    assert [u.output_tokens for u in bench.spent] == [1, 5]


def test_a_cli_killed_in_the_middle_is_interrupted(bench: Bench) -> None:
    verdict = bench.run([*turn(), {"kill": "SIGKILL"}])
    assert verdict == Verdict(Outcome.INTERRUPTED, "Claude Code was ended by signal 9.", 1)


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


def test_an_error_nobody_expected_ends_the_transcript_too(bench: Bench) -> None:
    bench.install(DONE)

    def fail() -> list[str]:
        raise ZeroDivisionError("oops")

    with pytest.raises(ZeroDivisionError):
        ClaudeCodeEngine(replace(bench.assignment(), find_defects=fail), bench.around()).work()
    assert "Ended ZeroDivisionError: oops" in render_transcript(bench.attempt.transcript)
    assert not (bench.attempt.root / "claude-code").exists()


# -- the binary


def test_a_missing_binary_is_named(bench: Bench, tmp_path: Path) -> None:
    verdict = ClaudeCodeEngine(bench.assignment(), {"PATH": str(tmp_path)}).work()
    assert verdict.outcome is Outcome.DEFECT
    assert "not on the PATH" in verdict.message
    assert "npm install" in verdict.message


def test_an_old_version_is_named_with_the_oldest_that_will_do(bench: Bench) -> None:
    verdict = bench.run(version="2.1.99 (Claude Code)")
    assert verdict.outcome is Outcome.DEFECT
    assert "2.1.99" in verdict.message
    assert ".".join(map(str, OLDEST)) in verdict.message


def test_versions_are_compared_as_numbers() -> None:
    assert judge_version("c", "2.1.100 (Claude Code)", 0) == Cli("c", (2, 1, 100))
    assert judge_version("c", "10.0.0", 0) == Cli("c", (10, 0, 0))
    assert isinstance(judge_version("c", "2.0.999", 0), Problem)


@pytest.mark.parametrize(
    ("said", "code", "words"),
    [
        ("/usr/bin/env: 'node': No such file or directory", 127, "needs Node.js"),
        ("Segmentation fault", -11, "exit code -11"),
        ("", 0, "it said nothing"),
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
    found = find_cli_problems(settings, bench.credentials, bench.around(), in_process)
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
    (problem,) = find_cli_problems(model, bench.credentials, {"PATH": str(tmp_path)}, True)
    assert "not on the PATH" in problem.what


def test_credentials_that_only_the_sdk_knows_do_not_reach_the_cli(bench: Bench) -> None:
    bench.credentials = Credentials()
    (what,) = problems(bench, in_process=False)
    assert "no credentials" in what
    assert problems(bench, in_process=False, provider="bedrock") == []
    assert problems(bench, in_process=False, simulation=SimulationSettings()) == []


# -- the stream alone


def test_a_stream_tells_what_it_hears_outside_of_its_guard() -> None:
    """An error of the listener is no malformed line."""

    def refuse(_: Turn) -> None:
        raise KeyError("mine")

    stream = CliStream(Usage("p", "m"), "/w", lambda: 0.0, refuse, lambda _: None, lambda: None)
    *lines, last = (json.dumps(step["say"], separators=(",", ":")).encode() for step in turn())
    for line in lines:
        stream.feed(line)
    with pytest.raises(KeyError, match="mine"):
        stream.feed(last)
    assert stream.unreadable == 0


def test_calls_that_change_nothing_are_not_told() -> None:
    assert tell_call({"type": "tool_use", "name": "Write", "input": "x"}, "/w") == ""
