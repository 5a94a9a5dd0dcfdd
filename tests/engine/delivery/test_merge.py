"""Merge planning: who keeps which path, and that nothing is lost."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.job import Manifest, ManifestEntry
from core.paths import fold, path_defect
from engine.delivery.merge import MergePlan, MergeSource, merged_manifest, plan_merge


def entry(path: str, content: str = "", mode: int = 0o644) -> ManifestEntry:
    data = content.encode()
    return ManifestEntry(path, len(data), hashlib.sha256(data).hexdigest(), mode)


def source(owner: str, files: dict[str, str]) -> MergeSource:
    manifest = Manifest(tuple(entry(path, content) for path, content in files.items()))
    return MergeSource(owner, Path("/runs") / owner, manifest)


def merge(*sources: tuple[str, dict[str, str]]) -> MergePlan:
    return plan_merge([source(owner, files) for owner, files in sources])


def placed(plan: MergePlan) -> dict[str, str]:
    return {file.path: file.owner for file in plan.files}


def test_files_of_all_owners_lie_side_by_side_in_the_order_of_their_paths() -> None:
    plan = merge(("ui", {"ui/b.py": "b", "ui/a.py": "a"}), ("api", {"api.py": "c"}))
    assert [f.path for f in plan.files] == ["api.py", "ui/a.py", "ui/b.py"]
    assert plan.files[1].source == Path("/runs/ui/ui/a.py")
    assert (plan.conflicts, plan.refused) == ((), ())


def test_nothing_merged_is_an_empty_plan() -> None:
    assert plan_merge([]) == MergePlan()


def test_the_first_owner_keeps_the_path_and_the_second_lies_beside_it() -> None:
    plan = merge(("api", {"src/app.py": "one"}), ("ui", {"src/app.py": "two"}))
    assert placed(plan) == {"src/app.py": "api", "src/app.conflict-ui.py": "ui"}
    (conflict,) = plan.conflicts
    assert conflict.path == "src/app.py"
    assert conflict.owners == ("api", "ui")
    assert conflict.kept_as == "src/app.conflict-ui.py"
    assert "different content" in conflict.why
    assert plan.files[0].source == Path("/runs/ui/src/app.py")


def test_the_same_content_at_the_same_path_is_no_conflict() -> None:
    plan = merge(("api", {"a": "same"}), ("ui", {"a": "same"}))
    assert placed(plan) == {"a": "api"}
    assert plan.conflicts == ()


def test_a_third_owner_who_agrees_with_the_second_gets_no_copy_of_its_own() -> None:
    plan = merge(("a", {"x.py": "1"}), ("b", {"x.py": "2"}), ("c", {"x.py": "2"}))
    assert placed(plan) == {"x.py": "a", "x.conflict-b.py": "b"}
    assert [(c.owners, c.kept_as) for c in plan.conflicts] == [
        (("a", "b"), "x.conflict-b.py"),
        (("a", "c"), "x.conflict-b.py"),
    ]


def test_a_copy_kept_beside_never_takes_the_place_of_a_file_another_task_owns() -> None:
    plan = merge(
        ("a", {"x.py": "1"}), ("b", {"x.py": "2"}), ("c", {"x.conflict-b.py": "3", "x.py": "4"})
    )
    assert placed(plan) == {
        "x.py": "a",
        "x.conflict-b.py": "c",
        "x.conflict-b-2.py": "b",
        "x.conflict-c.py": "c",
    }


@pytest.mark.parametrize(
    ("name", "kept_as"),
    [
        ("Makefile", "Makefile.conflict-ui"),
        (".gitignore", ".gitignore.conflict-ui"),
        ("a.tar.gz", "a.tar.conflict-ui.gz"),
        ("a.this-is-no-suffix-at-all", "a.this-is-no-suffix-at-all.conflict-ui"),
    ],
)
def test_a_copy_keeps_its_suffix(name: str, kept_as: str) -> None:
    plan = merge(("api", {name: "1"}), ("ui", {name: "2"}))
    assert [c.kept_as for c in plan.conflicts] == [kept_as]


def test_names_that_differ_in_case_only_are_a_conflict_even_with_the_same_content() -> None:
    plan = merge(("a", {"README.md": "x"}), ("b", {"readme.md": "x"}))
    assert placed(plan) == {"README.md": "a", "readme.conflict-b.md": "b"}
    assert plan.conflicts[0].path == "README.md"
    assert "only in case" in plan.conflicts[0].why


def test_directories_that_differ_in_case_only_are_named_once_and_stay() -> None:
    plan = merge(("a", {"Src/a.py": ""}), ("b", {"src/b.py": "", "src/c.py": ""}))
    assert placed(plan) == {"Src/a.py": "a", "src/b.py": "b", "src/c.py": "b"}
    assert [(c.path, c.owners, c.kept_as) for c in plan.conflicts] == [("Src", ("a", "b"), "src")]


def test_the_same_file_in_directories_that_differ_in_case_only_is_a_conflict() -> None:
    plan = merge(("a", {"Src/a.py": "1"}), ("b", {"src/a.py": "1"}))
    assert set(placed(plan)) == {"Src/a.py", "src/a.conflict-b.py"}
    assert {c.path for c in plan.conflicts} == {"Src", "Src/a.py"}


def test_a_file_whose_name_is_a_directory_already_lies_beside_it() -> None:
    plan = merge(("a", {"lib/x.py": "1"}), ("b", {"lib": "2"}))
    assert placed(plan) == {"lib/x.py": "a", "lib.conflict-b": "b"}
    assert plan.conflicts[0].path == "lib"
    assert "directory" in plan.conflicts[0].why


def test_files_below_a_name_that_is_a_file_move_to_a_directory_beside_it() -> None:
    plan = merge(("a", {"app/lib.py": "1"}), ("b", {"app/lib.py/x": "2", "app/lib.py/y/z": "3"}))
    assert placed(plan) == {
        "app/lib.py": "a",
        "app/lib.conflict-b.py/x": "b",
        "app/lib.conflict-b.py/y/z": "b",
    }
    assert all("needs a directory" in c.why for c in plan.conflicts)


ESCAPES = ("../x", "/etc/passwd", "a/../../x", "C:/x", "~/x", "a\\..\\x")
UNPORTABLE = ("CON", "com1.txt", "tab\there", "trailing.", "bad\ud800", "a//b", "", ".")
TOO_LONG = ("x" * 241, "d/" + "é" * 200)


@pytest.mark.parametrize("path", [*ESCAPES, *UNPORTABLE, *TOO_LONG, ".git/hooks/x"])
def test_escapes_reserved_and_unportable_names_are_refused_with_the_reason(path: str) -> None:
    plan = merge(("a", {path: "evil", "fine": "x"}))
    assert placed(plan) == {"fine": "a"}
    (refused,) = plan.refused
    assert (refused.path, refused.owner, refused.why) == (path, "a", path_defect(path))


def test_a_copy_with_a_long_name_is_cut_to_fit() -> None:
    name = "é" * 120 + ".py"
    plan = merge(("a", {name: "1"}), ("b", {name: "2"}))
    (conflict,) = plan.conflicts
    assert path_defect(conflict.kept_as) is None
    assert conflict.kept_as.endswith("é.conflict-b.py")


def test_a_copy_whose_directory_leaves_no_room_is_refused_and_named() -> None:
    long = "d" * 234 + "/y.py"
    plan = merge(("a", {long: "1"}), ("b", {long: "2"}))
    assert placed(plan) == {long: "a"}
    assert plan.conflicts == ()
    assert "collides" in plan.refused[0].why


def test_a_manifest_that_names_a_path_twice_keeps_both_contents() -> None:
    twice = MergeSource("a", Path("/r"), Manifest((entry("x", "1"), entry("x", "2"))))
    assert set(placed(plan_merge([twice]))) == {"x", "x.conflict-a"}


@pytest.mark.parametrize(("recorded", "planned"), [(0o4777, 0o755), (0o666, 0o644), (0, 0o644)])
def test_modes_are_plain_ones(recorded: int, planned: int) -> None:
    odd = MergeSource("a", Path("/r"), Manifest((entry("x", mode=recorded),)))
    assert plan_merge([odd]).files[0].entry.mode == planned


def test_the_merged_manifest_names_files_where_they_come_to_lie() -> None:
    plan = merge(("a", {"x": "1"}), ("b", {"x": "2"}))
    assert merged_manifest(plan) == Manifest((entry("x", "1"), entry("x.conflict-b", "2")))


names = st.sampled_from(
    ["a", "A", "b", "a.py", "ß", "SS", "..", "x" * 120, "a.conflict-t1", "con", ".git"]
)
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
trees = st.lists(st.dictionaries(paths, st.sampled_from("123"), max_size=6), max_size=5)


@given(trees)
def test_every_file_is_placed_once_refused_or_the_same_as_one_placed(
    files: list[dict[str, str]],
) -> None:
    sources = [source(f"t{n}", tree) for n, tree in enumerate(files)]
    plan = plan_merge(sources)
    sources_placed = {f.source for f in plan.files}
    refused = {(r.owner, r.path) for r in plan.refused}
    contents = {(f.entry.path, f.entry.sha256) for f in plan.files}
    for s in sources:
        for e in s.manifest.entries:
            assert (
                s.root / e.path in sources_placed
                or (s.owner, e.path) in refused
                or (e.path, e.sha256) in contents
            )
    assert len(sources_placed) == len(plan.files)


@given(trees)
def test_what_is_placed_collides_on_no_file_system(files: list[dict[str, str]]) -> None:
    plan = plan_merge([source(f"t{n}", tree) for n, tree in enumerate(files)])
    folded = {fold(f.path) for f in plan.files}
    assert len(folded) == len(plan.files)
    for file in plan.files:
        assert path_defect(file.path) is None
        assert not folded & {fold(str(p)) for p in Path(file.path).parents}


@given(trees)
def test_the_order_within_a_manifest_does_not_matter(files: list[dict[str, str]]) -> None:
    sources = [source(f"t{n}", tree) for n, tree in enumerate(files)]
    turned = [replace(s, manifest=Manifest(s.manifest.entries[::-1])) for s in sources]
    assert plan_merge(turned) == plan_merge(sources)


@given(trees)
def test_every_conflict_names_a_copy_that_is_there(files: list[dict[str, str]]) -> None:
    plan = plan_merge([source(f"t{n}", tree) for n, tree in enumerate(files)])
    there = {f.path for f in plan.files}
    there |= {str(p) for f in plan.files for p in Path(f.path).parents}
    assert all(c.kept_as in there and c.path in there for c in plan.conflicts)
