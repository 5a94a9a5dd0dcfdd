"""A run's end on the head node: nothing is submitted after it, and what removals leave goes."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Any

import pytest

from backends.parallelcluster.head_node.tombstones import KEPT_TOMBSTONE_S, STALE_CODE_S
from backends.parallelcluster.rpc import read_answer
from backends.slurm.host import UploadFile
from tests.backends.parallelcluster.head_node.test_methods import (
    MARKER,
    Place,
    ask,
    attempt,
    call,
    chunked,
    fake_aws,
)
from tests.fakes.waiting import until

FILES = [UploadFile("slurm/credentials.json", b"secret", 0o600), UploadFile("slurm/a/x", b"x")]
CLEANED_UP = {
    "error": "the run was cleaned up",
    "remedy": "Resume the run.",
}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "shared" / "code-1").mkdir(parents=True)
    return Place(tmp_path)


def submission(place: Place, script: str = "", **more: Any) -> dict[str, Any]:
    """One that leaves a trace of having run."""
    command = ("sh", "-c", f"{script} echo x >>{place.root}/submitted; echo 1")
    return place.command(*command, has_upload=True, once="slurm/a", **more)


def submitted(place: Place) -> bool:
    return (place.root / "submitted").exists()


def forget(place: Place, *names: str) -> dict[str, Any]:
    return ask({**place.common, "op": "remove_runs", "names": names or ["r-1"]})


def runs(place: Place) -> list[str]:
    folder = place.root / "runs"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_after_a_cleanup_nothing_is_laid_down_nor_submitted(place: Place) -> None:
    assert forget(place) == {}
    assert ask(submission(place), chunked(place.upload(FILES))) == CLEANED_UP
    assert not submitted(place)
    assert runs(place) == []


def test_a_submission_whose_upload_comes_after_the_cleanup_leaves_nothing(place: Place) -> None:
    """As one that was cut off: its first half has come, and its caller cleans up otherwise."""
    upload = place.upload([*FILES, UploadFile("big", os.urandom(300_000))])
    gate = place.root / "gate"
    os.mkfifo(gate)
    with call(submission(place), chunked(upload[:200_000], whole=False), feed_from=gate) as process:
        until(lambda: (place.run_dir / "slurm" / "credentials.json").exists())
        assert forget(place) == {}
        gate.write_bytes(chunked(upload[200_000:]))
        assert process.stdout is not None
        assert read_answer(process.stdout, MARKER) == CLEANED_UP
    assert not submitted(place)
    assert runs(place) == []


def test_a_submission_through_s3_that_ends_after_the_cleanup_leaves_nothing(place: Place) -> None:
    (place.root.parent / "object").write_bytes(place.upload([UploadFile("y", b"y")]))
    gate = place.root.parent / "gate"
    path = fake_aws(
        place, f'touch "$file.asked"; while [ ! -e {gate} ]; do sleep 0.1; done; cat "$file"'
    )
    request = submission(place, url="s3://b/k")
    with call(request, chunked(place.upload(FILES)), PATH=path) as process:
        until((place.root.parent / "object.asked").exists)
        until(lambda: list(place.root.glob(".code-*")) != [])  # the object is being unpacked
        assert (place.run_dir / "slurm" / "credentials.json").exists()
        assert forget(place) == {}
        assert runs(place) == []
        gate.touch()
        assert process.stdout is not None
        assert read_answer(process.stdout, MARKER) == CLEANED_UP
    assert not submitted(place)
    assert runs(place) == []


def test_a_cleanup_waits_for_what_is_being_submitted(place: Place) -> None:
    """So that who looks for jobs after it sees them all."""
    request = submission(place, f"touch {place.root}/begun; sleep 0.5;")
    with call(request, chunked(place.upload(FILES))) as process:
        until((place.root / "begun").exists)
        assert not submitted(place)
        assert ask({**place.common, "op": "mark_cleaned_up", "names": ["r-1"]}) == {}
        assert submitted(place)
        assert process.stdout is not None
        assert read_answer(process.stdout, MARKER)["stdout"] == "1\n"
    assert ask(submission(place), chunked(place.upload(FILES))) == CLEANED_UP


def test_commands_that_submit_nothing_run_all_the_same(place: Place) -> None:
    forget(place)
    assert ask(place.command("echo", "cancelled"))["stdout"] == "cancelled\n"


def test_other_runs_go_on(place: Place) -> None:
    forget(place, "r-2")
    assert ask(submission(place), chunked(place.upload(FILES)))["stdout"] == "1\n"


def test_where_files_cannot_be_locked_a_cleanup_is_seen_all_the_same(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert forget(place) == {}
    assert ask(submission(place), chunked(place.upload(FILES))) == CLEANED_UP


def test_a_greeting_tells_of_a_run_that_was_cleaned_up(place: Place) -> None:
    greeting = {**place.common, "op": "info", "commands": [], "packages": []}
    assert not ask({**greeting, "run": "r-1"})["cleaned_up"]
    assert not (place.root / "tombstones").exists()
    forget(place)
    assert ask({**greeting, "run": "r-1"})["cleaned_up"]
    assert not ask({**greeting, "run": "r-2"})["cleaned_up"]


def test_half_a_result_of_a_run_that_is_removed_is_no_object(place: Place) -> None:
    path = fake_aws(place, 'cat >"$file.part" && mv "$file.part" "$file"')
    attempt(place, "a", log_txt=b"a")
    forget(place)
    stored = {"op": "store", **place.common, "attempts": ["tasks/a/1"], "url": "s3://b/k"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", path)
        assert ask(stored) == CLEANED_UP
    assert not (place.root.parent / "object").exists()


# -- what removals leave


def half_removed(place: Place, name: str) -> Path:
    """What a head node leaves that dies in the middle of a removal."""
    aside = place.root / "runs" / f".gone-{name}-12345"
    (aside / "slurm").mkdir(parents=True)
    (aside / "slurm" / "credentials.json").write_text("secret")
    (aside / "origin").write_text("mine")
    return aside


def test_what_a_removal_has_left_is_listed_and_goes_with_the_next(place: Place) -> None:
    half_removed(place, "r-1")
    half_removed(place, "20260101-120000-aaaa-0123abcd")
    listed = ask({**place.common, "op": "runs"})["runs"]
    assert listed == {"r-1": "mine", "20260101-120000-aaaa-0123abcd": "mine"}
    assert forget(place, "r-1") == {}
    assert runs(place) == []


def test_any_cleanup_removes_what_has_come_back_of_a_run(place: Place) -> None:
    attempt(place, "a", log_txt=b"a")
    ask({**place.common, "op": "mark_cleaned_up", "names": ["r-1"]})
    (place.root / "runs" / "r-2").mkdir()
    assert ask({**place.common, "op": "remove_runs", "names": []}) == {}
    assert runs(place) == ["r-2"]


def test_what_cannot_be_removed_is_reported(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt(place, "a", log_txt=b"a")
    half_removed(place, "r-2")
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)
    answer = forget(place)["error"]
    assert answer.startswith(f"could not remove {place.root}/runs/.gone-r-1-")
    assert "r-2" not in answer


def test_what_was_being_made_and_old_marks_go_in_the_end(place: Place) -> None:
    for name, old_s in ((".code-old", STALE_CODE_S), (".code-new", 0)):
        (place.root / name).mkdir()
        age(place.root / name, old_s)
    (place.root / "tombstones").mkdir()
    (place.root / "runs" / "r-3").mkdir(parents=True)
    for name, old_s in (("r-1", KEPT_TOMBSTONE_S), ("r-2", 0), ("r-3", KEPT_TOMBSTONE_S)):
        (place.root / "tombstones" / name).touch()
        age(place.root / "tombstones" / name, old_s)
    ask({**place.common, "op": "remove_runs", "names": []})
    assert sorted(path.name for path in place.root.glob(".code-*")) == [".code-new"]
    assert sorted(path.name for path in (place.root / "tombstones").iterdir()) == ["r-2", "r-3"]


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds - 60
    os.utime(path, (then, then))
