"""Prompts: the instructions beside this file, and the first message of an executor.

The shared text is the same bytes for all tasks of a run, so that the provider's cache serves them.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from core.bundle import Request

_MOST_FILES_NAMED = 400


@lru_cache(maxsize=8)
def load_prompt(name: str) -> str:
    """The text of `name`.md."""
    return (Path(__file__).parent / f"{name}.md").read_text(encoding="utf-8")


def load_executor_prompt(*, commands: bool) -> str:
    """The instructions of an executor on the Messages API: one text for those that may run
    commands, and one for those that may not."""
    return load_prompt("executor") + load_prompt(f"executor_{'' if commands else 'no_'}commands")


def render_request(prompt: str) -> str:
    """What the person asked for, marked as such."""
    return f"<request>\n{prompt}\n</request>"


def render_shared(request: Request, contracts: Mapping[str, str]) -> str:
    """The same for every task of the run: the request, the plan's brief, the whole contracts."""
    parts = [render_request(request.prompt), f"<plan>\n{request.brief}</plan>"]
    parts += [f'<contract path="{path}">\n{text}\n</contract>' for path, text in contracts.items()]
    return "\n".join(parts)


def render_task(request: Request, files: Iterable[str]) -> str:
    """This task's own part; `files` are the paths of other tasks that it may read."""
    task = request.task
    named = list(files)
    if len(named) > _MOST_FILES_NAMED:
        rest = len(named) - _MOST_FILES_NAMED
        named = [*named[:_MOST_FILES_NAMED], f"(and {rest} more; list_files shows them)"]
    parts = [f'<task id="{task.id}" attempt="{request.key.attempt}">', task.title, ""]
    parts += [task.instructions, *_section("owns", task.owns), *_section("checks", task.checks)]
    parts += _section("files", named)
    if request.previous_failure:
        parts += _section("previous_failure", [request.previous_failure])
    return "\n".join([*parts, "</task>"])


def render_defects(defects: Iterable[str]) -> str:
    """What has to be put right, as it goes back to the model."""
    return "\n".join(["<defects>", *(f"- {defect}" for defect in defects), "</defects>"])


def _section(name: str, lines: Iterable[str]) -> list[str]:
    return [f"<{name}>", *lines, f"</{name}>"]
