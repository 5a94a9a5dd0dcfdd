"""Plan files: what --plan reads and `plan -o` writes, as TOML where the name ends in .toml."""

import errno
import os
import tempfile
from pathlib import Path

from core.errors import OutputFailed, UsageError
from core.plan import Plan, parse_plan, render_plan
from core.text_file import read_text
from core.wire import write_atomic
from engine.planning.plan_toml import parse_toml_plan, render_toml_plan


def read_plan(path: Path) -> Plan:
    """The plan in a file. Raises UsageError, and PlanInvalid with every defect."""
    try:
        text = read_text(path)
    except OSError as exc:
        raise UsageError(
            f"The plan file {path} cannot be read: {exc.strerror}.",
            "Name a plan in UTF-8, such as one written with `plan -o`.",
        ) from exc
    return parse_toml_plan(text, str(path)) if _is_toml(path) else parse_plan(text, str(path))


def check_prompt(plan: Plan, path: Path, prompt: str) -> None:
    """Raises UsageError when a prompt is given that is not the plan's."""
    if prompt and plan.prompt.strip() not in ("", prompt.strip()):
        raise UsageError(
            f"The plan file {path} was made for another prompt: {plan.prompt[:200]!r}.",
            "Leave out the prompt to carry out the plan, or --plan to have another one made.",
        )


def render_plan_file(plan: Plan, path: Path) -> str:
    """The text of the file `path` that `read_plan` reads."""
    return render_toml_plan(plan) if _is_toml(path) else render_plan(plan)


def write_plan(plan: Plan, path: Path, spare: Path) -> None:
    """Write the new file `path`. Raises OutputFailed, which tells where the plan is
    instead: it was paid for."""
    try:
        _check_new(path)
        write_atomic(path, render_plan_file(plan, path))
    except OSError as exc:
        raise OutputFailed(str(path), exc, rescue_plan(plan, spare)) from exc


def rescue_plan(plan: Plan, spare: Path) -> str:
    """Keep a plan that could not be written where it was wanted; a sentence that tells where."""
    try:
        spare.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(spare, render_plan(plan), durable=True)
    except OSError:
        return f"This is the plan:\n{render_plan(plan)}"
    return f"The plan is kept in {spare}, for --plan."


def _is_toml(path: Path) -> bool:
    return path.suffix.lower() == ".toml"


def check_writable(path: Path) -> None:
    """Raises UsageError unless a plan can be written to the new file `path`; leaves nothing."""
    try:
        _check_new(path)
        tempfile.TemporaryFile(dir=path.absolute().parent).close()
    except OSError as exc:
        raise UsageError(
            f"The plan cannot be written to {path}: {exc.strerror}.", "Name another file with -o."
        ) from exc


def _check_new(path: Path) -> None:
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, "it exists already")
