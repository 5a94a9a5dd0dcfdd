"""What holds for every merge, on drawn changes; and what is about bytes, not lines."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import GitFailed, PreflightFailed
from engine.merging import three_way as three_way_module
from engine.merging.merge import MOST_BYTES, FileMerge, merge_file, merge_versions
from engine.merging.three_way import Hunk, three_way

VERSIONS = st.none() | st.binary(max_size=40)


@given(base=VERSIONS, version=VERSIONS, path=st.sampled_from(["a.json", "uv.lock", "x.py", "x"]))
def test_what_one_side_changed_is_taken_byte_for_byte(
    base: bytes | None, version: bytes | None, path: str
) -> None:
    merges = [
        merge_file(path, base, version, base),
        merge_file(path, base, base, version),
        merge_file(path, base, version, version),
        merge_versions(path, base, [("a", base), ("b", version), ("c", version)]),
    ]
    assert [(m.content, m.conflicts) for m in merges] == [(version, ())] * 4


Drawn = tuple[str, str, str]


def draw_lines(draw: Random) -> Drawn:
    base = [f"line {n}" for n in range(draw.randrange(12))]
    return "\n".join(base), change_lines(draw, base, "ours"), change_lines(draw, base, "theirs")


def change_lines(draw: Random, base: list[str], side: str) -> str:
    lines = list(base)
    for number in range(draw.randrange(1, 4)):
        place = draw.randrange(len(lines) + 1)
        lines[place : place + draw.randrange(2)] = [f"{side} {number}"] * draw.randrange(2)
    return "\n".join(lines) + "\n" * draw.randrange(2)


def draw_functions(draw: Random) -> Drawn:
    base = {f"f{n}": f"return {n}" for n in range(draw.randrange(5))}
    return written(base), change_functions(draw, base, "a"), change_functions(draw, base, "b")


def change_functions(draw: Random, base: dict[str, str], side: str) -> str:
    named = list(base.items())
    for number in range(draw.randrange(1, 3)):
        name = f"{side}{number}" if draw.random() < 0.8 else "both"
        place = draw.randrange(len(named) + 1)
        named[place : place + draw.randrange(2)] = [(name, f"return '{side}{number}'")]
    return written(dict(named))


def written(functions: dict[str, str]) -> str:
    return "\n\n".join(f"def {name}():\n    {body}\n" for name, body in functions.items())


def added(base: str, version: str) -> set[str]:
    return set(version.split("\n")) - set(base.split("\n"))


DRAWS: dict[str, Callable[[Random], Drawn]] = {
    "x.txt": draw_lines,
    ".gitignore": draw_lines,
    "requirements.txt": draw_lines,
    "x.ts": draw_lines,
    "x.md": draw_lines,
    "x.py": draw_functions,
}


@pytest.mark.parametrize("path", DRAWS)
def test_no_line_that_was_added_is_lost_in_either_order(path: str) -> None:
    clean = 0
    for seed in range(15):
        base, ours, theirs = DRAWS[path](Random(seed))
        one = merge_file(path, base.encode(), ours.encode(), theirs.encode())
        other = merge_file(path, base.encode(), theirs.encode(), ours.encode())
        assert bool(one.conflicts) == bool(other.conflicts), seed
        if not one.conflicts:
            clean += 1
            lines = lines_of(one)
            assert added(base, ours) | added(base, theirs) <= set(lines), seed
            assert set(lines) <= set(ours.split("\n")) | set(theirs.split("\n")), seed
            assert sorted(filter(None, lines)) == sorted(filter(None, lines_of(other))), seed
    assert 0 < clean < 15


def lines_of(merge: FileMerge) -> list[str]:
    return (merge.content or b"").decode().split("\n")


Data = dict[str, "int | list[str] | Data"]


def change_data(draw: Random, base: Data, side: str) -> Data:
    """Every key that a side may change has its name in it, so both changes can be had."""
    data: Data = json.loads(json.dumps(base))
    inner = data["inner"]
    assert isinstance(inner, dict)
    for number in range(draw.randrange(1, 4)):
        place = draw.choice([data, inner])
        place[f"{side} {draw.randrange(3)}"] = draw.randrange(9)
        if draw.random() < 0.5:
            names = place.setdefault("names", [])
            assert isinstance(names, list)
            names.append(f"{side} {number}")
    return data


def merged_data(base: Data, ours: Data, theirs: Data) -> Data:
    """By what is known of the draws: nothing is removed, and no change collides."""
    both: Data = {}
    for key in {**base, **ours, **theirs}:
        old, one, other = base.get(key), ours.get(key), theirs.get(key)
        if isinstance(one, dict) and isinstance(other, dict) and isinstance(old, dict):
            both[key] = merged_data(old, one, other)
        elif isinstance(one, list) and isinstance(other, list):
            both[key] = [*one, *other[len(old) if isinstance(old, list) else 0 :]]
        else:
            changed = one if one != old else other
            assert changed is not None
            both[key] = changed
    return both


@pytest.mark.parametrize("indent", [None, 2, "\t"])
def test_json_says_what_both_sides_changed_and_is_formatted_as_it_was(indent: int | str) -> None:
    clean = 0
    for seed in range(10):
        draw = Random(seed)
        base: Data = {"ours 0": 1, "names": ["x"], "theirs 0": 2, "inner": {"ours 1": 1}, "end": 1}
        ours, theirs = change_data(draw, base, "ours"), change_data(draw, base, "theirs")
        one, two, three = (json.dumps(d, indent=indent).encode() for d in (base, ours, theirs))
        merge = merge_file("x.json", one, two, three)
        if not merge.conflicts:
            clean += 1
            expected = merged_data(base, ours, theirs)
            data = json.loads(merge.content or b"")
            assert data == expected, seed
            assert (merge.content or b"").decode() == json.dumps(data, indent=indent), seed
    assert clean >= 6


BASE = "a = 1\n\nb = 2\n\nc = 3\n"
OURS, THEIRS = BASE.replace("1", "10"), BASE.replace("3", "30")
BOTH = OURS.replace("3", "30")


def crlf(text: str) -> str:
    return text.replace("\n", "\r\n")


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "expected"),
    [
        pytest.param(crlf(BASE), crlf(OURS), crlf(THEIRS), crlf(BOTH), id="CRLF stays"),
        pytest.param(crlf(BASE), OURS, crlf(THEIRS), BOTH, id="one side turns CRLF into LF"),
        pytest.param(BASE, OURS, crlf(THEIRS), crlf(BOTH), id="one side turns LF into CRLF"),
        pytest.param(
            crlf(BASE),
            "d = 0\n" + crlf(OURS),
            crlf(THEIRS),
            crlf("d = 0\n" + BOTH),
            id="one new line in LF",
        ),
        pytest.param(
            BASE + "d\r\n",
            OURS + "d\r\n",
            THEIRS + "d\r\n",
            BOTH + "d\r\n",
            id="mixed from the start",
        ),
        pytest.param(
            "\ufeff" + BASE, "\ufeff" + OURS, "\ufeff" + THEIRS, "\ufeff" + BOTH, id="BOM"
        ),
        pytest.param("\ufeff" + BASE, OURS, "\ufeff" + THEIRS, BOTH, id="one side drops the BOM"),
        pytest.param(BASE[:-1], OURS[:-1], THEIRS[:-1], BOTH[:-1], id="no end of the last line"),
        pytest.param(BASE[:-1], OURS, THEIRS[:-1], BOTH, id="one side ends the last line"),
        pytest.param(BASE, OURS, THEIRS[:-1], BOTH[:-1], id="one side takes that end away"),
        pytest.param("", "", "x\n", "x\n", id="empty"),
    ],
)
@pytest.mark.parametrize("path", ["x.txt", "x.py"])
def test_the_form_of_a_file_is_merged_too(
    path: str, base: str, ours: str, theirs: str, expected: str
) -> None:
    merge = merge_file(path, base.encode(), ours.encode(), theirs.encode())
    assert (merge.conflicts, merge.content) == ((), expected.encode())


@pytest.mark.parametrize(
    ("kind", "ours", "theirs"),
    [
        ("binary", b"\x89PNG\0a", b"\x89PNG\0b"),
        ("binary", "é".encode("latin-1"), b"e\n"),
        ("binary", "é".encode("utf-16"), b"e\n"),
        ("too large", b"x" * MOST_BYTES + b"y", b"x"),
    ],
)
def test_what_is_no_text_or_too_large_is_a_conflict(kind: str, ours: bytes, theirs: bytes) -> None:
    merge = merge_file("logo", b"base", ours, theirs, ("one", "two"))
    assert (merge.how, merge.content, merge.left_out) == (kind, ours, ("two",))
    assert merge.conflicts[0].startswith("one and two both changed")


def test_content_that_looks_like_a_conflict_is_content() -> None:
    base = "<<<<<<< a\n||||||| b\n=======\n>>>>>>> c\n1\n2\n3\n"
    ours, theirs = base.replace("1", "one"), base.replace("3", "three")
    merge = merge_file("x", base.encode(), ours.encode(), theirs.encode())
    assert merge.content == ours.replace("3", "three").encode()


HOSTILE = {
    "x.json": '"' * 9_000 + "[" * 9_000,
    "x.py": "x = " + "-" * 9_000 + "(" * 90 + "\n",
    "x.toml": "a" + ".a" * 40_000 + " = 1\n",
    "x.yaml": "a: &a [x]\n" + "".join(f"b{n}: &a [*a, *a]\n" for n in range(60)) + "[" * 900,
    "x.js": "import \n" * 9_000 + "import {" + "a," * 9_000 + "\n",
    "requirements.txt": "- x\n" * 9_000,
}


@pytest.mark.parametrize("path", HOSTILE)
def test_what_parsers_are_no_match_for_is_merged_by_lines(path: str) -> None:
    base = f"1\n{HOSTILE[path]}\n\n2\n"
    ours, theirs = f"0{base}", f"{base}3\n"
    merge = merge_file(path, base.encode(), ours.encode(), theirs.encode())
    assert (merge.how, merge.content) == ("lines", f"0{base}3\n".encode())


def test_a_clean_merge_by_git_that_is_not_valid_is_a_conflict() -> None:
    base = '{\n"a": 1,\n"b": 2,\n"c": 3,\n"d": 4\n}\n'
    ours = '{\n"z": 0,\n"a": 1,\n"b": 2,\n"c": 3,\n"d": 4\n}\n'
    theirs = '{\n"a": 1,\n"b": 2,\n"c": 3,\n"d": 4,\n"z": 0\n}\n'
    merge = merge_file("x.json", base.encode(), ours.encode(), theirs.encode())
    assert merge.conflicts == (
        "ours and theirs both changed x.json: the lines of both do not go together.",
    )
    assert (merge.content, merge.marked) == (ours.encode(), b"")


def test_markers_name_the_tasks_and_can_be_resolved_one_after_the_other() -> None:
    base, versions = b"1\n", [("api", b"2\n"), ("store", b"3\n"), ("ui", b"4\n")]
    merge = merge_versions("x", base, versions)
    assert (merge.content, merge.left_out) == (b"2\n", ("store", "ui"))
    assert merge.marked == b"<<<<<<< api\n2\n||||||| before\n1\n=======\n3\n>>>>>>> store\n"
    resolved = merge.marked.replace(merge.conflicts[0].encode(), b"23\n")
    again = merge_versions("x", base, [("api, store", resolved), versions[2]])
    assert (again.content, again.left_out) == (b"23\n", ("ui",))
    assert again.conflicts[0].startswith("<<<<<<< api, store\n23\n")


def test_three_way_tells_what_is_settled_from_what_is_not() -> None:
    found = three_way("abcde", "aBcdeX", "aßcdE")
    settled = ["".join(chunk) for chunk in found if not isinstance(chunk, Hunk)]
    hunks = [chunk for chunk in found if isinstance(chunk, Hunk)]
    assert settled == ["a", "cd", ""]
    assert [(list(h.ours), list(h.base), list(h.theirs)) for h in hunks] == [
        (["B"], ["b"], ["ß"]),
        (["e", "X"], ["e"], ["E"]),
    ]


def test_more_conflicts_than_git_can_count_are_conflicts_all_the_same() -> None:
    base, ours, theirs = ([f"{side} {n // 2}" for n in range(800)] for side in "bot")
    for side in (ours, theirs):
        side[::2] = base[::2]
    assert sum(isinstance(c, Hunk) for c in three_way(base, ours, theirs)) == 400


def test_what_takes_git_too_long_is_a_conflict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(three_way_module, "_LIMIT_S", 0.0)
    assert merge_file("x", b"1\n", b"2\n", b"3\n").how == "too large"


def test_without_git_a_merge_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(PreflightFailed, match="git is not installed"):
        merge_file("x", b"1\n", b"2\n", b"3\n")


def test_when_git_fails_the_merge_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    git = tmp_path / "git"
    git.write_text(
        "#!/bin/sh\necho git version 2.40\n[ $1 = version ] && exit\necho no >&2; exit 128\n"
    )
    git.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(GitFailed, match="could not merge two versions of a file: no"):
        merge_file("x", b"1\n", b"2\n", b"3\n")
