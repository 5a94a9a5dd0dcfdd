"""Where existing code is: the repository of a directory, its commit, and what makes it unusable."""

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from core.errors import GitFailed, TargetRefused, UsageError
from core.paths import path_defect
from core.settings.types import is_utf8
from engine.repository.git import Git, call_git, environment
from engine.repository.tree import Tree
from engine.repository.uncommitted import is_tracked

_NAME_ANOTHER = "Name another directory with --into."
_DIRECTORY, _SUBMODULE = "040000 tree", "160000 commit"


@dataclass(frozen=True, slots=True)
class FoundBase:
    """`directory` is as it was named, absolute. Of a plain directory the rest is empty, else `top`
    is the work tree, and `prefix`, which ends with a slash, where the directory is in it. `branch`
    is the one checked out, empty when HEAD is detached. `is_new`: the commit has no such directory,
    and the work tree has none or an empty one."""

    directory: Path
    git_dir: Path | None = None
    top: Path | None = None
    prefix: str = ""
    commit: str = ""
    branch: str = ""
    is_new: bool = False


def find_base(into: Path, ref: str = "") -> FoundBase:
    """Looks only. `ref` names the commit, "" that of HEAD. Raises UsageError, TargetRefused, and
    PreflightFailed where git is missing or old."""
    directory = _directory(into)
    try:
        found = _find(directory, ref)
    except GitFailed as exc:
        remedy = exc.remedy.replace("DIRECTORY", str(directory))
        raise TargetRefused(f"{directory} cannot be worked on: {exc.message}", remedy) from exc
    result = found.git_dir or directory
    if not os.access(result, os.W_OK):
        raise TargetRefused(f"{result} may not be written.", "Give yourself the permission.")
    return found


def nearest(directory: Path) -> Path:
    """It, or the first above it that is there."""
    return next(place for place in (directory, *directory.parents) if os.path.lexists(place))


def _find(directory: Path, ref: str) -> FoundBase:
    place = nearest(directory)
    git_dir = _git_dir(place)
    if git_dir is None:
        if place != directory:
            raise _absent(directory)
        if (above := _holder_of_git(directory)) is not None:
            raise TargetRefused(
                f"git does not take {above / '.git'} for a repository.",
                "Mend it, see git fsck, or move it away: the directory is then a plain one.",
            )
        return _plain(directory, ref, "is in no git repository")
    top, git = _work_tree(place, git_dir), Git(git_dir)
    below = Path(os.path.realpath(directory)).relative_to(top).as_posix()
    prefix = "" if below == "." else f"{below}/"
    commit, branch = _commit(git, place, ref), current_branch(git)
    kind = _kind_at(git, commit, below) if prefix else _DIRECTORY
    if is_new := kind != _DIRECTORY:
        if kind == _SUBMODULE:
            raise UsageError(
                f"{directory} is a submodule that is not checked out.",
                f"Do that: git -C {shlex.quote(str(top))} submodule update --init"
                f" -- {shlex.quote(below)}.",
            )
        why = f"is not in the commit {commit[:12]} of {top}"
        if is_tracked(git, prefix):
            remedy = "Commit it first, or name a commit that has it with --base."
            raise UsageError(f"{directory} {why}.", remedy)
        if _has_files(directory) or _is_ignored(git, top, below):
            if place != directory:
                raise _absent(directory)
            return _plain(directory, ref, why)
        _refuse_taken(git, commit, directory, below)
    if git.lookup(*_verify("refs/heads/orchestrator")):
        raise UsageError(
            f"{top} has a branch named orchestrator, which leaves no room for orchestrator/RUN.",
            f"Rename it, such as by: git -C {top} branch -m orchestrator NAME.",
        )
    return FoundBase(directory, git_dir, top, prefix, commit, branch, is_new)


def _has_files(directory: Path) -> bool:
    return any(files for _, _, files in os.walk(directory))


def _is_ignored(git: Git, top: Path, below: str) -> bool:
    """Whether git would not see a file there."""
    command = ("check-ignore", "--quiet", "--no-index", "--", f"./{below}/file")
    takes_no_literal = {"GIT_LITERAL_PATHSPECS": "0"}
    try:
        git.run(*command, work_tree=top, as_user=True, env=takes_no_literal)
    except GitFailed as exc:
        if exc.code == 1:
            return False
        raise
    return True


