"""The rules for paths, against what plans, models and archives really try."""

from __future__ import annotations

import posixpath
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.paths import (
    EVERYTHING,
    MAX_NAME_BYTES,
    MAX_PATH_CHARS,
    fold,
    is_owned,
    owned_path_defect,
    path_defect,
)

PLAIN = ("a", "src/app.py", ".gitignore", ".github/workflows/ci.yml", "a b/c d", "-rf", "a,b;c")
UNUSUAL = ("größe.txt", "...a", "x" * 236 + ".txt", "日本/語.md", "auxiliary/com10.txt", "a.git")


@pytest.mark.parametrize("path", [*PLAIN, *UNUSUAL, "console.log"])
def test_ordinary_paths_have_no_defect(path: str) -> None:
    assert path_defect(path) is None


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("", "empty"),
        ("/etc/passwd", "absolute"),
        ("//host/share", "absolute"),
        ("C:/Windows", "absolute"),
        ("c:x", "absolute"),
        ("~/.ssh/id", "starts with ~"),
        ("~root", "starts with ~"),
        ("..", "'..' part"),
        ("a/../../b", "'..' part"),
        ("./a", "'.' part"),
        ("a/.", "'.' part"),
        ("a//b", "empty part"),
        ("a/", "empty part"),
        ("a\\..\\b", "portable"),
        ("ab:stream", "portable"),
        ("a\0b", "portable"),
        ("a\nb", "portable"),
        ("a\x7f", "portable"),
        ("what?", "portable"),
        ("a|b", "portable"),
        (" a", "space"),
        ("a /b", "space"),
        ("a./b", "dot"),
        ("CON", "reserved"),
        ("src/nul.txt", "reserved"),
        ("Com1.tar.gz", "reserved"),
        ("con .txt", "reserved"),
        ("lpt²", "reserved"),
        ("CONIN$", "reserved"),
        (".git/hooks/post-checkout", "not the project's"),
        ("sub/.GIT", "not the project's"),
        (".orchestrator/runs", "not the project's"),
        ("e\u0301.txt", "normal form"),
        ("a\ud800", "valid Unicode"),
        ("x" * (MAX_PATH_CHARS + 1), "longer than"),
        ("é" * (MAX_NAME_BYTES // 2 + 1), "bytes"),
    ],
)
def test_a_defect_says_what_is_wrong(path: str, why: str) -> None:
    defect = path_defect(path)
    assert defect is not None
    assert why in defect


def test_the_limits_themselves_are_allowed() -> None:
    assert path_defect("x" * MAX_PATH_CHARS) is None
    assert path_defect("é" * (MAX_NAME_BYTES // 2)) is None


@given(st.text(st.sampled_from("aA./\\~: .é\u0301\0\n"), max_size=12) | st.text(max_size=20))
def test_a_path_without_defect_stays_in_the_tree_and_is_one_file(path: str) -> None:
    if path_defect(path) is None:
        assert posixpath.normpath(path) == path
        assert not posixpath.isabs(path)
        assert ".." not in path.split("/")
        assert unicodedata.normalize("NFC", path) == path
        assert path.encode()


@pytest.mark.parametrize("entry", ["src/", "src/app.py", "a/b/c/", "pages/[id].tsx", EVERYTHING])
def test_files_and_directories_may_be_owned(entry: str) -> None:
    assert owned_path_defect(entry) is None


@pytest.mark.parametrize(
    "entry", ["*", "a/*.py", "a?", "/", "//", "../", "a//", "", ".", "./a/", "./."]
)
def test_what_may_not_be_owned_has_a_defect(entry: str) -> None:
    assert owned_path_defect(entry) is not None


def test_a_wildcard_is_reported_apart_from_other_characters() -> None:
    assert "wildcard" in (owned_path_defect("src/*") or "")


def test_folding_ignores_case_and_composition() -> None:
    assert fold("Src/README.md") == fold("src/readme.MD")
    assert fold("e\u0301") == fold("\u00c9")
    assert fold("\u1fb3\u0301") == fold("\u03b1\u0301\u03b9")  # the order of marks changes
    assert fold("a") != fold("b")


@given(st.text(max_size=30))
def test_folding_twice_changes_nothing_more(path: str) -> None:
    assert fold(fold(path)) == fold(path)


@given(st.text(max_size=30))
def test_folding_gives_the_same_for_every_spelling_of_a_name(path: str) -> None:
    forms = [unicodedata.normalize(f, path) for f in ("NFC", "NFD")]
    assert {fold(form) for form in forms} == {fold(path)}


def test_only_files_named_or_below_a_directory_named_are_owned() -> None:
    owns = ("src/", "README.md")
    assert is_owned(owns, "src/a/b.py")
    assert is_owned(owns, "README.md")
    assert not is_owned(owns, "src")
    assert not is_owned(owns, "srcs/a.py")
    assert not is_owned(owns, "README.md/x")
    assert not is_owned(owns, "readme.md")
    assert not is_owned((), "a")


def test_who_owns_everything_owns_each_path_without_defect() -> None:
    for path in ("a", "src/a/b.py", ".github/workflows/ci.yml"):
        assert is_owned((EVERYTHING,), path)
        assert is_owned(("x/", EVERYTHING), path)
