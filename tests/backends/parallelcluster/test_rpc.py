"""Answers that no head node of ours gives: damage is told, and is no error of this program."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from backends.parallelcluster import rpc as rpc
from backends.parallelcluster.remote_host import RemoteHost
from backends.parallelcluster.rpc import HeadNodeClient, read_answer
from backends.shared.results import attempt_of
from backends.slurm.host import LOG_TAIL_BYTES
from core.errors import BackendError
from core.job import JobKey
from tests.fakes.scripted_claude import FakeClock

MARKER = b"a-mark"
KEY = JobKey("20260101-120000-aaaa", "one", 1)
INFO = {
    "root": "/shared",
    "python": [3, 9, 1],
    "missing_commands": [],
    "missing_packages": [],
    "has_code": True,
    "cleaned_up": False,
}


class ForgedLink:
    """Gives these answers, whatever the requests."""

    def __init__(self, *answers: Any, rest: bytes = b"") -> None:
        self._answers, self._rest = list(answers), rest

    @contextmanager
    def run(self, command: str, feed: Iterable[bytes] = ()) -> Iterator[IO[bytes]]:
        mark = command.rpartition('"$f" ')[2].rstrip("'").encode()
        answer = json.dumps(self._answers.pop(0)).encode()
        yield io.BytesIO(b"\n" + mark + b"\n" + answer + b"\n" + self._rest)

    def close(self) -> None:
        pass


def host(place: Path, *answers: Any, rest: bytes = b"") -> RemoteHost:
    link = ForgedLink(INFO, *answers, rest=rest)
    root = place / "work" / "runs" / KEY.run
    (root / "slurm").mkdir(parents=True)
    (root / "slurm" / "remote-name").write_text("a-name")
    return RemoteHost(root, HeadNodeClient(link), FakeClock())


@pytest.mark.parametrize(
    "wrong",
    [{"root": None}, {"python": [3, "x"]}, {"missing_commands": "sbatch"}, {"has_code": 1}],
    ids=["root", "python", "missing", "code"],
)
def test_a_greeting_that_is_none_is_damage(tmp_path: Path, wrong: dict[str, Any]) -> None:
    remote = RemoteHost(tmp_path, HeadNodeClient(ForgedLink({**INFO, **wrong})), FakeClock())
    with pytest.raises(BackendError, match="damaged"):
        remote.worker_code()


@pytest.mark.parametrize(
    "answer",
    [{}, {"exit_code": "0"}, {"exit_code": 0, "stdout": 1, "stderr": ""}],
    ids=["nothing", "no number", "no text"],
)
def test_a_command_that_came_to_nothing_is_damage(tmp_path: Path, answer: Any) -> None:
    with pytest.raises(BackendError, match="damaged"):
        host(tmp_path, answer).run(["squeue"])


ENDED = {"exit_code": 0, "stdout": "", "stderr": ""}


@pytest.mark.parametrize(
    "traces",
    [
        None,
        {},
        {"tasks/one/1": [True]},
        {"tasks/one/1": [True, False, 5]},
        {"tasks/one/1": {"a": 1, "b": 2, "c": 3}},
        {"tasks/two/1": [True, False, ""]},
        {"tasks/one/1": [True, False, "\ud800"]},
    ],
    ids=["none", "nobody", "short", "no text", "no list", "another's", "half a character"],
)
def test_traces_that_are_none_are_damage(tmp_path: Path, traces: Any) -> None:
    with pytest.raises(BackendError, match="damaged"):
        host(tmp_path, {**ENDED, "traces": traces}).poll(["squeue"], [KEY])


def test_what_nobody_asked_for_is_not_taken(tmp_path: Path) -> None:
    tails = {"slurm/a/0.log": "x" * (LOG_TAIL_BYTES + 1), "../../../evil": "evil"}
    found = host(tmp_path, {"tails": tails}).tails(["slurm/a/0.log", "slurm/a/1.log"])
    assert found == {"slurm/a/0.log": "x" * LOG_TAIL_BYTES, "slurm/a/1.log": ""}
    assert host(tmp_path / "half", {"tails": {"a": "\ud800"}}).tails(["a"]) == {"a": "\ud800"}
    assert not (tmp_path / "evil").exists()
    trace = [True, True, ""]
    traces = {"tasks/one/1": trace, "tasks/../../evil/1": trace}
    remote = host(tmp_path / "more", {**ENDED, "traces": traces})
    remote.poll(["squeue"], [KEY])
    assert remote.trace(KEY).claimed


@pytest.mark.parametrize("answer", [{}, {"tails": ["a"]}, {"tails": {"a": 1}}])
def test_tables_of_no_texts_are_damage(tmp_path: Path, answer: Any) -> None:
    with pytest.raises(BackendError, match="damaged"):
        host(tmp_path, answer).tails(["a"])


@pytest.mark.parametrize("rest", [b"ffffffff", b"-0000001", b"rubbish!"])
def test_results_in_chunks_of_no_length_are_damage(tmp_path: Path, rest: bytes) -> None:
    remote = host(tmp_path, {}, rest=rest + b"x" * 100)
    with pytest.raises(BackendError, match="damaged"):
        remote.fetch([KEY])
    assert not attempt_of(remote.root, KEY).result.exists()


@pytest.mark.parametrize(
    "line", [b"not json\n", b"[]\n", b"[" * 200_000 + b"\n", b'{"a": ' + b"1" * 9999 + b"}\n"]
)
def test_an_answer_that_is_none_is_damage(line: bytes) -> None:
    with pytest.raises(BackendError, match="damaged"):
        read_answer(io.BytesIO(MARKER + b"\n" + line), MARKER.decode())


def test_an_answer_without_an_end_is_not_read_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "MAX_ANSWER_BYTES", 1000)
    endless = io.BytesIO(b"x" * 200_000 + b"\n" + MARKER + b"\n" + b"y" * 5000)
    with pytest.raises(BackendError, match="damaged"):
        read_answer(endless, MARKER.decode())
    assert endless.tell() < 203_000
