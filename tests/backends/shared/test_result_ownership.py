"""Results in the run directory: what is handed over, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from backends.shared.results import attempt_of, hand_over
from core.bundle import (
    AttemptDir,
    BaseRef,
    ContractFile,
    Limits,
    ModelSettings,
    Request,
    write_request,
)
from core.errors import CollectError
from core.job import JobKey, TaskResult
from core.plan import Task
from tests.fakes.results import hand_in

KEY = JobKey("r1", "store", 1)


def leave(attempt: AttemptDir, *paths: str, deleted: tuple[str, ...] = ()) -> TaskResult:
    """A whole result with these files, as anybody may write one who can write there."""
    return hand_in(attempt, KEY, {path: path for path in paths}, deleted=deleted)


def ask(attempt: AttemptDir, base: BaseRef | None = None) -> None:
    task = Task(
        id=KEY.task, title="Store", instructions="Store it.", owns=("src/", "setup.py"), estimate=1
    )
    contract = ContractFile("src/types.py", "0" * 64)
    request = Request(KEY, "Build", "# Store", task, (contract,), ModelSettings(), Limits())
    write_request(attempt, replace(request, base=base))


def test_a_result_is_handed_over_where_it_lies_and_elsewhere(tmp_path: Path) -> None:
    run_dir, elsewhere = tmp_path / "r1", tmp_path / "elsewhere"
    here = attempt_of(run_dir, KEY)
    ask(here)
    result = leave(here, "src/a.py", "setup.py")
    assert hand_over(here, KEY, run_dir / "tasks") == result
    assert hand_over(here, KEY, elsewhere) == result
    assert (elsewhere / "store/1/result/files/src/a.py").read_text() == "src/a.py"


@pytest.mark.parametrize("foreign", ["main.py", "src.py", "src/types.py", "src/Types.py"])
def test_a_result_with_files_that_are_not_the_tasks_own_is_refused(
    tmp_path: Path, foreign: str
) -> None:
    here = attempt_of(tmp_path / "r1", KEY)
    ask(here)
    leave(here, "src/a.py", "setup.py", foreign)
    answer = hand_over(here, KEY, tmp_path / "r1/tasks")
    assert isinstance(answer, CollectError)
    assert (foreign in str(answer), answer.retryable) == (True, False)


@pytest.mark.parametrize(("paths", "lacks"), [(("src/a.py",), "setup.py"), (("setup.py",), "src/")])
def test_a_result_that_lacks_what_its_task_owns_is_refused(
    tmp_path: Path, paths: tuple[str, ...], lacks: str
) -> None:
    here = attempt_of(tmp_path / "r1", KEY)
    ask(here)
    leave(here, *paths)
    answer = hand_over(here, KEY, tmp_path / "r1/tasks")
    assert isinstance(answer, CollectError)
    assert f"lacks '{lacks}'" in str(answer)


@pytest.mark.parametrize(
    ("deleted", "lacks"),
    [
        (("setup.py",), ""),
        (("src/old.py",), ""),
        (("src/new.py",), ""),
        (("main.py",), "'main.py'"),
    ],
)
def test_what_existing_code_has_may_stay_as_it_was_or_go(
    tmp_path: Path, deleted: tuple[str, ...], lacks: str
) -> None:
    here = attempt_of(tmp_path / "r1", KEY)
    ask(here, BaseRef("0" * 64, 1))
    (tmp_path / "r1/base/src").mkdir(parents=True)
    (tmp_path / "r1/base/setup.py").touch()
    result = leave(here, deleted=deleted)
    answer = hand_over(here, KEY, tmp_path / "r1/tasks")
    assert answer == result if not lacks else lacks in str(answer)


def test_what_is_new_is_not_lacking_for_that(tmp_path: Path) -> None:
    here = attempt_of(tmp_path / "r1", KEY)
    ask(here, BaseRef("0" * 64, 1))
    (tmp_path / "r1/base/src").mkdir(parents=True)
    leave(here, "src/a.py")
    assert "lacks 'setup.py'" in str(hand_over(here, KEY, tmp_path / "r1/tasks"))
