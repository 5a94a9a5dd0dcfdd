"""The branches of a run: its own, and beside it one for each task with a version of a file that has
lost in a conflict. Each is moved or removed only from where the run has set it to."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from core.errors import MergeError
from core.wire import decode, encode, write_atomic
from engine.repository.git import Git
from engine.repository.objects import Identity, author_of
from engine.run.rundir import RunDir

_HEADS = "refs/heads/"


@dataclass(frozen=True, slots=True)
class BranchRecord:
    """branch.json: who commits, and every commit that the branch was, or was to be, set to;
    `versions` has the same of the tasks' branches."""

    name: str
    email: str
    commits: tuple[str, ...] = ()
    versions: dict[str, tuple[str, ...]] = field(default_factory=dict)
    version: int = 1

    @property
    def who(self) -> Identity:
        return Identity(self.name, self.email)


def branch_name(run_id: str) -> str:
    return f"orchestrator/{run_id}"


def version_name(run_id: str, task: str) -> str:
    """Beside the run's branch: git has no room for one below it."""
    return f"{branch_name(run_id)}-{task}"


def branches_of(run: RunDir, git: Git) -> list[str]:
    """The run's own, and those of tasks that are there."""
    versions = branch_record(run, git).versions if run.branch_json.exists() else ()
    names = (version_name(run.run_id, task) for task in versions)
    return [branch_name(run.run_id), *(name for name in names if _place_of(git, name)[0])]


def branch_record(run: RunDir, git: Git) -> BranchRecord:
    if run.branch_json.exists():
        return decode(BranchRecord, run.branch_json.read_bytes(), str(run.branch_json))
    who = author_of(git)
    return BranchRecord(who.name, who.email)


def set_branch(run: RunDir, git: Git, record: BranchRecord, tip: str) -> None:
    """Raises MergeError where it is not as the run left it, or checked out."""
    name = branch_name(run.run_id)
    now, work_tree = _place_of(git, name)
    if now == tip:
        return
    if now and now not in record.commits:
        raise MergeError(
            f"The branch {name} was moved to {now[:12]} by somebody else.",
            f"Rename it and resume the run: git branch -m {name} NAME.",
        )
    if work_tree:
        raise MergeError(
            f"The branch {name} is checked out in {work_tree}, and would move.",
            "Check out another one there, then resume the run.",
        )
    _refuse_links(git)
    commits = (*dict.fromkeys((*record.commits, tip)),)
    _write(run, replace(record, commits=commits))
    _update(git, name, tip, now)


def set_versions(run: RunDir, git: Git, record: BranchRecord, tips: Mapping[str, str]) -> set[str]:
    """Set the branch of each task to its commit, and remove those of other tasks. Gives the tasks
    whose branch is there: not as the run left it, or checked out, it stays as it is."""
    known = dict(record.versions)
    places = {task: _place_of(git, version_name(run.run_id, task)) for task in {*tips, *known}}
    ours = {
        task: now
        for task, (now, work_tree) in places.items()
        if not work_tree and (not now or now in known.get(task, ()))
    }
    moved = {task: tip for task, tip in tips.items() if ours.get(task, tip) != tip}
    gone = {task: now for task, now in ours.items() if now and task not in tips}
    if moved or gone:
        _refuse_links(git)
    if moved:
        known |= {task: (*known.get(task, ()), tip) for task, tip in moved.items()}
        _write(run, replace(record, versions=known))
    for task, tip in moved.items():
        _update(git, version_name(run.run_id, task), tip, ours[task])
    for task, now in gone.items():
        _update(git, version_name(run.run_id, task), "", now)
    return {task for task, tip in tips.items() if task in moved or places[task][0] == tip}


def _update(git: Git, name: str, tip: str, now: str) -> None:
    """From `now` to `tip`; "" is for none."""
    ref = f"{_HEADS}{name}"
    git.run("update-ref", "--no-deref", *((ref, tip) if tip else ("-d", ref)), now)


def _place_of(git: Git, name: str) -> tuple[str, str]:
    """The commit of a branch, and the work tree that has it checked out; "" for none."""
    ask = ("for-each-ref", "--format=%(objectname) %(worktreepath)", f"{_HEADS}{name}")
    now, _, work_tree = git.text(*ask).partition(" ")
    return now, work_tree


def _write(run: RunDir, record: BranchRecord) -> None:
    write_atomic(run.branch_json, encode(record), durable=True)


def _refuse_links(git: Git) -> None:
    """git would follow one from where it keeps branches to anywhere."""
    common = Path(git.text("rev-parse", "--path-format=absolute", "--git-common-dir"))
    for name in ("refs", "refs/heads", "refs/heads/orchestrator"):
        if (common / name).is_symlink():
            raise MergeError(
                f"{common / name} is a symbolic link, and no branch is written through it.",
                "Put a directory in its place, then resume the run.",
            )
