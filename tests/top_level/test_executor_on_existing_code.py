"""An executor that changes existing code: its workspace is the base, its result what differs."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from claude.client.types import Reply
from core.bundle import (
    BASE_NAME,
    AttemptDir,
    BaseRef,
    Limits,
    ModelSettings,
    Request,
    build_manifest,
    write_request,
)
from core.check_request import Check, CheckJob, CheckRequest
from core.checks.job import CHECKS_NAME, read_report
from core.credentials import Credentials
from core.events import Proof
from core.job import JobKey, Manifest, Outcome, TaskResult
from core.plan import Setup, Task
from core.workspace.base_tree import pack_base, pack_part
from executor_agent import ExecutorAgent
from tests.fakes.scripted_claude import FakeClock, ScriptedClaude, ScriptedConnect, act, use

FILES = {
    "app.py": "PORT = 8000\n",
    "lib/old.py": "OLD = 1\n",
    "lib/keep.py": "KEEP = 1\n",
    "run.sh": "#!/bin/sh\necho ran\n",
    "README.md": "read me\r\n",
}
TASK = Task(id="change", title="Change", instructions="Change it.", owns=("app.py", "lib/"))
SUBMIT = use("submit_result", summary="Changed it.")


def pack(place: Path, files: Mapping[str, str] = FILES) -> BaseRef:
    """The base in the run's directory, `place`."""
    root = place / "base"
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(text.encode())
    (root / "run.sh").chmod(0o755)
    return pack_base(root, build_manifest(root), place / BASE_NAME)


def attempt_in(run: Path, **changes: Any) -> AttemptDir:
    attempt = AttemptDir(run / "tasks" / TASK.id / "1")
    attempt.inputs.mkdir(parents=True)
    fields: dict[str, Any] = {
        "key": JobKey("r1", TASK.id, 1),
        "prompt": "Change it",
        "brief": "",
        "task": TASK,
        "contracts": (),
        "model": ModelSettings(),
        "limits": Limits(),
    }
    write_request(attempt, Request(**(fields | changes)))
    return attempt


def run(attempt: AttemptDir, *answers: Reply) -> TaskResult:
    connect = ScriptedConnect(ScriptedClaude(answers, forever=True))
    agent = ExecutorAgent(Credentials(), FakeClock(), connect=connect, contained=True)
    result = agent.run(attempt, "w")
    assert result is not None
    return result


def delivered(attempt: AttemptDir) -> dict[str, str]:
    files = [path for path in attempt.files.rglob("*") if path.is_file()]
    return {p.relative_to(attempt.files).as_posix(): p.read_bytes().decode() for p in files}


def test_the_result_is_what_differs_from_the_base(tmp_path: Path) -> None:
    attempt = attempt_in(tmp_path, base=pack(tmp_path))
    edit = use("edit_file", path="app.py", old="8000", new="9000")
    move = use("move_file", path="lib/old.py", to="lib/new.py")
    result = run(attempt, act(edit, move, SUBMIT))
    assert (result.outcome, result.deleted) == (Outcome.OK, ("lib/old.py",))
    assert delivered(attempt) == {"app.py": "PORT = 9000\n", "lib/new.py": "OLD = 1\n"}


def test_a_task_may_do_nothing_but_delete(tmp_path: Path) -> None:
    attempt = attempt_in(tmp_path, base=pack(tmp_path))
    result = run(attempt, act(use("delete_file", path="lib/old.py"), SUBMIT))
    assert (result.outcome, result.deleted) == (Outcome.OK, ("lib/old.py",))
    assert delivered(attempt) == {}


def test_a_task_may_delete_what_an_earlier_one_has_left_it(tmp_path: Path) -> None:
    attempt = attempt_in(tmp_path, base=pack(tmp_path))
    for path in ("lib/old.py", "lib/new.py"):
        (attempt.inputs / path).parent.mkdir(exist_ok=True)
        (attempt.inputs / path).write_text("1\n")
    deleted = ("lib/new.py", "lib/old.py")
    result = run(attempt, act(*(use("delete_file", path=path) for path in deleted), SUBMIT))
    assert (result.outcome, result.deleted) == (Outcome.OK, deleted)


def test_an_existing_file_keeps_its_mode(tmp_path: Path) -> None:
    task = TASK.model_copy(update={"owns": ("run.sh",)})
    attempt = attempt_in(tmp_path, base=pack(tmp_path), task=task)
    result = run(attempt, act(use("write_file", path="run.sh", content="echo 2\n"), SUBMIT))
    assert [(e.path, e.mode) for e in result.manifest.entries] == [("run.sh", 0o755)]


@pytest.mark.parametrize(
    ("calls", "defect"),
    [
        ((), "nothing was changed yet; this task owns app.py, lib/"),
        ((use("delete_file", path="README.md"),), "'README.md' is not owned by this task."),
        (
            (use("move_file", path="app.py", to="lib/keep.py"),),
            "'lib/keep.py' is there already. Delete it first.",
        ),
        (
            (
                use("edit_file", path="app.py", old="8000", new="9000"),
                use("run_command", command="echo changed > README.md"),
            ),
            "the file 'README.md' was changed and has been restored; leave it alone",
        ),
    ],
)
def test_what_does_not_count_comes_back(
    tmp_path: Path, calls: tuple[dict[str, Any], ...], defect: str
) -> None:
    attempt = attempt_in(tmp_path, base=pack(tmp_path), limits=Limits(max_corrections=0))
    run(attempt, act(*calls, SUBMIT))
    assert defect in attempt.transcript.read_text() + attempt.result_json.read_text()


