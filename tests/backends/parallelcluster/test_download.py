"""Results in one stream, from a host that nobody vouches for."""

from __future__ import annotations

import errno
import gzip
import io
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backends.parallelcluster.download import unpack_results
from backends.parallelcluster.head_node.streams import TruncatedStream
from backends.shared.results import attempt_of
from core.errors import BackendError
from core.job import JobKey

ONE, TWO = JobKey("r", "one", 1), JobKey("r", "two", 1)
KEYS = (ONE, TWO)
ROOT = Path(__file__).resolve().parents[3]


def stream(**files: str | None) -> bytes:
    """A compressed tar; None makes a link."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            if text is None:
                member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            elif text == "dir":
                member.type, member.mode = tarfile.DIRTYPE, 0o700
            else:
                member.size = len(text)
            tar.addfile(member, io.BytesIO((text or "").encode()))
    return gzip.compress(out.getvalue())


def take(root: Path, data: bytes) -> dict[JobKey, str]:
    refused = unpack_results([data], root, KEYS, threading.Lock())
    assert not list(root.glob(".fetch-*"))
    return {key: error.message for key, error in refused.items()}


def log_of(root: Path, key: JobKey) -> Path:
    return attempt_of(root, key).log


BOTH = {"0": "dir", "0/log.txt": "1", "1": "dir", "1/log.txt": "2"}


def test_each_goes_to_its_place(tmp_path: Path) -> None:
    assert take(tmp_path, stream(**BOTH)) == {}
    assert [log_of(tmp_path, key).read_text() for key in KEYS] == ["1", "2"]


@pytest.mark.parametrize(
    "name",
    ["1/../../x", "1//x", "1/./x", "1/log.txt/x"],
    ids=["up", "empty", "dot", "below a file"],
)
def test_a_path_that_leads_out_is_refused_with_its_result_alone(tmp_path: Path, name: str) -> None:
    refused = take(tmp_path, stream(**BOTH, **{name: "evil"}))
    assert list(refused) == [TWO]
    assert log_of(tmp_path, ONE).exists()
    assert not attempt_of(tmp_path, TWO).result.exists()
    assert not list(tmp_path.rglob("x"))


def test_a_link_is_refused_with_its_result_alone(tmp_path: Path) -> None:
    assert list(take(tmp_path, stream(**{"0": "dir", "0/log.txt": None, "0/b": "more"}))) == [ONE]


@pytest.mark.parametrize(
    "name",
    ["1/" + "n" * 300, "1/" + "d/" * 2500 + "x"],
    ids=["too long a name", "too long a path"],
)
def test_a_name_that_cannot_be_here_is_refused_with_its_result_alone(
    tmp_path: Path, name: str
) -> None:
    directories = {
        "/".join(name.split("/")[:end]): "dir" for end in range(2, min(600, name.count("/") + 1))
    }
    assert list(take(tmp_path, stream(**BOTH, **directories, **{name: "1"}))) == [TWO]
    assert log_of(tmp_path, ONE).exists()


@pytest.mark.parametrize(
    "number", [errno.EILSEQ, errno.EINVAL, errno.ELOOP, errno.EISDIR, errno.EACCES]
)
def test_a_name_that_the_file_system_refuses_is_its_results_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    refuse(monkeypatch, number)
    assert list(take(tmp_path, stream(**BOTH, **{"1/evil": "1"}))) == [TWO]
    assert log_of(tmp_path, ONE).exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_a_disk_that_takes_no_more_is_nobodys_fault_but_this_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    refuse(monkeypatch, number)
    with pytest.raises(BackendError, match="The results could not be written here"):
        take(tmp_path, stream(**BOTH, **{"1/evil": "1"}))
    assert list(tmp_path.iterdir()) == []


def refuse(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let no file be made whose name is `evil`: other file systems refuse other names."""
    whole = os.open

    def refusing(path: Any, *args: Any, **more: Any) -> int:
        if os.fspath(path).endswith("evil"):
            raise OSError(number, os.strerror(number), path)
        return whole(path, *args, **more)

    monkeypatch.setattr(os, "open", refusing)


def test_a_name_that_has_no_place_in_this_locale_is_its_results_fault(tmp_path: Path) -> None:
    """Run elsewhere, since a process has one encoding of names."""
    (tmp_path / "stream").write_bytes(stream(**BOTH, **{"1/ü": "1"}))
    script = (
        "import pathlib, threading; from backends.parallelcluster.download import unpack_results;"
        " from core.job import JobKey;"
        " keys = [JobKey('r', 'one', 1), JobKey('r', 'two', 1)]; here = pathlib.Path('.');"
        " data = (here / 'stream').read_bytes();"
        " print(list(unpack_results([data], here, keys, threading.Lock())) == keys[1:])"
    )
    plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, **plain},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "True\n", done.stderr
    assert log_of(tmp_path, ONE).exists()


@pytest.mark.parametrize("name", ["2/x", "x", "../x", "-1/x", "٢/x", "١/x", "01/x", "9" * 5000])
def test_what_nobody_asked_for_spoils_all(tmp_path: Path, name: str) -> None:
    with pytest.raises(BackendError, match="The results arrived damaged"):
        take(tmp_path, stream(**BOTH, **{name: "1"}))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["cut", "noise", "flipped"])
def test_a_stream_that_is_damaged_changes_nothing(tmp_path: Path, damage: str) -> None:
    whole = stream(**BOTH, **{"1/big": "x" * 50_000})
    flipped = bytearray(whole)
    flipped[len(flipped) // 2] ^= 0xFF
    data = {"cut": whole[: len(whole) // 2], "noise": b"noise", "flipped": bytes(flipped)}
    with pytest.raises(BackendError):
        take(tmp_path, data[damage])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [1 << 33, -512], ids=["eight GB", "less than none"])
def test_a_name_of_any_size_is_not_taken_into_memory(tmp_path: Path, size: int) -> None:
    member = tarfile.TarInfo("././@LongLink")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, size
    data = gzip.compress(member.tobuf(tarfile.GNU_FORMAT) + b"x" * 5000)
    with pytest.raises(BackendError, match=r"damaged: .* bytes"):
        take(tmp_path, data)


def test_a_line_that_is_cut_is_reported_as_that(tmp_path: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield stream(**BOTH)[:50]
        raise TruncatedStream

    with pytest.raises(TruncatedStream):
        unpack_results(chunks(), tmp_path, KEYS, threading.Lock())
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_is_reported(tmp_path: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield stream(**BOTH)[:50]
        raise OSError(28, "No space left on device")

    with pytest.raises(BackendError, match="The results could not be written here"):
        unpack_results(chunks(), tmp_path, KEYS, threading.Lock())
