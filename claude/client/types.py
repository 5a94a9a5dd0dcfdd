"""What a client is asked and answers: plain values in the shapes of the Messages API."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from claude.client.recorded_response import RecordedResponse
from core.events import AnswerProgress
from core.job import Usage

Block = dict[str, Any]


@dataclass(frozen=True)
class Passthrough:
    """What another program's request has beyond a Call: further fields of the body, its betas, and
    the API version of the answer that it expects. Its assistant messages need not be Claude's."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    betas: tuple[str, ...] = ()
    version: str = ""


Reader = Callable[[str], bool]
"""Gets each piece of an answer's text, or of the input of its tool calls, as it comes. True ends
the answer there: the rest is neither waited for nor billed."""


@dataclass(frozen=True)
class Call:
    """One request of the Messages API; system, messages and tools are shaped as the API has them.
    `output_schema` is a JSON schema that the answer's text has to fit (structured output).
    `open_reader` makes a reader for each try, since each is answered from the start."""

    system: tuple[Block, ...]
    messages: tuple[Block, ...]
    max_tokens: int
    tools: tuple[Block, ...] = ()
    tool_choice: Block | None = None
    output_schema: Block | None = None
    passthrough: Passthrough | None = None
    open_reader: Callable[[], Reader] = lambda: lambda _: False


@dataclass(frozen=True)
class Reply:
    """One answer. `content`, which may be empty, is ready to go back as the assistant's.
    `broken_inputs` holds, by tool_use id, the input text that is no JSON object: malformed or cut;
    the block then has the input {}. `retries` counts the requests that failed before this one."""

    content: tuple[Block, ...]
    stop_reason: str
    usage: Usage
    broken_inputs: Mapping[str, str]
    retries: int = 0


class Claude(Protocol):
    """Answers requests."""

    def send(self, call: Call, recorded: RecordedResponse | None = None) -> Reply:
        """Raises the errors below ModelError once retries are used up, and Interrupted."""


@dataclass(frozen=True)
class Hooks:
    """`on_usage` is called for every billed request, also one that was cut; `on_request` before
    each request and each retry: it may change the call, or raise; `on_throttle` for each request
    refused for the rate or the provider's load; `on_answer` when an answer begins, which `on_usage`
    follows at its end; `on_answering` meanwhile and while nothing comes, also by another thread.
    `file_log` is asked by a planner that looks at a repository for the commits of a path."""

    on_usage: Callable[[Usage], None] = lambda _: None
    on_progress: Callable[[str], None] = lambda _: None
    on_request: Callable[[Call], Call] = lambda call: call
    on_throttle: Callable[[], None] = lambda: None
    on_answer: Callable[[], None] = lambda: None
    on_answering: Callable[[AnswerProgress], None] = lambda _: None
    file_log: Callable[[str], str] | None = None
