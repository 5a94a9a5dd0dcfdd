"""What a planner may look at in existing code: the executor's tools that read, within bounds."""

from collections.abc import Callable
from pathlib import Path

from claude.client.types import Block, Reply
from claude.engines.tools import (
    ACTIONS,
    FILE_LOG,
    broken_input,
    build_looking_tools,
    check_arguments,
    find_tool,
)
from core.errors import WorkspaceError
from core.quoting import escaped
from core.workspace.workspace import Workspace

MOST_TURNS = 12
MOST_TOKENS = 40_000
"""Of what is shown, all turns together."""
MOST_RESULT_CHARS = 24_000
_CHARS_A_TOKEN = 3
_MOST_NAMED = 3
_ELSE = "Read its files instead."
_OVER = "\n[You have looked enough: answer with the plan now.]"


class Looking:
    """Looks below `root` for one planner. `on_progress` takes lines for people; `log` tells of the
    commits of a path, where there are any, and raises WorkspaceError."""

    def __init__(
        self,
        root: Path,
        on_progress: Callable[[str], None],
        log: Callable[[str], str] | None = None,
    ) -> None:
        self._tools = build_looking_tools(log=log is not None)
        self._log = log
        self._workspace = Workspace(root, (), frozenset())
        self._on_progress = on_progress
        self._turns = 0
        self._left = MOST_TOKENS * _CHARS_A_TOKEN

    @property
    def schemas(self) -> tuple[Block, ...]:
        return tuple(tool.schema() for tool in self._tools.values())

    def is_over(self) -> bool:
        """Whether no more may be looked at."""
        return self._turns >= MOST_TURNS or self._left <= 0

    def follow(self, reply: Reply) -> tuple[Block, Block] | None:
        """A reply that looks, as it goes back, and what it is shown; None for one that does not,
        and once it is over."""
        calls = [block for block in reply.content if block.get("type") == "tool_use"]
        known = {*self._tools, FILE_LOG}
        if self.is_over() or not any(call.get("name") in known for call in calls):
            return None
        self._turns += 1
        named = [_named(call) for call in calls]
        more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
        self._on_progress(f"looks at {', '.join(named[:_MOST_NAMED])}{more}")
        results = [self._result(call, reply) for call in calls]
        if self.is_over():
            results[-1]["content"] += _OVER
        assistant = {"role": "assistant", "content": list(reply.content)}
        return assistant, {"role": "user", "content": results}

    def _result(self, call: Block, reply: Reply) -> Block:
        is_error = False
        try:
            text = self._look(call, reply)
        except WorkspaceError as exc:
            text, is_error = str(exc), True
        room = max(0, min(MOST_RESULT_CHARS, self._left))
        if len(text) > room:
            text = f"{text[:room]}\n[cut here; ask for fewer lines or a narrower pattern]"
        self._left -= len(text)
        return {
            "type": "tool_result",
            "tool_use_id": str(call.get("id", "")),
            "content": text,
            "is_error": is_error,
        }

    def _look(self, call: Block, reply: Reply) -> str:
        if (name := str(call.get("name", ""))) == FILE_LOG and self._log is None:
            raise WorkspaceError("The project is in no git repository: there is no log.", _ELSE)
        tool = find_tool(name, self._tools)
        if call.get("id") in reply.broken_inputs:
            raise broken_input(tool, cut=reply.stop_reason == "max_tokens")
        arguments = check_arguments(tool, call.get("input"))
        if tool.name == FILE_LOG and self._log is not None:
            return self._log(arguments["path"])
        return ACTIONS[tool.name](self._workspace, arguments)


def _named(call: Block) -> str:
    given = call.get("input")
    values = given if isinstance(given, dict) else {}
    return escaped(str(values.get("pattern") or values.get("path") or "the project"))[:60]