def test_many_changes_are_restored_by_one_look_into_the_archive(tmp_path: Path) -> None:
    attempt = attempt_in(tmp_path, base=pack(tmp_path), limits=Limits(max_corrections=0))
    edit = use("edit_file", path="app.py", old="8000", new="9000")
    harm = use("run_command", command="echo >README.md; rm run.sh")
    with mock.patch.object(tarfile, "open", side_effect=tarfile.open) as looks:
        run(attempt, act(edit, harm, SUBMIT))
    told = attempt.transcript.read_text() + attempt.result_json.read_text()
    assert "'README.md' was changed and has been restored" in told
    assert "'run.sh' was changed and has been restored" in told
    assert looks.call_count == 2, "to lay it out, and to restore"


def test_the_workspace_is_the_base_as_earlier_tasks_left_it(tmp_path: Path) -> None:
    attempt = attempt_in(tmp_path, base=pack(tmp_path), deleted=("lib/old.py",))
    (attempt.inputs / "README.md").write_text("read this\n")
    command = "ls lib; cat README.md; test -x run.sh && echo executable"
    edit = use("edit_file", path="app.py", old="8000", new="9000")
    result = run(attempt, act(use("run_command", command=command)), act(edit, SUBMIT))
    shown = attempt.transcript.read_text()
    assert "keep.py\\nread this\\nexecutable" in shown
    assert (result.outcome, result.deleted) == (Outcome.OK, ())
    assert delivered(attempt) == {"app.py": "PORT = 9000\n"}


def pack_without(place: Path, *unsent: str) -> BaseRef:
    """A part of the base, which lacks these."""
    pack(place)
    entries = build_manifest(place / "base").entries
    sent, rest = (
        Manifest(tuple(e for e in entries if (e.path in unsent) is is_rest))
        for is_rest in (False, True)
    )
    return pack_part(place / "base", sent, rest, place / BASE_NAME)


def test_of_a_part_the_rest_is_told_and_cannot_be_written(tmp_path: Path) -> None:
    attempt = attempt_in(tmp_path, base=pack_without(tmp_path, "lib/keep.py", "README.md"))
    looks = [use("list_files"), use("write_file", path="lib/keep.py", content="MINE = 1\n")]
    edit = use("edit_file", path="app.py", old="8000", new="9000")
    result = run(attempt, act(*looks), act(edit, SUBMIT))
    told = attempt.transcript.read_text()
    assert "README.md (9 bytes, not sent)" in told
    assert "'lib/keep.py' cannot be written: 'lib/keep.py' is in the project" in told
    assert (result.outcome, result.deleted) == (Outcome.OK, ())
    assert delivered(attempt) == {"app.py": "PORT = 9000\n"}


def test_what_a_command_puts_in_its_place_is_not_handed_in(tmp_path: Path) -> None:
    base = pack_without(tmp_path, "lib/keep.py")
    attempt = attempt_in(tmp_path, base=base, limits=Limits(max_corrections=1))
    harm = use("run_command", command="echo >lib/keep.py; echo >>app.py")
    result = run(attempt, act(harm, SUBMIT), act(use("run_command", command="rm lib/keep.py")))
    assert "'lib/keep.py' cannot be handed in, since 'lib/keep.py' is in the project" in (
        attempt.transcript.read_text()
    )
    assert "lib/keep.py" not in delivered(attempt)
    assert result.deleted == ()


def test_what_comes_with_the_request_is_not_missing(tmp_path: Path) -> None:
    attempt = attempt_in(tmp_path, base=pack_without(tmp_path, "lib/keep.py"))
    (attempt.inputs / "lib").mkdir()
    (attempt.inputs / "lib/keep.py").write_text(FILES["lib/keep.py"])
    edit = use("edit_file", path="lib/keep.py", old="1", new="2")
    assert run(attempt, act(edit, SUBMIT)).outcome is Outcome.OK
    assert delivered(attempt) == {"lib/keep.py": "KEEP = 2\n"}


def test_a_job_of_checks_has_the_base(tmp_path: Path) -> None:
    request = CheckRequest(Setup(), (Check("./run.sh && ! test -e lib/old.py"),))
    base = pack(tmp_path)
    attempt = attempt_in(tmp_path, base=base, deleted=("lib/old.py",), checks=CheckJob(request))
    assert run(attempt).outcome is Outcome.OK
    report = read_report(attempt.files / CHECKS_NAME, request)
    assert [end.state for end in report.ended] == [Proof.PASSED]


def test_a_base_beside_the_attempt_comes_first(tmp_path: Path) -> None:
    base = pack(tmp_path)
    attempt = attempt_in(tmp_path, base=base)
    shutil.move(tmp_path / BASE_NAME, attempt.root / BASE_NAME)
    assert run(attempt, act(use("delete_file", path="app.py"), SUBMIT)).outcome is Outcome.OK


@pytest.mark.parametrize("harm", ["absent", "cut"])
def test_a_damaged_base_is_named(tmp_path: Path, harm: str) -> None:
    base, archive = pack(tmp_path), tmp_path / BASE_NAME
    if harm == "absent":
        archive.unlink()
    else:
        archive.write_bytes(archive.read_bytes()[:-20])
    result = run(attempt_in(tmp_path, base=base))
    assert result.outcome is Outcome.DEFECT
    assert "The archive of the existing code" in result.message


def test_the_archive_is_the_same_for_the_same_files(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert pack(tmp_path / "a") == pack(tmp_path / "b")
    assert pack(tmp_path / "a", FILES | {"app.py": "X = 1\n"}) == pack(tmp_path / "b")  # it is kept
