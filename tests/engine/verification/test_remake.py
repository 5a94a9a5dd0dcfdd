"""Lock files that collide, or whose manifest was merged, are made anew by their own tool."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path

import pytest

from backends.threading_backend import ThreadingBackend
from config import Settings
from core.bundle import ModelSettings
from core.checks.sandbox import Bare
from core.clock import SystemClock
from core.events import Conflict, Notice
from core.job import JobKey, TaskResult
from core.plan import Plan, Task
from engine.delivery import lock_files
from engine.delivery.deliver import deliver
from engine.execution import Execution
from engine.money.budget import Budget
from engine.repository.base import prepare_base
from engine.run.journal import read_journal
from engine.run.run_view import read_run_view
from engine.run.rundir import RunDir, RunFacts, create_run
from engine.run.session import open_session
from engine.verification import remake
from engine.verification.provenance import write_provenance
from engine.verification.remake import remake_lock_files
from engine.verification.repairs.repair import Proven
from engine.verification.verify import HostRunner, Report
from engine.views.summary import render_short
from tests.engine.repository.repos import Killed, dying, git, make_repository
from tests.fakes.results import hand_in

RUN = "20260101-000000-aaaa"
BRANCH = f"orchestrator/{RUN}"
MANIFEST, LOCK = "web/package.json", "web/package-lock.json"
COMMAND = "npm install --package-lock-only --ignore-scripts"
PLAN = Plan(
    title="Add libraries",
    shared=(MANIFEST, LOCK),
    tasks=tuple(
        Task(id=name, title=f"Add {name}", instructions="Do it.", owns=(f"{name}.txt",))
        for name in ("a", "b")
    ),
)


def manifest(*more: str) -> str:
    found = {"name": "app", "version": "1.0.0"}
    libraries = {name: f"file:../libs/{name}" for name in (*more, "z")}
    return json.dumps({**found, "dependencies": libraries}, indent=2) + "\n"


def lock(*more: str) -> str:
    """As npm writes it."""
    libraries = (*more, "z")
    packages: dict[str, object] = {
        **{f"../libs/{name}": {"version": "1.0.0"} for name in libraries},
        "": json.loads(manifest(*more)),
        **{
            f"node_modules/{name}": {"resolved": f"../libs/{name}", "link": True}
            for name in libraries
        },
    }
    whole = {"name": "app", "version": "1.0.0", "lockfileVersion": 3, "requires": True}
    return json.dumps({**whole, "packages": packages}, indent=2) + "\n"


BASE = {
    MANIFEST: manifest(),
    LOCK: lock(),
    **{f"libs/{n}/package.json": f'{{"name":"{n}","version":"1.0.0"}}\n' for n in "abz"},
}
BOTH = {name: {MANIFEST: manifest(name), LOCK: lock(name)} for name in ("a", "b")}
ONE = {**BOTH, "b": {MANIFEST: manifest("b")}}
"""Only the first task has a version of the lock file."""


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "repo", BASE)


@pytest.fixture
def run(tmp_path: Path, repo: Path) -> RunDir:
    made = create_run(
        tmp_path / "work", RunFacts(RUN, "Add", str(repo), 0.0, {"into": str(repo)}, True)
    )
    prepare_base(repo, "", made)
    return made


@pytest.fixture
def unprotected(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An npm of the test's own on PATH, which is to be written; checks run without a sandbox."""
    place = tmp_path / "bin"
    place.mkdir()
    monkeypatch.setenv("PATH", f"{place}{os.pathsep}{os.environ['PATH']}")

    def choose(session: object, *_: object) -> HostRunner:
        return HostRunner(Bare(), session.run.verification, SystemClock())  # type: ignore[attr-defined]

    monkeypatch.setattr(remake, "choose_runner", choose)
    return place / "npm"


def write_npm(place: Path, script: str) -> None:
    place.write_text(f"#!/bin/sh\n{script}\n")
    place.chmod(0o755)


def finish(run: RunDir, task: str, files: Mapping[str, str], gone: Collection[str]) -> TaskResult:
    key = JobKey(RUN, task, 1)
    return hand_in(run.attempt(key), key, files, deleted=tuple(gone))


def work(
    run: RunDir,
    versions: Mapping[str, Mapping[str, str]] = BOTH,
    gone: Collection[str] = (),
    settings: Settings | None = None,
) -> tuple[Conflict, ...]:
    """A session that delivers them; `gone` is what the second task has deleted."""
    results = {n: finish(run, n, versions[n], gone if n == "b" else ()) for n in versions}
    with open_session(run.read_facts(), run, [], SystemClock(), replayed=False) as session:
        backend = ThreadingBackend(run.root, lambda *_: None)
        settings = settings or Settings(verify=True)
        execution = Execution(session, backend, ModelSettings(), settings, Budget())
        try:
            remake_lock_files(execution.checks_of(PLAN), PLAN, results, settings, backend)
        finally:
            backend.close()
        merged = deliver(session, PLAN, results)
        write_provenance(session, PLAN, Proven(merged, Report()), lambda _: None)
    return merged.conflicts


def delivered(repo: Path, path: str) -> str:
    return git(repo, "show", f"{BRANCH}:{path}") + "\n"


def notices(run: RunDir) -> list[str]:
    return [e.data.text for e in read_journal(run.journal) if isinstance(e.data, Notice)]


