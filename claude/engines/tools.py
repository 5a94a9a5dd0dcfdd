"""The tools of the executor: their descriptions for the model, and running a call.

Input is checked against that very schema; a WorkspaceError shows the model how a call should look.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from shlex import quote
from typing import Any

from claude.engines.syntax import PARSED, SCRIPTS, find_fault, read_node_report
from core.errors import WorkspaceError
from core.shell.shell import DEFAULT_TIMEOUT_S, MAX_TIMEOUT_S, Shell, render_end
from core.workspace.workspace import MAX_VIEW_CHARS, MAX_VIEW_LINES, Workspace

SUBMIT = "submit_result"
RUN = "run_command"
CHECKS = "run_checks"
FILE_LOG = "file_log"
CUTTABLE = frozenset({"write_file", "append_file"})
WRITING = CUTTABLE | {"edit_file"}
CHECK_TIMEOUT_S = 10

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


def build_tools(
    answer_tokens: int, *, commands: bool, checks: bool = False, existing: bool = False
) -> Mapping[str, Tool]:
    """The tools by name, in the order in which they are offered: `run_command` only with
    `commands`, `run_checks` only with `checks`, those that remove only where there is `existing`
    code. `answer_tokens` is how long one answer of the model may be."""
    more = [*(_REMOVING * existing), *([_RUN] * commands), *([_CHECKS] * checks)]
    tools = (_READ, *_build_writing(answer_tokens), *_LOOKING, *more, _SUBMIT)
    return {tool.name: tool for tool in tools}


def build_looking_tools(*, log: bool = False) -> Mapping[str, Tool]:
    """Those that change nothing, FILE_LOG only with `log`."""
    return {tool.name: tool for tool in (_READ, *_LOOKING, *([_LOG] * log))}


_READ = Tool(
    "read_file",
    "Read a text file of the project. The first line of the result names the file and its lines. "
    f"At most {MAX_VIEW_LINES:,} lines or {MAX_VIEW_CHARS:,} characters come back; then a last "
    "line says how to read on.",
    {
        "path": _PATH,
        "offset": ("integer", "First line to return, counted from 1"),
        "limit": ("integer", "How many lines to return"),
    },
    frozenset({"offset", "limit"}),
)


def _build_writing(answer_tokens: int) -> tuple[Tool, ...]:
    return (
        Tool(
            "write_file",
            "Create a file that your task owns, or replace it whole. Directories are made as "
            "needed. The result names a syntax error in Python, JSON or TOML. One answer of yours, "
            f"with all its calls, has at most {answer_tokens:,} tokens (three to four characters "
            "each): what is longer goes out in parts, with append_file.",
            {"path": _PATH, "content": ("string", "The whole content of the file")},
        ),
        Tool(
            "append_file",
            "Add text to the end of a file that your task owns: for the parts of a long file, and "
            "for going on where a call was cut. The calls of a turn run one after the other in "
            "their order, so parts of one file may share a turn.",
            {"path": _PATH, "content": ("string", "The text to add, exactly")},
        ),
        Tool(
            "edit_file",
            "Replace one piece of text in a file that your task owns. The old text must occur "
            "exactly once, so give enough lines around it. The result shows the place as it is "
            "now, its lines numbered, and names a syntax error as write_file does.",
            {
                "path": _PATH,
                "old": ("string", "The text to replace, exactly as it stands in the file"),
                "new": ("string", "The text to put in its place"),
            },
        ),
    )


_REMOVING = (
    Tool("delete_file", "Remove a file that your task owns.", {"path": _PATH}),
    Tool(
        "move_file",
        "Give a file that your task owns another path, which it owns too and where no file is.",
        {"path": _PATH, "to": _PATH},
    ),
)
_LOOKING = (
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
)
_LOG = Tool(
    FILE_LOG,
    "Tell the last commits that changed a file or directory: id, date, subject.",
    {"path": ("string", "Relative POSIX path")},
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
_CHECKS = Tool(
    CHECKS,
    "Run the commands in <checks> on a copy of the project as it is now, each at most 120 s. "
    "Tells which passed, and what matters of what others print.",
    {},
)
_SUBMIT = Tool(
    SUBMIT,
    "Hand in the task once every file it owns is written and complete. It is looked at after all "
    "other calls of its turn, and not if one of them failed. The workspace is then checked; if "
    "something is missing you are told, and go on.",
    {"summary": ("string", "What others should know of what was built")},
)

ACTIONS: Mapping[str, Callable[[Workspace, Arguments], str]] = {
    "read_file": lambda w, a: w.read(a["path"], a.get("offset", 1), a.get("limit", MAX_VIEW_LINES)),
    "write_file": lambda w, a: w.write(a["path"], a["content"]),
    "append_file": lambda w, a: w.append(a["path"], a["content"]),
    "edit_file": lambda w, a: w.edit(a["path"], a["old"], a["new"]),
    "delete_file": lambda w, a: w.delete(a["path"]),
    "move_file": lambda w, a: w.move(a["path"], a["to"]),
    "list_files": lambda w, a: w.list(a.get("path", "")),
    "search_files": lambda w, a: w.search(a["pattern"], a.get("path", "")),
}
"""Carry out a checked call. Raise WorkspaceError with what the model should do instead."""


def find_tool(name: str, tools: Mapping[str, Tool]) -> Tool:
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


def check_syntax(workspace: Workspace, shell: Shell | None, path: str) -> str:
    """What a parser says of a file that was just written; "" for nothing. Where there is a `shell`
    it is asked about scripts that only node can read."""
    name = path.removeprefix("./")
    suffix, fault = PurePosixPath(name).suffix, None
    try:
        if suffix in PARSED:
            fault = find_fault(name, workspace.text(name))
        elif suffix in SCRIPTS and shell is not None:
            command = f"command -v node >/dev/null && node --check ./{quote(name)}"
            fault = read_node_report(shell.run(command, CHECK_TIMEOUT_S))
    except WorkspaceError as exc:
        return f"[{exc.message}]"
    return str(fault) if fault else ""


def run_command(workspace: Workspace, shell: Shell, arguments: Arguments) -> tuple[str, bool]:
    """Carry out a checked call of `run_command`, then look at what it left: what the model is told,
    and whether the command passed. Raises WorkspaceError like the others."""
    end = shell.execute(arguments["command"], arguments.get("timeout_s", DEFAULT_TIMEOUT_S))
    output = render_end(end)
    if excess := workspace.rescan():
        output += f"\n[too much for a result, remove some of it: {excess}]"
    return output, end.exit_code == 0


def _hint(tool: Tool) -> str:
    return f"Call it as {tool.usage()}"
