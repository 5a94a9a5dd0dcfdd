"""Delivery: all of it or nothing, whatever interrupts it, and no other file is lost."""

from __future__ import annotations

import errno
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from core.bundle import build_manifest
from core.errors import MergeError, TargetRefused
from core.job import Manifest
from engine.delivery.merge import MergedFile, MergePlan, MergeSource, merged_manifest, plan_merge
from engine.delivery.target import Disk, apply_merge, recover_target
from engine.delivery.target_check import check_target, which_delivered
from tests.fakes.unprivileged import unprivileged

RUN = "20260101-abcd"
OLD = {"README.md": "old", "src/a.py": "old a", "gone.txt": "x"}
NEW = {"README.md": "new", "src/a.py": "new a", "src/deep/b.py": "new b"}


def write_tree(root: Path, files: dict[str, str]) -> Path:
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)
    return root


def read_tree(root: Path) -> dict[str, str]:
    return {p.relative_to(root).as_posix(): p.read_text() for p in root.rglob("*") if p.is_file()}


def plan_of(root: Path, files: dict[str, str]) -> MergePlan:
    write_tree(root, files)
    return plan_merge([MergeSource("api", root, build_manifest(root))])


def beside(target: Path) -> list[str]:
    """What lies beside the target, apart from it."""
    return sorted(p.name for p in target.parent.iterdir() if p != target)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "outputs" / "app"


@pytest.fixture
def plan(tmp_path: Path) -> MergePlan:
    return plan_of(tmp_path / "new", NEW)


@pytest.fixture
def delivered(tmp_path: Path, target: Path) -> Manifest:
    """The target as this run delivered it before."""
    return apply_merge(plan_of(tmp_path / "old", OLD), target, RUN, None)


def test_a_target_that_is_absent_is_made_with_its_parents(target: Path, plan: MergePlan) -> None:
    manifest = apply_merge(plan, target, RUN, None)
    assert read_tree(target) == NEW
    assert manifest == merged_manifest(plan) == build_manifest(target)
    assert beside(target) == []


def test_an_empty_directory_is_taken(target: Path, plan: MergePlan) -> None:
    target.mkdir(parents=True)
    apply_merge(plan, target, RUN, None)
    assert read_tree(target) == NEW


@pytest.mark.parametrize(
    ("umask", "directory", "tool_mode", "data_mode"),
    [(0o000, 0o755, 0o755, 0o644), (0o027, 0o750, 0o750, 0o640), (0o177, 0o700, 0o700, 0o600)],
)
def test_modes_come_from_the_manifest_as_far_as_the_umask_allows(
    umask: int, directory: int, tool_mode: int, data_mode: int, tmp_path: Path, target: Path
) -> None:
    target.parent.mkdir(exist_ok=True)
    tool = write_tree(tmp_path / "new", {"bin/tool": "#!/bin/sh\n", "data": ""}) / "bin/tool"
    tool.chmod(0o700)
    plan = plan_of(tmp_path / "new", {})
    before = os.umask(umask)
    try:
        manifest = apply_merge(plan, target, RUN, None)
        assert apply_merge(plan, target, RUN, manifest) == manifest
    finally:
        os.umask(before)
    found = [(target / p).stat().st_mode & 0o7777 for p in (".", "bin", "bin/tool", "data")]
    assert found == [directory, directory, tool_mode, data_mode]


def test_an_unchanged_delivery_of_this_run_is_replaced(
    target: Path, plan: MergePlan, delivered: Manifest
) -> None:
    check_target(target, delivered, target.parent.parent / "work")
    apply_merge(plan, target, RUN, delivered)
    assert read_tree(target) == NEW
    assert beside(target) == []


def test_delivering_what_is_there_already_changes_nothing(target: Path, plan: MergePlan) -> None:
    first = apply_merge(plan, target, RUN, None)
    inode = target.stat().st_ino
    assert apply_merge(plan, target, RUN, None) == first
    assert target.stat().st_ino == inode


