"""Where the result of a run is, and how much of it."""

from engine.run.run_view import RunView
from engine.views.format import clean, plural


def delivered_to(run_view: RunView, *, short: bool = False) -> str:
    """Where the result is; `short` where the repository is told besides."""
    delivered, target = run_view.delivered, clean(run_view.header.target)
    branch = clean(delivered.branch) if delivered else ""
    if not branch:
        return target
    return f"branch {branch}" if short else f"branch {branch} of {target}"


def delivered_text(run_view: RunView) -> str:
    """How many files, such as `3 files changed, 1 deleted`; empty where there are none."""
    delivered = run_view.delivered
    if delivered is None or not run_view.delivered_files:
        return ""
    files = plural(delivered.files, "file")
    if not (delivered.branch or delivered.undo):
        return files
    return f"{files} changed" + (f", {delivered.deleted} deleted" if delivered.deleted else "")
