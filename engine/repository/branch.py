"""The result as a branch of its own: one commit a step on the base's commit, made without a work
tree. What the run was not given keeps its place in the tree."""

import os
import shlex
import stat
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from core.errors import MergeError
from core.paths import path_defect
from core.workspace.confined import read_regular
from engine.repository.base import BaseRecord
from engine.repository.checkout import forward
from engine.repository.find import current_branch, nearest
from engine.repository.git import Git
from engine.repository.left_out import printable
from engine.repository.objects import Identity, store_blobs, store_commit
from engine.repository.run_branches import (
    branch_name,
    branch_record,
    branches_of,
    set_branch,
    set_versions,
    version_name,
)
from engine.repository.tree import Tree, kind_of, tree_writer
from engine.run.rundir import RunDir

_RESUME = "Find out what changes files of the run, then resume it: the task runs again."


@dataclass(frozen=True, slots=True)
class ChangedFile:
    """What `source` holds goes to `path`, relative to the base's directory."""

    path: str
    source: Path
    sha256: str
    size: int
    mode: int


@dataclass(frozen=True, slots=True)
class CommitStep:
    """One commit: `files` are new or changed, `deleted` are gone. With the same `when`, in Unix
    seconds, it has the same id whenever it is made."""

    subject: str
    body: str
    trailers: tuple[tuple[str, str], ...]
    files: tuple[ChangedFile, ...]
    deleted: tuple[str, ...]
    when: float


def commit_steps(run: RunDir, base: BaseRecord, steps: Sequence[CommitStep]) -> str:
    """Commit the steps one after the other on the base, and set the run's branch to the last
    commit, whose id it gives. A step that changes nothing makes no commit. Done again, it gives the
    same ids. Raises MergeError, GitFailed."""
    git = Git(Path(base.git_dir))
    record = branch_record(run, git)
    tip = _commit(run, git, base, record.who, steps)
    set_branch(run, git, record, tip)
    return tip


def commit_versions(
    run: RunDir, base: BaseRecord, versions: Mapping[str, Sequence[CommitStep]]
) -> set[str]:
    """Beside the run's branch, one for each task that is named, with these steps on the base; those
    of an earlier delivery that are of no use any more are removed. One that is not as the run left
    it is somebody's work, and stays. Gives the tasks whose branch is there. Raises MergeError,
    GitFailed."""
    git = Git(Path(base.git_dir))
    record = branch_record(run, git)
    who = record.who
    tips = {task: _commit(run, git, base, who, steps) for task, steps in versions.items()}
    return set_versions(run, git, record, tips)


def _commit(
    run: RunDir, git: Git, base: BaseRecord, who: Identity, steps: Sequence[CommitStep]
) -> str:
    tip = base.commit
    tree_id = git.text("rev-parse", "--verify", f"{tip}^{{tree}}")
    with git.objects() as reader, tree_writer(git) as writer:
        work = _Work(base, Tree(reader, tree_id))
        for step in steps:
            ids = store_blobs(git, map(proven_content, step.files), run.root)
            work.take(step, ids)
            if (written := work.tree.write(writer)) != tree_id:
                tree_id = written
                tip = store_commit(git, tree_id, tip, commit_message(step), who, step.when)
    return tip


def obstacles(
    base: BaseRecord, files: Collection[str], deleted: Collection[str] = ()
) -> dict[str, str]:
    """Why each of these paths cannot be written, of those that cannot, once `deleted` are gone: the
    base has what the run was not given there. commit_steps and replace_files would refuse them."""
    git = Git(Path(base.git_dir))
    with git.objects() as reader:
        tree = git.text("rev-parse", "--verify", f"{base.commit}^{{tree}}")
        work = _Work(base, Tree(reader, tree))
        found = {path: why for path in deleted if (why := work.remove(path))}
        found |= {path: why for path in files if (why := work.obstacle(path))}
    left_out = {entry.path for entry in base.left_out if base.is_plain}  # not in its commit
    for path in files if left_out else ():
        parts = path.split("/")
        for place in ("/".join(parts[:depth]) for depth in range(1, len(parts) + 1)):
            if place in left_out:
                found.setdefault(path, f"{place!r} is there, and was left out of the base")
    return found