@pytest.mark.parametrize(
    "touch",
    [
        lambda t: (t / "README.md").write_text("mine"),
        lambda t: (t / "mine.txt").write_text("mine"),
        lambda t: (t / "gone.txt").unlink(),
        lambda t: (t / "gone.txt").chmod(0o755),
        lambda t: (t / "link").symlink_to("README.md"),
    ],
    ids=["edited", "added", "removed", "made executable", "linked"],
)
def test_a_delivered_target_that_was_changed_is_refused_and_kept(
    target: Path, plan: MergePlan, delivered: Manifest, touch: Callable[[Path], object]
) -> None:
    touch(target)
    before = read_tree(target)
    with pytest.raises(TargetRefused, match="changed after its delivery"):
        check_target(target, delivered, target.parent.parent / "work")
    with pytest.raises(MergeError, match="changed after its delivery"):
        apply_merge(plan, target, RUN, delivered)
    assert read_tree(target) == before
    assert beside(target) == []


def test_a_target_with_other_files_is_refused_and_kept(target: Path, plan: MergePlan) -> None:
    write_tree(target, {"mine": "x"})
    with pytest.raises(TargetRefused, match="not empty") as refused:
        check_target(target, None, target.parent.parent / "work")
    assert "--output-dir" in refused.value.remedy
    with pytest.raises(MergeError, match="not empty"):
        apply_merge(plan, target, RUN, None)
    assert read_tree(target) == {"mine": "x"}


def test_which_delivered_finds_what_the_target_holds(
    tmp_path: Path, target: Path, plan: MergePlan, delivered: Manifest
) -> None:
    intended = merged_manifest(plan)
    assert which_delivered(target, [intended, delivered]) == delivered
    (target / "more").write_text("")
    assert which_delivered(target, [intended, delivered]) is None
    assert which_delivered(tmp_path / "absent", [intended]) is None


def test_a_plan_without_files_delivers_nothing(target: Path) -> None:
    with pytest.raises(MergeError, match="no files"):
        apply_merge(MergePlan(), target, RUN, None)
    assert not target.parent.exists()


# Targets that are refused before the run


def refused(target: Path, work_dir: Path, match: str) -> TargetRefused:
    with pytest.raises(TargetRefused, match=match) as caught:
        check_target(target, None, work_dir)
    assert caught.value.remedy
    return caught.value


def test_check_target_writes_nothing(tmp_path: Path) -> None:
    check_target(tmp_path / "a" / "b" / "c", None, tmp_path / "work")
    check_target(tmp_path, None, tmp_path.parent / "work")
    assert list(tmp_path.iterdir()) == []


def test_a_symbolic_link_is_refused_also_one_to_nowhere(tmp_path: Path, plan: MergePlan) -> None:
    (tmp_path / "dir").mkdir()
    for name, to in (("link", "dir"), ("dangling", "nowhere")):
        (tmp_path / name).symlink_to(to)
        refused(tmp_path / name, tmp_path / "work", "symbolic link")
        with pytest.raises(MergeError, match="symbolic link"):
            apply_merge(plan, tmp_path / name, RUN, None)
    assert not (tmp_path / "nowhere").exists()


def test_a_file_is_refused_also_as_a_parent(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused(tmp_path / "file", tmp_path / "work", "is a file")
    refused(tmp_path / "file" / "app", tmp_path / "work", "not a directory")


def test_a_dangling_link_as_a_parent_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    refused(tmp_path / "link" / "app", tmp_path / "work", "not a directory")


def test_mount_points_are_refused(tmp_path: Path) -> None:
    refused(Path("/"), tmp_path / "work", "mount point")
    refused(Path("/proc"), tmp_path / "work", "mount point")


def test_the_current_directory_is_refused_and_what_holds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here" / "below").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here" / "below")
    for name in (".", "..", "../../here"):
        refused(Path(name), tmp_path / "work", "current directory")
    check_target(Path("app"), None, tmp_path / "work")


def test_the_work_directory_and_the_target_never_hold_one_another(tmp_path: Path) -> None:
    work = tmp_path / "work"
    refused(work, work, "is inside the work directory")
    refused(work / "runs" / "app", work, "is inside the work directory")
    refused(tmp_path / "app", tmp_path / "app" / "work", "the work directory")
    (tmp_path / "alias").symlink_to(work)
    refused(tmp_path / "alias" / "app", work, "is inside the work directory|not a directory")


