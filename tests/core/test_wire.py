"""Values on the wire: they come back as they went, and nothing else is let in."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import BundleError
from core.job import (
    Job,
    JobHandle,
    JobKey,
    JobState,
    JobStatus,
    Manifest,
    ManifestEntry,
    Outcome,
    Reason,
    TaskResult,
    Usage,
)
from core.wire import decode, encode, plain, write_atomic

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
names = st.from_regex(r"[a-z0-9-]{1,12}", fullmatch=True)
counts = st.integers(0, 2**53)
keys = st.builds(JobKey, names, names, st.integers(1, 99))
usages = st.builds(
    Usage, text, text, counts, counts, counts, counts, st.floats(0, 1e9), text, st.booleans()
)
entries = st.builds(ManifestEntry, text, counts, text, st.sampled_from([0o644, 0o755]))
results = st.builds(
    TaskResult,
    keys,
    st.sampled_from(Outcome),
    text,
    st.lists(usages, max_size=3).map(tuple),
    st.builds(Manifest, st.lists(entries, max_size=3).map(tuple)),
    counts,
    st.floats(0, 1e9),
)


@given(results)
def test_a_result_comes_back_as_it_went(result: TaskResult) -> None:
    line = encode(result)
    assert "\n" not in line
    assert decode(TaskResult, line, "here") == result
    assert decode(TaskResult, line.encode(), "here") == result


@given(keys)
def test_a_key_is_read_back_from_its_text(key: JobKey) -> None:
    assert JobKey.parse(str(key)) == key


@pytest.mark.parametrize(
    "bad", ["", "a", "a/b", "a/b/0", "a/b/01", "a/b/x", "/b/1", "a//1", "a/b/1/", "a/b/1\u0663"]
)
def test_what_is_no_key_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="not a job key"):
        JobKey.parse(bad)


@pytest.mark.parametrize(
    "value",
    [
        JobHandle(JobKey("r", "t", 1), "slurm", "42", {"array": [1, 2], "host": None}),
        JobStatus(JobState.LOST, Reason.MISSING, None, "gone"),
        Job(JobKey("r", "t", 1), Path("/x"), 1.5),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_kind_of_value_comes_back(value: object) -> None:
    assert decode(type(value), encode(value), "here") == value


def test_plain_values_are_json_shaped() -> None:
    status = plain(JobStatus(JobState.FAILED, Reason.OOM, 137, "x"))
    assert status == {"state": "FAILED", "reason": "OOM", "exit_code": 137, "message": "x"}


def test_only_final_states_are_final_and_unknown_is_none() -> None:
    final = {state for state in JobState if state.final}
    assert final == {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.LOST}


def test_totals_add_up() -> None:
    assert Usage("p", "m", 1, 2, 4, 8).total_tokens == 15
    manifest = Manifest((ManifestEntry("a", 3, "", 0o644), ManifestEntry("b", 4, "", 0o644)))
    assert (manifest.size, manifest.paths) == (7, ("a", "b"))


NO_JSON = ("", "{", "[" * 5000, b"\xff", '{"state": "\udcff"}')
NO_STATUS = ("[]", "null", '{"state": "HAPPY"}', '{"state": 1}')


@pytest.mark.parametrize("damaged", [*NO_JSON, *NO_STATUS])
def test_what_does_not_fit_is_an_error_that_names_its_source(damaged: str | bytes) -> None:
    with pytest.raises(BundleError, match=r"a/status\.json is damaged"):
        decode(JobStatus, damaged, "a/status.json")


def test_the_error_names_the_field() -> None:
    with pytest.raises(BundleError, match="exit_code"):
        decode(JobStatus, '{"state": "FAILED", "exit_code": "x"}', "here")


@pytest.mark.parametrize("count", [-1, 10**17, 10**400])
def test_a_count_with_which_nothing_can_be_reckoned_is_damage(count: int) -> None:
    with pytest.raises(BundleError, match="output_tokens"):
        decode(Usage, f'{{"provider": "a", "model": "m", "output_tokens": {count}}}', "here")


def test_a_file_is_written_whole_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_atomic(path, "old")
    write_atomic(path, "é\n", 0o600)
    assert path.read_text(encoding="utf-8") == "é\n"
    assert path.stat().st_mode & 0o777 == 0o600
    write_atomic(path, b"\xff")
    assert path.read_bytes() == b"\xff"
    assert path.stat().st_mode & 0o777 == 0o644
    assert os.listdir(tmp_path) == ["x.json"]


@pytest.mark.parametrize(
    ("umask", "mode", "found"),
    [(0o000, 0o644, 0o644), (0o077, 0o644, 0o600), (0o777, 0o640, 0o600), (0o022, 0o600, 0o600)],
)
def test_the_umask_takes_from_all_but_the_owner(
    umask: int, mode: int, found: int, tmp_path: Path
) -> None:
    before = os.umask(umask)
    try:
        write_atomic(tmp_path / "x", "secret", mode)
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == found


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "x" / "occupied").mkdir(parents=True)
    with pytest.raises(OSError, match="x"):
        write_atomic(tmp_path / "x", "new")
    assert os.listdir(tmp_path) == ["x"]


def test_half_a_surrogate_pair_is_replaced_so_that_it_can_be_written_and_read() -> None:
    usage = Usage("anthropic", "m\ud800", 1, 2)
    assert decode(Usage, encode(usage), "here") == Usage("anthropic", "m?", 1, 2)


@pytest.mark.parametrize("durable", [True, False])
def test_what_is_durable_is_on_the_disk_before_its_name_and_its_name_after_that(
    durable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real, seen = tmp_path / "x", os.fsync, list[tuple[bool, bool]]()

    def fsync(fd: int) -> None:
        seen.append((stat.S_ISDIR(os.fstat(fd).st_mode), path.exists()))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)  # what survives a power cut has no other seam
    write_atomic(path, "new", durable=durable)
    assert seen == ([(False, False), (True, True)] if durable else [])
    assert path.read_text() == "new"
