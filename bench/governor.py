"""How near the governor comes to what a rate limit allows, and what it meets on the way.

Executors on threads, the real SDK over real HTTP on loopback, against a server that enforces its
limits (tests/fakes/limited_api.py). The optimum is the larger of what the rate and what the
requests at once allow; the governor should stay within 15 % of it.

    python -m bench.governor [--executors 16] [--requests 160] [--speedup 20] [--only NAME]
    python -m bench.governor --virtual

--speedup 1 measures true minutes; faster, the governor's own seconds (silence, back-off) weigh more
than in life. --virtual has neither HTTP nor threads: the decisions alone in exact virtual time, for
answers of several lengths, each with 20 different draws.
"""

from __future__ import annotations

import argparse
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count

from claude.client.types import Hooks
from claude.limits.governor import Governor
from core.bundle import ModelSettings
from core.clock import SystemClock
from core.credentials import Credentials
from tests.fakes.limited_api import Entry, Rules, limited_server
from tests.fakes.limited_world import LimitedWorld, Load, optimum_s
from tests.fakes.simulated import MODELS, ask, connected, user

# The answers asked for here take about a second at speed 1; so both limits matter at once.
SLOWNESS = 4.0
LENGTHS_S = (3.0, 4.0, 5.0, 6.0, 8.0)
DRAWS = 20
GRACE_S = 0.35  # a request that was on its way when the refusal came
KEYS = Credentials(anthropic_api_key="key", aws_bearer_token_bedrock="key")


@dataclass(frozen=True, slots=True)
class Case:
    rules: Rules
    provider: str = "anthropic"


def cases(speedup: float) -> dict[str, Case]:
    """The limits of an hour's work, a minute of which takes 60 / `speedup` seconds."""
    told = Rules(
        window_s=60 / speedup,
        busy_s=1 / speedup,
        first_s=1 / speedup,
        whole_seconds=speedup == 1,
    )
    return {
        "headers": Case(told),
        "retry-after only": Case(replace(told, told=False)),
        "bedrock": Case(replace(told, told=False, retry_after=False), "bedrock"),
        "overload": Case(replace(told, overload=True)),
        "at once only": Case(replace(told, in_window=100_000)),
        "rate only": Case(replace(told, at_once=100)),
    }


@dataclass(frozen=True, slots=True)
class Measured:
    wall_s: float
    optimum_s: float
    failed: int
    refused: int
    most_at_once: int
    in_pause: int


def measure(case: Case, executors: int, requests: int, speedup: float) -> Measured:
    server, api = limited_server(case.rules, speed=speedup / SLOWNESS)
    governor, numbers, failures = Governor(), count(), list[Exception]()

    def executor(name: int) -> None:
        model = ModelSettings(
            provider=case.provider, model=MODELS[case.provider], base_url=server.base_url
        )
        with connected(
            model=model,
            credentials=KEYS,
            clock=SystemClock(),
            governor=governor,
            hooks=Hooks(),
            retries=8,
        ) as claude:
            while (number := next(numbers)) < requests:
                try:
                    claude.send(ask(user(f"<request>\nlist {name} {number}\n</request>")))
                except Exception as exc:  # noqa: BLE001 - counted, and the next one goes on
                    failures.append(exc)

    threads = [threading.Thread(target=executor, args=(n,)) for n in range(executors)]
    with server:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    wall_s = max(entry.ended_s for entry in api.served) - api.log[0].came_s
    lengths = [entry.ended_s - entry.came_s for entry in api.served]
    return Measured(
        wall_s,
        optimum_s(case.rules, lengths),
        len(failures),
        len(api.refusals),
        max(entry.open_then for entry in api.served) + 1,
        sum(1 for _ in in_pauses(api.log)),
    )


def in_pauses(log: list[Entry]) -> Iterator[Entry]:
    """Requests that came while a refusal asked for silence."""
    for refusal in log:
        begin, end = refusal.came_s + GRACE_S, refusal.came_s + refusal.retry_after_s
        yield from (entry for entry in log if begin < entry.came_s < end)


def print_virtual(executors: int, requests: int, only: list[str] | None) -> None:
    print(
        f"{'limits':<18} {'answers':>7} {'over':>6} {'worst':>6} {'failed':>6} {'refused':>7}"
        f" {'in pause':>8} {'bursts':>6}"
    )
    for name, case in cases(1.0).items():
        for length_s in LENGTHS_S if not only or name in only else ():
            loads = [Load(executors, requests, length_s, seed=seed) for seed in range(DRAWS)]
            worlds = [LimitedWorld(case.rules, load).run() for load in loads]
            overs = [world.over for world in worlds]
            print(
                f"{name:<18} {length_s:>5.0f} s {sum(overs) / DRAWS:>6.1%} {max(overs):>6.1%}"
                f" {sum(world.failed for world in worlds):>6}"
                f" {max(len(world.refusals) for world in worlds):>7}"
                f" {sum(world.witness.in_pause for world in worlds):>8}"
                f" {sum(world.witness.bursts for world in worlds):>6}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--executors", type=int, default=16)
    parser.add_argument("--requests", type=int, default=160)
    parser.add_argument("--speedup", type=float, default=20.0)
    parser.add_argument("--only", nargs="+", help="these cases")
    parser.add_argument("--virtual", action="store_true", help="the decisions alone, exactly")
    asked = parser.parse_args()
    if asked.virtual:
        print_virtual(asked.executors, asked.requests, asked.only)
        return
    print(
        f"{'limits':<18} {'time':>8} {'optimum':>8} {'over':>6} {'failed':>6} {'refused':>7}"
        f" {'at once':>7} {'in pause':>8}"
    )
    for name, case in cases(asked.speedup).items():
        if asked.only and name not in asked.only:
            continue
        got = measure(case, asked.executors, asked.requests, asked.speedup)
        print(
            f"{name:<18} {got.wall_s:>6.1f} s {got.optimum_s:>6.1f} s"
            f" {got.wall_s / got.optimum_s - 1:>6.1%} {got.failed:>6} {got.refused:>7}"
            f" {got.most_at_once:>7} {got.in_pause:>8}",
            flush=True,
        )


if __name__ == "__main__":
    main()
