"""What a work tree has that its commit has not, found without a trace in the repository: git
compares in a git directory of our own, which has a copy of the index, the repository's objects, and
of its configuration only what says how files are to be read. So it knows no filter to run."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.repository.git import Git

_READING = (
    *("core.autocrlf", "core.eol", "core.filemode", "core.symlinks", "core.ignorecase"),
    *("core.precomposeunicode", "core.excludesfile", "core.trustctime", "core.checkstat"),
    "extensions.objectformat",
)


def uncommitted_names(
    git: Git, top: Path, prefix: str, *, untracked: bool = True, head: str = "HEAD"
) -> list[str]:
    """Paths below `prefix`, relative to it, of tracked files that differ from `head` and of
    untracked ones that are not ignored, a directory of these as one; `top` is the work tree."""
    kinds = "normal" if untracked else "no"
    with _compared(git, head) as (shadow, env):
        found = shadow.run(
            *("status", "--porcelain=v1", "-z", "--no-renames", f"--untracked-files={kinds}"),
            *("--ignore-submodules=all", *(("--", prefix) if prefix else ())),
            work_tree=top,
            env=env,
        )
    names = [os.fsdecode(record[3:]) for record in found.split(b"\0") if record]
    return sorted(name.removeprefix(prefix) for name in names)


def is_tracked(git: Git, prefix: str) -> bool:
    """Whether the index has anything below `prefix`."""
    with _compared(git) as (shadow, env):
        return bool(shadow.run("ls-files", "-z", "--cached", "--", prefix, env=env))


@contextmanager
def _compared(git: Git, head: str = "HEAD") -> Iterator[tuple[Git, dict[str, str]]]:
    """The git directory of our own, and what git needs in its environment there."""
    asked = ("rev-parse", "--path-format=absolute")
    common = Path(git.text(*asked, "--git-common-dir"))
    with tempfile.TemporaryDirectory(prefix="orchestrator-") as made:
        shadow = Path(made)
        for name in ("refs", "objects", "info"):
            (shadow / name).mkdir()
        commit = git.lookup("rev-parse", "--verify", "--quiet", f"{head}^{{commit}}")
        (shadow / "HEAD").write_text(f"{commit or 'ref: refs/heads/none'}\n")
        (shadow / "config").write_text(_config(git), encoding="utf-8", errors="surrogateescape")
        shared = [path.name for path in git.git_dir.glob("sharedindex.*")]
        for name in ("index", *shared, *(f"info/{n}" for n in ("exclude", "attributes"))):
            found = next((p for p in (git.git_dir / name, common / name) if p.is_file()), None)
            if found is not None:
                shutil.copy2(found, shadow / name)  # its time tells git which entries to doubt
        home = {n: os.environ[n] for n in ("HOME", "XDG_CONFIG_HOME") if n in os.environ}
        objects = git.text(*asked, "--git-path", "objects")
        yield Git(shadow), {**home, "GIT_OBJECT_DIRECTORY": objects}


def _config(git: Git) -> str:
    """Of the configuration that holds for the user there, what says how files are read."""
    listed = os.fsdecode(git.run("config", "--null", "--list", as_user=True)).split("\0")
    values: dict[str, str] = {}
    for record in listed:  # the last one wins
        name, has_value, value = record.partition("\n")
        values[name] = value if has_value else "true"
    lines = ["[core]", "\trepositoryformatversion = 1", "\tbare = false"]
    for name in (name for name in _READING if name in values):
        section, _, key = name.partition(".")
        value = values[name].replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        lines += [f"[{section}]", f'\t{key} = "{value}"']
    return "\n".join(lines) + "\n"
