"""Sixteen executors of one process against servers that enforce limits: the real SDK, streaming,
over real HTTP on loopback.

Nothing here depends on how fast the machine is: counts, and orders that one lock makes. How long it
takes under limits is in tests/claude/limits/test_limited_world.py, in virtual time.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from claude.client.types import Claude
from claude.http.plain_http import Incoming
from claude.limits.admission import FIRST_AT_ONCE, UNLIMITED
from claude.limits.governor import Governor
from core.bundle import ModelSettings
from core.clock import StoppableClock, SystemClock
from core.credentials import Credentials
from core.errors import BillingRefused, CredentialsRefused, Interrupted, RateLimited
from tests.fakes.limited_api import LimitedApi, Rules, limited_server
from tests.fakes.simulated import MODELS, SmallExecutor, ask, connected, planner_call, user
from tests.fakes.witness import Witness

pytestmark = pytest.mark.slow  # starts many processes, or waits

EXECUTORS = 16
KEYS = Credentials(anthropic_api_key="key", aws_bearer_token_bedrock="key")
# Forty a minute, a minute in three seconds.
FORTY = Rules(at_once=4, in_window=40, window_s=3.0, busy_s=0.4, first_s=0.03)

Work = Callable[[Claude, int], object]


def run_executors(
    rules: Rules, work: Work, *, provider: str = "anthropic", **server: Any
) -> tuple[list[Future[object]], LimitedApi, Witness]:
    """Let all executors work at once; their ends, the server, and what the governor did."""
    started, api = limited_server(rules, speed=60.0, **server)
    witness = Witness()
    shared = Governor(admission=witness)
    model = ModelSettings(provider=provider, model=MODELS[provider], base_url=started.base_url)

    def execute(number: int) -> object:
        with connected(
            model=model, credentials=KEYS, clock=SystemClock(), governor=shared, retries=20
        ) as claude:
            return work(claude, number)

    with started, ThreadPoolExecutor(EXECUTORS) as pool:
        ends = [pool.submit(execute, number) for number in range(EXECUTORS)]
    return ends, api, witness


def ask_often(times: int) -> Work:
    def work(claude: Claude, number: int) -> object:
        for n in range(times):
            claude.send(ask(user(f"Hello {number} {n}")))
        return None

    return work


def failures(ends: list[Future[object]]) -> list[BaseException]:
    return [error for end in ends if (error := end.exception()) is not None]


def check_brakes(witness: Witness, api: LimitedApi) -> None:
    """Each refusal was heard, and nothing started in its pause, nor a burst after it."""
    assert witness.refusals == len(api.refusals)
    assert len(witness.started_s) == len(api.log)
    assert (witness.in_pause, witness.bursts) == (0, 0)


def refuse_some(status: int) -> Callable[[Incoming, int], tuple[int, Mapping[str, str]] | None]:
    """Whatever else the server refuses, these: so many that it is an episode."""
    return lambda _, number: (status, {"retry-after": "0.3"}) if 4 <= number < 8 else None


@pytest.mark.slow
def test_forty_a_minute_and_four_at_once_are_kept_to_by_sixteen_executors() -> None:
    ends, api, witness = run_executors(FORTY, ask_often(4), also_refuse=refuse_some(429))
    assert failures(ends) == []
    assert len(api.served) == 4 * EXECUTORS
    assert len(api.refusals) >= 4
    check_brakes(witness, api)


@pytest.mark.slow
def test_whole_tasks_are_done_under_the_limits() -> None:
    def task(claude: Claude, number: int) -> object:
        return SmallExecutor(claude, "store", prompt=f"a todo list {number}").run()

    ends, api, witness = run_executors(replace(FORTY, in_window=400), task)
    assert failures(ends) == []
    assert all(set(end.result()) == {"app/store.py", "app/empty.py"} for end in ends)  # type: ignore[call-overload] # files by path
    check_brakes(witness, api)


@pytest.mark.parametrize("provider", ["anthropic", "bedrock"])
def test_limits_that_no_header_reports_are_kept_to(provider: str) -> None:
    rules = replace(FORTY, told=False, retry_after=False, in_window=400, at_once=6)
    ends, api, witness = run_executors(rules, ask_often(2), provider=provider)
    assert failures(ends) == []
    assert len(api.served) == 2 * EXECUTORS
    check_brakes(witness, api)


def test_overload_lowers_how_many_are_in_flight() -> None:
    rules = replace(FORTY, overload=True, in_window=400)
    ends, api, witness = run_executors(rules, ask_often(2), also_refuse=refuse_some(529))
    assert failures(ends) == []
    assert {entry.status for entry in api.refusals} == {529}
    assert witness.ceiling < UNLIMITED
    check_brakes(witness, api)


def test_a_server_that_refuses_for_ever_and_asks_for_no_time_is_not_hammered() -> None:
    def lie(_: Incoming, __: int) -> tuple[int, Mapping[str, str]]:
        return 429, {"retry-after": "0"}

    stop, witness = threading.Event(), Witness()
    governor = Governor(admission=witness)
    started, _ = limited_server(FORTY, speed=60.0, also_refuse=lie)
    model = ModelSettings(base_url=started.base_url)

    def execute() -> None:
        with (
            connected(
                model=model,
                credentials=KEYS,
                clock=StoppableClock(stop),
                governor=governor,
                retries=8,
            ) as claude,
            suppress(Interrupted),
        ):
            claude.send(ask())

    with started, ThreadPoolExecutor(EXECUTORS) as pool:
        ends = [pool.submit(execute) for _ in range(EXECUTORS)]
        stop.wait(2.0)
        stop.set()
        assert [end.exception(timeout=20) for end in ends] == [None] * EXECUTORS
    # the first few together, then one after 0.5 s at least, one after 1 s more, after 2 s, ...
    took_s = witness.started_s[-1] - witness.started_s[0]
    assert 1 <= len(witness.started_s) <= FIRST_AT_ONCE + math.log2(2 * took_s + 1)


@pytest.mark.parametrize(("status", "error"), [(401, CredentialsRefused), (429, BillingRefused)])
def test_after_an_error_for_good_nothing_more_is_sent_and_what_runs_ends(
    status: int, error: type[Exception]
) -> None:
    def refuse_the_seventh(_: Incoming, number: int) -> tuple[int, Mapping[str, str]] | None:
        return (status, {"retry-after": "7200"}) if number >= 6 else None

    answers = list[object]()

    def work(claude: Claude, number: int) -> None:
        for n in range(50):
            answers.append(claude.send(ask(user(f"Hello {number} {n}"))))

    rules = replace(FORTY, at_once=100)
    ends, api, _ = run_executors(rules, work, also_refuse=refuse_the_seventh)
    assert {type(failure) for failure in failures(ends)} == {error}
    assert len(failures(ends)) == EXECUTORS
    assert len(api.served) == len(answers) == 6
    assert len(api.log) <= 6 + EXECUTORS  # those on their way, of 800


def test_planner_and_executors_share_one_governor() -> None:
    witness = Witness()
    governor = Governor(admission=witness)
    started, api = limited_server(replace(FORTY, busy_s=0.6, at_once=1), speed=60.0)
    model = ModelSettings(base_url=started.base_url)
    with started, ThreadPoolExecutor(5) as pool:

        def client(work: Callable[[Claude], object]) -> object:
            with connected(
                model=model,
                credentials=KEYS,
                clock=SystemClock(),
                governor=governor,
                retries=20,
            ) as claude:
                return work(claude)

        plan = pool.submit(client, lambda claude: claude.send(planner_call()))
        others = [pool.submit(client, lambda c: c.send(ask())) for _ in range(4)]
    assert failures([plan, *others]) == []
    assert len(api.served) == 5
    check_brakes(witness, api)


def test_one_request_too_few_retries_still_fails_with_the_limit() -> None:
    def always(_: Incoming, __: int) -> tuple[int, Mapping[str, str]]:
        return 429, {"retry-after": "0.05"}

    started, api = limited_server(FORTY, speed=60.0, also_refuse=always)
    model = ModelSettings(base_url=started.base_url)
    with (
        started,
        connected(model=model, credentials=KEYS, clock=SystemClock(), retries=1) as claude,
        pytest.raises(RateLimited),
    ):
        claude.send(ask())
    assert len(api.log) == 2
