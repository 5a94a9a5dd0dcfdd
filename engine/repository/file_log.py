"""The last commits that changed a file, as a planner may ask for them."""

from collections.abc import Callable
from pathlib import Path

from core.errors import GitFailed, WorkspaceError
from engine.repository.base import BaseRecord
from engine.repository.git import Git
from engine.repository.left_out import printable

MOST_COMMITS = 20
_MOST_SUBJECT_CHARS = 120
_LIMIT_S = 10.0
_ELSE = "Read the file instead."
_OLDER = f"[the last {MOST_COMMITS}; older ones are not shown]"
_SHALLOW = "[the clone is shallow: what came before is not here]"


def log_of(base: BaseRecord) -> Callable[[str], str] | None:
    """Gives a line for each commit up to the base's: its id, date and subject. Paths are relative
    to the base's directory; it raises WorkspaceError for others, and where git fails. None for a
    directory that is in no repository."""
    if base.is_plain:
        return None
    git = Git(Path(base.git_dir))
    return lambda path: _log(git, base.commit, base.prefix, path)


def _log(git: Git, commit: str, prefix: str, path: str) -> str:
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or ".." in parts or "\0" in path:
        raise WorkspaceError(f"{path!r} is not inside the project.", "Give a relative path.")
    place = prefix + "/".join(parts)
    form = ("--no-commit-header", "--format=%H %as %s", "--encoding=UTF-8")
    among = ("--", place) if place else ()
    try:
        # no log: that heeds settings of the repository, one of which checks signatures
        told = git.run(
            *("rev-list", f"--max-count={MOST_COMMITS}", *form, commit, *among), limit_s=_LIMIT_S
        )
        is_shallow = git.text("rev-parse", "--is-shallow-repository") == "true"
    except GitFailed as exc:
        raise WorkspaceError(exc.message, _ELSE) from exc
    lines = told.decode("utf-8", "replace").split("\n")[:-1]
    if not lines:
        return f"No commit has changed {path!r}."
    more = _OLDER if len(lines) == MOST_COMMITS else _SHALLOW if is_shallow else ""
    return "\n".join(filter(None, [*map(_short, lines), more]))


def _short(line: str) -> str:
    commit, date, subject = (*line.split(" ", 2), "")[:3]
    return f"{commit[:12]} {date} {printable(subject[:_MOST_SUBJECT_CHARS])}"
