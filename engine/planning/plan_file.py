"""Plan files: what --plan reads and `plan -o` writes, as TOML where the name ends in .toml."""

import errno
import os
import tempfile
from pathlib import Path

from core.errors import UsageError
from core.plan import Plan, parse_plan, render_plan
from engine.planning.plan_toml import parse_toml_plan, render_toml_plan


def read_plan(path: Path) -> Plan:
    """The plan in a file. Raises UsageError, and PlanInvalid with every defect."""
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors begin with a byte order mark
    except (OSError, UnicodeDecodeError) as exc:
        reason = getattr(exc, "strerror", None) or exc
        raise UsageError(
            f"The plan file {path} cannot be read: {reason}.",
            "Name a plan in UTF-8, such as one written with `plan -o`.",
        ) from exc
    return parse_toml_plan(text, str(path)) if _is_toml(path) else parse_plan(text, str(path))


def render_plan_file(plan: Plan, path: Path) -> str:
    """The text of the file `path` that `read_plan` reads."""
    return render_toml_plan(plan) if _is_toml(path) else render_plan(plan)


def _is_toml(path: Path) -> bool:
    return path.suffix.lower() == ".toml"


def check_writable(path: Path) -> None:
    """Raises UsageError when a plan cannot be written to `path`; leaves nothing behind."""
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        tempfile.TemporaryFile(dir=path.absolute().parent).close()
    except OSError as exc:
        raise UsageError(
            f"The plan cannot be written to {path}: {exc.strerror}.", "Name another file with -o."
        ) from exc
