"""Prompt caching: the bytes that executors share, and an account of them as the API keeps it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from claude.http.plain_http import Incoming, Outgoing
from claude.prompts import load_prompt
from claude.simulation.api import SimulatedApi
from claude.simulation.prompt_cache import (
    LIFETIME_S,
    LONG_LIFETIME_S,
    LOOKBACK_BLOCKS,
    InputTokens,
    PromptCache,
    least_cacheable_tokens,
)
from claude.simulation.server import serve
from core.bundle import (
    AttemptDir,
    ContractFile,
    Limits,
    ModelSettings,
    Request,
    SimulationSettings,
    build_manifest,
    read_spent,
    write_request,
)
from core.clock import SystemClock
from core.credentials import Credentials
from core.job import JobKey, Outcome, TaskResult
from engine.money.usage import Spend
from executor_agent import ExecutorAgent
from tests.fakes.simulated import MODELS, PROVIDERS, SMALL, design_small

KEYS = Credentials(anthropic_api_key="key-a", aws_bearer_token_bedrock="key-b")
SIMULATION = SimulationSettings(speed=0)
SONNET = "claude-sonnet-5-5"
MARK = {"type": "ephemeral"}
EIGHTY_TOKENS = "x" * 270  # with its block's other characters
Block = dict[str, Any]


class ListeningApi(SimulatedApi):
    """Keeps the bodies that it was sent, to the byte, in order."""

    def __init__(self) -> None:
        super().__init__(SIMULATION, SystemClock(), designer=SMALL, cache=PromptCache())
        self.bodies: list[bytes] = []

    def handle(self, incoming: Incoming) -> Outgoing:
        self.bodies.append(incoming.body)
        return super().handle(incoming)


def run_task(root: Path, base_url: str, provider: str, task_id: str, **more: Any) -> TaskResult:
    """One task of the small project, over HTTP, in a run directory of its own."""
    plan = design_small("a todo list").plan
    attempt = AttemptDir(root / task_id / str(more.get("attempt", 1)))
    (attempt.inputs / "app").mkdir(parents=True)
    (attempt.inputs / plan.contracts[0].path).write_text(plan.contracts[0].content)
    (entry,) = build_manifest(attempt.inputs).entries
    model = ModelSettings(provider=provider, model=MODELS[provider], base_url=base_url)
    request = Request(
        key=JobKey("r1", task_id, more.get("attempt", 1)),
        prompt="a todo list",
        brief="# Small\n",
        task=next(task for task in plan.tasks if task.id == task_id),
        contracts=(ContractFile(entry.path, entry.sha256, is_common=True),),
        model=model,
        limits=Limits(),
        previous_failure=more.get("previous_failure", ""),
    )
    write_request(attempt, request)
    result = ExecutorAgent(KEYS, SystemClock()).run(attempt, "test")
    assert result is not None
    assert result.outcome is Outcome.OK
    return result


def split(body: bytes) -> tuple[bytes, bytes]:
    """What stands before the task in a request's bytes, and its tools."""
    head, found, _ = body.partition(b'{"type":"text","text":"<task id=')
    _, has_tools, tools = body.partition(b'"tools":')
    assert found
    assert has_tools
    return head, tools


