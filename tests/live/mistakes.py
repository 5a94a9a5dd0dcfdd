"""One run with every simulated mistake in its project, and how each has to end on any backend:
found and repaired, or told as what it is, and never delivered as proven."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from claude.simulation.mistakes.places import is_test, tree_of
from claude.simulation.mistakes.project import Mistakes
from claude.simulation.sample_projects import load_sample

FOUND = {
    "mismatch": ("unittest tests.test_web", "has no attribute 'render_todos'"),
    "broken_code": ("unittest tests.test_todos", "AssertionError"),
    "missing_dependency": ("todo_app --help", "No module named 'simulated_dependency'"),
    "bad_contract": ("unittest tests.test_storage", "cannot import name 'AppError'"),
}
"""By mistake, the module that shows it when it is run, and what that prints."""
IDLE = {
    "lying_check": ("|| true", "it cannot fail, whatever the project does"),
    "flaky_check": ("simulated_flaky", "flaky: it failed once and passed once"),
}
"""By mistake, what the check has that shows nothing, and why it is not proven."""
CHANCES = dict.fromkeys((*FOUND, *IDLE, "cheat"), 1.0)
SEED = 2
"""Here none of them hides another."""
OPTIONS = (
    *("a todo app", "--sim-speed", "0", "--sim-seed", str(SEED), "--output-dir", "out"),
    *("--sim-faults", ",".join(f"{fault}=1" for fault in CHANCES)),
)


def check_how_they_end(place: Path, said: str, where: str) -> None:
    """`said` is what a run with OPTIONS in `place` printed, whose checks had to run `where`."""
    [journal] = place.glob(".orchestrator/runs/*/journal.jsonl")
    lines = map(json.loads, journal.read_text().splitlines())
    events = [(event["kind"], event["data"]) for event in lines]
    rounds = [number for number, (kind, _) in enumerate(events) if kind == "repair_ended"]
    _check_found(_ended(events[: rounds[0]]))
    cheat, repair = (events[number][1] for number in rounds)
    assert cheat["rejected"].startswith("tests/"), cheat
    assert "rejected" not in repair
    _check_delivered(place / "out")
    last = _ended(events[rounds[0] :])
    _check_proven(journal.parent, last)
    words = " ".join(said.split())
    assert "repair round 1 was not kept: tests/" in words
    assert "repaired round 2: " in words
    ran = [data for data in last.values() if data["phase"] == "check"]
    assert f"{len(ran) - 2} of {len(ran)} passed, 2 not proven, in {where}" in words
    assert [f"unproven {why}" for _, why in IDLE.values() if f"unproven {why}" not in words] == []


def _ended(events: list[tuple[str, Any]]) -> dict[str, dict[str, Any]]:
    """The end of each check, by its command."""
    return {data["command"]: data for kind, data in events if kind == "check_ended"}


def _check_found(ended: dict[str, dict[str, Any]]) -> None:
    for fault, (command, text) in FOUND.items():
        data = ended[f"python3 -m {command}"]
        assert data["state"] == "failed", fault
        assert text in data["output"], fault


def _check_delivered(out: Path) -> None:
    """No code is as it was spoiled, every test is as its task wrote it, and all tests pass."""
    sample = load_sample("todo")
    spoiled = Mistakes(CHANCES, SEED).of_files(sample)
    texts = {path: out.joinpath(path).read_text() for path in tree_of(sample)}
    assert [p for p, text in spoiled.items() if not is_test(p) and texts[p] == text] == []
    written = tree_of(sample) | dict(spoiled)
    tests = {path: text for path, text in written.items() if is_test(path)}
    assert {path: texts[path] for path in tests} == tests
    command = (sys.executable, "-B", "-m", "unittest", "discover", "-s", "tests", "-t", ".")
    done = subprocess.run(command, cwd=out, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr


def _check_proven(run: Path, last: dict[str, dict[str, Any]]) -> None:
    """All passes but what shows nothing, in the journal as in the files about it."""
    idle = {c: why for c in last for mark, why in IDLE.values() if mark in c}
    assert len(idle) == len(IDLE)
    assert {c: data["reason"] for c, data in last.items() if data["state"] != "passed"} == idle
    criteria = json.loads((run / "acceptance.json").read_text())["criteria"]
    proven = {row["command"] for row in criteria if row["state"] == "passed"}
    assert proven
    assert proven <= last.keys() - idle
    files = json.loads((run / "provenance.json").read_text())["files"]
    told = {(check["command"], check["state"]) for file in files for check in file["checks"]}
    assert told
    assert told <= {(command, data["state"]) for command, data in last.items()}
