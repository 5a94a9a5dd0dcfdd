"""The executor: a request bundle in, a result bundle out, whatever happens between."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest

from claude.client.client import connect
from claude.client.types import Call, Hooks, Reply
from claude.engines.attempt_log import AttemptLog
from claude.engines.base import EngineContext, EngineResult
from claude.limits.governor import Governor
from claude.simulation.sample_projects import load_sample
from core.bundle import (
    Allowance,
    AttemptDir,
    ContractFile,
    Limits,
    ModelSettings,
    Request,
    SimulationSettings,
    claim,
    read_result,
    write_request,
)
from core.check_request import Check, CheckJob, CheckRequest
from core.checks.job import CHECKS_NAME, read_report
from core.clock import SystemClock
from core.credentials import Credentials
from core.errors import BundleError, CredentialsRefused, RateLimited
from core.events import Proof
from core.job import JobKey, Outcome, TaskResult
from core.plan import Plan, Setup, Task, render_brief, topological_order
from core.wire import plain
from executor_agent import ExecutorAgent, write_final_result
from planner_agent import PlannerAgent
from tests.fakes.plans import ancestors
from tests.fakes.scripted_claude import (
    USAGE,
    Answer,
    FakeClock,
    ScriptedClaude,
    ScriptedConnect,
    act,
    say,
    use,
)

SECRET = "sk-ant-canary-0123456789"
CONTRACT, CONTRACT_TEXT = "app/types.py", b"PORT = 8000\n"
TASK = Task(
    id="store",
    title="The store",
    instructions="Write the store.",
    owns=("app/store.py", "src/"),
    estimate=100,
)
WRITE = use("write_file", path="app/store.py", content="STORE = {}\n")
SCRIPT = use("write_file", path="src/run.sh", content="#!/bin/sh\n")
SUBMIT = use("submit_result", summary="Wrote it.")
DONE = act(WRITE, SCRIPT, SUBMIT)


def make_attempt(root: Path, number: int = 1, **changes: Any) -> AttemptDir:
    attempt = AttemptDir(root / str(number))
    (attempt.inputs / "app").mkdir(parents=True)
    (attempt.inputs / CONTRACT).write_bytes(CONTRACT_TEXT)
    (attempt.inputs / "lib.py").write_text("import app\n")
    fields: dict[str, Any] = {
        "key": JobKey("r1", TASK.id, number),
        "prompt": "Build",
        "brief": "# Store\n",
        "task": TASK,
        "contracts": (ContractFile(CONTRACT, hashlib.sha256(CONTRACT_TEXT).hexdigest()),),
        "model": ModelSettings(),
        "limits": Limits(),
    }
    write_request(attempt, Request(**(fields | changes)))
    return attempt


def agent(*answers: Answer, **more: Any) -> ExecutorAgent:
    connect = ScriptedConnect(ScriptedClaude(answers, forever=True))
    clock = more.pop("clock", FakeClock())
    return ExecutorAgent(Credentials(anthropic_api_key=SECRET), clock, connect=connect, **more)


def run(attempt: AttemptDir, *answers: Answer) -> TaskResult:
    result = agent(*answers).run(attempt, "worker-1")
    assert result is not None
    return result


def events(attempt: AttemptDir) -> list[dict[str, Any]]:
    return [json.loads(line) for line in attempt.events.read_text().splitlines()]


def test_a_good_attempt_leaves_its_files_and_a_result(tmp_path: Path) -> None:
    attempt = make_attempt(tmp_path)
    clock = FakeClock()

    def answer(_: Call) -> Reply:
        clock.now += 7
        return DONE

    result = agent(answer, clock=clock).run(attempt, "w")
    assert result == read_result(attempt, JobKey("r1", "store", 1))
    assert (result.outcome, result.message, result.turns) == (Outcome.OK, "Wrote it.", 1)
    assert result.usage == (USAGE,)
    assert result.duration_s == 7
    assert result.manifest.paths == ("app/store.py", "src/run.sh")
    assert [entry.mode for entry in result.manifest.entries] == [0o644, 0o755]
    assert (attempt.files / "app/store.py").read_text() == "STORE = {}\n"
    assert not attempt.work.exists()
    assert (attempt.inputs / CONTRACT).read_bytes() == CONTRACT_TEXT


def test_of_the_inputs_of_what_is_done_only_the_contracts_stay(tmp_path: Path) -> None:
    attempt = make_attempt(tmp_path)
    (attempt.inputs / "deep/down").mkdir(parents=True)
    (attempt.inputs / "deep/down/x.py").touch()
    assert run(attempt, DONE).outcome is Outcome.OK
    left = {p.relative_to(attempt.inputs).as_posix() for p in attempt.inputs.rglob("*")}
    assert left == {"app", CONTRACT}


def test_the_inputs_of_what_failed_stay_for_a_look(tmp_path: Path) -> None:
    attempt = make_attempt(tmp_path)
    assert run(attempt, act(use("list_files"))).outcome is Outcome.DEFECT
    assert (attempt.inputs / "lib.py").exists()


def test_usage_and_progress_are_on_disk_as_they_happen(tmp_path: Path) -> None:
    attempt = make_attempt(tmp_path)
    seen: list[int] = []

    def look(_: Call) -> Reply:
        seen.append(len(events(attempt)) if attempt.events.exists() else 0)
        return DONE

    run(attempt, act(WRITE), look)
    assert seen == [2]
    first, second, *_ = events(attempt)
    assert first["kind"] == "progress"
    assert first["usage"]["output_tokens"] == USAGE.output_tokens
    assert second == {"kind": "progress", "text": "wrote app/store.py (1 line)"}
    lines = [json.loads(line) for line in attempt.transcript.read_text().splitlines()]
    assert [line.get("turn") for line in lines] == [None, 1, 2, None]
    assert (lines[0]["attempt"], lines[3]["ended"]) == ("r1/store/1", "OK")


def test_another_claimant_leaves_without_touching_anything(tmp_path: Path) -> None:
    attempt = make_attempt(tmp_path)
    assert claim(attempt, "somebody else")
    before = sorted(p for p in attempt.root.rglob("*"))
    assert agent().run(attempt, "worker-1") is None
    assert sorted(p for p in attempt.root.rglob("*")) == before


def test_a_worker_whose_job_was_started_again_leaves_no_result(tmp_path: Path) -> None:
    attempt = make_attempt(tmp_path)

    def answer(_: Call) -> Reply:
        assert claim(attempt, "job#1")
        return DONE

    assert agent(answer).run(attempt, "job#0") is None
    assert not attempt.result_json.exists()
    again = agent(DONE).run(attempt, "job#1")
    assert again is not None
    assert again.outcome is Outcome.OK


@pytest.mark.parametrize(
    "ends", [DONE, RateLimited("late"), act(use("list_files"))], ids=["well", "badly", "a defect"]
)
def test_a_worker_that_was_left_behind_spares_what_its_successor_left(
    tmp_path: Path, ends: Reply
) -> None:
    attempt = make_attempt(tmp_path)
    later: list[TaskResult | None] = []

    def answer(_: Call) -> Reply:
        assert claim(attempt, "job#0")
        later.append(agent(DONE).run(attempt, "job#1"))
        return ends

    assert agent(answer).run(attempt, "job#0") is None
    assert later == [read_result(attempt, JobKey("r1", "store", 1))]


def test_an_attempt_that_has_its_result_is_not_run_again(tmp_path: Path) -> None:
    attempt = make_attempt(tmp_path)
    assert run(attempt, DONE) == run(attempt, RateLimited("not asked"))


def test_a_requeue_begins_afresh_and_keeps_count_of_the_money(tmp_path: Path) -> None:
    attempt = make_attempt(tmp_path)

    def die(_: Call) -> Reply:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(attempt, act(WRITE), die)
    attempt.result_json.unlink()
    with attempt.events.open("a") as stream:
        stream.write('not json\n{"usage": {"provider": 1}}\n{"kind": "progr')
    (attempt.work / "src").mkdir()
    (attempt.work / "src/left.py").touch()
    attempt.files.mkdir()
    (attempt.files / "half.py").touch()
    result = run(attempt, DONE)
    assert result.outcome is Outcome.OK
    assert result.usage == (USAGE, USAGE)
    assert result.manifest.paths == ("app/store.py", "src/run.sh")
    lines = attempt.events.read_text().splitlines()
    torn = lines.index('{"kind": "progr')
    assert json.loads(lines[torn + 1])["usage"]["output_tokens"] == USAGE.output_tokens
    assert json.loads(lines[-1])["text"].startswith("wrote src")


def test_a_worker_that_is_stopped_says_so_and_stops(tmp_path: Path) -> None:
    attempt = make_attempt(tmp_path)
    with pytest.raises(SystemExit):
        run(attempt, act(WRITE), SystemExit(1))
    result = read_result(attempt, JobKey("r1", "store", 1))
    assert result.outcome is Outcome.INTERRUPTED
    assert result.message == "The worker was stopped (SystemExit)."
    assert result.usage == (USAGE,)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (say("no", "refusal"), Outcome.REFUSED),
        (RateLimited("429."), Outcome.RATE_LIMITED),
        (CredentialsRefused(f"401 for {SECRET}."), Outcome.AUTH),
        (RuntimeError(f"a bug with {SECRET}"), Outcome.DEFECT),
        (OSError(28, "No space left on device"), Outcome.DEFECT),
    ],
)
def test_a_failed_attempt_has_no_files_and_keeps_what_was_written_in_work(
    tmp_path: Path, answer: Answer, outcome: Outcome
) -> None:
    attempt = make_attempt(tmp_path)
    result = run(attempt, act(WRITE), answer)
    assert result == read_result(attempt, JobKey("r1", "store", 1))
    assert (result.outcome, result.manifest.entries) == (outcome, ())
    assert not attempt.files.exists()
    assert (attempt.work / "app/store.py").read_text() == "STORE = {}\n"
    assert SECRET not in "".join(p.read_text() for p in attempt.result.iterdir())


def test_a_failed_attempt_reports_where_its_files_are(tmp_path: Path) -> None:
    attempt = make_attempt(tmp_path)
    run(attempt, say("no", "refusal"))
    assert "REFUSED: Claude declined the task. no\nWhat was written so far stays in work/." in (
        attempt.log.read_text()
    )


def test_a_bug_is_explained_in_the_log(tmp_path: Path) -> None:
    attempt = make_attempt(tmp_path)
    run(attempt, RuntimeError("a bug"))
    assert "Traceback" in attempt.log.read_text()


def test_a_long_message_is_cut(tmp_path: Path) -> None:
    summary = use("submit_result", summary="x" * 9_000)
    assert len(run(make_attempt(tmp_path), act(WRITE, SCRIPT, summary)).message) == 4_000


def test_debris_is_dropped_and_named_in_the_log(tmp_path: Path) -> None:
    attempt = make_attempt(tmp_path)

    def litter(_: Call) -> Reply:
        for name in ("src/__pycache__/a.pyc", "app/__pycache__/b.pyc"):
            (attempt.work / name).parent.mkdir(parents=True, exist_ok=True)
            (attempt.work / name).touch()
        return DONE

    result = run(attempt, litter)
    assert result.manifest.paths == ("app/store.py", "src/run.sh")
    assert "Dropped, since not part of the result:\napp/__pycache__/b.pyc\n" in (
        attempt.log.read_text()
    )


def test_a_changed_input_is_given_back_to_the_model_as_a_defect(tmp_path: Path) -> None:
    attempt = make_attempt(tmp_path)

    def spoil(_: Call) -> Reply:
        (attempt.work / "lib.py").write_text("changed\n")
        return DONE

    assert run(attempt, spoil, act(SUBMIT)).outcome is Outcome.OK
    assert "another task's file 'lib.py' was changed" in attempt.transcript.read_text()


class Credulous:
    """An engine that believes the model."""

    def __init__(self, context: EngineContext) -> None:
        pass

    def work(self) -> EngineResult:
        return EngineResult(Outcome.OK, "24 of 24 done")


def test_the_workspace_is_checked_again_whatever_the_engine_says(tmp_path: Path) -> None:
    result = agent(load=lambda _: Credulous).run(make_attempt(tmp_path), "worker-1")
    assert result is not None
    assert result.outcome is Outcome.DEFECT
    assert "there are no files yet" in result.message


def test_an_unknown_engine_is_a_result_too(tmp_path: Path) -> None:
    result = run(make_attempt(tmp_path, model=ModelSettings(engine="warp")))
    assert result.outcome is Outcome.DEFECT
    assert "engine 'warp' is unknown" in result.message


@pytest.mark.parametrize("damage", ["changed", "absent"])
def test_contracts_that_are_not_those_of_the_request_stop_the_attempt(
    tmp_path: Path, damage: str
) -> None:
    attempt = make_attempt(tmp_path)
    if damage == "changed":
        (attempt.inputs / CONTRACT).write_text("PORT = 1\n")
    else:
        (attempt.inputs / CONTRACT).unlink()
    result = run(attempt)
    assert result.outcome is Outcome.DEFECT
    assert f"The contract {CONTRACT!r}" in result.message


def test_a_task_without_inputs_needs_no_directory_for_them(tmp_path: Path) -> None:
    attempt = make_attempt(tmp_path, contracts=())
    shutil.rmtree(attempt.inputs)
    assert run(attempt, DONE).outcome is Outcome.OK


def test_a_link_planted_in_the_inputs_stops_the_attempt(tmp_path: Path) -> None:
    attempt = make_attempt(tmp_path)
    (tmp_path / "secret").write_text("theirs")
    (attempt.inputs / "link").symlink_to(tmp_path / "secret")
    result = run(attempt)
    assert result.outcome is Outcome.DEFECT
    assert "symbolic link" in result.message


def test_an_input_with_a_path_that_is_not_portable_stops_the_attempt(tmp_path: Path) -> None:
    attempt = make_attempt(tmp_path)
    (attempt.inputs / "a:b").touch()
    assert "'a:b'" in run(attempt).message


def test_a_link_that_takes_the_place_of_an_owned_file_is_not_delivered(tmp_path: Path) -> None:
    attempt = make_attempt(tmp_path, limits=Limits(max_corrections=0))

    def plant(_: Call) -> Reply:
        (attempt.work / "app/store.py").symlink_to("/etc/hostname")
        os.symlink("/etc", attempt.work / "src")
        return act(SUBMIT)

    result = run(attempt, plant)
    assert result.outcome is Outcome.DEFECT
    assert not attempt.files.exists()


@pytest.mark.parametrize("text", ["", "{", '{"version": 99}', "\udcff"])
def test_a_request_that_cannot_be_read_is_an_error(tmp_path: Path, text: str) -> None:
    attempt = make_attempt(tmp_path)
    attempt.task_json.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(BundleError):
        agent().run(attempt, "worker-1")
    assert not attempt.result_json.exists()


def test_one_agent_serves_many_threads(tmp_path: Path) -> None:
    meet = threading.Barrier(8, timeout=30)

    def together(_: Call) -> Reply:
        meet.wait()
        return DONE

    connect = ScriptedConnect(ScriptedClaude([together], forever=True))
    one = ExecutorAgent(Credentials(), SystemClock(), connect=connect)
    attempts = [make_attempt(tmp_path, n) for n in range(1, 9)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda a: one.run(a, "worker-1"), attempts))
    assert [r.outcome if r else None for r in results] == [Outcome.OK] * 8
    assert [len(r.usage) if r else 0 for r in results] == [1] * 8
    assert len(set(map(id, connect.governors))) == 1


FAULTS = (
    "rate_limit=0.1,overloaded=0.05,server_error=0.05,disconnect=0.05,"
    "truncate=0.3,bad_tool=0.1,escape=0.2,wrong_files=0.2"
)


@pytest.mark.parametrize("provider", ["anthropic", "bedrock"])
@pytest.mark.parametrize("faults", ["", FAULTS])
def test_a_simulated_project_comes_out_as_it_was_designed(
    tmp_path: Path, provider: str, faults: str
) -> None:
    """Through the real SDK: a prompt is planned, and all its tasks are run."""
    prompt = "Build a todo list app with add/delete/complete"
    simulation = SimulationSettings(seed=7, speed=0.0, faults=faults)
    model = ModelSettings(provider=provider, simulation=simulation)
    clock = FakeClock()
    with connect(
        model, Credentials(), clock=clock, governor=Governor(), limits=Limits(), hooks=Hooks()
    ) as claude:
        plan = PlannerAgent(claude).plan(prompt)
    project = load_sample("todo")
    assert plan == project.plan.model_copy(update={"prompt": prompt})
    built: dict[str, dict[str, str]] = {}
    for task_id in topological_order(plan):
        attempt = simulated_attempt(tmp_path, prompt, plan, plan.task(task_id), model, built)
        result = ExecutorAgent(Credentials(), clock).run(attempt, "worker-1")
        assert result is not None
        assert (result.outcome, all(u.simulated for u in result.usage)) == (Outcome.OK, True)
        built[task_id] = {
            path: (attempt.files / path).read_bytes().decode() for path in result.manifest.paths
        }
    assert built == {name: dict(files) for name, files in project.files.items()}
    assert not (tmp_path / "escaped.txt").exists()


def simulated_attempt(
    root: Path,
    prompt: str,
    plan: Plan,
    task: Task,
    model: ModelSettings,
    built: dict[str, dict[str, str]],
) -> AttemptDir:
    attempt = AttemptDir(root / task.id / "1")
    contracts = {c.path: c.content for c in plan.contracts}
    inputs = contracts | {p: t for a in ancestors(plan)[task.id] for p, t in built[a].items()}
    for path, text in inputs.items():
        (attempt.inputs / path).parent.mkdir(parents=True, exist_ok=True)
        (attempt.inputs / path).write_bytes(text.encode())
    digests = {p: hashlib.sha256(text.encode()).hexdigest() for p, text in contracts.items()}
    request = Request(
        key=JobKey("r1", task.id, 1),
        prompt=prompt,
        brief=render_brief(plan),
        task=task,
        contracts=tuple(ContractFile(p, d) for p, d in digests.items()),
        model=model,
        limits=Limits(request_retries=30),
    )
    write_request(attempt, request)
    return attempt


# -- what an attempt may spend


def test_an_attempt_that_may_not_go_on_is_short_of_budget(tmp_path: Path) -> None:
    tight = Allowance(max_tokens=16_000)
    attempt = make_attempt(tmp_path, allowance=tight)
    reading = act(use("read_file", path="lib.py"))
    dear = replace(reading, usage=replace(USAGE, output_tokens=15_000))
    result = agent(dear).run(attempt, "w")
    assert result is not None
    assert result.outcome is Outcome.BUDGET
    assert "does not fit" in result.message
    assert result.usage == (dear.usage,)
    assert result.turns == 2


def test_what_a_killed_worker_of_the_attempt_spent_is_part_of_it(tmp_path: Path) -> None:
    attempt = make_attempt(tmp_path, allowance=Allowance(max_tokens=20_000))
    spent = {"kind": "progress", "usage": plain(replace(USAGE, output_tokens=19_000))}
    attempt.result.mkdir()
    attempt.events.write_text(json.dumps(spent) + "\n")
    claude = ScriptedClaude([DONE])
    connect = ScriptedConnect(claude)
    result = ExecutorAgent(Credentials(), FakeClock(), connect=connect).run(attempt, "w")
    assert result is not None
    assert result.outcome is Outcome.BUDGET
    assert claude.calls == []


def test_the_prices_of_the_request_guard_its_money(tmp_path: Path) -> None:
    model = ModelSettings(model="unheard-of", price_input_usd=1.0, price_output_usd=1.0)
    attempt = make_attempt(tmp_path, model=model, allowance=Allowance(max_cost_usd=0.06))
    claude = ScriptedClaude([DONE], forever=True)
    ExecutorAgent(Credentials(), FakeClock(), connect=ScriptedConnect(claude)).run(attempt, "w")
    (call,) = claude.calls
    assert call.max_tokens == model.max_output_tokens
    tight = make_attempt(tmp_path, 2, model=model, allowance=Allowance(max_cost_usd=0.02))
    ExecutorAgent(Credentials(), FakeClock(), connect=ScriptedConnect(claude)).run(tight, "w")
    assert 1_024 <= claude.calls[-1].max_tokens < 20_000


def test_a_result_reports_how_often_the_provider_refused_for_the_rate(tmp_path: Path) -> None:
    attempt = make_attempt(tmp_path, limits=Limits(request_retries=2))
    refusal = httpx2.Response(429, headers={"retry-after": "12"}, json={"error": {}})
    transport = httpx2.MockTransport(lambda _: refusal)
    result = ExecutorAgent(
        Credentials(anthropic_api_key=SECRET),
        FakeClock(),
        governor=Governor(draw=lambda: 0.0),
        connect=partial(connect, transport=transport),
    ).run(attempt, "worker-1")
    assert result is not None
    assert (result.outcome, result.throttled) == (Outcome.RATE_LIMITED, 3)
    assert "waiting for the rate limit, 12 s" in [event.get("text") for event in events(attempt)]
    assert read_result(attempt, result.key).throttled == 3


class FullAtFirst(AttemptLog):
    """A log on a disk that is full as long as the work is there."""

    def settle(self) -> None:
        if self.work.exists():
            raise OSError(28, "No space left on device")
        super().settle()

    work = Path()


def test_what_was_written_makes_room_for_the_result_on_a_full_disk(tmp_path: Path) -> None:
    attempt = make_attempt(tmp_path)
    attempt.work.mkdir()
    (attempt.work / "big").touch()
    log = FullAtFirst(attempt, str, lambda _: None)
    log.work = attempt.work
    log.log("all that was told")
    result = TaskResult(JobKey("r1", TASK.id, 1), Outcome.DEFECT, "No space left on device")
    write_final_result(attempt, log, result)
    assert read_result(attempt, result.key) == result
    assert attempt.log.read_text() == "all that was told\n"
    assert not attempt.work.exists()


def test_checks_are_run_in_place_of_a_request_to_claude(tmp_path: Path) -> None:
    checks = CheckRequest(Setup(), (Check("grep -q app lib.py"), Check("exit 3")))
    task = Task(id="store", instructions="Run the checks.", owns=(CHECKS_NAME,))
    attempt = make_attempt(tmp_path, task=task, checks=CheckJob(checks))
    asked = ScriptedConnect(ScriptedClaude([]))
    worker = ExecutorAgent(Credentials(), SystemClock(), connect=asked, contained=True)
    result = worker.run(attempt, "w")
    assert result is not None
    assert (result.outcome, result.usage, result.manifest.paths) == (Outcome.OK, (), (CHECKS_NAME,))
    report = read_report(attempt.files / CHECKS_NAME, checks)
    assert [(e.state, e.reason) for e in report.ended] == [
        (Proof.PASSED, ""),
        (Proof.FAILED, "exit code 3"),
    ]
    assert not attempt.work.exists()
    assert events(attempt)[0]["text"] == "1 of 2: grep -q app lib.py"
