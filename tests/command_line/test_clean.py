"""`clean`, as a person meets it: what goes, what is left, and that it can be result again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from core.events import Kind
from engine.cleanup.clean import age_in_words, size_in_words
from engine.run.journal import Journal
from engine.run.rundir import RunDir, RunFacts, create_run, locked
from tests.fakes.detached_backend import NAME
from tests.fakes.events import event_of
from tests.fakes.stopped_runs import PROMPT, Cli, CommandResult

DAY_S = 86_400.0
ENDED = {"exit_code": 0, "outcome": "succeeded", "message": "", "wall_s": 1.0}


def make(
    cli: Cli,
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
    target = str(cli.place / f"out-{end}")
    settings: dict[str, object] = {"backend": backend, "provider": "anthropic"}
    facts = RunFacts(run_id, PROMPT, target, at, settings, simulated=True)
    run = create_run(cli.runs.parent, facts)
    journal = Journal(run.journal)
    journal.emit(event_of(Kind.RUN_STARTED, at, data={"run": run_id, "backend": backend}))
    if delivered:
        journal.emit(event_of(Kind.DELIVERED, at, data={"target": target, "files": 1}))
    if ended:
        journal.emit(event_of(Kind.RUN_ENDED, at, data=ENDED))
    journal.close()
    return run


def leave(cli: Cli, run_id: str, task: str = "one.1", work_dir: Path | None = None) -> Path:
    """Something of a run on the engine that runs no more."""
    place = cli.engine / run_id / task
    (place / "bundle" / "result").mkdir(parents=True)
    (place / "pid").write_text("0")
    (place / "log").write_text("it broke")
    (place / "work-dir").write_text(str(work_dir or cli.runs.parent))
    return place


def kept(cli: Cli) -> list[str]:
    return sorted(path.name[-4:] for path in cli.runs.iterdir() if path.name != ".gitignore")


# -- run directories


def test_nothing_is_removed_without_yes(cli: Cli) -> None:
    run = make(cli, days=9, delivered=True, ended=True)
    result = cli("clean")
    assert result.code == 0
    assert "To be removed:" in result.out
    assert f"  {run.run_id}  succeeded, idle for 9 days, delivered, " in result.out
    assert PROMPT in result.out
    assert "Add --yes to remove 1 run (" in result.out
    assert run.facts.exists()
    assert cli("clean", "--yes").out.endswith(" bytes).\n")
    assert kept(cli) == []


def test_only_what_is_old_and_over_goes_unnamed(cli: Cli) -> None:
    make(cli, "old1", days=8, delivered=True)
    make(cli, "old2", days=8, ended=True)
    make(cli, "open", days=8)
    make(cli, "new1", days=6, delivered=True, ended=True)
    result = cli("clean", "--yes")
    assert result.code == 0
    assert kept(cli) == ["new1", "open"]
    assert "-old2  succeeded, idle for 8 days, never delivered" in result.out
    assert "-open  it never ended; resume it, cancel it, or remove it with `" in result.out
    assert "-new1" not in result.out


@pytest.mark.parametrize(
    ("age", "goes"), [("1h", True), ("2d", True), ("0w", True), ("3d", False), ("1w", False)]
)
def test_how_old_can_be_said(cli: Cli, age: str, goes: bool) -> None:
    make(cli, days=2.5, ended=True)
    cli("clean", "--yes", "--older-than", age)
    assert kept(cli) == ([] if goes else ["aaaa"])


def test_an_age_that_is_none_is_refused_before_anything(cli: Cli) -> None:
    make(cli, days=100, ended=True)
    result = cli("clean", "--yes", "--older-than", "soon")
    assert result.code == 2
    assert "12h, 7d or 2w" in result.err
    assert kept(cli) == ["aaaa"]


def test_a_run_that_is_named_goes_whatever_its_age_and_alone(cli: Cli) -> None:
    make(cli, "aaaa")
    make(cli, "bbbb", days=30, ended=True)
    result = cli("clean", "aaaa", "--yes")
    assert result.code == 0, result.err
    assert kept(cli) == ["bbbb"]
    again = cli("clean", "aaaa", "--yes")
    assert again.code == 2
    assert "The run 'aaaa' was not found" in again.err


def test_a_name_of_several_runs_removes_none(cli: Cli) -> None:
    make(cli, "aaaa")
    make(cli, "bbbb")
    result = cli("clean", "2026", "--yes")
    assert result.code == 2
    assert "matches several runs" in result.err
    assert kept(cli) == ["aaaa", "bbbb"]
    assert cli("clean", "last", "--yes").code == 0
    assert kept(cli) == ["aaaa"]


def test_cleaning_twice_and_where_there_is_nothing_is_no_error(cli: Cli) -> None:
    assert cli("clean", "--yes").out == "There is nothing to remove.\n"
    make(cli, days=8, ended=True)
    assert cli("clean", "--yes").code == 0
    result = cli("clean", "--yes")
    assert (result.code, result.out) == (0, "There is nothing to remove.\n")


def test_the_delivered_target_is_not_touched(cli: Cli) -> None:
    assert cli(PROMPT, "--sim-speed", "0", "--quiet", "--output-dir", "out").code == 0
    before = sorted((cli.place / "out").rglob("*"))
    assert cli("clean", "last", "--yes").code == 0
    assert kept(cli) == []
    assert sorted((cli.place / "out").rglob("*")) == before


def test_a_target_that_was_put_aside_is_put_back_first(cli: Cli) -> None:
    run = make(cli, days=9, ended=True)
    aside = cli.place / f".out-aaaa.replaced-{run.run_id}"
    aside.mkdir()
    (aside / "mine.txt").write_text("mine")
    assert cli("clean", "--yes").code == 0
    assert (cli.place / "out-aaaa" / "mine.txt").read_text() == "mine"
    assert kept(cli) == []


def test_a_target_inside_of_the_run_keeps_it(cli: Cli) -> None:
    run = make(cli, days=9, ended=True)
    inside = run.root / "out"
    inside.mkdir()
    facts = json.loads(run.facts.read_text())
    run.facts.write_text(json.dumps({**facts, "target": str(inside)}))
    result = cli("clean", "--yes")
    assert result.code == 1
    assert "lies in the run's directory" in result.out
    assert inside.exists()


def test_a_run_being_worked_on_is_left_and_said_so(cli: Cli) -> None:
    run = make(cli, days=9, ended=True)
    with locked(run):
        result = cli("clean", "--yes")
        assert result.code == 0
        assert "a process works on it" in result.out
        named = cli("clean", "aaaa", "--yes")
        assert named.code == 2
        assert "is being worked on" in named.err
    assert kept(cli) == ["aaaa"]


# -- what somebody put there


def test_a_hostile_run_directory_leads_nowhere(cli: Cli) -> None:
    treasure = cli.place / "treasure"
    treasure.mkdir()
    (treasure / "kept.txt").write_text("kept")
    run = make(cli, days=9, ended=True)
    (run.tasks / "out").symlink_to(treasure)
    (run.root / "file").symlink_to(treasure / "kept.txt")
    linked = make(cli, "lock", days=9, ended=True)
    linked.lock.symlink_to(treasure / "kept.txt")
    piped = make(cli, "pipe", days=9, ended=True)
    piped.journal.unlink()
    os.mkfifo(piped.journal)
    (cli.runs / "20260101-120000-link").symlink_to(treasure)
    result = cli("clean", "--yes")
    assert result.code == 0, result.err
    assert kept(cli) == ["link", "lock", "pipe"]
    assert "lock is not a regular file" in result.out
    assert "journal.jsonl is not a regular file" in result.out
    for name in ("lock", "pipe", "link"):
        assert cli("clean", name, "--yes").code == 0
    assert kept(cli) == []
    assert [(path.name, path.read_text()) for path in treasure.iterdir()] == [("kept.txt", "kept")]


def test_what_cannot_be_read_is_left_until_it_is_named(cli: Cli) -> None:
    run = make(cli, days=9, ended=True)
    run.facts.write_text("{")
    result = cli("clean", "--yes")
    assert result.code == 0
    assert "it cannot be read" in result.out
    assert kept(cli) == ["aaaa"]
    assert cli("clean", "aaaa", "--yes").code == 0
    assert kept(cli) == []


def test_a_run_that_was_killed_as_it_was_begun_goes_when_it_is_old(cli: Cli) -> None:
    bare = cli.runs / "20260101-120000-bare"
    (bare / "tasks").mkdir(parents=True)
    assert "it cannot be read" in cli("clean", "--yes").out
    assert bare.exists()
    os.utime(bare, (0, 0))
    assert cli("clean", "--yes").code == 0
    assert not bare.exists()


def test_a_half_removed_run_is_finished_by_the_next(cli: Cli) -> None:
    run = make(cli)
    (cli.runs / ".removing").mkdir()
    run.root.rename(cli.runs / ".removing" / f"{run.run_id}.0123abcd")
    assert cli("runs").out == "No runs.\n"
    result = cli("clean")
    assert "half removed" in result.out
    assert cli("clean", "aaaa", "--yes").code == 0
    assert kept(cli) == []


# -- what backends hold


def test_leftovers_go_and_the_run_stays(cli: Cli) -> None:
    run = make(cli, backend=NAME)
    leave(cli, run.run_id)
    result = cli("clean")
    assert result.code == 0
    assert f"    {NAME}: job one/1" in result.out
    assert "Add --yes to remove 1 leftover." in result.out
    assert cli("clean", "--yes").code == 0
    assert list(cli.engine.iterdir()) == []
    assert kept(cli) == ["aaaa"]


def test_a_run_that_was_killed_while_a_container_checked_it_is_looked_for_there(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("DOCKER_CONTEXT", "nowhere")
    run = make(cli)
    assert cli("clean").code == 0
    run.checked_in_docker.mkdir(parents=True)
    assert "docker: The docker context 'nowhere' cannot be used" in cli("clean").out


def test_a_backend_out_of_reach_is_named_and_the_rest_goes_on(cli: Cli) -> None:
    make(cli, "aaaa", days=9, ended=True, backend=NAME)
    make(cli, "bbbb", days=9, ended=True)
    (cli.engine / "down").touch()
    result = cli("clean", "--yes")
    assert result.code == 1
    assert "The engine is out of reach." in result.out
    assert kept(cli) == ["aaaa"]


def test_a_named_backend_that_cannot_say_what_it_holds_is_a_failure(cli: Cli) -> None:
    (cli.engine / "down").touch()
    result = cli("clean", "--backend", NAME)
    assert result.code == 1
    assert f"runs without a directory  {NAME}: The engine is out of reach." in result.out
    assert cli("clean", "gone", "--backend", NAME).code == 2


def test_what_a_backend_does_not_let_go_keeps_the_run_for_the_next_time(cli: Cli) -> None:
    run = make(cli, days=9, ended=True, backend=NAME)
    leave(cli, run.run_id)
    (cli.engine / "keeps").touch()
    result = cli("clean", "--yes")
    assert result.code == 1
    assert "Not removed: " in result.out
    assert "The engine lets nothing go." in result.out
    assert kept(cli) == ["aaaa"]
    (cli.engine / "keeps").unlink()
    assert cli("clean", "--yes").code == 0
    assert kept(cli) == []
    assert list(cli.engine.iterdir()) == []


def test_a_run_that_went_on_elsewhere_is_cleaned_on_both(cli: Cli) -> None:
    run = make(cli, backend=NAME)
    facts = json.loads(run.facts.read_text())
    facts["settings"]["backend"] = "threading"
    run.facts.write_text(json.dumps(facts))
    leave(cli, run.run_id)
    assert cli("clean", "--yes").code == 0
    assert list(cli.engine.iterdir()) == []


def test_what_is_left_of_runs_without_a_directory_goes_where_the_backend_is_named(
    cli: Cli,
) -> None:
    leave(cli, "20250101-120000-gone")
    leave(cli, "20250101-120000-else", work_dir=cli.place / "another")
    leave(cli, "..;x")
    assert cli("clean", "--yes").out == "There is nothing to remove.\n"
    result = cli("clean", "--yes", "--backend", NAME)
    assert result.code == 0, result.out
    assert "20250101-120000-gone  gone" in result.out
    assert "Removed 20250101-120000-gone: 1 leftover." in result.out
    assert not (cli.engine / "20250101-120000-gone").exists()
    assert (cli.engine / "20250101-120000-else").exists()


def test_a_run_without_a_directory_can_be_named(cli: Cli) -> None:
    make(cli, backend=NAME)  # so that the backend is known to be one of these runs'
    leave(cli, "20250101-120000-gone")
    leave(cli, "20250101-120000-more")
    result = cli("clean", "gone", "--yes")
    assert result.code == 0, result.err
    assert [path.name[-4:] for path in cli.engine.iterdir()] == ["more"]
    assert kept(cli) == ["aaaa"]


def test_json_has_a_line_for_each_thing_before_and_after(cli: Cli) -> None:
    make(cli, "aaaa", days=9, ended=True)
    make(cli, "open", days=9)
    result = cli("clean", "--yes", "--json")
    assert result.code == 0
    assert [(line["action"], line["run"][-4:]) for line in result.lines] == [
        ("removes", "aaaa"),
        ("leaves", "open"),
        ("removed", "aaaa"),
    ]
    assert result.lines[0]["goes_whole"] is True


# -- with jobs that run


@pytest.mark.slow
def test_kill_9_then_clean_leaves_what_runs_until_it_is_named(cli: Cli) -> None:
    run_id = cli.killed()
    result = cli("clean", "--yes", "--older-than", "0h")
    assert result.code == 0
    assert "1 job of it may still run; resume it, cancel it, or remove it with `" in result.out
    assert cli.alive() != []
    named = cli("clean", run_id)
    assert "1 job that may still run, to be cancelled" in named.out
    assert cli.alive() != []
    assert cli("clean", run_id, "--yes").code == 0
    assert cli.alive() == []
    assert list(cli.engine.iterdir()) == []
    assert kept(cli) == []


@pytest.mark.slow
def test_kill_9_cancel_clean_leaves_nothing_and_the_run_goes_on(cli: Cli) -> None:
    run_id = cli.killed()
    assert cli("cancel", run_id).code == 0
    assert cli("clean", "--yes").code == 0
    assert list(cli.engine.iterdir()) == []
    assert cli("resume", run_id, "--sim-speed", "0").code == 0
    assert list(cli.engine.iterdir()) == []


@pytest.mark.slow
def test_what_a_killed_run_had_finished_is_brought_in_before_it_goes(cli: Cli) -> None:
    run_id = cli.killed()
    cli.finish_jobs()
    assert cli("clean", "--yes").code == 0
    assert list(cli.engine.iterdir()) == []
    assert (cli.run.tasks / "one/1/result/files/one.md").exists()
    assert cli.state() == "interrupted"
    assert cli("resume", run_id, "--sim-speed", "0").code == 0
    begun = [e["task"] for e in cli.journal() if e["kind"] == "job_intended"]
    assert begun == ["one", "two"]


@pytest.mark.slow
def test_jobs_of_a_run_without_a_directory_are_stopped(cli: Cli) -> None:
    cli.killed()
    subprocess.run(["rm", "-r", str(cli.runs)], check=True)
    result = cli("clean", "--backend", NAME, "--yes")
    assert result.code == 0, result.out
    assert cli.alive() == []
    assert list(cli.engine.iterdir()) == []


# -- at the end of an ordinary run


@pytest.mark.slow
def test_nothing_is_left_after_an_ordinary_run_a_failed_one_and_ctrl_c(cli: Cli) -> None:
    with cli.running() as process:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
    assert cli.alive() == []
    assert list(cli.engine.iterdir()) == []
    assert cli("resume", "last", "--sim-speed", "0").code == 0
    assert list(cli.engine.iterdir()) == []
    plan = ("--plan", "plan.json", "--backend", NAME, "--sim-speed", "0", "--max-retries", "1")
    failed = cli(PROMPT, *plan, "--output-dir", "failed", "--sim-faults", "refusal=1")
    assert failed.code == 1
    assert list(cli.engine.iterdir()) == []


@pytest.mark.slow
def test_a_cleanup_that_fails_is_a_notice_and_left_to_clean(cli: Cli) -> None:
    with cli.running() as process:
        process.kill()
    cli("cancel", "last")
    (cli.engine / "keeps").touch()
    result = cli("resume", "last", "--sim-speed", "0")
    assert result.code == 0, result.err
    assert "note: What detached holds of the run could not be removed" in result.out
    (cli.engine / "keeps").unlink()
    assert cli(*result.printed).code == 0
    assert list(cli.engine.iterdir()) == []
    assert list(cli.runs.glob("*/run.json")) == []


@pytest.mark.slow
def test_what_a_removed_run_leaves_is_removed_by_the_command_that_its_end_names(cli: Cli) -> None:
    with cli.running() as process:
        (cli.engine / "keeps").touch()
        shutil.rmtree(cli.run.root)
        out, err = process.communicate(timeout=60)
    assert "was removed or moved" in err
    (cli.engine / "keeps").unlink()
    assert list(cli.engine.iterdir()) != []
    assert cli(*CommandResult(1, err, out).printed).code == 0
    assert list(cli.engine.iterdir()) == []


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
