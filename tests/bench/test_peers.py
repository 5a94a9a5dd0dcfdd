"""The graphs that the engine and its peers are given, and the bound that they are held to."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from bench.peers.workload import Workload, chain, flat, layered

ROOT = Path(__file__).resolve().parents[2]
DIAMOND = Workload("diamond", 2, ((1.0, ()), (3.0, (0,)), (2.0, (0,)), (1.0, (1, 2)), (0.5, ())))


@st.composite
def workloads(draw: st.DrawFn) -> Workload:
    count = draw(st.integers(1, 12))
    tasks = tuple(
        (
            draw(st.floats(0.0, 9.0)),
            tuple(sorted(draw(st.sets(st.integers(0, n - 1), max_size=3)))) if n else (),
        )
        for n in range(count)
    )
    return Workload("any", draw(st.integers(1, 5)), tasks)


def test_the_bound_is_the_longest_path_or_the_work_shared_among_all() -> None:
    assert DIAMOND.longest_paths_s() == [5, 4, 3, 1, 0.5]
    assert DIAMOND.lower_bound_s() == 5
    assert Workload("one", 1, DIAMOND.tasks).lower_bound_s() == 7.5
    assert DIAMOND.list_schedule_s() == 5
    assert Workload("one", 1, DIAMOND.tasks).list_schedule_s() == 7.5


@given(workloads())
def test_no_schedule_is_shorter_than_the_bound_nor_longer_than_one_after_the_other(
    workload: Workload,
) -> None:
    found = workload.list_schedule_s()
    assert workload.lower_bound_s() <= found + 1e-9
    assert found <= workload.work_s + 1e-9


@settings(max_examples=20)
@given(count=st.integers(1, 300), layers=st.integers(1, 30), seed=st.integers(0, 9))
def test_a_task_of_a_layer_comes_after_some_of_the_layer_before(
    count: int, layers: int, seed: int
) -> None:
    workload = layered(count, layers, 8, sleeps=True, seed=seed)
    assert len(workload.tasks) == count
    assert all(0.02 <= seconds <= 1.0 for seconds, _ in workload.tasks)
    for task, (_, earlier) in enumerate(workload.tasks):
        assert len(earlier) <= 3
        assert all(before < task for before in earlier)


def test_a_workload_comes_back_from_its_file(tmp_path: Path) -> None:
    for workload in (DIAMOND, chain(3), flat(2, 8), layered(10, 3, 4, sleeps=False)):
        workload.write(tmp_path / "w.json")
        assert Workload.read(tmp_path / "w.json") == workload


def test_the_engine_and_the_loop_run_a_workload_and_say_how_long_it_took(tmp_path: Path) -> None:
    path = tmp_path / "w.json"
    Workload("two", 2, ((0.01, ()), (0.01, (0,)))).write(path)
    for program in (["-m", "bench.peers.engine"], ["bench/peers/futures_loop.py"]):
        done = subprocess.run(
            [sys.executable, *program, str(path)],
            cwd=ROOT,
            env={"PATH": "", "TMPDIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert json.loads(done.stdout)["seconds"] >= 0.02
