"""Whole runs whose tasks begin while the plan is written, by a planner that changes its mind."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

import orchestrator
from claude.simulation.faults import FAULTS
from core.bundle import build_manifest
from core.plan import Contract, Plan
from tests.fakes.plan_parts import contract, plan, task
from tests.fakes.staged_planner import Stage, cut, go_on, staged_planner
from tests.fakes.surroundings import journal, usages_of

pytestmark = pytest.mark.slow

SHORT = "Build a todo list app with add/delete/complete"
PROMPT = f"{SHORT}. {'Take care. ' * 20}"
"""So long that its plan is one answer."""


PARALLEL = {"estimate": 4000}
"""So much that it pays to have several at work."""
PLAN = plan(
    task("docs", **PARALLEL),
    task("store", uses=("api.py",), **PARALLEL),
    task("page", uses=("api.py",), **PARALLEL),
    task("web", **PARALLEL),
    task("app", "store", "web", uses=("api.py", "last.py"), **PARALLEL),
    contracts=(
        contract("api.py"),
        Contract(path="last.py", purpose="Is a package. " * 40, content="x = 1\n"),
    ),
)
"""Its last contract is used by the last task only: others begin before."""


def last_contract(of: Plan) -> str:
    """The text with which it begins."""
    return f'"path": "{of.contracts[-1].path}"'


LAST = last_contract(PLAN)


def with_contract(content: str, path: str = "extra.py") -> Plan:
    """PLAN with one more contract at its end."""
    more = Contract(path=path, purpose="More.", content=content)
    return PLAN.model_copy(update={"contracts": (*PLAN.contracts, more)})


CLASH = with_contract("x = 1\n" * 100, PLAN.task("docs").owns[0])
"""Breaks a rule by its last contract."""
TOO_LONG = with_contract("x = 1\n" * 40_000)
"""Is cut at max_tokens in its last contract."""
_OTHER = task("docs", instructions="Write it otherwise.", **PARALLEL)
OTHER_DOCS = PLAN.model_copy(update={"tasks": (_OTHER, *PLAN.tasks[1:])})


@pytest.fixture(autouse=True)
def _with_key(clean_here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-test")


Run = Callable[..., int]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run with these options against a planner of these stages."""

    def carry_out(*args: str, stages: tuple[Stage, ...], refused: bool = False) -> int:
        with staged_planner(*stages) as planner:
            planner.refused = refused
            monkeypatch.setenv("ANTHROPIC_BASE_URL", planner.url)
            wanted = args or (PROMPT, "--real", "--output-dir", "out")
            code = orchestrator.main([*wanted, "--quiet"])
            run_planned.append(planner.planned)
            return code

    run_planned.clear()
    return carry_out


run_planned: list[int] = []


def begun() -> list[tuple[str, int]]:
    return [(e["task"], e["attempt"]) for e in journal() if e["kind"] == "job_intended"]


def ends() -> dict[str, str]:
    return {e["task"]: e["data"]["state"] for e in journal() if e["kind"] == "task_ended"}


def tree(path: str = "out") -> str:
    return hashlib.sha256(repr(build_manifest(Path(path))).encode()).hexdigest()