@pytest.mark.parametrize("name", ["x" * 300, "nul\0name", "bad\ud800name"])
def test_names_that_no_file_system_takes_are_refused(tmp_path: Path, name: str) -> None:
    refused(tmp_path / name, tmp_path / "work", "cannot be used: '")


def test_a_target_with_the_longest_name_is_delivered(tmp_path: Path, plan: MergePlan) -> None:
    target = tmp_path / ("é" * 127)
    apply_merge(plan, target, RUN, None)
    assert read_tree(target) == NEW


def test_a_parent_that_may_not_be_written_is_refused() -> None:
    with unprivileged() as home:
        plan = plan_of(home / "new", NEW)
        parent = home / "parent"
        parent.mkdir()
        parent.chmod(0o555)
        refused(parent / "app", home / "work", "is not writable")
        refused(parent / "more" / "app", home / "work", "is not writable")
        with pytest.raises(MergeError, match="is not writable"):
            apply_merge(plan, parent / "app", RUN, None)
        parent.chmod(0o755)


def test_a_target_that_may_not_be_read_is_refused() -> None:
    with unprivileged() as home:
        target = home / "app"
        delivered = apply_merge(plan_of(home / "old", OLD), target, RUN, None)
        (target / "src").chmod(0)
        with pytest.raises(TargetRefused, match="cannot be read"):
            check_target(target, delivered, home / "work")
        target.chmod(0)
        with pytest.raises(TargetRefused, match="cannot be used: '"):
            check_target(target, delivered, home / "work")
        target.chmod(0o755)
        (target / "src").chmod(0o755)


# Sources that are not what they were


def swap_for_link(file: Path) -> None:
    copy = file.rename(file.with_name("elsewhere"))
    file.symlink_to(copy)


def swap_for_fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def swap_parent_for_link(file: Path) -> None:
    copy = file.parent.rename(file.parent.with_name("elsewhere"))
    file.parent.symlink_to(copy)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda f: f.write_text("other"), "content"),
        (lambda f: f.write_text(""), "content"),
        (lambda f: f.unlink(), "cannot be read"),
        (swap_for_link, "symbolic link"),
        (swap_parent_for_link, "symbolic link"),
        (swap_for_fifo, "not a regular file"),
    ],
)
def test_a_source_that_changed_after_its_manifest_stops_the_delivery(
    tmp_path: Path, target: Path, plan: MergePlan, change: Callable[[Path], object], why: str
) -> None:
    change(tmp_path / "new" / "src" / "a.py")
    with pytest.raises(MergeError, match=why) as caught:
        apply_merge(plan, target, RUN, None)
    assert "src/a.py of api" in caught.value.message
    assert beside(target) == []
    assert not target.exists()


# Disks that fail


class FaultyDisk(Disk):
    """A disk that does `fault` before its `at`-th step (counted from 0), or after it."""

    def __init__(self, at: int, fault: Callable[[], None], *, after: bool = False) -> None:
        self.steps = 0
        self._at, self._fault, self._after = at, fault, after

    def _step(self, act: Callable[[], None]) -> None:
        number, self.steps = self.steps, self.steps + 1
        if number == self._at and not self._after:
            self._fault()
        act()
        if number == self._at and self._after:
            self._fault()

    def make_directory(self, path: Path) -> None:
        self._step(lambda: super(FaultyDisk, self).make_directory(path))

    def copy(self, file: MergedFile, destination: Path) -> None:
        self._step(lambda: super(FaultyDisk, self).copy(file, destination))

    def sync(self, directory: Path) -> None:
        self._step(lambda: super(FaultyDisk, self).sync(directory))

    def rename(self, old: Path, new: Path) -> None:
        self._step(lambda: super(FaultyDisk, self).rename(old, new))

    def remove_tree(self, path: Path) -> None:
        self._step(lambda: super(FaultyDisk, self).remove_tree(path))


def count_steps(tmp_path: Path, *, replacing: bool) -> int:
    target = tmp_path / "counted" / "app"
    delivered = apply_merge(plan_of(tmp_path / "co", OLD), target, RUN, None) if replacing else None
    disk = FaultyDisk(-1, lambda: None)
    apply_merge(plan_of(tmp_path / "cn", NEW), target, RUN, delivered, disk)
    return disk.steps


