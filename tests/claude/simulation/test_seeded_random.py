from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from claude.simulation.seeded_random import digest, draw, pick

ROOT = Path(__file__).resolve().parents[3]
names = st.lists(st.text() | st.integers(), max_size=4)


@given(st.integers(), names)
def test_a_draw_repeats_and_is_a_share(seed: int, parts: list[str | int]) -> None:
    assert draw(seed, *parts) == draw(seed, *parts)
    assert 0.0 <= draw(seed, *parts) < 1.0


def test_another_process_draws_the_same() -> None:
    program = "from claude.simulation.seeded_random import draw; print(repr(draw(7, 'a', 1)))"
    for hash_seed in ("0", "1"):
        told = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        assert told.stdout.strip() == repr(draw(7, "a", 1))


def test_names_do_not_run_into_one_another() -> None:
    assert (
        len({digest(0, "ab", "c"), digest(0, "a", "bc"), digest(0, "abc"), digest(1, "abc")}) == 4
    )
    assert digest(0, "1") != digest(0, 1)


def test_draws_are_spread_evenly() -> None:
    tenths = Counter(int(10 * draw(3, "spread", n)) for n in range(5_000))
    assert set(tenths) == set(range(10))
    assert all(400 < count < 600 for count in tenths.values())


@given(st.integers(), st.lists(st.integers(), min_size=1))
def test_a_pick_is_one_of_the_options(seed: int, options: list[int]) -> None:
    assert pick(options, seed, "x") in options


def test_every_option_is_picked_at_times() -> None:
    assert {pick("abc", seed, "x") for seed in range(50)} == set("abc")
