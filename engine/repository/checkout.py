"""The branch that is checked out, fast-forwarded: git itself brings work tree and index along, with
hooks and filters off, and only where nothing of the user's is in the way."""

import os
import shutil
import tempfile
from pathlib import Path

from core.errors import GitFailed
from engine.repository.git import Git
from engine.repository.left_out import printable
from engine.repository.objects import Identity
from engine.repository.uncommitted import uncommitted_names


def forward(git: Git, top: Path, head: str, tip: str, who: Identity, why: str) -> str | None:
    """From `head`, which is checked out in the work tree `top`, to `tip`, with `why` in the reflog.
    Gives why not, and has changed nothing then."""
    try:
        if uncommitted_names(git, top, "", untracked=False, head=tip):  # else it was cut off here
            if names := uncommitted_names(git, top, "", untracked=False):
                return f"the work tree has uncommitted changes, such as {printable(names[0])}"
            if (filtered := _filtered(git, top, head, tip)) is not None:
                return filtered
            _read_tree(git, top, head, tip)
        env = {"GIT_COMMITTER_NAME": who.name, "GIT_COMMITTER_EMAIL": who.email}
        git.run("update-ref", "-m", why, "HEAD", tip, head, env=env)
    except GitFailed as exc:
        return f"{exc.message.rstrip('.')}"
    return None


def _filtered(git: Git, top: Path, head: str, tip: str) -> str | None:
    """A file that is not in the work tree as it is in the repository, which only its filter knows
    how to make."""
    names = git.run("diff-tree", "-r", "-z", "--name-only", "--no-renames", head, tip)
    command = ("check-attr", "-z", "--stdin", "filter")
    told = os.fsdecode(git.run(*command, stdin=names, work_tree=top)).split("\0")
    for path, value in zip(told[::3], told[2::3], strict=False):
        if value not in ("unspecified", "unset"):
            return (
                f"{printable(path)} passes the filter {printable(value)!r}, which is not run here"
            )
    return None


def _read_tree(git: Git, top: Path, head: str, tip: str) -> None:
    listed = git.run("config", "--null", "--name-only", "--list", as_user=True)
    keys = [key for key in os.fsdecode(listed).split("\0") if key.startswith("filter.")]
    off = {key: "false" if key.endswith(".required") else "" for key in keys}
    # in the environment, since a name may have any character, also that which ends it for -c
    env = {"GIT_CONFIG_COUNT": str(len(off))}
    for number, (key, value) in enumerate(off.items()):
        env |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    with tempfile.TemporaryDirectory(prefix="orchestrator-") as made:
        trial = Path(made, "index")
        shutil.copy2(git.git_dir / "index", trial)
        for index, dry in ((trial, ("-n",)), (None, ())):  # git may refuse, and the index stays
            for command in (
                ("update-index", "-q", "--refresh", "--ignore-submodules"),
                ("read-tree", *dry, "-m", "-u", "--no-recurse-submodules", head, tip),
            ):
                git.run(*command, index=index, work_tree=top, env=env, as_user=True)
