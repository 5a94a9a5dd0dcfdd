"""The workspace against hostile paths, planted links, large files and hostile patterns."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.bundle import build_manifest
from core.errors import BundleError, WorkspaceError
from core.job import ManifestEntry
from core.workspace.confined import ConfinedTree, TreeScan
from core.workspace.result_check import find_defects, result_paths
from core.workspace.search import MAX_MATCHES, answer_question, compile_pattern, search_texts
from core.workspace.workspace import (
    AROUND_LINES,
    MAX_EDIT_CHARS,
    MAX_EDIT_LINES,
    MAX_LISTED,
    MAX_TEXT_BYTES,
    MAX_VIEW_CHARS,
    Workspace,
)

CONTRACT = "app/types.py"
ESCAPES = [
    "",
    "/etc/passwd",
    "//etc/passwd",
    "../outside.txt",
    "app/../../outside.txt",
    "app/./x.py",
    "app//x.py",
    "..\\outside.txt",
    "app\\..\\..\\outside.txt",
    "C:\\outside.txt",
    "C:/outside.txt",
    "~/outside.txt",
    "~root/outside.txt",
    "./../outside.txt",
    "././x.py",
    "app/\0.py",
    "app/x.py\0.txt",
    "app/x\n.py",
    "app/CON",
    "app/aux.py",
    "app/x.",
    "app/x ",
    ".git/hooks/pre-commit",
    "app/.GIT/config",
    ".orchestrator/x",
    "app/cafe\u0301.py",
    "app/\ud800.py",
    "app/" + "x" * 300,
    "a/" * 130 + "x",
    "\x7f",
    "file:///etc/passwd",
]


def holds(workspace: Workspace, path: str, data: bytes) -> bool:
    entry = ManifestEntry(path, len(data), hashlib.sha256(data).hexdigest(), 0o644)
    return workspace.holds(entry, workspace.scan())


# decoded by nobody, so these are plain (if odd) names: inside, but not owned
ENCODED = [
    "%2e%2e/outside.txt",
    "..%2foutside.txt",
    "%2e%2e%2foutside.txt",
    "..%c0%afoutside.txt",
    "．．/outside.txt",
    "..／outside.txt",
    "&#46;&#46;/outside.txt",
    "$HOME/outside.txt",
    "`id`",
    "$(id)",
    "-rf",
]


def make(tmp_path: Path, *owns: str, **limits: int) -> Workspace:
    root = tmp_path / "work"
    (root / "app").mkdir(parents=True, exist_ok=True)
    (root / CONTRACT).write_text("PORT = 8000\n")
    (tmp_path / "outside.txt").write_text("outside\n")
    return Workspace(root, owns or ("app/store.py", "src/"), frozenset({CONTRACT}), **limits)


def snapshot(root: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in root.rglob("*") if p.is_file() and not p.is_symlink()}


@pytest.mark.parametrize("path", ESCAPES + ENCODED)
def test_no_spelling_of_a_path_writes_outside_what_the_task_owns(tmp_path: Path, path: str) -> None:
    workspace = make(tmp_path)
    before = snapshot(tmp_path)
    for operation in (workspace.write, workspace.append):
        with pytest.raises(WorkspaceError):
            operation(path, "evil")
    with pytest.raises(WorkspaceError):
        workspace.edit(path, "outside", "evil")
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("path", ESCAPES)
def test_no_spelling_of_a_path_reads_outside(tmp_path: Path, path: str) -> None:
    workspace = make(tmp_path)
    with pytest.raises(WorkspaceError):
        workspace.read(path)
    if path:
        with pytest.raises(WorkspaceError):
            workspace.list(path)
        with pytest.raises(WorkspaceError):
            workspace.search("x", path)


def test_an_owned_file_is_written_read_appended_to_and_edited(tmp_path: Path) -> None:
    workspace = make(tmp_path)
    assert workspace.write("app/store.py", "a = 1\n") == "wrote app/store.py (1 line)"
    assert workspace.append("./app/store.py", "b = 2") == "appended to app/store.py (2 lines now)"
    edited = workspace.edit("app/store.py", "a = 1", "a = 3")
    assert edited == "edited app/store.py\n1| a = 3\n2| b = 2"
    assert workspace.read("app/store.py") == "[app/store.py, 2 lines]\na = 3\nb = 2"
    assert (tmp_path / "work/app/store.py").read_bytes() == b"a = 3\nb = 2"


def test_directories_below_an_owned_one_are_made(tmp_path: Path) -> None:
    workspace = make(tmp_path)
    workspace.append("src/deep/er/x.py", "")
    assert workspace.read("src/deep/er/x.py") == "[src/deep/er/x.py is empty]"
    assert workspace.read("src/deep/er/x.py", 1, 1)


def test_a_script_becomes_executable_for_whom_the_umask_allows_it(tmp_path: Path) -> None:
    workspace = make(tmp_path)
    before = os.umask(0o077)
    try:
        workspace.write("src/run.sh", "#!/bin/sh\n")
        workspace.write("src/x.py", "")
    finally:
        os.umask(before)
    modes = [(tmp_path / "work/src" / n).stat().st_mode & 0o777 for n in ("run.sh", "x.py")]
    assert modes == [0o700, 0o600]


def test_line_ends_are_kept_as_they_are(tmp_path: Path) -> None:
    workspace = make(tmp_path)
    workspace.write("src/dos.txt", "a\r\nb\r\n")
    workspace.edit("src/dos.txt", "b\r\n", "c\r\n")
    assert (tmp_path / "work/src/dos.txt").read_bytes() == b"a\r\nc\r\n"


@pytest.mark.parametrize("path", [CONTRACT, "APP/types.py", "app/Types.py", "app/TYPES.PY"])
def test_a_contract_is_not_written_in_any_case(tmp_path: Path, path: str) -> None:
    workspace = make(tmp_path, "app/", "APP/")
    with pytest.raises(WorkspaceError, match="is a contract"):
        workspace.write(path, "PORT = 9\n")
    assert snapshot(tmp_path / "work") == {str(tmp_path / "work" / CONTRACT): b"PORT = 8000\n"}


@pytest.mark.parametrize("path", ["App/new.py", "app/STORE.py"])
def test_names_that_differ_in_case_only_are_refused(tmp_path: Path, path: str) -> None:
    workspace = make(tmp_path, "App/", "app/store.py", "app/STORE.py")
    workspace.write("app/store.py", "")
    with pytest.raises(WorkspaceError, match="differs only in case"):
        workspace.write(path, "")


def test_what_is_not_owned_is_refused_with_what_is(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match=r"Write only to: app/store\.py, src/"):
        make(tmp_path).write("app/other.py", "")


@pytest.mark.parametrize("planted", ["src", "src/link", "src/deep"])
def test_no_link_is_followed_for_writing_or_reading(tmp_path: Path, planted: str) -> None:
    workspace = make(tmp_path)
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    (outside / "x.py").write_text("theirs\n")
    link = tmp_path / "work" / planted
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(outside)
    for operation in (workspace.write, workspace.append):
        with pytest.raises(WorkspaceError):
            operation(f"{planted}/x.py", "evil")
    for reading in (workspace.read, workspace.list):
        with pytest.raises(WorkspaceError):
            reading(f"{planted}/x.py")
    assert not holds(workspace, f"{planted}/x.py", b"theirs\n")
    assert snapshot(outside) == {str(outside / "x.py"): b"theirs\n"}
    assert "x.py" not in workspace.list()


def test_a_link_in_place_of_a_file_is_not_read_and_is_replaced_as_such(tmp_path: Path) -> None:
    workspace = make(tmp_path)
    (tmp_path / "work/app/store.py").symlink_to(tmp_path / "outside.txt")
    with pytest.raises(WorkspaceError, match="symbolic link"):
        workspace.read("app/store.py")
    assert not holds(workspace, "app/store.py", b"outside\n")
    workspace.write("app/store.py", "mine\n")
    assert (tmp_path / "outside.txt").read_text() == "outside\n"
    assert not (tmp_path / "work/app/store.py").is_symlink()


def test_a_hard_link_elsewhere_keeps_its_bytes(tmp_path: Path) -> None:
    workspace = make(tmp_path)
    os.link(tmp_path / "outside.txt", tmp_path / "work/app/store.py")
    workspace.write("app/store.py", "mine\n")
    workspace.edit("app/store.py", "mine", "yours")
    assert (tmp_path / "outside.txt").read_text() == "outside\n"


def test_an_append_keeps_what_somebody_else_put_there(tmp_path: Path) -> None:
    workspace = make(tmp_path)
    (tmp_path / "work/app/store.py").write_text("a = 1\n")
    workspace.append("app/store.py", "b = 2\n")
    assert workspace.text("app/store.py") == "a = 1\nb = 2\n"


def test_many_owned_paths_are_not_all_named(tmp_path: Path) -> None:
    workspace = make(tmp_path, *(f"src/{n}" for n in range(43)))
    with pytest.raises(WorkspaceError, match=r"src/39 and 3 more$"):
        workspace.write("x", "")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    workspace = make(tmp_path)
    os.mkfifo(tmp_path / "work/app/store.py")
    with pytest.raises(WorkspaceError, match="not a regular file"):
        workspace.read("app/store.py")


def test_files_and_directories_in_each_others_place_are_refused(tmp_path: Path) -> None:
    workspace = make(tmp_path, "src/", "app")
    workspace.write("src/x", "a file")
    with pytest.raises(WorkspaceError, match="as if it were a directory"):
        workspace.write("src/x/y", "")
    with pytest.raises(WorkspaceError, match="is a directory"):
        workspace.write("app", "over the directory of the contract")
    with pytest.raises(WorkspaceError, match="is a directory"):
        workspace.read("app")
    assert not list((tmp_path / "work").rglob("*.part"))


def test_what_does_not_exist_is_an_error(tmp_path: Path) -> None:
    workspace = make(tmp_path)
    for operation in (workspace.read, workspace.list):
        with pytest.raises(WorkspaceError, match=r"does not exist\. Use list_files"):
            operation("app/none.py")


def test_a_file_system_that_is_broken_is_no_refusal(tmp_path: Path) -> None:
    tree = ConfinedTree(tmp_path)
    with pytest.raises(OSError, match="too long"):
        tree.write("x" * 300, b"")


@pytest.mark.parametrize(("old", "count"), [("", 0), ("zz", 0), ("a", 2)])
def test_an_edit_needs_text_that_occurs_once(tmp_path: Path, old: str, count: int) -> None:
    workspace = make(tmp_path)
    workspace.write("app/store.py", "a a\n")
    with pytest.raises(WorkspaceError, match=f"occurs {count} times"):
        workspace.edit("app/store.py", old, "b")
    assert workspace.text("app/store.py") == "a a\n"


def edit(tmp_path: Path, old: str, new: str, lines: int = 40) -> list[str]:
    """What an edit of numbered lines answers, after the path."""
    workspace = make(tmp_path)
    workspace.write("src/x.txt", "".join(f"line {n}\n" for n in range(1, lines + 1)))
    head, *shown = workspace.edit("src/x.txt", old, new).split("\n")
    assert head == "edited src/x.txt"
    for number, text in (line.split("| ", 1) for line in shown if not line.startswith("[")):
        whole = workspace.text("src/x.txt").split("\n")[int(number) - 1]
        assert text in (whole, f"{whole[:MAX_EDIT_CHARS]}...")
    return shown


def numbers(shown: list[str]) -> list[int]:
    return [int(line.partition("|")[0]) for line in shown if not line.startswith("[")]


def test_an_edit_shows_the_lines_around_it_numbered(tmp_path: Path) -> None:
    shown = edit(tmp_path, "line 20\n", "new 20\nnew 21\n")
    assert shown[3:5] == ["20| new 20", "21| new 21"]
    assert numbers(shown) == list(range(17, 25))


@pytest.mark.parametrize(
    ("old", "new", "shown"),
    [
        ("line 1\n", "x\n", [1, 2, 3, 4]),
        ("line 40\n", "x\n", [37, 38, 39, 40]),
        ("line 20\n", "", [17, 18, 19, 20, 21, 22, 23]),
        ("line 39\nline 40\n", "", [36, 37, 38]),
        ("ne 20", "NE 20", [17, 18, 19, 20, 21, 22, 23]),
    ],
)
def test_an_edit_at_the_ends_of_a_file_shows_what_there_is(
    tmp_path: Path, old: str, new: str, shown: list[int]
) -> None:
    assert numbers(edit(tmp_path, old, new)) == shown


def test_what_is_shown_of_an_edit_is_bounded(tmp_path: Path) -> None:
    shown = edit(tmp_path, "line 20\n", "".join(f"{n} {'x' * 5_000}\n" for n in range(100)))
    assert f"[{100 - MAX_EDIT_LINES} lines left out here]" in shown
    assert len(numbers(shown)) == MAX_EDIT_LINES + 2 * AROUND_LINES
    assert max(map(len, shown)) < MAX_EDIT_CHARS + 20
    assert numbers(shown)[:3] == [17, 18, 19]
    assert numbers(shown)[-3:] == [120, 121, 122]


def test_an_edit_that_empties_a_file_shows_an_empty_line(tmp_path: Path) -> None:
    assert edit(tmp_path, "line 1\n", "", lines=1) == ["1| "]


def test_a_long_file_is_read_in_pieces_that_say_how_to_go_on(tmp_path: Path) -> None:
    workspace = make(tmp_path)
    workspace.write("src/long.txt", "".join(f"line {n}\n" for n in range(1, 5_001)))
    first = workspace.read("src/long.txt").split("\n")
    assert first[0] == "[src/long.txt, lines 1 to 2000 of 5000]"
    assert (first[1], first[2_000]) == ("line 1", "line 2000")
    assert first[2_001:] == ["[read on with offset=2001]"]
    last = workspace.read("src/long.txt", 4_999).split("\n")
    assert last == ["[src/long.txt, lines 4999 to 5000 of 5000]", "line 4999", "line 5000"]
    with pytest.raises(WorkspaceError, match="only 5000 lines"):
        workspace.read("src/long.txt", 5_001)
    for offset, limit in ((0, 5), (-3, 5), (1, 0)):
        with pytest.raises(WorkspaceError, match="count from 1"):
            workspace.read("src/long.txt", offset, limit)


def test_views_are_bounded_in_characters_too(tmp_path: Path) -> None:
    workspace = make(tmp_path)
    workspace.write("src/wide.txt", f"{'x' * (MAX_VIEW_CHARS + 5)}\n{'y' * 100}\n")
    head, cut, *notes = workspace.read("src/wide.txt").split("\n")
    assert head == "[src/wide.txt, lines 1 to 1 of 2]"
    assert len(cut) == MAX_VIEW_CHARS
    assert notes == [
        f"[line 1 is cut at {MAX_VIEW_CHARS} characters]",
        "[read on with offset=2]",
    ]
    assert workspace.read("src/wide.txt", 2) == (f"[src/wide.txt, lines 2 to 2 of 2]\n{'y' * 100}")


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"a\x00b", b"\x80"])
def test_binary_files_are_named_as_such(tmp_path: Path, data: bytes) -> None:
    workspace = make(tmp_path)
    (tmp_path / "work/app/logo.png").write_bytes(data)
    with pytest.raises(WorkspaceError, match=rf"is binary \({len(data)} bytes\)"):
        workspace.read("app/logo.png")
    assert workspace.search("PORT") == (
        f"{CONTRACT}:1: PORT = 8000\n[not searched: 1 file(s) that are binary or too large]"
    )


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    workspace = make(tmp_path)
    with (tmp_path / "work/app/big").open("wb") as stream:
        stream.truncate(MAX_TEXT_BYTES + 1)
    with pytest.raises(WorkspaceError, match="too many to read"):
        workspace.read("app/big")


def test_text_that_is_no_unicode_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="not valid Unicode at character 1"):
        make(tmp_path).write("app/store.py", "x\ud800")


def test_the_limits_on_bytes_and_files_hold_and_replacing_is_free(tmp_path: Path) -> None:
    workspace = make(tmp_path, max_bytes=10, max_files=2)
    workspace.write("src/a", "12345678")
    with pytest.raises(WorkspaceError, match="over 10 bytes"):
        workspace.append("src/a", "901")
    workspace.write("src/a", "1234567890")
    workspace.write("src/b", "")
    with pytest.raises(WorkspaceError, match=r"2 files already.* Put more into fewer"):
        workspace.write("src/c", "")
    assert workspace.text("src/a") == "1234567890"


def test_files_that_were_there_count_toward_the_limits(tmp_path: Path) -> None:
    make(tmp_path).write("src/a", "12345678")
    again = make(tmp_path, max_bytes=10)
    with pytest.raises(WorkspaceError, match="over 10 bytes"):
        again.write("src/b", "123")


def test_a_listing_is_ordered_and_bounded(tmp_path: Path) -> None:
    workspace = make(tmp_path)
    for number in range(MAX_LISTED + 1):
        (tmp_path / "work/app" / f"f{number:04}").touch()
    lines = workspace.list("app/").split("\n")
    assert lines[0] == "app/f0000 (0 bytes)"
    assert lines[-1] == "[and 2 more; list a directory below]"
    assert len(lines) == MAX_LISTED + 1
    (tmp_path / "work/empty").mkdir()
    assert workspace.list("empty") == "[no files below empty]"
    assert workspace.list(".") == workspace.list("") == workspace.list("./")


def test_a_search_finds_lines_by_text_and_by_pattern(tmp_path: Path) -> None:
    workspace = make(tmp_path)
    workspace.write("src/a.py", "import x\nPORT = 1\n")
    assert workspace.search("PORT", "src") == "src/a.py:2: PORT = 1"
    assert workspace.search(r"^PORT = \d+$") == f"{CONTRACT}:1: PORT = 8000\nsrc/a.py:2: PORT = 1"
    assert workspace.search("import", "src/a.py") == "src/a.py:1: import x"
    assert workspace.search("nothing like it") == "[no match]"


def test_a_pattern_that_does_not_compile_is_plain_text(tmp_path: Path) -> None:
    workspace = make(tmp_path)
    workspace.write("src/a.py", "call(x[0]\n")
    assert workspace.search("call(x[") == "src/a.py:1: call(x[0]"


def test_a_pattern_that_would_take_for_ever_is_stopped(tmp_path: Path) -> None:
    workspace = make(tmp_path)
    workspace.write("src/a.txt", "a" * 64 + "!\n")
    quick = Workspace(tmp_path / "work", ("src/",), frozenset(), search_timeout_s=0.3)
    with pytest.raises(WorkspaceError, match=r"took too long.* plain text"):
        quick.search("(a+)+$")


def test_matches_are_bounded(tmp_path: Path) -> None:
    workspace = make(tmp_path)
    workspace.write("src/a.txt", "hit\n" * 500)
    lines = workspace.search("hit").split("\n")
    assert len(lines) == MAX_MATCHES + 1
    assert lines[-1].startswith("[cut at 200 matches")


def test_a_search_that_would_read_too_much_says_what_it_left_out(tmp_path: Path) -> None:
    workspace = make(tmp_path)
    for number in range(5):
        (tmp_path / "work/app" / f"{number}.txt").write_text("x" * (8 * 1024 * 1024))
    (tmp_path / "work" / CONTRACT).unlink()
    assert "[not searched: 1 file(s)" in workspace.search("zzz", "app")


def test_the_child_answers_what_the_parent_would(tmp_path: Path) -> None:
    texts = [("a", "one\ntwo"), ("b", "three")]
    assert answer_question(b'["t.", [["a", "one\\ntwo"], ["b", "three"]]]') == (
        '[["a", 2, "two"], ["b", 1, "three"]]'
    )
    assert search_texts("t.", texts, 20) == [("a", 2, "two"), ("b", 1, "three")]
    assert compile_pattern("(").pattern == re.escape("(")


def evidence(tmp_path: Path, workspace: Workspace) -> list[str]:
    inputs = tmp_path / "inputs"
    (inputs / "app").mkdir(parents=True, exist_ok=True)
    (inputs / CONTRACT).write_text("PORT = 8000\n")
    return find_defects(workspace, build_manifest(inputs), inputs)


def test_evidence_wants_every_owned_path(tmp_path: Path) -> None:
    workspace = make(tmp_path)
    assert evidence(tmp_path, workspace) == [
        "there are no files yet; this task owns app/store.py, src/"
    ]
    workspace.write("src/a.py", "")
    assert evidence(tmp_path, workspace) == [
        "'app/store.py' does not exist; this task owns it, so write it"
    ]
    workspace.write("app/store.py", "")
    workspace.move_out("src/a.py", tmp_path / "taken")
    assert evidence(tmp_path, workspace) == ["there is no file below 'src/', which this task owns"]
    workspace.write("src/a.py", "")
    assert evidence(tmp_path, workspace) == []


def test_evidence_restores_a_changed_contract_and_names_it(tmp_path: Path) -> None:
    workspace = make(tmp_path, "src/")
    workspace.write("src/a.py", "")
    contract = tmp_path / "work" / CONTRACT
    (tmp_path / "link").symlink_to(tmp_path / "outside.txt")
    (tmp_path / "other.py").write_text("PORT = 1\n")
    for replacement in ("link", "other.py", None):
        contract.unlink()
        if replacement:
            (tmp_path / replacement).rename(contract)
        assert evidence(tmp_path, workspace) == [
            f"the contract '{CONTRACT}' was changed and has been restored; leave it alone"
        ]
        assert contract.read_text() == "PORT = 8000\n"
        assert not contract.is_symlink()
        assert evidence(tmp_path, workspace) == []
    assert (tmp_path / "outside.txt").read_text() == "outside\n"


def test_evidence_never_restores_through_a_link(tmp_path: Path) -> None:
    workspace = make(tmp_path, "src/")
    workspace.write("src/a.py", "")
    (tmp_path / "trap").mkdir()
    (tmp_path / "work" / CONTRACT).unlink()
    (tmp_path / "work/app").rmdir()
    (tmp_path / "work/app").symlink_to(tmp_path / "trap")
    assert "cannot be restored" in evidence(tmp_path, workspace)[0]
    assert not list((tmp_path / "trap").iterdir())


def test_evidence_names_strays_and_overlooks_what_tools_leave(tmp_path: Path) -> None:
    workspace = make(tmp_path, "src/")
    workspace.write("src/a.py", "")
    workspace.put("stray.py", b"")
    workspace.put("__pycache__/a.pyc", b"")
    workspace.put("src/__pycache__/a.pyc", b"")
    (tmp_path / "work/src/con.txt").touch()
    assert evidence(tmp_path, workspace) == [
        "the path 'src/con.txt' has a name reserved on Windows: 'con.txt'",
        "'stray.py' is on no path that this task owns; remove it",
    ]
    assert result_paths(workspace, workspace.scan()) == ["src/a.py", "src/con.txt"]


def test_a_file_of_the_request_with_a_bad_path_is_not_laid_down(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match=r"'\.\.'"):
        make(tmp_path).put("../x", b"")


_PATHS = st.one_of(
    st.sampled_from(
        [*ESCAPES, *ENCODED, CONTRACT, "app/store.py", "src/a", "src/a/b", "src", "app"]
    ),
    st.text(alphabet="./\\aAs rc%\0", max_size=12),
    st.builds(lambda tail: f"src/{tail}", st.text(max_size=8)),
)
_STEPS = st.lists(
    st.tuples(st.sampled_from(["write", "append", "edit", "read", "list"]), _PATHS, st.text()),
    max_size=12,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_STEPS)
def test_no_sequence_of_operations_changes_what_is_not_owned(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, str]]
) -> None:
    base = tmp_path_factory.mktemp("case")
    workspace = make(base)
    for operation, path, text in steps:
        arguments = {"write": [text], "append": [text], "edit": [text, "new"]}.get(operation, [])
        try:
            getattr(workspace, operation)(path, *arguments)
        except WorkspaceError:
            continue
    found = {p.relative_to(base).as_posix() for p in base.rglob("*") if not p.is_dir()}
    free = {p for p in found if p == "work/app/store.py" or p.startswith("work/src/")}
    assert found - free == {f"work/{CONTRACT}", "outside.txt"}
    assert (base / "work" / CONTRACT).read_bytes() == b"PORT = 8000\n"
    assert (base / "outside.txt").read_bytes() == b"outside\n"


def test_a_file_that_grew_large_in_place_of_an_input_is_not_read(tmp_path: Path) -> None:
    workspace = make(tmp_path, "src/")
    workspace.write("src/a.py", "")
    os.truncate(tmp_path / "work" / CONTRACT, 2**40)
    assert evidence(tmp_path, workspace) == [
        f"the contract '{CONTRACT}' was changed and has been restored; leave it alone"
    ]


@pytest.mark.parametrize("damage", ["changed", "removed", "linked", "pipe", "grown"])
def test_a_changed_input_is_not_restored_from_a_changed_copy(tmp_path: Path, damage: str) -> None:
    workspace = make(tmp_path, "src/")
    workspace.write("src/a.py", "")
    inputs = tmp_path / "inputs"
    (inputs / "app").mkdir(parents=True)
    (inputs / CONTRACT).write_text("PORT = 8000\n")
    manifest = build_manifest(inputs)
    for copy in (tmp_path / "work" / CONTRACT, inputs / CONTRACT):
        copy.unlink()
        copy.write_text("PORT = 1\n")
    if damage != "changed":
        (inputs / CONTRACT).unlink()
    if damage == "linked":
        (inputs / CONTRACT).symlink_to("/etc/hostname")
    if damage == "pipe":
        os.mkfifo(inputs / CONTRACT)
    if damage == "grown":
        (inputs / CONTRACT).write_text("PORT = 8000\n")
        os.truncate(inputs / CONTRACT, 2**40)
    with pytest.raises(BundleError, match="and so was the copy that came with the request"):
        find_defects(workspace, manifest, inputs)
    assert (tmp_path / "work" / CONTRACT).read_text() == "PORT = 1\n"


def test_evidence_names_what_is_no_file_and_what_cannot_be_read(tmp_path: Path) -> None:
    workspace = make(tmp_path, "src/")
    workspace.write("src/a.py", "")
    src = tmp_path / "work/src"
    (src / "link").symlink_to("/etc/passwd")
    os.mkfifo(src / "pipe")
    (src / "shut").touch(mode=0)
    (tmp_path / "work/closed").mkdir(mode=0)
    (src / "node_modules/.bin").mkdir(parents=True)
    (src / "node_modules/.bin/x").symlink_to("y")
    Path(os.fsdecode(os.fsencode(src) + b"/\xff")).touch()
    assert evidence(tmp_path, workspace) == [
        "'closed' is on no path that this task owns; remove it",
        "'src/link' is a symbolic link; only files can be handed in",
        "'src/pipe' is a special file; only files can be handed in",
        "'src/shut' may not be read by its owner; chmod u+r mends that",
        "the path 'src/\\udcff' has characters that are not valid Unicode",
    ]


def test_a_name_that_is_no_unicode_can_be_listed_and_searched(tmp_path: Path) -> None:
    workspace = make(tmp_path)
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/work/app/\xff"))).write_text("word\n")
    assert "app/\\udcff (5 bytes)" in workspace.list()
    assert workspace.search("word") == "app/\\udcff:1: word"


def test_too_much_for_a_result_is_the_one_defect(tmp_path: Path) -> None:
    root = tmp_path / "work"
    (root / "src").mkdir(parents=True)
    workspace = Workspace(root, ("src/",), frozenset(), max_files=3, max_bytes=100)
    for number in range(3):
        (root / f"src/{number}").write_text("x")
        (root / f"stray{number}").write_text("x" * 200)
    assert workspace.rescan() is None
    (root / "src/4").touch()
    assert workspace.rescan() == "4 files; at most 3"
    assert evidence(tmp_path, workspace) == [
        "the task's files are too much for a result: 4 files; at most 3"
    ]
    (root / "src/4").unlink()
    os.truncate(root / "src/0", 2**30)
    assert workspace.rescan() == "1,073,741,826 bytes; at most 100"
    with pytest.raises(WorkspaceError, match="over 100 bytes"):
        workspace.write("src/1", "y")
    assert workspace.excess(TreeScan(whole=False)) == "more than 200,000 files; at most 3"
