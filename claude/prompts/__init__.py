"""Prompts: the instructions beside this file, and the first message of an executor.

The shared text is the same bytes for all tasks of a run, so that the provider's cache serves them.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from string import Template
from typing import Any

from core.bundle import ContractFile, Request
from core.context import ContextImage
from core.paths import EVERYTHING
from core.quoting import escaped

PLAN_GOES_ON = "Go on with the plan: return its other members, from `setup` on."
_MOST_FILES_NAMED = 400
_LINE_TOKENS = 12
_TESTS_SHARE = 5
"""One line in so many is a test's: bench/outcome tells what that comes to."""


@lru_cache(maxsize=16)
def load_prompt(name: str) -> str:
    """The text of `name`.md."""
    return (Path(__file__).parent / f"{name}.md").read_text(encoding="utf-8")


def load_planner_prompt(*, existing: bool, limit: str = "") -> str:
    """The instructions of a planner, for a new project or for `existing` code, of which executors
    get a part within that `limit`, if there is one."""
    text = load_prompt("planner") + (load_prompt("planner_existing") if existing else "")
    return text + Template(load_prompt("planner_part")).substitute(limit=limit) if limit else text


def load_executor_prompt(
    *,
    commands: bool,
    checks: bool = False,
    alone: bool = False,
    existing: bool = False,
    part: bool = False,
) -> str:
    """The instructions of an executor on the Messages API: for one that builds its part of a plan
    or the whole `alone`, out of nothing or in `existing` code, or a `part` of that, with a shell,
    with its checks alone or with neither."""
    able = "commands" if commands else "checks" if checks else "no_commands"
    of_code = [*(["existing"] * existing), *(["part"] * part)]
    parts = ("alone" if alone else "team", "", *of_code, able)
    return "".join(load_prompt("_".join(filter(None, ("executor", part)))) for part in parts)


def load_cli_prompt(*, existing: bool, part: bool = False) -> str:
    """The same for the Claude Code CLI."""
    parts = ("", *(["_existing"] * existing), *(["_part"] * part))
    return "".join(load_prompt(f"executor_claude_code{part}") for part in parts)


def render_request(prompt: str) -> str:
    """What the person asked for, marked as such."""
    return f"<request>\n{prompt}\n</request>"


def render_images(images: Iterable[ContextImage]) -> list[dict[str, Any]]:
    """The blocks of a message with these images, each after its name."""
    return [
        block
        for image in images
        for block in (
            {"type": "text", "text": f'<context name="{escaped(image.name)}"> is this image:'},
            {
                "type": "image",
                "source": {
                    "type": "base64",
                    "media_type": image.media_type,
                    "data": image.data,
                },
            },
        )
    ]


def render_repository(repository: str) -> str:
    """The map of existing code, marked as such."""
    return f"<repository>\n{repository}\n</repository>"


def render_surroundings(executors: int, *, commands: bool, tools: str) -> str:
    """What the planner has to know of the executors. `tools` are those of their container."""
    if not commands:
        able = "They have no shell: they cannot run, test or install anything, nor use a network."
    elif tools:
        able = f"They have a shell with {tools}. They install nothing and use no network."
    else:
        able = "They have a shell on the person's machine. They install nothing and use no network."
    return f"<executors>\nUp to {executors} work at once. {able}\n</executors>"


def render_shared(request: Request, contracts: Mapping[str, str]) -> str:
    """The same for every task of the run: the request, the plan's brief, the contracts that all
    tasks use. `contracts` are the texts, by path."""
    common = [c for c in request.contracts if c.is_common]
    parts = [render_request(request.prompt), f"<plan>\n{request.brief}</plan>"]
    return "\n".join([*parts, *_render_contracts(common, contracts)])


def render_own_contracts(request: Request, contracts: Mapping[str, str]) -> str:
    """The other contracts that this task uses; empty where there are none."""
    own = [c for c in request.contracts if c.is_used and not c.is_common]
    return "\n".join(_render_contracts(own, contracts))


def _render_contracts(files: Iterable[ContractFile], texts: Mapping[str, str]) -> Iterator[str]:
    for file in files:
        purpose = f"({file.purpose})\n" if file.purpose else ""
        yield f'{purpose}<contract path="{file.path}">\n{texts[file.path]}\n</contract>'


def render_task(request: Request, files: Iterable[str]) -> str:
    """This task's own part; `files` are the paths of other tasks that it may read."""
    task = request.task
    named = list(files)
    if len(named) > _MOST_FILES_NAMED:
        rest = len(named) - _MOST_FILES_NAMED
        named = [*named[:_MOST_FILES_NAMED], f"(and {rest} more; list_files shows them)"]
    parts = [f'<task id="{task.id}" attempt="{request.key.attempt}">', task.title, ""]
    parts += [task.instructions, *_section("owns", task.owns), *_section("checks", task.checks)]
    if EVERYTHING not in task.owns and task.estimate:
        parts += _section("size", [_describe_size(request)])
    parts += _section("files", named)
    if request.previous_failure:
        parts += _section("previous_failure", [request.previous_failure])
    return "\n".join([*parts, "</task>"])


def _describe_size(request: Request) -> str:
    """How much is planned. An estimate for existing code holds the old text of its edits, too."""
    estimate = request.task.estimate
    lines = max(estimate // _LINE_TOKENS, _TESTS_SHARE)
    if request.base is not None:
        return f"about {estimate:,} output tokens, {lines:,} lines, tests included"
    tests = lines // _TESTS_SHARE
    return f"about {lines - tests:,} lines, and besides them at most {tests:,} lines of tests"


def render_defects(defects: Iterable[str]) -> str:
    """What has to be put right, as it goes back to the model."""
    return "\n".join(["<defects>", *(f"- {defect}" for defect in defects), "</defects>"])


def render_feedback(text: str) -> str:
    """What a person wants changed in a plan that they were shown."""
    return (
        f"The person has read this plan and says:\n<feedback>\n{text}\n</feedback>\n"
        "Return the whole plan again with that changed; the rest of it stays as it is."
    )


def _section(name: str, lines: Iterable[str]) -> list[str]:
    """Those lines, marked; nothing where there are none, which would look like something lost."""
    found = list(lines)
    return [f"<{name}>", *found, f"</{name}>"] if found else []
