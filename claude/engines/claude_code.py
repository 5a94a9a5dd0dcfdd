"""The engine on the Claude Code CLI: headless in the workspace, one process a prompt.

The CLI has file tools confined to the workspace and a shell that is not, so it runs only in a
container, or where commands were allowed. Its requests go through a proxy in this worker.
"""

import json
import os
import re
import uuid
from collections.abc import Mapping, Sequence

from claude.client.types import Block, Reply
from claude.engines.base import Engine, EngineContext, WorkEnded, build_prompt, build_text
from claude.engines.cli_process import CliProcess
from claude.engines.cli_proxy import CliProxy
from claude.engines.cli_setup import CliApi, CliHome, build_command, build_environment, find_cli
from claude.engines.cli_stream import CliResult, CliStream
from claude.prompts import load_cli_prompt, render_defects
from core.clock import CheckedClock
from core.errors import Problem, RequestRejected
from core.job import Outcome, Usage
from core.quoting import escaped
from core.shell.processes import hide_memory

_MARK = "CLAUDE_CONFIG_DIR"
_QUOTED_CHARS = 500
_ROOT = re.compile(r"root/sudo privileges", re.IGNORECASE)


class ClaudeCodeEngine(Engine):
    """`environ` is the worker's environment."""

    def __init__(self, context: EngineContext, environ: Mapping[str, str] | None = None) -> None:
        super().__init__(context)
        self._environ = os.environ if environ is None else environ
        self._home = CliHome(context.attempt.root / "claude-code")
        # the same for a worker that takes the attempt again, whose home is made anew
        self._session = str(uuid.uuid5(uuid.NAMESPACE_OID, str(self._request.key)))

    def _solve(self) -> str:
        try:
            existing, part = self._request.base is not None, bool(self._context.workspace.unsent)
            self._home.make(load_cli_prompt(existing=existing, part=part))
            hide_memory()
            with CliProxy(self._context.connect, self._context.clock) as proxy:
                return self._correct_until_done(proxy)
        finally:
            self._home.remove()

    def _correct_until_done(self, proxy: CliProxy) -> str:
        """Ask, check the workspace, and ask again in the same session."""
        cli = find_cli(self._environ)
        if isinstance(cli, Problem):
            raise WorkEnded(Outcome.DEFECT, f"{cli.what} {cli.fix}")
        request, api = self._request, CliApi(proxy.base_url, proxy.token)
        environ = build_environment(request.model, request.limits, api, self._home, self._environ)
        content = build_cli_prompt(self._context)
        for round_ in range(request.limits.max_corrections + 1):
            result = self._ask(cli, proxy, environ, content, resume=round_ > 0)
            if not (defects := self._context.find_defects()):
                return result.text
            self._context.progress(f"not done yet: {defects[0]}")
            content = [build_text(render_defects(defects))]
        raise self._defective(defects)

    def _ask(
        self,
        cli: str,
        proxy: CliProxy,
        environ: Mapping[str, str],
        content: list[Block],
        *,
        resume: bool,
    ) -> CliResult:
        """One prompt, until the CLI is done with it, or the proxy with the CLI."""
        turns = self._request.limits.max_turns - self._turns
        if turns < 1:
            raise self._out_of_turns()
        message = {"role": "user", "content": content}
        stream = self._listen(message)
        model, session = self._request.model.model, self._session
        with CliProcess(
            build_command(cli, self._home, model, session, resume=resume, max_turns=turns),
            cwd=self._context.attempt.work,
            environ=environ,
            prompt=json.dumps({"type": "user", "message": message}).encode() + b"\n",
            clock=CheckedClock(self._context.clock, proxy.check),
            mark=_MARK,
        ) as process:
            try:
                for line in process.lines():
                    stream.feed(line)
                    if stream.result is not None:
                        process.expect_end()
                code = process.exit_code
            finally:
                stream.close()
        proxy.check()
        return self._check_result(stream, code, process.stderr_tail, proxy.rejected)

    def _listen(self, message: Block) -> CliStream:
        model = self._request.model
        return CliStream(
            usage=Usage(model.provider, model.model, simulated=model.simulation is not None),
            root=str(self._context.attempt.work.resolve()),
            now=self._context.clock.monotonic,
            on_turn=self._record,
            on_progress=self._context.progress,
            sent=[message],
        )

    def _record(self, sent: Sequence[Block], reply: Reply) -> None:
        self._turns += 1
        started = self._context.clock.time() - reply.usage.duration_s
        self._context.transcript.record(self._turns, sent, reply, started)

    def _check_result(
        self, stream: CliStream, code: int | None, stderr: str, rejected: RequestRejected | None
    ) -> CliResult:
        """The result of a prompt that succeeded. Raises WorkEnded or RequestRejected otherwise."""
        result = stream.result
        if result is None:
            raise WorkEnded(*_without_result(stream.unreadable, code, stderr))
        if result.subtype == "error_max_turns":
            raise self._out_of_turns()
        if result.stop_reason == "refusal":
            raise self._declined(result.text)
        if result.is_error or result.subtype != "success":
            text = result.text[:_QUOTED_CHARS].strip() or result.subtype
            raise rejected or WorkEnded(Outcome.DEFECT, f"Claude Code: {text}")
        return result


def build_cli_prompt(context: EngineContext) -> list[Block]:
    """The prompt, and where the workspace is."""
    shared, task = build_prompt(context)
    place = f"<workspace>{context.attempt.work.resolve()}</workspace>"
    unsent = "\n".join(map(escaped, context.workspace.unsent.lines("")))
    more = f"\n<not_sent>\n{unsent}\n</not_sent>" if unsent else ""
    return [shared, build_text(f"{task['text']}\n{place}{more}")]


def _without_result(unreadable: int, code: int | None, stderr: str) -> tuple[Outcome, str]:
    """Outcome and message for a CLI that ended without a result; without a code it did not end."""
    if _ROOT.search(stderr):
        return Outcome.DEFECT, (
            "Claude Code refuses to run as root with these settings."
            " Run the worker as another user, or remove bypassPermissions from managed settings."
        )
    if code is not None and code < 0:
        return Outcome.INTERRUPTED, f"Claude Code was ended by signal {-code}."
    how = "closed its output" if code is None else f"ended (exit code {code})"
    parts = [f"Claude Code {how} without a result."]
    if unreadable:
        parts.append(f"{unreadable} line(s) could not be read.")
    if stderr:
        parts.append(f"Its standard error: {stderr[-_QUOTED_CHARS:]}")
    return Outcome.DEFECT, " ".join(parts)