def no_space() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def ctrl_c() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("replacing", [False, True])
@pytest.mark.parametrize("fault", [no_space, ctrl_c])
def test_an_error_at_any_step_leaves_the_old_tree_or_all_of_the_new_one(
    tmp_path: Path, replacing: bool, fault: Callable[[], None]
) -> None:
    for step in range(count_steps(tmp_path, replacing=replacing)):
        home = tmp_path / str(step)
        target, plan = home / "out" / "app", plan_of(home / "new", NEW)
        old = apply_merge(plan_of(home / "old", OLD), target, RUN, None) if replacing else None
        with pytest.raises((MergeError, KeyboardInterrupt)):
            apply_merge(plan, target, RUN, old, FaultyDisk(step, fault))
        there = read_tree(target) if target.exists() else None
        assert there in (OLD if replacing else None, NEW)
        held = which_delivered(target, [m for m in (old, merged_manifest(plan)) if m])
        apply_merge(plan, target, RUN, held)
        assert read_tree(target) == NEW
        assert beside(target) == []


def test_a_full_disk_is_reported_with_place_and_remedy(target: Path, plan: MergePlan) -> None:
    with pytest.raises(MergeError, match="No space left") as caught:
        apply_merge(plan, target, RUN, None, FaultyDisk(2, no_space))
    assert str(target) in caught.value.message
    assert "Free space" in caught.value.remedy
    assert beside(target) == []


def test_an_unknown_disk_error_says_that_the_run_can_be_resumed(
    target: Path, plan: MergePlan
) -> None:
    def broken() -> None:
        raise OSError("broken")

    with pytest.raises(MergeError, match="broken") as caught:
        apply_merge(plan, target, RUN, None, FaultyDisk(2, broken))
    assert "resume the run" in caught.value.remedy


