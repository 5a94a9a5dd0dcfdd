"""Files of the project that were not sent: they can be seen, and nothing is put in their place."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import WorkspaceError
from core.workspace.unsent import Unsent
from core.workspace.workspace import Workspace

UNSENT = {"lib/far.py": 12, "lib/deep/a.py": 3, "lib/deep/b.py": 4, "docs/Guide.md": 5, "x": 1}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/near.py").write_text("NEAR = 1\n")
    workspace = Workspace(tmp_path, ("./",), frozenset())
    workspace.unsent = Unsent(UNSENT)
    return workspace


def test_a_listing_names_what_is_directly_there_after_what_was_sent(workspace: Workspace) -> None:
    assert workspace.list().splitlines() == [
        "lib/near.py (9 bytes)",
        "docs/ (1 file, not sent)",
        "lib/ (3 files, not sent)",
        "x (1 bytes, not sent)",
    ]
    assert workspace.list("lib").splitlines()[1:] == [
        "lib/deep/ (2 files, not sent)",
        "lib/far.py (12 bytes, not sent)",
    ]
    assert workspace.list("lib/deep").splitlines()[0] == "lib/deep/a.py (3 bytes, not sent)"


def test_a_listing_is_bounded() -> None:
    lines = Unsent({f"f{n:03}": 1 for n in range(400)}).lines("")
    assert lines[-1] == "[and 300 more that were not sent]"
    assert len(lines) == 101


@pytest.mark.parametrize("look", ["read", "search"])
def test_what_was_not_sent_cannot_be_looked_into(workspace: Workspace, look: str) -> None:
    with pytest.raises(WorkspaceError, match="not sent: the plan's `reads` did not name it"):
        workspace.read("lib/far.py") if look == "read" else workspace.search("x", "lib/far.py")


def test_a_search_tells_how_much_it_did_not_see(workspace: Workspace) -> None:
    assert workspace.search("NEAR").splitlines() == [
        "lib/near.py:1: NEAR = 1",
        "[not searched: 5 file(s) that were not sent]",
    ]
    assert workspace.search("NEAR", "lib/deep") == "[not searched: 2 file(s) that were not sent]"


@pytest.mark.parametrize(
    ("path", "spelt"),
    [
        ("lib/far.py", "lib/far.py"),
        ("LIB/new.py", "lib"),
        ("lib/FAR.py", "lib/far.py"),
        ("lib/deep", "lib/deep"),
        ("x/new.py", "x"),
        ("docs/guide.md", "docs/Guide.md"),
    ],
)
def test_nothing_takes_its_place(workspace: Workspace, path: str, spelt: str) -> None:
    with pytest.raises(WorkspaceError) as refused:
        workspace.write(path, "new\n")
    assert f"{spelt!r} is in the project and was not sent" in str(refused.value)


@pytest.mark.parametrize("path", ["lib/near.py", "lib/deep/new.py", "docs/new.md", "y"])
def test_beside_it_may_be_written(workspace: Workspace, path: str) -> None:
    assert workspace.write(path, "new\n")