@pytest.mark.bubblewrap
@pytest.mark.parametrize("versions", [BOTH, ONE], ids=["in conflict", "behind its manifest"])
def test_npm_makes_it_anew_of_the_merged_manifest(
    versions: Mapping[str, Mapping[str, str]],
    run: RunDir,
    repo: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert work(run, versions) == ()
    assert delivered(repo, MANIFEST) == manifest("a", "b")
    assert json.loads(delivered(repo, LOCK)) == json.loads(lock("a", "b"))
    assert git(repo, "log", "-1", "--format=%s%n%b", BRANCH).startswith(
        f"Merge: Add libraries\n{LOCK} was made anew: {COMMAND}\n\nOrchestrator-Run: {RUN}"
    )
    assert git(repo, "diff", "--name-only", f"{BRANCH}~1", BRANCH) == LOCK
    told = " ".join(render_short(read_run_view(run)).split())
    assert f"lock file {LOCK} was made anew by {COMMAND}, in a sandbox of bubblewrap" in told
    assert f'"made_by":"{COMMAND}"' in run.provenance.read_text()
    tip = git(repo, "rev-parse", BRANCH)
    monkeypatch.setattr(remake, "choose_runner", None)  # it is not made a second time
    assert work(run, versions) == ()
    assert git(repo, "rev-parse", BRANCH) == tip


@pytest.mark.bubblewrap
def test_without_a_network_npm_does_not_wait_for_one(run: RunDir, repo: Path) -> None:
    versions = {name: dict(files) for name, files in BOTH.items()}
    versions["b"][MANIFEST] = versions["b"][MANIFEST].replace("file:../libs/b", "1.0.0")
    [conflict] = work(run, versions)
    assert "exit code 1, without a network, since the plan's set-up needs none" in conflict.why
    assert ": npm error code E" in conflict.why


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo npm error code E404; echo more; exit 1", "exit code 1, without a network,"),
        ("frobnicate", "frobnicate is not here)"),
        (f"rm {Path(LOCK).name}; ln -s /etc/hostname {Path(LOCK).name}", "no regular file"),
        (f"truncate -s 9M {Path(LOCK).name}", "too large"),
        (f"rm {Path(LOCK).name}", "exit code 1"),
        ("cd ..; mv web other; ln -s other web", "no regular file"),
    ],
    ids=["it fails", "no such program", "a link", "large", "none", "a link above"],
)
def test_what_cannot_be_made_stays_a_conflict_and_says_why(
    script: str, why: str, run: RunDir, repo: Path, unprotected: Path
) -> None:
    write_npm(unprotected, script)
    [conflict] = work(run)
    assert conflict.path == LOCK
    assert conflict.why.startswith(f"lock file; make it anew: {COMMAND} (not done here: ")
    assert why in conflict.why
    assert delivered(repo, LOCK) == lock("a")
    assert conflict.kept_as == f"{BRANCH}-b"
    write_npm(unprotected, f"echo anew > {Path(LOCK).name}")
    assert work(run) == ()
    assert delivered(repo, LOCK) == "anew\n"


def test_nothing_but_the_lock_file_is_taken(run: RunDir, repo: Path, unprotected: Path) -> None:
    others = "package.json ../libs/a/package.json more"
    write_npm(unprotected, f'echo "$*" | tee {others} > package-lock.json')
    assert work(run) == ()
    assert delivered(repo, LOCK) == COMMAND.removeprefix("npm ") + "\n"
    assert git(repo, "diff", "--name-only", f"{BRANCH}~1", BRANCH) == LOCK


@pytest.mark.parametrize(
    ("gone", "settings", "why"),
    [
        ((), Settings(verify=False), "--no-verify"),
        ((MANIFEST,), Settings(verify=True), f"{MANIFEST} is in conflict"),
    ],
    ids=["no checks", "no manifest"],
)
def test_it_is_not_tried_where_it_cannot_be(
    gone: Collection[str], settings: Settings, why: str, run: RunDir
) -> None:
    versions = {**BOTH, "b": {LOCK: lock("b")}} if gone else BOTH
    conflicts = work(run, versions, gone, settings)
    assert [c.why for c in conflicts if c.path == LOCK] == [
        f"lock file; make it anew: {COMMAND} (not done here: {why})"
    ]


def test_one_that_may_not_fit_its_manifest_is_told(run: RunDir, unprotected: Path) -> None:
    write_npm(unprotected, "exit 1")
    assert work(run, ONE) == ()
    [told] = notices(run)
    assert told.startswith(
        f"{LOCK} may not fit {MANIFEST}, which several tasks have changed. It was"
    )


def test_what_one_task_alone_has_changed_is_left_alone(run: RunDir, unprotected: Path) -> None:
    write_npm(unprotected, "echo anew > package-lock.json")
    assert work(run, {"a": BOTH["a"], "b": {"b.txt": "b"}}) == ()
    assert not run.lock_files.exists()


@pytest.mark.parametrize("steps", range(2))
def test_one_that_was_killed_is_made_up_for(
    steps: int, run: RunDir, repo: Path, unprotected: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_npm(unprotected, "echo anew > package-lock.json")
    left = iter(range(steps))
    with monkeypatch.context() as patch:
        for name in ("store_merged", "write_atomic"):
            patch.setattr(lock_files, name, dying(getattr(lock_files, name), left))
        with pytest.raises(Killed):
            work(run)
    assert work(run) == ()
    assert delivered(repo, LOCK) == "anew\n"


def test_a_file_that_was_damaged_is_made_again(run: RunDir, repo: Path, unprotected: Path) -> None:
    write_npm(unprotected, "echo anew > package-lock.json")
    assert work(run) == ()
    [kept] = run.merged.glob(f"merge-1/{LOCK}")
    kept.write_text("other")
    assert work(run) == ()
    assert delivered(repo, LOCK) == "anew\n"
