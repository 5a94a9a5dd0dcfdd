"""`clean`, as a person meets it: what goes, what is left, and that it can be said again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.events import Kind
from engine.cleanup.clean import age_in_words, size_in_words
from engine.run.journal import Journal
from engine.run.rundir import RunDir, RunFacts, create_run, locked
from tests.fakes.detached_backend import NAME
from tests.fakes.events import event_of
from tests.fakes.stopped_runs import PROMPT, Desk, opened, opened_here

DAY_S = 86_400.0
ENDED = {"exit_code": 0, "outcome": "succeeded", "message": "", "wall_s": 1.0}


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Desk]:
    """Each command is a process of its own."""
    with opened(Desk(tmp_path)) as desk:
        yield desk


@pytest.fixture
def desk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Desk]:
    with opened_here(tmp_path, monkeypatch, capsys) as desk:
        yield desk


def make(
    desk: Desk,
    end: str = "aaaa",
    *,
    days: float = 0.0,
    delivered: bool = False,
    ended: bool = False,
    backend: str = "threading",
) -> RunDir:
    """A run as an orchestrator left it so many days ago."""
    at = time.time() - days * DAY_S
    run_id = f"20260101-120000-{end}"
    target = str(desk.place / f"out-{end}")
    settings: dict[str, object] = {"backend": backend, "provider": "anthropic"}
    facts = RunFacts(run_id, PROMPT, target, at, settings, simulated=True)
    run = create_run(desk.runs.parent, facts)
    journal = Journal(run.journal)
    journal.emit(event_of(Kind.RUN_STARTED, at, data={"run": run_id, "backend": backend}))
    if delivered:
        journal.emit(event_of(Kind.DELIVERED, at, data={"target": target, "files": 1}))
    if ended:
        journal.emit(event_of(Kind.RUN_ENDED, at, data=ENDED))
    journal.close()
    return run


def leave(desk: Desk, run_id: str, task: str = "one.1", work_dir: Path | None = None) -> Path:
    """Something of a run on the engine that runs no more."""
    place = desk.engine / run_id / task
    (place / "bundle" / "result").mkdir(parents=True)
    (place / "pid").write_text("0")
    (place / "log").write_text("it broke")
    (place / "work-dir").write_text(str(work_dir or desk.runs.parent))
    return place


def kept(desk: Desk) -> list[str]:
    return sorted(path.name[-4:] for path in desk.runs.iterdir() if path.name != ".gitignore")


# -- run directories


def test_nothing_is_removed_without_yes(desk: Desk) -> None:
    run = make(desk, days=9, delivered=True, ended=True)
    said = desk("clean")
    assert said.code == 0
    assert "To be removed:" in said.out
    assert f"  {run.run_id}  succeeded, idle for 9 days, delivered, " in said.out
    assert PROMPT in said.out
    assert "Add --yes to remove 1 run (" in said.out
    assert run.facts.exists()
    assert desk("clean", "--yes").out.endswith(" bytes).\n")
    assert kept(desk) == []


def test_only_what_is_old_and_over_goes_unnamed(desk: Desk) -> None:
    make(desk, "old1", days=8, delivered=True)
    make(desk, "old2", days=8, ended=True)
    make(desk, "open", days=8)
    make(desk, "new1", days=6, delivered=True, ended=True)
    said = desk("clean", "--yes")
    assert said.code == 0
    assert kept(desk) == ["new1", "open"]
    assert "-old2  succeeded, idle for 8 days, never delivered" in said.out
    assert "-open  it never ended; resume it, cancel it, or remove it with 'clean" in said.out
    assert "-new1" not in said.out


@pytest.mark.parametrize(
    ("age", "goes"), [("1h", True), ("2d", True), ("0w", True), ("3d", False), ("1w", False)]
)
def test_how_old_can_be_said(desk: Desk, age: str, goes: bool) -> None:
    make(desk, days=2.5, ended=True)
    desk("clean", "--yes", "--older-than", age)
    assert kept(desk) == ([] if goes else ["aaaa"])


def test_an_age_that_is_none_is_refused_before_anything(desk: Desk) -> None:
    make(desk, days=100, ended=True)
    said = desk("clean", "--yes", "--older-than", "soon")
    assert said.code == 2
    assert "12h, 7d or 2w" in said.err
    assert kept(desk) == ["aaaa"]


def test_a_run_that_is_named_goes_whatever_its_age_and_alone(desk: Desk) -> None:
    make(desk, "aaaa")
    make(desk, "bbbb", days=30, ended=True)
    said = desk("clean", "aaaa", "--yes")
    assert said.code == 0, said.err
    assert kept(desk) == ["bbbb"]
    again = desk("clean", "aaaa", "--yes")
    assert again.code == 2
    assert "'aaaa' is not a run" in again.err


def test_a_name_of_several_runs_removes_none(desk: Desk) -> None:
    make(desk, "aaaa")
    make(desk, "bbbb")
    said = desk("clean", "2026", "--yes")
    assert said.code == 2
    assert "means more than one run" in said.err
    assert kept(desk) == ["aaaa", "bbbb"]
    assert desk("clean", "last", "--yes").code == 0
    assert kept(desk) == ["aaaa"]


def test_cleaning_twice_and_where_there_is_nothing_is_no_error(desk: Desk) -> None:
    assert desk("clean", "--yes").out == "There is nothing to remove.\n"
    make(desk, days=8, ended=True)
    assert desk("clean", "--yes").code == 0
    said = desk("clean", "--yes")
    assert (said.code, said.out) == (0, "There is nothing to remove.\n")


def test_the_delivered_target_is_not_touched(desk: Desk) -> None:
    assert desk(PROMPT, "--sim-speed", "0", "--quiet", "--output-dir", "out").code == 0
    before = sorted((desk.place / "out").rglob("*"))
    assert desk("clean", "last", "--yes").code == 0
    assert kept(desk) == []
    assert sorted((desk.place / "out").rglob("*")) == before


def test_a_target_that_was_put_aside_is_put_back_first(desk: Desk) -> None:
    run = make(desk, days=9, ended=True)
    aside = desk.place / f".out-aaaa.replaced-{run.run_id}"
    aside.mkdir()
    (aside / "mine.txt").write_text("mine")
    assert desk("clean", "--yes").code == 0
    assert (desk.place / "out-aaaa" / "mine.txt").read_text() == "mine"
    assert kept(desk) == []


def test_a_target_inside_of_the_run_keeps_it(desk: Desk) -> None:
    run = make(desk, days=9, ended=True)
    inside = run.root / "out"
    inside.mkdir()
    facts = json.loads(run.facts.read_text())
    run.facts.write_text(json.dumps({**facts, "target": str(inside)}))
    said = desk("clean", "--yes")
    assert said.code == 1
    assert "lies in the run's directory" in said.out
    assert inside.exists()


def test_a_run_being_worked_on_is_left_and_said_so(desk: Desk) -> None:
    run = make(desk, days=9, ended=True)
    with locked(run):
        said = desk("clean", "--yes")
        assert said.code == 0
        assert "a process works on it" in said.out
        named = desk("clean", "aaaa", "--yes")
        assert named.code == 2
        assert "is being worked on" in named.err
    assert kept(desk) == ["aaaa"]


# -- what somebody put there


def test_a_hostile_run_directory_leads_nowhere(desk: Desk) -> None:
    treasure = desk.place / "treasure"
    treasure.mkdir()
    (treasure / "kept.txt").write_text("kept")
    run = make(desk, days=9, ended=True)
    (run.tasks / "out").symlink_to(treasure)
    (run.root / "file").symlink_to(treasure / "kept.txt")
    linked = make(desk, "lock", days=9, ended=True)
    linked.lock.symlink_to(treasure / "kept.txt")
    piped = make(desk, "pipe", days=9, ended=True)
    piped.journal.unlink()
    os.mkfifo(piped.journal)
    (desk.runs / "20260101-120000-link").symlink_to(treasure)
    said = desk("clean", "--yes")
    assert said.code == 0, said.err
    assert kept(desk) == ["link", "lock", "pipe"]
    assert "lock is not a regular file" in said.out
    assert "journal.jsonl is not a regular file" in said.out
    for name in ("lock", "pipe", "link"):
        assert desk("clean", name, "--yes").code == 0
    assert kept(desk) == []
    assert [(path.name, path.read_text()) for path in treasure.iterdir()] == [("kept.txt", "kept")]


def test_what_cannot_be_read_is_left_until_it_is_named(desk: Desk) -> None:
    run = make(desk, days=9, ended=True)
    run.facts.write_text("{")
    said = desk("clean", "--yes")
    assert said.code == 0
    assert "it cannot be read" in said.out
    assert kept(desk) == ["aaaa"]
    assert desk("clean", "aaaa", "--yes").code == 0
    assert kept(desk) == []


def test_a_run_that_was_killed_as_it_was_begun_goes_when_it_is_old(desk: Desk) -> None:
    bare = desk.runs / "20260101-120000-bare"
    (bare / "tasks").mkdir(parents=True)
    assert "it cannot be read" in desk("clean", "--yes").out
    assert bare.exists()
    os.utime(bare, (0, 0))
    assert desk("clean", "--yes").code == 0
    assert not bare.exists()


def test_a_half_removed_run_is_finished_by_the_next(desk: Desk) -> None:
    run = make(desk)
    (desk.runs / ".removing").mkdir()
    run.root.rename(desk.runs / ".removing" / f"{run.run_id}.0123abcd")
    assert desk("runs").out == "No runs.\n"
    said = desk("clean")
    assert "half removed" in said.out
    assert desk("clean", "aaaa", "--yes").code == 0
    assert kept(desk) == []


# -- what backends hold


def test_leftovers_go_and_the_run_stays(desk: Desk) -> None:
    run = make(desk, backend=NAME)
    leave(desk, run.run_id)
    said = desk("clean")
    assert said.code == 0
    assert f"    {NAME}: job one/1" in said.out
    assert "Add --yes to remove 1 leftover." in said.out
    assert desk("clean", "--yes").code == 0
    assert list(desk.engine.iterdir()) == []
    assert kept(desk) == ["aaaa"]


def test_a_backend_out_of_reach_is_named_and_the_rest_goes_on(desk: Desk) -> None:
    make(desk, "aaaa", days=9, ended=True, backend=NAME)
    make(desk, "bbbb", days=9, ended=True)
    (desk.engine / "down").touch()
    said = desk("clean", "--yes")
    assert said.code == 1
    assert "The engine is out of reach." in said.out
    assert kept(desk) == ["aaaa"]


def test_a_named_backend_that_cannot_say_what_it_holds_is_a_failure(desk: Desk) -> None:
    (desk.engine / "down").touch()
    said = desk("clean", "--backend", NAME)
    assert said.code == 1
    assert f"runs without a directory  {NAME}: The engine is out of reach." in said.out
    assert desk("clean", "gone", "--backend", NAME).code == 2


def test_what_a_backend_does_not_let_go_keeps_the_run_for_the_next_time(desk: Desk) -> None:
    run = make(desk, days=9, ended=True, backend=NAME)
    leave(desk, run.run_id)
    (desk.engine / "keeps").touch()
    said = desk("clean", "--yes")
    assert said.code == 1
    assert "Not removed: " in said.out
    assert "The engine lets nothing go." in said.out
    assert kept(desk) == ["aaaa"]
    (desk.engine / "keeps").unlink()
    assert desk("clean", "--yes").code == 0
    assert kept(desk) == []
    assert list(desk.engine.iterdir()) == []


def test_a_run_that_went_on_elsewhere_is_cleaned_on_both(desk: Desk) -> None:
    run = make(desk, backend=NAME)
    facts = json.loads(run.facts.read_text())
    facts["settings"]["backend"] = "threading"
    run.facts.write_text(json.dumps(facts))
    leave(desk, run.run_id)
    assert desk("clean", "--yes").code == 0
    assert list(desk.engine.iterdir()) == []


def test_what_is_left_of_runs_without_a_directory_goes_where_the_backend_is_named(
    desk: Desk,
) -> None:
    leave(desk, "20250101-120000-gone")
    leave(desk, "20250101-120000-else", work_dir=desk.place / "another")
    leave(desk, "..;x")
    assert desk("clean", "--yes").out == "There is nothing to remove.\n"
    said = desk("clean", "--yes", "--backend", NAME)
    assert said.code == 0, said.out
    assert "20250101-120000-gone  gone" in said.out
    assert "Removed 20250101-120000-gone: 1 leftover." in said.out
    assert not (desk.engine / "20250101-120000-gone").exists()
    assert (desk.engine / "20250101-120000-else").exists()


def test_a_run_without_a_directory_can_be_named(desk: Desk) -> None:
    make(desk, backend=NAME)  # so that the backend is known to be one of these runs'
    leave(desk, "20250101-120000-gone")
    leave(desk, "20250101-120000-more")
    said = desk("clean", "gone", "--yes")
    assert said.code == 0, said.err
    assert [path.name[-4:] for path in desk.engine.iterdir()] == ["more"]
    assert kept(desk) == ["aaaa"]


def test_json_has_a_line_for_each_thing_before_and_after(desk: Desk) -> None:
    make(desk, "aaaa", days=9, ended=True)
    make(desk, "open", days=9)
    said = desk("clean", "--yes", "--json")
    assert said.code == 0
    assert [(line["action"], line["run"][-4:]) for line in said.lines] == [
        ("removes", "aaaa"),
        ("leaves", "open"),
        ("removed", "aaaa"),
    ]
    assert said.lines[0]["goes_whole"] is True


# -- with jobs that run


@pytest.mark.slow
def test_kill_9_then_clean_leaves_what_runs_until_it_is_named(shell: Desk) -> None:
    run_id = shell.killed()
    said = shell("clean", "--yes", "--older-than", "0h")
    assert said.code == 0
    assert "1 job of it may still run; resume it, cancel it, or remove it with 'clean" in said.out
    assert shell.alive() != []
    named = shell("clean", run_id)
    assert "1 job that may still run, to be cancelled" in named.out
    assert shell.alive() != []
    assert shell("clean", run_id, "--yes").code == 0
    assert shell.alive() == []
    assert list(shell.engine.iterdir()) == []
    assert kept(shell) == []


@pytest.mark.slow
def test_kill_9_cancel_clean_leaves_nothing_and_the_run_goes_on(shell: Desk) -> None:
    run_id = shell.killed()
    assert shell("cancel", run_id).code == 0
    assert shell("clean", "--yes").code == 0
    assert list(shell.engine.iterdir()) == []
    assert shell("resume", run_id, "--sim-speed", "0").code == 0
    assert list(shell.engine.iterdir()) == []


@pytest.mark.slow
def test_what_a_killed_run_had_finished_is_brought_in_before_it_goes(shell: Desk) -> None:
    run_id = shell.killed()
    shell.finish_jobs()
    assert shell("clean", "--yes").code == 0
    assert list(shell.engine.iterdir()) == []
    assert (shell.run.tasks / "one/1/result/files/one.md").exists()
    assert shell.state() == "interrupted"
    assert shell("resume", run_id, "--sim-speed", "0").code == 0
    begun = [e["task"] for e in shell.journal() if e["kind"] == "job_intended"]
    assert begun == ["one", "two"]


@pytest.mark.slow
def test_jobs_of_a_run_without_a_directory_are_stopped(shell: Desk) -> None:
    shell.killed()
    subprocess.run(["rm", "-r", str(shell.runs)], check=True)
    said = shell("clean", "--backend", NAME, "--yes")
    assert said.code == 0, said.out
    assert shell.alive() == []
    assert list(shell.engine.iterdir()) == []


# -- at the end of an ordinary run


@pytest.mark.slow
def test_nothing_is_left_after_an_ordinary_run_a_failed_one_and_ctrl_c(shell: Desk) -> None:
    with shell.running() as process:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
    assert shell.alive() == []
    assert list(shell.engine.iterdir()) == []
    assert shell("resume", "last", "--sim-speed", "0").code == 0
    assert list(shell.engine.iterdir()) == []
    plan = ("--plan", "plan.json", "--backend", NAME, "--sim-speed", "0", "--max-retries", "1")
    failed = shell(PROMPT, *plan, "--output-dir", "failed", "--sim-faults", "refusal=1")
    assert failed.code == 1
    assert list(shell.engine.iterdir()) == []


@pytest.mark.slow
def test_a_cleanup_that_fails_is_a_notice_and_left_to_clean(shell: Desk) -> None:
    with shell.running() as process:
        process.kill()
    shell("cancel", "last")
    (shell.engine / "keeps").touch()
    said = shell("resume", "last", "--sim-speed", "0")
    assert said.code == 0, said.err
    assert "note: What detached holds of the run could not be removed" in said.out
    assert f"'clean {shell.run_id}' removes it." in said.out
    (shell.engine / "keeps").unlink()
    assert shell("clean", "--yes").code == 0
    assert list(shell.engine.iterdir()) == []
    assert shell.state() == "succeeded"


def test_sizes_and_ages_are_in_words() -> None:
    assert [size_in_words(n) for n in (0, 1, 999, 1_500, 2_000_000, 3_400_000_000)] == [
        "0 bytes",
        "1 byte",
        "999 bytes",
        "1.5 kB",
        "2.0 MB",
        "3.4 GB",
    ]
    assert [age_in_words(n) for n in (-5, 59, 60, 7_200, 86_400, 900_000)] == [
        "less than a minute",
        "less than a minute",
        "1 minute",
        "2 hours",
        "1 day",
        "10 days",
    ]
