"""The tools of the executor: their descriptions for the model, and running a call.

Input is checked against that very schema; a WorkspaceError shows the model how a call should look.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from claude.engines.shell import DEFAULT_TIMEOUT_S, MAX_TIMEOUT_S, Shell
from core.errors import WorkspaceError
from core.workspace.workspace import Workspace

SUBMIT = "submit_result"
RUN = "run_command"
CUTTABLE = frozenset({"write_file", "append_file"})
WRITING = CUTTABLE | {"edit_file"}

_PATH = ("string", "Relative POSIX path inside the project, such as app/store.py")
_TYPES: Mapping[str, type] = {"string": str, "integer": int}

Arguments = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Tool:
    """`inputs` maps a name to (JSON type, description); those in `optional` may be left out."""

    name: str
    description: str
    inputs: Mapping[str, tuple[str, str]]
    optional: frozenset[str] = frozenset()

    def schema(self) -> dict[str, Any]:
        """The tool as the Messages API wants it."""
        properties = {n: {"type": t, "description": d} for n, (t, d) in self.inputs.items()}
        return {
            "name": self.name,
            "description": self.description,
            "input_schema": {
                "type": "object",
                "properties": properties,
                "required": [n for n in self.inputs if n not in self.optional],
                "additionalProperties": False,
            },
        }

    def usage(self) -> str:
        """How a call looks, in one line."""
        parts = [f"{n}{'?' * (n in self.optional)}: {t}" for n, (t, _) in self.inputs.items()]
        return f"{self.name}({', '.join(parts)})"


_ALL = (
    Tool(
        "read_file",
        "Read a text file of the project: contracts, files of the tasks this one depends on, or "
        "your own. Returns up to 2000 lines; a note says how to read on.",
        {
            "path": _PATH,
            "offset": ("integer", "First line to return, counted from 1"),
            "limit": ("integer", "How many lines to return"),
        },
        frozenset({"offset", "limit"}),
    ),
    Tool(
        "write_file",
        "Create a file that your task owns, or replace it whole. Directories are made as needed.",
        {"path": _PATH, "content": ("string", "The whole content of the file")},
    ),
    Tool(
        "append_file",
        "Add text to the end of a file that your task owns; for the parts of a long file, and for "
        "going on where a call was cut.",
        {"path": _PATH, "content": ("string", "The text to add, exactly")},
    ),
    Tool(
        "edit_file",
        "Replace one piece of text in a file that your task owns. The old text must occur exactly "
        "once, so give enough lines around it.",
        {
            "path": _PATH,
            "old": ("string", "The text to replace, exactly as it stands in the file"),
            "new": ("string", "The text to put in its place"),
        },
    ),
    Tool(
        "list_files",
        "List all files below a directory with their sizes.",
        {"path": ("string", "Directory to list; leave it out for the whole project")},
        frozenset({"path"}),
    ),
    Tool(
        "search_files",
        "Find the lines that match a regular expression (Python syntax).",
        {
            "pattern": ("string", "Regular expression, or plain text"),
            "path": ("string", "File or directory to search; leave it out for the whole project"),
        },
        frozenset({"path"}),
    ),
    Tool(
        SUBMIT,
        "Hand in the task once every file it owns is written and complete. The workspace is then "
        "checked; if something is missing you are told, and go on.",
        {"summary": ("string", "One paragraph: what was built and how it is used")},
    ),
)
_RUN = Tool(
    RUN,
    "Run a shell command in the project's root, to try what you wrote. Its input is empty, it has "
    "no keys, and what it leaves running is ended. Returns the exit code and what it printed, the "
    "middle left out when that is long.",
    {
        "command": ("string", "The command, as for sh -c"),
        "timeout_s": (
            "integer",
            f"Seconds until it is stopped: {DEFAULT_TIMEOUT_S} if left out, at most "
            f"{MAX_TIMEOUT_S}",
        ),
    },
    frozenset({"timeout_s"}),
)
TOOLS: Mapping[str, Tool] = {tool.name: tool for tool in _ALL}
TOOLS_AND_SHELL: Mapping[str, Tool] = {tool.name: tool for tool in (*_ALL[:-1], _RUN, _ALL[-1])}

ACTIONS: Mapping[str, Callable[[Workspace, Arguments], str]] = {
    "read_file": lambda w, a: w.read(a["path"], a.get("offset", 1), a.get("limit", 2_000)),
    "write_file": lambda w, a: w.write(a["path"], a["content"]),
    "append_file": lambda w, a: w.append(a["path"], a["content"]),
    "edit_file": lambda w, a: w.edit(a["path"], a["old"], a["new"]),
    "list_files": lambda w, a: w.list(a.get("path", "")),
    "search_files": lambda w, a: w.search(a["pattern"], a.get("path", "")),
}
"""Carry out a checked call. Raise WorkspaceError with what the model should do instead."""


def find_tool(name: str, tools: Mapping[str, Tool] = TOOLS) -> Tool:
    """The tool of that name. Raises WorkspaceError that names those that exist."""
    if (tool := tools.get(name)) is None:
        raise WorkspaceError(f"There is no tool {name!r}.", f"Tools: {', '.join(tools)}")
    return tool


def check_arguments(tool: Tool, given: object) -> dict[str, Any]:
    """`given` as arguments of `tool`, null for an optional one left out. Raises WorkspaceError that
    names every fault and shows the call as it should be."""
    if not isinstance(given, Mapping):
        raise WorkspaceError(f"The input of {tool.name} is not an object.", _hint(tool))
    arguments = {n: v for n, v in given.items() if not (v is None and n in tool.optional)}
    faults = [
        *(f"{n!r} is missing" for n in tool.schema()["input_schema"]["required"] if n not in given),
        *(f"{n!r} is not an argument" for n in arguments if n not in tool.inputs),
        *(
            f"{n!r} is not of type {tool.inputs[n][0]}"
            for n, value in arguments.items()
            if n in tool.inputs and type(value) is not _TYPES[tool.inputs[n][0]]
        ),
    ]
    if faults:
        raise WorkspaceError(f"{tool.name} was not run: {'; '.join(faults)}.", _hint(tool))
    return arguments


def broken_input(tool: Tool, *, cut: bool) -> WorkspaceError:
    """The refusal of a call whose input could not be read as JSON."""
    why = "was cut at the output limit" if cut else "is not a valid JSON object"
    return WorkspaceError(f"The input of {tool.name} {why}; it was not run.", _hint(tool))


def run_command(workspace: Workspace, shell: Shell, arguments: Arguments) -> str:
    """Carry out a checked call of `run_command`, then look at what it left. Raises WorkspaceError
    like the others."""
    output = shell.run(arguments["command"], arguments.get("timeout_s", DEFAULT_TIMEOUT_S))
    if excess := workspace.rescan():
        output += f"\n[too much for a result, remove some of it: {excess}]"
    return output


def _hint(tool: Tool) -> str:
    return f"Call it as {tool.usage()}"
