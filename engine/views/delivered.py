"""Where the result of a run is, and how much of it."""

from engine.run.run_view import RunView
from engine.views.format import clean, plural


def delivered_to(run_view: RunView) -> str:
    """Where the result is."""
    delivered, target = run_view.delivered, clean(run_view.header.target)
    branch = clean(delivered.branch) if delivered else ""
    return f"branch {branch} of {target}" if branch else target


def delivered_text(run_view: RunView) -> str:
    """How many files, such as `3 files changed, 1 deleted`; empty where there are none."""
    delivered = run_view.delivered
    if delivered is None or not run_view.delivered_files:
        return ""
    files = plural(delivered.files, "file")
    if not (delivered.branch or delivered.undo):
        return files
    return f"{files} changed" + (f", {delivered.deleted} deleted" if delivered.deleted else "")
