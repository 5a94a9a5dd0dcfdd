"""The tools of the Claude Code CLI in the words of our own executor's, and back.

https://code.claude.com/docs/en/tools-reference
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from shlex import quote
from typing import Any

from claude.simulation.answers import Answer, Part

RUN = "run_command"
OWN_NAMES: Mapping[str, str] = {
    "Write": "write_file",
    "Edit": "edit_file",
    "Read": "read_file",
    "Glob": "list_files",
    "Grep": "search_files",
    "Bash": RUN,
}
_THEIR_NAMES = {own: theirs for theirs, own in OWN_NAMES.items()}
_ARGUMENTS = {"file_path": "path", "old_string": "old", "new_string": "new"}
_WORKSPACE = re.compile(r"^<workspace>(.+)</workspace>$", re.MULTILINE)
_STRAY = re.compile(r"^- (?:the path )?'([^']+)' (?!does not exist)", re.MULTILINE)


def own_tools(offered: Iterable[str]) -> frozenset[str]:
    """The tools offered, by our own names for them."""
    return frozenset(OWN_NAMES.get(name, name) for name in offered)


def find_workspace(task: str) -> str:
    """The directory that a task for the CLI names, "" in one for our own engine."""
    return match[1] if (match := _WORKSPACE.search(task)) else ""


def from_cli(call: Mapping[str, Any], workspace: str) -> dict[str, Any]:
    """A tool_use block of the CLI as one of ours, its path relative to the workspace."""
    given = {_ARGUMENTS.get(name, name): value for name, value in call["input"].items()}
    if isinstance(path := given.get("path"), str):
        given["path"] = path.removeprefix(f"{workspace}/")
    return {**call, "name": OWN_NAMES.get(call["name"], call["name"]), "input": given}


def to_cli(answer: Answer, workspace: str) -> Answer:
    """An answer with calls of our own tools as calls of the CLI's."""
    parts = tuple(_to_cli_call(part, workspace) if part.tool else part for part in answer.parts)
    return replace(answer, parts=parts)


def remove_command(paths: Iterable[str]) -> str:
    """Removes files that must not be there; the shell stands in the workspace."""
    return "rm -f -- " + " ".join(map(quote, paths))


def find_unwanted(defects: str) -> tuple[str, ...]:
    """The paths that a list of defects wants gone."""
    return tuple(match[1] for match in _STRAY.finditer(defects))


def _to_cli_call(part: Part, workspace: str) -> Part:
    tool = _THEIR_NAMES.get(part.tool, part.tool)
    if part.tool == "list_files":
        return Part(json.dumps({"pattern": "**/*"}), tool)
    # the path leads the input, also where the rest of it is cut or malformed
    rest = part.text.removeprefix('{"path": "')
    if rest == part.text:
        return Part(part.text, tool)
    # an absolute path stays what it is
    base = "" if rest.startswith("/") else json.dumps(f"{workspace}/")[1:-1]
    return Part(f'{{"file_path": "{base}{rest}', tool)
