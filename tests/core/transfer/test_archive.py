"""Tests for core.transfer.archive: bundles there and back, and archives of somebody hostile."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import core.transfer.archive as archive
from core.bundle import Limits
from core.errors import CollectError
from core.transfer.archive import packed, unpack
from core.transfer.untrusted_tar import OWN_BYTES, OWN_FILES

LIMITS = Limits(max_files=10, max_bytes=1000)
names = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=12
).filter(lambda name: name not in (".", ".."))
trees = st.dictionaries(
    st.lists(names, min_size=1, max_size=3).map("/".join), st.binary(max_size=50), max_size=6
).filter(lambda tree: not any(a != b and b.startswith(a + "/") for a in tree for b in tree))


def member(name: str, content: bytes = b"", **more: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in more.items():
        setattr(info, field, value)
    return info, content


def tar_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def pieces(data: bytes, size: int = 700) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]
        yield b""


TOP = member("result", type=tarfile.DIRTYPE, mode=0o700)


@given(trees, st.integers(1, 5000))
def test_a_tree_comes_out_as_it_went_in(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, bytes], size: int
) -> None:
    place = tmp_path_factory.mktemp("round")
    source = place / "result"
    source.mkdir()
    for name, content in tree.items():
        path = source.joinpath(*name.split("/"))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        except OSError:  # a name too long for the file system
            return
    with packed(source, "bundle", 10_001, {}) as stream:
        unpack(pieces(stream.read(), size), place / "out", Limits())
    found = place / "out" / "result"
    files = {
        p.relative_to(found).as_posix(): p.read_bytes() for p in found.rglob("*") if p.is_file()
    }
    assert files == tree


def test_what_is_packed_belongs_to_the_worker_and_its_secrets_to_nobody_else(
    tmp_path: Path,
) -> None:
    (tmp_path / "request").mkdir()
    (tmp_path / "request" / "task.json").write_text("{}")
    with (
        packed(tmp_path / "request", "bundle", 10_001, {"secret": b"s"}) as stream,
        tarfile.open(fileobj=stream) as tar,
    ):
        members = {m.name: m for m in tar.getmembers()}
    assert set(members) == {"bundle", "bundle/request", "bundle/request/task.json", "bundle/secret"}
    assert {(m.uid, m.gid, m.uname, m.gname) for m in members.values()} == {
        (10_001, 10_001, "", "")
    }
    assert (members["bundle"].mode, members["bundle/secret"].mode) == (0o700, 0o600)


def test_a_large_bundle_is_packed_whole(tmp_path: Path) -> None:
    (tmp_path / "request").mkdir()
    content = bytes(archive.MEMORY_BYTES + 1)
    (tmp_path / "request" / "large").write_bytes(content)
    with packed(tmp_path / "request", "b", 1, {}) as stream:
        unpack(pieces(stream.read(), 1 << 16), tmp_path / "out", Limits())
    assert (tmp_path / "out" / "request" / "large").read_bytes() == content


def test_modes_are_either_of_two(tmp_path: Path) -> None:
    modes = {"plain": 0o666, "setuid": 0o6777, "run": 0o700, "none": 0}
    files = [member(f"result/{name}", b"x", mode=mode) for name, mode in modes.items()]
    unpack([tar_of(TOP, *files)], tmp_path / "out", LIMITS)
    found = {p.name: p.stat().st_mode & 0o7777 for p in (tmp_path / "out").iterdir()}
    assert found == {"plain": 0o644, "setuid": 0o755, "run": 0o755, "none": 0o644}


HOSTILE: dict[str, tuple[list[tuple[tarfile.TarInfo, bytes]], str]] = {
    "up": ([member("result/../../evil", b"x")], "leads out"),
    "up inside": ([member("result/a/../b", b"x")], "leads out"),
    "dot": ([member("result/./a", b"x")], "leads out"),
    "double slash": ([member("result//etc/passwd", b"x")], "leads out"),
    "symbolic link": ([member("result/a", type=tarfile.SYMTYPE, linkname="/etc")], "not a regular"),
    "hard link": ([member("result/a", type=tarfile.LNKTYPE, linkname="result/b")], "not a regular"),
    "device": ([member("result/a", type=tarfile.CHRTYPE, devmajor=1, devminor=3)], "not a regular"),
    "block device": ([member("result/a", type=tarfile.BLKTYPE)], "not a regular"),
    "pipe": ([member("result/a", type=tarfile.FIFOTYPE)], "not a regular"),
    "link, then through it": (
        [
            member("result/a", type=tarfile.SYMTYPE, linkname="/tmp"),
            member("result/a/evil", b"x"),
        ],
        "not a regular",
    ),
    "many": ([member(f"result/{n}") for n in range(11 + OWN_FILES)], "more than 10 files"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_refused_and_nothing_of_it_stays(name: str, tmp_path: Path) -> None:
    members, told = HOSTILE[name]
    with pytest.raises(CollectError, match=told) as refused:
        unpack(pieces(tar_of(TOP, *members)), tmp_path / "out", LIMITS)
    assert not refused.value.retryable
    assert list(tmp_path.iterdir()) == []


def test_an_absolute_name_stays_below_the_destination(tmp_path: Path) -> None:
    unpack([tar_of(TOP, member("/etc/passwd", b"x"))], tmp_path / "out", LIMITS)
    assert [p.name for p in (tmp_path / "out").rglob("*")] == ["passwd"]


def test_a_size_beyond_the_limit_is_refused_before_it_is_written(tmp_path: Path) -> None:
    read: list[int] = []

    def endless() -> Iterator[bytes]:
        info = member("result/huge")[0]
        info.size = LIMITS.max_bytes + OWN_BYTES + 1
        yield tar_of(TOP)[:512]
        yield info.tobuf()
        while True:
            read.append(1)
            yield bytes(1 << 20)

    with pytest.raises(CollectError, match="more than 1,000 bytes"):
        unpack(endless(), tmp_path / "out", LIMITS)
    assert len(read) < 3
    assert list(tmp_path.iterdir()) == []


def test_many_small_files_add_up(tmp_path: Path) -> None:
    many = [member(f"result/{n}", bytes(100)) for n in range(OWN_FILES + 10)]
    unpack([tar_of(TOP, *many)], tmp_path / "out", LIMITS)
    assert len(list((tmp_path / "out").iterdir())) == OWN_FILES + 10


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:700],
        lambda data: b"\xff" * 512 + data,
        lambda data: data[:512] + b"x" * 512,
    ],
    ids=["cut", "no tar", "damaged header"],
)
def test_a_damaged_stream_may_come_whole_another_time(
    damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    data = damage(tar_of(TOP, member("result/a", b"x" * 600), member("result/b", b"y")))
    with pytest.raises(CollectError, match="damaged") as refused:
        unpack(pieces(data), tmp_path / "out", LIMITS)
    assert refused.value.retryable
    assert list(tmp_path.iterdir()) == []


def test_a_name_given_twice_is_refused(tmp_path: Path) -> None:
    twice = [member("result/a", b"1"), member("result/a", b"2")]
    with pytest.raises(CollectError, match="cannot be written"):
        unpack([tar_of(TOP, *twice)], tmp_path / "out", LIMITS)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_a_directory_is_refused(tmp_path: Path) -> None:
    clash = [member("result/a", b"1"), member("result/a/b", b"2")]
    with pytest.raises(CollectError, match="cannot be written"):
        unpack([tar_of(TOP, *clash)], tmp_path / "out", LIMITS)
    assert list(tmp_path.iterdir()) == []


def test_a_broken_line_leaves_nothing_and_passes_on(tmp_path: Path) -> None:
    def breaks() -> Iterator[bytes]:
        yield tar_of(TOP, member("result/a", b"x" * 600))[:600]
        raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError):
        unpack(breaks(), tmp_path / "out", LIMITS)
    assert list(tmp_path.iterdir()) == []