class _Work:
    """The tree of the base as the steps change it."""

    def __init__(self, base: BaseRecord, tree: Tree) -> None:
        self.tree = tree
        self._prefix = base.prefix
        self._given = set(base.manifest.paths)

    def take(self, step: CommitStep, ids: Sequence[str]) -> None:
        for path in step.deleted:
            self._refuse(path, self.remove(path))
        for file, oid in zip(step.files, ids, strict=True):
            self._refuse(file.path, self.obstacle(file.path))
            place, mode = self._prefix + file.path, 0o100755 if file.mode & 0o100 else 0o100644
            there = self.tree.file(place)
            if there is not None and bool(there[0] & 0o100) == bool(mode & 0o100):
                mode = there[0]
            if there != (mode, oid):
                self.tree.put(place, mode, oid)
            self._given.add(file.path)

    def remove(self, path: str) -> str | None:
        """Why it cannot be removed. What is gone already is."""
        if path_defect(path) is None and self.tree.file(self._prefix + path) is not None:
            if (why := self.obstacle(path)) is not None:
                return why
            self.tree.remove(self._prefix + path)
        return None

    def obstacle(self, path: str) -> str | None:
        if (defect := path_defect(path)) is not None:
            return f"the name {defect}"
        place = self._prefix + path
        if (why := self.tree.obstacle(place)) is not None:
            return why
        if (there := self.tree.file(place)) is None:
            return None
        if not stat.S_ISREG(there[0]):
            return f"{place!r} is {kind_of(there[0])} there"
        return None if path in self._given else f"{place!r} is there, and was left out of the base"

    def _refuse(self, path: str, why: str | None) -> None:
        if why is not None:
            raise MergeError(
                f"{path} cannot be committed: {printable(why)}.",
                "Let the plan use another name, or change that in the repository first.",
            )


def proven_content(file: ChangedFile) -> bytes:
    """Raises MergeError where it is not as it was handed in."""
    try:
        data = read_regular(file.source, file.size)
    except OSError as exc:
        why = f"{file.source} cannot be read ({exc.strerror or exc})"
        raise MergeError(f"{file.path} cannot be committed: {why}.", _RESUME) from exc
    if sha256(data).hexdigest() != file.sha256:
        why = f"{file.source} is not as it was handed in"
        raise MergeError(f"{file.path} cannot be committed: {why}.", _RESUME)
    return data


def commit_message(step: CommitStep) -> str:
    parts = [_one_line(step.subject) or "Change", step.body.replace("\0", "").strip()]
    parts.append("\n".join(f"{_one_line(n)}: {_one_line(value)}" for n, value in step.trailers))
    return "\n\n".join(part for part in parts if part) + "\n"


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def fast_forward(base: BaseRecord, run: RunDir) -> str | None:
    """Bring the branch that was checked out at the start, and its work tree, to the run's branch.
    None when that is done, also by an earlier call; else why not, and nothing has changed."""
    if base.is_plain:
        return f"{base.directory} is no repository"
    git, name = Git(Path(base.git_dir)), branch_name(run.run_id)
    tip, head = _tip_and_head(git, name)
    if not tip:
        return f"there is no branch {name}"
    now = current_branch(git)
    if not base.branch or now != base.branch:
        wanted = f"not {base.branch}" if base.branch else "and none was when the run began"
        return f"{now or 'no branch'} is checked out, {wanted}"
    if (shared := git.lookup("merge-base", head, tip)) == tip:
        return None
    if shared != head:
        return f"{now} has moved since the run began"
    top = Path(os.path.realpath(base.directory), *[".."] * base.prefix.count("/")).resolve()
    who = branch_record(run, git).who
    return forward(git, top, head, tip, who, f"merge {name}: Fast-forward")


def _tip_and_head(git: Git, name: str) -> tuple[str, str]:
    """The commits of a branch and of what is checked out; "" for none."""
    verify = ("rev-parse", "--verify", "--quiet")
    return git.lookup(*verify, f"refs/heads/{name}"), git.lookup(*verify, "HEAD^{commit}")


def how_to_take(base: BaseRecord, run_id: str) -> str:
    """The command that brings the branch to where the user works; empty for a plain directory, and
    where it is there already."""
    if base.is_plain:
        return ""
    git, name = Git(Path(base.git_dir)), branch_name(run_id)
    there = ("git", "-C", str(nearest(Path(base.directory))))
    tip, head = _tip_and_head(git, name)
    if head == base.commit:
        return shlex.join((*there, "merge", "--ff-only", name))
    if head and tip and git.lookup("merge-base", head, tip) == tip:
        return ""
    return shlex.join((*there, "rebase", current_branch(git) or "HEAD", name))


def how_to_undo(base: BaseRecord, run: RunDir) -> str:
    """The commands after which the repository is as before the run: what was applied, if nothing
    came after it, and the branches."""
    git, there = Git(Path(base.git_dir)), ("git", "-C", str(nearest(Path(base.directory))))
    tip, head = _tip_and_head(git, branch_name(run.run_id))
    is_applied = tip and head == tip and current_branch(git) == base.branch
    back = [(*there, "reset", "--keep", base.commit)] if is_applied else []
    removal = (*there, "branch", "-D", *branches_of(run, git))
    return " && ".join(map(shlex.join, (*back, removal)))


def how_to_compare(base: BaseRecord, run_id: str, task: str, path: str) -> str:
    """The command that shows what a task made of the file, where its branch has another version
    than that of the run."""
    both = f"{branch_name(run_id)}...{version_name(run_id, task)}"
    return shlex.join(("git", "-C", str(nearest(Path(base.directory))), "diff", both, "--", path))
