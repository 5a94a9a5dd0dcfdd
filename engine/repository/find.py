"""Where existing code is: the repository of a directory, its commit, and what makes it unusable."""

import os
from dataclasses import dataclass
from pathlib import Path

from core.errors import GitFailed, TargetRefused, UsageError
from core.settings.types import is_utf8
from engine.repository.git import Git, call_git, environment
from engine.repository.uncommitted import is_tracked

_NAME_ANOTHER = "Name another directory with --into."


@dataclass(frozen=True, slots=True)
class FoundBase:
    """`directory` is as it was named, absolute. Of a plain directory the rest is empty, else `top`
    is the work tree, and `prefix`, which ends with a slash, where the directory is in it. `branch`
    is the one checked out, empty when HEAD is detached."""

    directory: Path
    git_dir: Path | None = None
    top: Path | None = None
    prefix: str = ""
    commit: str = ""
    branch: str = ""


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


def _find(directory: Path, ref: str) -> FoundBase:
    git_dir = _git_dir(directory)
    if git_dir is None:
        if (above := _holder_of_git(directory)) is not None:
            raise TargetRefused(
                f"git does not take {above / '.git'} for a repository.",
                "Mend it, see git fsck, or move it away: the directory is then a plain one.",
            )
        return _plain(directory, ref, "is in no git repository")
    top, git = _work_tree(directory, git_dir), Git(git_dir)
    below = Path(os.path.realpath(directory)).relative_to(top).as_posix()
    prefix = "" if below == "." else f"{below}/"
    commit, branch = _commit(git, directory, ref), current_branch(git)
    if prefix and not _has_directory(git, commit, below):
        if not is_tracked(git, prefix):
            return _plain(directory, ref, f"is not in the commit {commit[:12]} of {top}")
        raise UsageError(
            f"{directory} is not in the commit {commit[:12]} of {top}.",
            "Commit it first, or name a commit that has it with --base.",
        )
    if git.lookup(*_verify("refs/heads/orchestrator")):
        raise UsageError(
            f"{top} has a branch named orchestrator, which leaves no room for orchestrator/RUN.",
            f"Rename it, such as by: git -C {top} branch -m orchestrator NAME.",
        )
    return FoundBase(directory, git_dir, top, prefix, commit, branch)


def _has_directory(git: Git, commit: str, path: str) -> bool:
    listed = git.text("ls-tree", "-d", "-z", "--full-tree", commit, "--", path)
    return listed.startswith("040000 tree ")


def _directory(into: Path) -> Path:
    if "\0" in str(into) or not is_utf8(str(into)) or not is_utf8(os.path.realpath(into)):
        why = "its name is not in UTF-8"
        raise TargetRefused(f"{str(into)!r} cannot be worked on: {why}.", _NAME_ANOTHER)
    directory = Path(os.path.abspath(into))
    if not directory.is_dir():
        found = "is not a directory" if os.path.lexists(directory) else "does not exist"
        raise TargetRefused(f"{directory} {found}.", _NAME_ANOTHER)
    if not os.access(directory, os.R_OK | os.X_OK):
        raise TargetRefused(f"{directory} may not be read.", "Give yourself the permission.")
    return directory


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
            "Make one: git add . && git commit -m base.",
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