def test_a_real_limit_on_file_size_leaves_nothing(tmp_path: Path, target: Path) -> None:
    plan = plan_of(tmp_path / "new", {"big": "x" * 100_000})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(MergeError) as caught:
            apply_merge(plan, target, RUN, None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert "ulimit" in caught.value.remedy
    assert beside(target) == []


def test_when_cleaning_up_fails_too_the_first_error_is_reported_and_recovery_does_the_rest(
    target: Path, plan: MergePlan
) -> None:
    class Dead(FaultyDisk):
        def remove_tree(self, path: Path) -> None:
            raise OSError(errno.EIO, "dead")

    with pytest.raises(MergeError, match="No space left"):
        apply_merge(plan, target, RUN, None, Dead(3, no_space))
    assert beside(target) != []
    with pytest.raises(MergeError, match="dead"):
        recover_target(target, RUN, Dead(-1, no_space))
    recover_target(target, RUN)
    assert beside(target) == []


# Processes that are killed


def fork_and_kill_at(disk: FaultyDisk, plan: MergePlan, target: Path, old: Manifest | None) -> int:
    child = os.fork()
    if child == 0:  # the child dies in the step, or says 0 when it got through
        apply_merge(plan, target, RUN, old, disk)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


# Python 3.12 warns of fork beside threads; the child only renames files and dies.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("replacing", [False, True])
@pytest.mark.parametrize("after", [False, True])
def test_a_kill_at_any_step_leaves_all_or_nothing_and_the_next_try_delivers(
    tmp_path: Path, replacing: bool, after: bool
) -> None:
    for step in range(count_steps(tmp_path, replacing=replacing)):
        home = tmp_path / str(step)
        target, plan = home / "out" / "app", plan_of(home / "new", NEW)
        old = apply_merge(plan_of(home / "old", OLD), target, RUN, None) if replacing else None
        disk = FaultyDisk(step, lambda: os._exit(9), after=after)
        assert fork_and_kill_at(disk, plan, target, old) == 9
        recover_target(target, RUN)
        there = read_tree(target) if target.exists() else None
        assert there in (OLD if replacing else None, NEW)
        assert beside(target) == []
        recover_target(target, RUN)
        held = which_delivered(target, [m for m in (old, merged_manifest(plan)) if m])
        check_target(target, held, home / "work")
        apply_merge(plan, target, RUN, held)
        assert read_tree(target) == NEW
        assert beside(target) == []


@pytest.mark.parametrize("step", range(3))
def test_a_kill_while_recovering_can_be_recovered_from(
    target: Path, plan: MergePlan, delivered: Manifest, step: int
) -> None:
    """The replacement is cut between its renames; then each step of the recovery is cut."""
    cut_after_aside(target, plan, delivered)
    with pytest.raises(MergeError, match="No space left"):
        recover_target(target, RUN, FaultyDisk(step, no_space))
    recover_target(target, RUN)
    assert read_tree(target) == NEW
    assert beside(target) == []


def cut_after_aside(target: Path, plan: MergePlan, delivered: Manifest) -> None:
    """Leave what a kill between the two renames leaves."""
    new = target.with_name("new")
    apply_merge(plan, new, RUN, None)
    target.rename(target.with_name(f".{target.name}.replaced-{RUN}"))
    new.rename(target.with_name(f".{target.name}.staging-{RUN}"))


def test_the_old_tree_comes_back_when_the_new_one_is_gone(
    target: Path, plan: MergePlan, delivered: Manifest
) -> None:
    target.rename(target.with_name(f".{target.name}.replaced-{RUN}"))
    recover_target(target, RUN)
    assert read_tree(target) == OLD
    assert beside(target) == []


def test_recovery_keeps_everything_when_the_target_was_written_meanwhile(
    target: Path, plan: MergePlan, delivered: Manifest
) -> None:
    cut_after_aside(target, plan, delivered)
    write_tree(target, {"mine": "x"})
    with pytest.raises(MergeError, match="Another process wrote"):
        recover_target(target, RUN)
    assert read_tree(target) == {"mine": "x"}
    assert len(beside(target)) == 2


def test_recovering_where_nothing_was_cut_does_nothing(
    tmp_path: Path, target: Path, delivered: Manifest
) -> None:
    recover_target(target, RUN)
    recover_target(tmp_path / "absent" / "app", RUN)
    assert read_tree(target) == OLD


def test_leftovers_of_another_run_are_left_alone(target: Path, plan: MergePlan) -> None:
    other = target.with_name(f".{target.name}.staging-other")
    other.mkdir(parents=True)
    apply_merge(plan, target, RUN, None)
    assert beside(target) == [other.name]


# Somebody writes while we deliver


class MeddledDisk(Disk):
    """Somebody does `meddle` right before the first rename."""

    def __init__(self, meddle: Callable[[], object]) -> None:
        self._meddle: Callable[[], object] | None = meddle

    def rename(self, old: Path, new: Path) -> None:
        if self._meddle is not None:
            self._meddle()
            self._meddle = None
        super().rename(old, new)


def test_a_target_that_appears_while_we_copy_is_kept(target: Path, plan: MergePlan) -> None:
    disk = MeddledDisk(lambda: write_tree(target, {"mine": "x"}))
    with pytest.raises(MergeError, match="could not be delivered"):
        apply_merge(plan, target, RUN, None, disk)
    assert read_tree(target) == {"mine": "x"}
    assert beside(target) == []


def test_a_delivered_target_that_is_edited_while_it_steps_aside_is_put_back(
    target: Path, plan: MergePlan, delivered: Manifest
) -> None:
    disk = MeddledDisk(lambda: (target / "README.md").write_text("mine"))
    with pytest.raises(MergeError, match="changed while"):
        apply_merge(plan, target, RUN, delivered, disk)
    assert read_tree(target) == {**OLD, "README.md": "mine"}
    assert beside(target) == []


def test_a_link_put_at_the_target_while_we_copy_is_not_followed(
    tmp_path: Path, target: Path, plan: MergePlan
) -> None:
    (tmp_path / "victim").mkdir()
    disk = MeddledDisk(lambda: target.symlink_to(tmp_path / "victim"))
    with pytest.raises(MergeError):
        apply_merge(plan, target, RUN, None, disk)
    assert list((tmp_path / "victim").iterdir()) == []