def _refuse_taken(git: Git, commit: str, directory: Path, below: str) -> None:
    """Where no file can be put below a new directory."""
    with git.objects() as reader:
        tree = Tree(reader, git.text("rev-parse", "--verify", f"{commit}^{{tree}}"))
        why = tree.obstacle(f"{below}/file")
    if (defect := path_defect(below)) is not None:
        why = f"the name {defect}"
    if why is not None:
        raise UsageError(f"{directory} cannot be made in {commit[:12]}: {why}.", _NAME_ANOTHER)


def _kind_at(git: Git, commit: str, path: str) -> str:
    """Mode and type of a directory or submodule; empty where there is none."""
    listed = git.text("ls-tree", "-d", "-z", "--full-tree", commit, "--", path)
    return " ".join(listed.split(" ", 2)[:2])


def _directory(into: Path) -> Path:
    if "\0" in str(into) or not is_utf8(str(into)) or not is_utf8(os.path.realpath(into)):
        why = "its name is not in UTF-8"
        raise TargetRefused(f"{str(into)!r} cannot be worked on: {why}.", _NAME_ANOTHER)
    directory = Path(os.path.abspath(into))
    place = nearest(directory)
    if not place.is_dir():
        raise TargetRefused(f"{place} is not a directory.", _NAME_ANOTHER)
    if not os.access(place, os.R_OK | os.X_OK):
        raise TargetRefused(f"{place} may not be read.", "Give yourself the permission.")
    return directory


def _absent(directory: Path) -> TargetRefused:
    return TargetRefused(f"{directory} does not exist.", _NAME_ANOTHER)


def _git_dir(directory: Path) -> Path | None:
    """Found by git itself, under the user's own settings of whom to trust."""
    try:
        return Path(_ask(directory, "--absolute-git-dir"))
    except GitFailed as exc:
        if "not a git repository (or any" in exc.message:
            return None
        raise


def _work_tree(directory: Path, git_dir: Path) -> Path:
    """The directory that holds `.git`. Another one may be configured; that is not followed."""
    if _ask(directory, "--is-bare-repository") == "true":
        raise TargetRefused(
            f"{git_dir} is a bare repository.", "Name a work tree of it: git worktree add DIR."
        )
    if _ask(directory, "--is-inside-git-dir") == "true":
        raise TargetRefused(f"{directory} is inside git's own directory {git_dir}.", _NAME_ANOTHER)
    top = _holder_of_git(directory)
    inside = _ask(directory, "--is-inside-work-tree") == "true"
    if top is None or not inside or Path(_ask(directory, "--show-toplevel")) != top:
        raise TargetRefused(
            f"The repository of {directory} has its work tree elsewhere (core.worktree).",
            "Name the directory that holds .git, and remove that setting.",
        )
    return top


def _holder_of_git(directory: Path) -> Path | None:
    """The directory itself, or the nearest above it on its file system, that holds `.git`."""
    real = Path(os.path.realpath(directory))
    same = (p for p in (real, *real.parents) if p.stat().st_dev == real.stat().st_dev)
    return next((p for p in same if os.path.lexists(p / ".git")), None)


def _ask(directory: Path, question: str) -> str:
    command = ("-C", str(directory), "rev-parse", question)
    told = call_git(command, directory, b"", environment({}, as_user=True))
    return os.fsdecode(told.removesuffix(b"\n"))


def _verify(name: str) -> tuple[str, ...]:
    return ("rev-parse", "--verify", "--quiet", "--end-of-options", name)


def _commit(git: Git, directory: Path, ref: str) -> str:
    wanted = ref or "HEAD"
    try:
        named = git.lookup(*_verify(wanted))
        found = named and git.lookup(*_verify(f"{named}^{{commit}}"))
    except GitFailed as exc:
        raise UsageError(f"--base {wanted!r} cannot be used: {exc.message}", exc.remedy) from exc
    if found:
        return found
    if wanted == "HEAD":
        raise UsageError(
            f"The repository of {directory} has no commit yet.",
            "Make one: git add . && git commit --allow-empty -m base.",
        )
    raise UsageError(
        f"--base {wanted!r} is no commit of the repository of {directory}.",
        "Name a commit, a branch or a tag: git branch --all.",
    )


def current_branch(git: Git) -> str:
    """The name of the branch that is checked out, "" when HEAD is detached."""
    return git.lookup("symbolic-ref", "--quiet", "HEAD").removeprefix("refs/heads/")


def _plain(directory: Path, ref: str, why: str) -> FoundBase:
    if ref not in ("", "HEAD"):
        raise UsageError(f"--base {ref!r} cannot be used: {directory} {why}.", "Leave it out.")
    return FoundBase(directory)