@pytest.mark.parametrize("provider", PROVIDERS)
def test_two_tasks_of_a_run_share_their_prefix_to_the_byte(tmp_path: Path, provider: str) -> None:
    api = ListeningApi()
    with serve(0, SIMULATION, SystemClock(), api=api) as server:
        for task_id, more in [
            ("store", {}),
            ("page", {}),
            ("page", {"attempt": 2, "previous_failure": "It hung."}),
        ]:
            run_task(tmp_path, server.base_url, provider, task_id, **more)
    heads = {split(body)[0] for body in api.bodies}
    assert len(api.bodies) > 6
    # the model's name, the system text, the request, the plan and the contracts
    assert len(heads) == 1
    (head,) = heads
    assert len({split(body)[1] for body in api.bodies}) == 1
    assert json.dumps(load_prompt("executor"), ensure_ascii=False)[1:-1].encode() in head
    assert b"PORT = 8080" in head
    assert head.count(b'"cache_control":{"type":"ephemeral"}') == 2
    assert head.endswith(b'"cache_control":{"type":"ephemeral"}},')
    marks = [body.count(b'"cache_control"') for body in api.bodies]
    assert (min(marks), max(marks)) == (3, 4)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_second_task_reads_what_the_first_has_written(tmp_path: Path, provider: str) -> None:
    with serve(0, SIMULATION, SystemClock(), api=ListeningApi()) as server:
        first = run_task(tmp_path, server.base_url, provider, "store")
        second = run_task(tmp_path, server.base_url, provider, "page")
    assert first.usage[0].cache_read_tokens == 0
    shared = second.usage[0].cache_read_tokens
    assert shared >= 1_024
    assert first.usage[0].cache_write_tokens >= shared
    for result in (first, second):
        assert all(usage.input_tokens <= 1 for usage in result.usage)
        for before, after in zip(result.usage, result.usage[1:], strict=False):
            whole = before.cache_read_tokens + before.cache_write_tokens
            assert after.cache_read_tokens == whole  # each turn pays for what is new in it
    spends = [Spend.of(usage, lambda _: None) for usage in (*first.usage, *second.usage)]
    assert sum(spends, Spend()).cached_share > 0.6


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_worker_tells_when_each_answer_begins_and_what_it_used_once(
    tmp_path: Path, provider: str
) -> None:
    with serve(0, SIMULATION, SystemClock(), api=ListeningApi()) as server:
        result = run_task(tmp_path, server.base_url, provider, "store")
    attempt = AttemptDir(tmp_path / "store" / "1")
    told = [json.loads(line) for line in attempt.events.read_text().splitlines()]
    turns = ["begun" if e["kind"] == "answer_begun" else "used" for e in told if "text" not in e]
    assert turns == ["begun", "used"] * result.turns
    assert {"kind": "answer_begun"} in told  # without a count that could be billed
    assert tuple(read_spent(attempt)) == result.usage
    assert len(result.usage) == result.turns


def request(*blocks: Block, tools: Sequence[Block] = ()) -> Block:
    return {"tools": list(tools), "messages": [{"role": "user", "content": list(blocks)}]}


def block(n: int, *, mark: Any = None) -> Block:
    text = f"{n:04}{EIGHTY_TOKENS}"
    return {"type": "text", "text": text, **({"cache_control": mark} if mark else {})}


def blocks(count: int, *marked: int, mark: Any = MARK) -> Block:
    return request(*(block(n, mark=mark if n in marked else None) for n in range(count)))


def test_each_token_is_read_written_or_plain() -> None:
    cache = PromptCache()
    first = cache.account(blocks(40, 19, 29), SONNET, 0.0)
    assert (first.read, first.written > 0, first.plain > 0) == (0, True, True)
    again = cache.account(blocks(40, 19, 29), SONNET, 1.0)
    assert again == InputTokens(first.plain, first.written, 0)
    longer = cache.account(blocks(40, 19, 34), SONNET, 2.0)
    assert longer.read == again.read
    assert longer.read + longer.written + longer.plain == first.written + first.plain


@pytest.mark.parametrize(
    ("model", "least"),
    [
        ("claude-sonnet-5-5", 1024),
        ("claude-sonnet-4-5-20250929", 1024),
        ("global.anthropic.claude-sonnet-4-5-20250929-v1:0", 1024),
        ("claude-opus-4-1", 1024),
        ("claude-opus-4-5", 4096),
        ("claude-opus-4-6", 4096),
        ("claude-opus-4-7", 2048),
        ("claude-opus-4-8", 1024),
        ("claude-opus-5", 512),
        ("claude-fable-5", 512),
        ("eu.anthropic.claude-haiku-4-5-20251001-v1:0", 4096),
        ("claude-3-5-haiku-20241022", 2048),
        ("somebody-elses-model", 1024),
    ],
)
def test_a_prefix_too_short_for_the_model_is_not_cached(model: str, least: int) -> None:
    assert least_cacheable_tokens(model) == least
    cache = PromptCache()
    short, long = least // 90, least // 70
    for now in (0.0, 1.0):
        told = cache.account(blocks(short, short - 1), model, now)
        assert (told.read, told.written) == (0, 0)
    assert cache.account(blocks(long, long - 1), model, 2.0).written >= least
    assert cache.account(blocks(long, long - 1), model, 3.0).read >= least