def tree_of_run(place: Path, *args: str) -> str:
    where = ["--output-dir", str(place / "out"), "--work-dir", str(place / "work"), "--quiet"]
    assert orchestrator.main([PROMPT, "--sim-speed", "0", *args, *where]) == 0
    return tree(str(place / "out"))


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The tree of PLAN without early start."""
    place = tmp_path_factory.mktemp("expected")
    (place / "plan.json").write_text(PLAN.model_dump_json())
    return tree_of_run(place, "--plan", str(place / "plan.json"))


@pytest.fixture(scope="module")
def expected_sample(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tree_of_run(tmp_path_factory.mktemp("sample"), "--no-early-start")


def test_tasks_begin_before_the_plan_is_complete(run: Run, expected: str) -> None:
    assert run(stages=(Stage(PLAN, LAST, tasks=3),)) == 0
    assert tree() == expected
    assert sorted(begun()) == sorted((t.id, 1) for t in PLAN.tasks)
    assert len([e for e in journal() if e["kind"] == "plan_ready"]) == 1
    told = [e for e in journal() if e["kind"] == "progress" and "usage" in e["data"]]
    assert journal().index(told[-1]) > [e["kind"] for e in journal()].index("job_intended")


@pytest.mark.parametrize(
    ("bad", "then"),
    [(CLASH, go_on), (TOO_LONG, go_on), (PLAN, cut)],
    ids=["a contract breaks a rule", "cut at max_tokens", "the connection is cut"],
)
@pytest.mark.parametrize("changed", [False, True], ids=["the same again", "other docs"])
def test_a_plan_that_turns_out_otherwise_after_three_tasks_have_begun(
    run: Run,
    expected: str,
    bad: Plan,
    then: Callable[[], None],
    changed: bool,
) -> None:
    first = Stage(bad, last_contract(bad), tasks=4, then=then, task="docs")
    final = OTHER_DOCS if changed else PLAN
    assert run(stages=(first, Stage(final))) == 0
    assert run_planned == [2]
    assert tree() == expected
    assert begun().count(("docs", 2)) == int(changed)
    others = {attempt for task, attempt in begun() if task != "docs"}
    assert others == {1}
    assert set(ends().values()) == {"SUCCEEDED"}
    usages = [u for e in journal() for u in usages_of(e)]
    assert (
        sum(not e["task"] for e in journal() for _ in usages_of(e)) == 2 + 1
    )  # and the preflight's
    assert usages


def test_planning_that_fails_for_good_ends_the_run_with_its_error_and_results_are_kept(
    run: Run, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = Stage(CLASH)
    assert run(stages=(Stage(CLASH, last_contract(CLASH), tasks=4), plain, plain, plain)) == 1
    assert "No valid plan after 3 repairs" in capsys.readouterr().err
    assert not Path("out").exists()
    assert journal()[-1]["kind"] == "run_ended"
    assert journal()[-1]["data"]["exit_code"] == 1
    states = ends()
    assert set(states) == {t.id for t in PLAN.tasks}
    assert states["app"] == "CANCELLED"
    done = {task for task, state in states.items() if state == "SUCCEEDED"}
    before = begun()

    assert run("resume", "last", stages=(Stage(PLAN),)) == 0
    assert tree() == expected
    assert not [task for task, _ in begun()[len(before) :] if task in done]


def test_refused_credentials_while_the_plan_is_written_stop_the_run_resumably(
    run: Run, expected: str
) -> None:
    assert run(stages=(Stage(PLAN, LAST, tasks=1),), refused=True) == 4
    assert Path(".orchestrator").exists()
    assert run("resume", "last", stages=(Stage(PLAN),)) == 0
    assert run_planned == [1, 0]
    assert tree() == expected


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(
    "stages",
    [
        (Stage(PLAN, '"tasks"', then=interrupt), Stage(PLAN)),
        (Stage(PLAN, LAST, tasks=4, then=interrupt), Stage(PLAN)),
        (
            Stage(CLASH, last_contract(CLASH), tasks=4),
            Stage(PLAN, LAST, then=interrupt),
            Stage(PLAN),
        ),
    ],
    ids=["before the head", "after the head", "during a repair"],
)
def test_ctrl_c_leaves_a_run_that_can_be_finished(
    run: Run, expected: str, stages: tuple[Stage, ...]
) -> None:
    assert run(stages=stages) == 130
    assert not Path("out").exists()
    assert journal()[-1]["data"]["exit_code"] == 130
    told = [e["data"].get("text", "") for e in journal() if e["kind"] == "notice"]
    assert any(text.startswith("Interrupted: stopping") for text in told)
    assert len([e for e in journal() if "usage" in e["data"] and not e["task"]]) >= 2
    done = {task for task, state in ends().items() if state == "SUCCEEDED"}
    before = begun()
    assert run("resume", "last", stages=(Stage(PLAN),)) == 0
    assert tree() == expected
    assert not [task for task, _ in begun()[len(before) :] if task in done]


def test_a_resumed_run_that_is_planned_otherwise_keeps_what_stands_and_cancels_the_rest(
    run: Run, expected: str
) -> None:
    assert run(stages=(Stage(PLAN, LAST, tasks=4, then=interrupt),)) == 130
    was_begun = {task for task, _ in begun()}
    assert run("resume", "last", stages=(Stage(OTHER_DOCS),)) == 0
    assert tree() == expected
    attempts = dict(begun())
    assert attempts["docs"] == (2 if "docs" in was_begun else 1)


WAITING = ("--no-early-start",)


@pytest.mark.parametrize("options", [WAITING, ("--approve",)])
def test_what_waits_for_the_whole_plan_begins_nothing_before(
    options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, expected: str
) -> None:
    from tests.command_line.test_orchestrator import Terminal

    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    with staged_planner(Stage(PLAN)) as planner:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", planner.url)
        assert orchestrator.main([PROMPT, "--real", "--output-dir", "out", *options]) == 0
    before = [e for e in journal() if e["kind"] == "progress" and "usage" in e["data"]]
    assert len(before) == 2
    assert journal().index(before[-1]) < [e["kind"] for e in journal()].index("plan_ready")
    assert tree() == expected


def test_plan_begins_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with staged_planner(Stage(PLAN)) as planner:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", planner.url)
        assert orchestrator.main(["plan", PROMPT, "--real", "--quiet"]) == 0
        assert planner.tasks == set()
    shutil.rmtree(".orchestrator", ignore_errors=True)


# -- the faults of the simulation

CHANCES = {
    "rate_limit": 0.2,
    "overloaded": 0.2,
    "server_error": 0.2,
    "disconnect": 0.2,
    "truncate": 0.3,
    "bad_plan": 0.9,
    "bad_tool": 0.2,
    "escape": 0.3,
    "wrong_files": 0.3,
    "refusal": 0.05,
    "snooping": 1.0,
}
IN_THE_PROJECT = {
    *("mismatch", "broken_code", "missing_dependency", "bad_contract"),
    *("flaky_check", "lying_check", "cheat"),
}
"""These change what is delivered; tests/command_line/test_mistakes.py has them."""


def test_all_faults_are_tried() -> None:
    assert CHANCES.keys() | IN_THE_PROJECT == FAULTS.keys()


@pytest.mark.parametrize("fault", CHANCES)
def test_under_each_fault_the_tree_is_the_one_without_or_a_run_that_waits_fails_too(
    fault: str, expected_sample: str
) -> None:
    faults = f"{fault}={CHANCES[fault]}"
    for seed in (1, 2):
        args = [SHORT, "--sim-speed", "300", "--sim-seed", str(seed), "--sim-faults", faults]
        where = ["--output-dir", f"out-{seed}", "--work-dir", f"work-{seed}", "--quiet"]
        code = orchestrator.main([*args, *where])
        if code == 0:
            assert tree(f"out-{seed}") == expected_sample
        else:
            whole = ["--output-dir", "whole", "--work-dir", "work-whole", "--no-early-start"]
            assert orchestrator.main([*args, *whole, "--quiet"]) == code
