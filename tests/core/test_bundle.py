"""The bundle: what is read back is proven, and one attempt has one worker."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.bundle import (
    MAX_TOKENS,
    WIRE_VERSION,
    AttemptDir,
    ContractFile,
    Limits,
    ModelSettings,
    Request,
    SimulationSettings,
    build_manifest,
    claim,
    is_taken_over,
    read_request,
    read_result,
    read_spent,
    write_request,
    write_result,
)
from core.errors import BundleError
from core.job import JobKey, Manifest, Outcome, TaskResult, Usage
from core.plan import Task
from core.wire import plain
from tests.fakes.unprivileged import unprivileged

KEY = JobKey("20260101-abcd", "api", 1)
TASK = Task(id="api", title="The API", instructions="Write it.", owns=("api.py",), estimate=10)
REQUEST = Request(
    key=KEY,
    prompt="Build é",
    brief="# brief",
    task=TASK,
    contracts=(
        ContractFile("types.py", "0" * 64, "Names.", is_used=True, is_common=True),
        ContractFile("store.py", "1" * 64, is_used=False),
    ),
    model=ModelSettings(simulation=SimulationSettings(seed=7)),
    limits=Limits(),
)


@pytest.fixture
def attempt(tmp_path: Path) -> AttemptDir:
    return AttemptDir(tmp_path / "attempt")


def write_files(attempt: AttemptDir, files: dict[str, str]) -> TaskResult:
    for path, content in files.items():
        (attempt.files / path).parent.mkdir(parents=True, exist_ok=True)
        (attempt.files / path).write_text(content)
    return TaskResult(KEY, Outcome.OK, manifest=build_manifest(attempt.files))


def test_a_request_comes_back_as_it_went(attempt: AttemptDir) -> None:
    write_request(attempt, REQUEST)
    assert read_request(attempt) == REQUEST
    assert attempt.inputs.is_dir()


def test_every_file_of_an_attempt_lies_below_it(attempt: AttemptDir) -> None:
    names = ("request", "task_json", "inputs", "work", "claim", "result", "files", "events")
    paths = [getattr(attempt, n) for n in (*names, "transcript", "log", "result_json")]
    assert len(set(paths)) == len(paths)
    assert all(attempt.root in path.parents for path in paths)


@pytest.mark.parametrize("version", [0, WIRE_VERSION - 1, WIRE_VERSION + 1, 99])
def test_a_request_of_another_version_is_refused_with_what_to_do(
    attempt: AttemptDir, version: int
) -> None:
    write_request(attempt, replace(REQUEST, version=version))
    with pytest.raises(BundleError, match=f"wire version {version}") as caught:
        read_request(attempt)
    assert "same version" in caught.value.remedy


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"version": 1}', '{"version": "x"}'])
def test_a_damaged_request_is_refused(attempt: AttemptDir, text: str) -> None:
    attempt.request.mkdir(parents=True)
    attempt.task_json.write_text(text)
    with pytest.raises(BundleError, match=r"task\.json"):
        read_request(attempt)


def test_a_request_that_is_absent_or_no_text_is_refused(attempt: AttemptDir) -> None:
    with pytest.raises(BundleError, match="does not exist"):
        read_request(attempt)
    attempt.request.mkdir(parents=True)
    attempt.task_json.write_bytes(b"\xff\xfe")
    with pytest.raises(BundleError, match="cannot be read"):
        read_request(attempt)


def test_a_result_is_proven_against_its_files(attempt: AttemptDir) -> None:
    result = write_files(attempt, {"api.py": "x", "lib/b.py": "y"})
    write_result(attempt, result)
    assert read_result(attempt, KEY) == result


def test_a_result_without_files_needs_no_directory(attempt: AttemptDir) -> None:
    result = TaskResult(KEY, Outcome.REFUSED, "I would rather not.")
    attempt.root.mkdir()
    write_result(attempt, result)
    assert read_result(attempt, KEY) == result


def test_a_result_of_another_attempt_is_refused(attempt: AttemptDir) -> None:
    write_result(attempt, write_files(attempt, {"api.py": "x"}))
    with pytest.raises(BundleError, match=r"api/1, not to .*api/2"):
        read_result(attempt, replace(KEY, attempt=2))


@pytest.mark.parametrize(
    "damage",
    [
        lambda files: (files / "api.py").write_text("other"),
        lambda files: (files / "api.py").unlink(),
        lambda files: (files / "api.py").chmod(0o755),
        lambda files: (files / "more.py").write_text(""),
    ],
    ids=["changed", "removed", "made executable", "added"],
)
def test_files_that_do_not_match_their_manifest_are_refused(
    attempt: AttemptDir, damage: Callable[[Path], object]
) -> None:
    write_result(attempt, write_files(attempt, {"api.py": "x"}))
    damage(attempt.files)
    with pytest.raises(BundleError, match=r"does not match the manifest: 1 file\(s\) differ"):
        read_result(attempt, KEY)


def test_a_manifest_that_names_a_file_outside_is_refused(attempt: AttemptDir) -> None:
    write_result(attempt, write_files(attempt, {"api.py": "x"}))
    told = json.loads(attempt.result_json.read_text())
    told["manifest"]["entries"][0]["path"] = "../result.json"
    attempt.result_json.write_text(json.dumps(told))
    with pytest.raises(BundleError, match="does not match"):
        read_result(attempt, KEY)


def test_a_manifest_out_of_order_is_refused(attempt: AttemptDir) -> None:
    result = write_files(attempt, {"a.py": "x", "b.py": "y"})
    turned = Manifest(result.manifest.entries[::-1])
    write_result(attempt, replace(result, manifest=turned))
    with pytest.raises(BundleError, match="out of order or repeated"):
        read_result(attempt, KEY)


def test_a_result_that_is_cut_is_refused(attempt: AttemptDir) -> None:
    write_result(attempt, write_files(attempt, {"api.py": "x"}))
    attempt.result_json.write_text(attempt.result_json.read_text()[:-5])
    with pytest.raises(BundleError, match="damaged"):
        read_result(attempt, KEY)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_time_that_is_no_number_is_refused(attempt: AttemptDir, number: str) -> None:
    """JSON has none, and a journal that held one could not be read again."""
    usage = Usage("anthropic", "m", 1, 2, duration_s=1.25)
    result = replace(write_files(attempt, {"api.py": "x"}), usage=(usage,), duration_s=2.5)
    for seconds in ("1.25", "2.5"):
        write_result(attempt, result)
        text = attempt.result_json.read_text()
        attempt.result_json.write_text(
            text.replace(f'"duration_s":{seconds}', f'"duration_s":{number}')
        )
        with pytest.raises(BundleError, match=r"duration_s: Input should be"):
            read_result(attempt, KEY)
    line = json.dumps({"usage": plain(usage)})
    attempt.events.write_text(f"{line}\n{line.replace('1.25', number)}\n")
    assert list(read_spent(attempt)) == [usage]


def test_what_was_spent_is_read_past_cut_lines_and_rubbish(attempt: AttemptDir) -> None:
    usage = Usage("anthropic", "m", 1, 2, request_id="é")
    line = json.dumps({"kind": "progress", "usage": plain(usage)})
    rubbish = ("", "text", "[]", "3", '{"usage": 1}', '{"usage": {"model": "m"}}', '{"text": ""}')
    attempt.result.mkdir(parents=True)
    attempt.events.write_bytes(
        "\n".join([line, *rubbish, line, "[" * 5000, line[:-9]]).encode() + b"\xff"
    )
    assert list(read_spent(attempt)) == [usage, usage]


@pytest.mark.parametrize("count", [-1, MAX_TOKENS + 1, 10**400], ids=["negative", "absurd", "vast"])
@pytest.mark.parametrize("kind", ["input", "output", "cache_read", "cache_write"])
def test_counts_that_no_request_has_were_not_spent(
    attempt: AttemptDir, kind: str, count: int
) -> None:
    fair = Usage("anthropic", "m", MAX_TOKENS, 0)
    told = {"provider": "anthropic", "model": "m", f"{kind}_tokens": count}
    attempt.result.mkdir(parents=True)
    lines = [json.dumps({"usage": usage}) for usage in (told, plain(fair))]
    attempt.events.write_text("\n".join(lines))
    assert list(read_spent(attempt)) == [fair]


def test_nothing_was_spent_where_nothing_is_recorded(attempt: AttemptDir) -> None:
    assert list(read_spent(attempt)) == []


def test_a_later_start_of_the_same_job_takes_the_attempt_over(attempt: AttemptDir) -> None:
    attempt.root.mkdir(exist_ok=True)
    assert claim(attempt, "cluster:7#0")
    assert not claim(attempt, "cluster:8#1"), "another job"
    assert not claim(attempt, "cluster:7"), "no start of it"
    assert not is_taken_over(attempt, "cluster:7#0")
    assert claim(attempt, "cluster:7#2")
    assert is_taken_over(attempt, "cluster:7#0")
    assert not is_taken_over(attempt, "cluster:7#2")
    assert not claim(attempt, "cluster:7#1"), "an earlier start that comes late"
    assert not is_taken_over(attempt, "cluster:8#0")
    assert [p.name for p in attempt.root.iterdir() if "claim" in p.name] == ["claim"]


def test_a_claim_that_says_nothing_has_taken_nothing_over(attempt: AttemptDir) -> None:
    attempt.root.mkdir(exist_ok=True)
    assert not is_taken_over(attempt, "cluster:7#0")
    attempt.claim.write_bytes(b"\xff#1")
    assert not is_taken_over(attempt, "cluster:7#0")


def test_one_claimant_gets_the_attempt_and_may_come_back(attempt: AttemptDir) -> None:
    attempt.root.mkdir()
    assert claim(attempt, "job-1")
    assert not claim(attempt, "job-2")
    assert claim(attempt, "job-1")
    assert attempt.claim.read_text() == "job-1"


def test_a_manifest_lists_files_by_path_with_size_digest_and_plain_modes(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x").write_text("abc")
    (tmp_path / "b" / "x").chmod(0o4711)
    (tmp_path / "a.txt").write_text("")
    (tmp_path / "a.txt").chmod(0o600)
    (tmp_path / "empty").mkdir()
    first, second = build_manifest(tmp_path).entries
    assert (first.path, first.size, first.mode) == ("a.txt", 0, 0o644)
    assert (second.path, second.size, second.mode) == ("b/x", 3, 0o755)
    assert second.sha256.startswith("ba7816bf")


@pytest.mark.parametrize("what", ["link", "link to a directory", "dangling", "fifo"])
def test_a_manifest_of_links_and_special_files_is_refused(tmp_path: Path, what: str) -> None:
    (tmp_path / "dir").mkdir()
    odd = tmp_path / "dir" / "odd"
    if what == "fifo":
        os.mkfifo(odd)
    else:
        to = {"link": __file__, "link to a directory": "..", "dangling": "nowhere"}
        odd.symlink_to(to[what])
    with pytest.raises(BundleError, match=r"odd is a symbolic link or special file"):
        build_manifest(tmp_path)


@pytest.mark.parametrize("what", ["dir", "dir/file"])
def test_what_cannot_be_read_is_never_left_out_of_a_manifest(what: str) -> None:
    with unprivileged() as root:
        (root / "dir").mkdir()
        (root / "dir" / "file").write_text("x")
        (root / what).chmod(0)
        with pytest.raises(BundleError, match="cannot be read"):
            build_manifest(root)
        (root / what).chmod(0o755)


def test_a_manifest_of_nothing_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot be read"):
        build_manifest(tmp_path / "absent")


names = st.from_regex(r"[a-zA-Z.é_-]{1,8}", fullmatch=True).filter(lambda n: n.strip(".") != "")


@given(st.dictionaries(names, st.binary(max_size=30), max_size=6))
def test_a_manifest_depends_on_what_is_there_and_never_on_the_order(
    files: dict[str, bytes],
) -> None:
    manifests = []
    for order in (list(files), list(files)[::-1]):
        with tempfile.TemporaryDirectory() as root:
            for name in order:
                Path(root, name).write_bytes(files[name])
            manifests.append(build_manifest(Path(root)))
    assert manifests[0] == manifests[1]
    assert manifests[0].paths == tuple(sorted(files))
    assert Manifest(manifests[0].entries).size == sum(map(len, files.values()))
