from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import BundleError
from core.events import Event, Kind, encode_event
from core.job import JobHandle, JobKey
from core.wire import plain
from engine.run.journal import Journal, read_journal
from tests.fakes.events import event_of

RUN = "run-1"
KEY = JobKey(RUN, "a", 1)
HANDLE = JobHandle(KEY, "slurm", "4711", {"array": 3})


def event(kind: Kind, task: str = "a", attempt: int = 1, **data: Any) -> Event:
    return event_of(kind, 12.5, task, attempt, data)


def submitted(task: str = "a", attempt: int = 1) -> Event:
    handle = JobHandle(JobKey(RUN, task, attempt), "slurm", "1")
    return event(Kind.JOB_SUBMITTED, task, attempt, handle=plain(handle))


def write(path: Path, *events: Event) -> Path:
    journal = Journal(path)
    for one in events:
        journal.emit(one)
    journal.close()
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


# -- writing


def test_what_was_emitted_is_read_back(path: Path) -> None:
    events = [
        event(Kind.RUN_STARTED, "", 0, prompt='hostile "quotes"\n\u2028 and lines \x00'),
        event(Kind.JOB_INTENDED),
        submitted(),
    ]
    write(path, *events)
    assert read_journal(path) == events


def test_a_line_is_one_event(path: Path) -> None:
    write(path, event(Kind.NOTICE, text="a\nb\r\nc"), event(Kind.NOTICE, text="d"))
    assert path.read_bytes().count(b"\n") == 2


def test_progress_is_not_kept(path: Path) -> None:
    write(
        path,
        event(Kind.PROGRESS, text="x"),
        event(Kind.JOB_STATE, state="RUNNING"),
        event(Kind.JOB_ENDED),
    )
    assert [e.kind for e in read_journal(path)] == [Kind.JOB_ENDED]


def test_an_event_can_be_read_by_others_before_it_is_committed(path: Path) -> None:
    journal = Journal(path)
    journal.emit(event(Kind.JOB_INTENDED))
    assert len(read_journal(path)) == 1
    journal.close()


def test_a_journal_goes_on_where_it_ended(path: Path) -> None:
    write(path, event(Kind.JOB_INTENDED))
    write(path, event(Kind.JOB_ENDED))
    assert [e.kind for e in read_journal(path)] == [Kind.JOB_INTENDED, Kind.JOB_ENDED]


def test_there_is_nothing_in_a_journal_that_was_never_written(path: Path) -> None:
    assert read_journal(path) == []
    Journal(path).close()
    assert read_journal(path) == []


class SyncLog:
    """Counts fsyncs by an audit of what the journal's file looked like at each of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
        self.seen: list[int] = []
        self.fails = False
        real = os.fsync

        def fsync(fd: int) -> None:
            if self.fails:
                raise OSError(5, "Input/output error")
            real(fd)
            self.seen.append(path.read_bytes().count(b"\n"))

        monkeypatch.setattr(os, "fsync", fsync)  # what survives a power cut has no other seam


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch, path: Path) -> SyncLog:
    return SyncLog(monkeypatch, path)


def test_a_commit_syncs_everything_emitted_before_it_and_only_when_there_is_something(
    path: Path, syncs: SyncLog
) -> None:
    journal = Journal(path)
    journal.commit()
    assert syncs.seen == []
    journal.emit(event(Kind.JOB_INTENDED))
    journal.emit(event(Kind.JOB_INTENDED, "b"))
    journal.commit()
    journal.commit()
    assert syncs.seen == [2]
    journal.emit(event(Kind.PROGRESS, text="x"))
    journal.commit()
    assert syncs.seen == [2]
    journal.emit(event(Kind.JOB_ENDED))
    journal.close()
    assert syncs.seen == [2, 3]


def test_a_commit_that_failed_is_made_again(path: Path, syncs: SyncLog) -> None:
    journal = Journal(path)
    journal.emit(event(Kind.JOB_INTENDED))
    syncs.fails = True
    with pytest.raises(OSError, match="Input/output"):
        journal.commit()
    syncs.fails = False
    journal.commit()
    assert syncs.seen == [1]
    journal.close()


def test_a_journal_is_closed_once_and_a_late_commit_does_nothing(path: Path) -> None:
    journal = Journal(path)
    journal.emit(event(Kind.JOB_INTENDED))
    journal.close()
    journal.close()
    journal.commit()
    assert len(read_journal(path)) == 1


def test_commits_from_another_thread_meet_whole_lines_only(path: Path) -> None:
    journal = Journal(path)
    stop = threading.Event()

    def commit() -> None:
        while not stop.is_set():
            journal.commit()

    other = threading.Thread(target=commit)
    other.start()
    for number in range(200):
        journal.emit(event(Kind.NOTICE, text=str(number) * 300))
    stop.set()
    other.join()
    journal.close()
    assert len(read_journal(path)) == 200


FILL = """
import resource, sys
from pathlib import Path
from core.events import Event, Notice
from engine.run.journal import Journal
journal = Journal(Path(sys.argv[1]))
journal.emit(Event(Notice("fits"), 1.0))
size = Path(sys.argv[1]).stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, size + 10))
try:
    journal.emit(Event(Notice("does not"), 1.0))
except OSError as exc:
    print(exc.strerror, exc.filename)
journal.close()
"""


def test_a_line_that_did_not_fit_the_disk_is_taken_back(path: Path) -> None:
    """A limit of the process stands for a full disk: both take the first part of a line."""
    done = subprocess.run(
        [sys.executable, "-c", FILL, str(path)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"File too large {path}\n"
    assert path.read_bytes().count(b"\n") == 1
    assert path.read_bytes().endswith(b"\n")


# -- damage


def test_a_line_cut_by_a_crash_is_left_out_and_cut_off_before_the_next(path: Path) -> None:
    write(path, event(Kind.JOB_INTENDED), event(Kind.JOB_ENDED))
    path.write_bytes(path.read_bytes()[:-7])
    assert [e.kind for e in read_journal(path)] == [Kind.JOB_INTENDED]
    write(path, submitted())
    assert [e.kind for e in read_journal(path)] == [Kind.JOB_INTENDED, Kind.JOB_SUBMITTED]


@given(cut=st.integers(0, 400), data=st.data())
def test_wherever_a_journal_is_cut_what_was_whole_before_is_read(
    tmp_path_factory: pytest.TempPathFactory, cut: int, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("cut") / "journal.jsonl"
    events = [event(Kind.NOTICE, text=data.draw(st.text(max_size=20))) for _ in range(4)]
    write(path, *events)
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    kept = whole[:cut].count(b"\n")
    assert read_journal(path) == events[:kept]
    write(path, event(Kind.JOB_ENDED))
    assert read_journal(path) == [*events[:kept], event(Kind.JOB_ENDED)]


@pytest.mark.parametrize(
    "damage", [b"{", b"null", b"{}", b"\xff\xfe", b"\x00" * 40, b'{"kind": "unheard", "at": 1}']
)
def test_a_damaged_line_in_the_middle_is_an_error_that_names_file_and_line(
    path: Path, damage: bytes
) -> None:
    good = encode_event(event(Kind.JOB_INTENDED)).encode()
    path.write_bytes(good + b"\n" + damage + b"\n" + good + b"\n")
    with pytest.raises(BundleError, match=r"journal\.jsonl:2 is damaged"):
        read_journal(path)


def test_empty_lines_are_passed_over(path: Path) -> None:
    good = encode_event(event(Kind.JOB_INTENDED)).encode()
    path.write_bytes(good + b"\n\n" + good + b"\n")
    assert len(read_journal(path)) == 2
