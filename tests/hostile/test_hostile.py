"""Generated environments and inputs, one after the other: none gets a traceback, "internal error",
a long silence, another exit code than the documented, or 0 without the files.

The whole form: HOSTILE_CASES=300 HOSTILE_SEED=1 python -m pytest -n 2 tests/hostile
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.cases import make_case
from tests.hostile.running import addresses, run_case
from tests.hostile.values import World

CASES = int(os.environ.get("HOSTILE_CASES", "25"))
SEED = int(os.environ.get("HOSTILE_SEED", "1"))
DEAR_EVERY = 5
"""In the short form; the others need no SDK, which takes a second to import."""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # what hangs is ended before


@pytest.fixture(scope="module")
def ports() -> Iterator[tuple[int, int, int]]:
    with addresses() as found:
        yield found


@pytest.mark.parametrize("number", range(CASES))
def test_what_is_hostile_is_told_and_ends(
    number: int, ports: tuple[int, int, int], tmp_path: Path
) -> None:
    world = World(tmp_path, *ports)
    world.lay_out()
    is_short = "HOSTILE_CASES" not in os.environ
    case = make_case(world, SEED, number, cheap=is_short and number % DEAR_EVERY > 0)
    outcome = run_case(case, world)
    assert outcome.breaches == (), f"{case}\n{outcome.output[-3_000:]}"
