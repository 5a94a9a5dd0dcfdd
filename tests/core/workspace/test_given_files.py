"""What a workspace was given is not read again, unless somebody may have changed it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from core.bundle import build_manifest
from core.errors import WorkspaceError
from core.workspace.confined import ConfinedTree, KnownNames
from core.workspace.result_check import find_defects
from core.workspace.workspace import TICK_NS, Workspace

TEXT = "as it was\n"


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    place = tmp_path / "inputs"
    for path in ("a.txt", "lib/b.txt", "lib/c.txt"):
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_text(TEXT)
    return place


@pytest.fixture
def workspace(tmp_path: Path, inputs: Path) -> Workspace:
    """With a result. The last of its files was laid down in a later tick of the clock."""
    (tmp_path / "work").mkdir()
    made, known = Workspace(tmp_path / "work", ("own.txt",), frozenset()), KnownNames()
    for path in build_manifest(inputs).paths:
        if path == "lib/c.txt":
            time.sleep(2 * TICK_NS / 1e9)
        made.put(path, (inputs / path).read_bytes(), known=known)
    made.write("own.txt", "mine\n")
    return made


def write(path: Path) -> None:
    path.write_text("X" * len(TEXT))


def replace(path: Path) -> None:
    write(path.with_name("new"))
    path.with_name("new").replace(path)


def link(path: Path) -> None:
    path.unlink()
    path.symlink_to("c.txt")


@pytest.mark.parametrize("name", ["b.txt", "c.txt"])
@pytest.mark.parametrize("harm", [write, replace, link, Path.unlink])
def test_every_change_is_found_and_restored(
    harm: Callable[[Path], None], name: str, workspace: Workspace, inputs: Path, tmp_path: Path
) -> None:
    """Also one of the same size whose times were set back."""
    place = tmp_path / "work/lib" / name
    before = place.stat()
    harm(place)
    if place.is_file() and not place.is_symlink():
        os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))
    [told] = find_defects(workspace, build_manifest(inputs), inputs)
    assert f"'lib/{name}' was changed and has been restored" in told
    assert place.read_text() == TEXT
    assert not place.is_symlink()
    write(place)
    assert len(find_defects(workspace, build_manifest(inputs), inputs)) == 1


def test_only_what_may_have_been_changed_is_read(workspace: Workspace, inputs: Path) -> None:
    real = ConfinedTree.read
    with mock.patch.object(ConfinedTree, "read", autospec=True, side_effect=real) as read:
        assert find_defects(workspace, build_manifest(inputs), inputs) == []
    assert [call.args[1] for call in read.mock_calls] == ["lib/c.txt"]


def test_names_that_differ_in_case_are_refused_also_among_many(tmp_path: Path) -> None:
    tree, known = ConfinedTree(tmp_path), KnownNames()
    tree.write("Lib/a", b"", known=known)
    for path in ("lib/b", "Lib/A", "LIB"):
        with pytest.raises(WorkspaceError, match="differs only in case"):
            tree.write(path, b"", known=known)
    assert build_manifest(tmp_path).paths == ("Lib/a",)