def test_an_entry_is_found_twenty_blocks_back_and_no_further() -> None:
    cache = PromptCache()
    cache.account(blocks(20, 19), SONNET, 0.0)
    near, far = 19 + LOOKBACK_BLOCKS - 1, 19 + LOOKBACK_BLOCKS
    assert cache.account(blocks(far + 1, far), SONNET, 1.0).read == 0
    assert cache.account(blocks(near + 1, near), SONNET, 2.0).read > 0


def test_an_earlier_mark_is_searched_from_as_well() -> None:
    cache = PromptCache()
    cache.account(blocks(20, 19), SONNET, 0.0)
    assert cache.account(blocks(80, 19, 79), SONNET, 1.0).read > 0


def test_only_marked_prefixes_are_entries() -> None:
    cache = PromptCache()
    cache.account(blocks(30, 29), SONNET, 0.0)
    assert cache.account(blocks(25, 24), SONNET, 1.0).read == 0


def test_an_entry_lives_five_minutes_after_its_last_use() -> None:
    cache = PromptCache()
    cache.account(blocks(20, 19), SONNET, 0.0)
    assert cache.account(blocks(25, 24), SONNET, LIFETIME_S - 1).read  # found by looking back
    assert cache.account(blocks(20, 19), SONNET, 2 * LIFETIME_S - 2).read
    assert not cache.account(blocks(20, 19), SONNET, 4 * LIFETIME_S).read


def test_an_hour_can_be_asked_for() -> None:
    cache = PromptCache()
    hour = {"type": "ephemeral", "ttl": "1h"}
    cache.account(blocks(20, 19, mark=hour), SONNET, 0.0)
    assert cache.account(blocks(20, 19), SONNET, LONG_LIFETIME_S - 1).read


def test_lifetimes_pass_with_the_speed_of_the_simulation() -> None:
    cache = PromptCache()
    cache.account(blocks(20, 19), SONNET, 0.0, speed=10.0)
    assert cache.account(blocks(20, 19), SONNET, LIFETIME_S / 10 - 1, speed=10.0).read
    assert not cache.account(blocks(20, 19), SONNET, LIFETIME_S, speed=10.0).read


def test_what_is_being_written_cannot_be_read_before_the_answer_begins() -> None:
    cache = PromptCache()
    first = cache.account(blocks(20, 19), SONNET, 0.0, begins_s=0.8)
    twin = cache.account(blocks(20, 19), SONNET, 0.5, begins_s=0.8)
    assert twin == first
    assert cache.account(blocks(20, 19), SONNET, 0.8, begins_s=0.8).read == first.written


def test_a_change_before_the_mark_misses() -> None:
    tool = {"name": "a", "description": "b", "input_schema": {"type": "object"}}
    turned = dict(reversed(tool.items()))
    cache = PromptCache()
    marked = [block(n, mark=MARK if n == 19 else None) for n in range(20)]
    cache.account(request(*marked, tools=[tool]), SONNET, 0.0)
    assert cache.account(request(*marked, tools=[tool]), SONNET, 1.0).read
    for other in ([], [turned], [{**tool, "name": "c"}]):
        assert not cache.account(request(*marked, tools=other), SONNET, 1.0).read
    assert not cache.account(request(*marked, tools=[tool]), "claude-opus-4-1", 1.0).read


def test_the_automatic_mark_stands_at_the_end() -> None:
    cache = PromptCache()
    automatic = {**blocks(20), "cache_control": MARK}
    assert cache.account(automatic, SONNET, 0.0).plain == 0
    assert cache.account(blocks(20, 19), SONNET, 1.0).plain == 0
    assert cache.account(blocks(20, 19), SONNET, 1.0).read


def test_no_mark_no_cache() -> None:
    cache = PromptCache()
    for now in (0.0, 1.0):
        told = cache.account(blocks(40), SONNET, now)
        assert (told.read, told.written) == (0, 0)
    assert cache.account({"messages": []}, SONNET, 0.0) == InputTokens(1)
