"""The engine on the Claude Code CLI: headless in the workspace, one process a prompt.

The CLI has file tools confined to the workspace and a shell that is not, so it runs only in a
container, or where commands were allowed. Its word counts for nothing: when it
stops, the evidence is looked at, and defects go back as another prompt of the same session. What it
asks Claude goes through a proxy in this worker, which knows what was spent and what went wrong.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Mapping

from claude.engines import Assignment, EngineResult, judge_error
from claude.engines.cli_process import CliProcess
from claude.engines.cli_proxy import CliProxy
from claude.engines.cli_setup import (
    Cli,
    CliApi,
    CliHome,
    build_command,
    build_environment,
    find_cli,
)
from claude.engines.cli_stream import Block, CliResult, CliStream, Turn
from claude.engines.processes import hide_memory
from claude.prompts import load_prompt, render_defects, render_shared, render_task
from core.clock import CheckedClock
from core.errors import Interrupted, ModelError, Problem, RequestRejected
from core.job import Outcome, Usage

_MARK = "CLAUDE_CONFIG_DIR"
_SAID_CHARS = 500
_ROOT = re.compile(r"root/sudo privileges", re.IGNORECASE)


class _Ended(Exception):
    """Control flow: the work is over, and how."""

    def __init__(self, outcome: Outcome, message: str) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.message = message


class ClaudeCodeEngine:
    """Works on one assignment; `environ` is the worker's environment."""

    def __init__(self, assignment: Assignment, environ: Mapping[str, str] | None = None) -> None:
        self._assignment = assignment
        self._request = assignment.request
        self._environ = os.environ if environ is None else environ
        self._home = CliHome(assignment.attempt.root / "claude-code")
        # the same for a worker that takes the attempt again, whose home is made anew
        self._session = str(uuid.uuid5(uuid.NAMESPACE_OID, str(self._request.key)))
        self._turns = 0

    def work(self) -> EngineResult:
        transcript = self._assignment.transcript
        transcript.begin(self._request)
        try:
            verdict = self._work()
        except BaseException as exc:
            transcript.end(type(exc).__name__, str(exc))
            raise
        transcript.end(verdict.outcome, verdict.message)
        return verdict

    def _work(self) -> EngineResult:
        try:
            self._home.make(load_prompt("executor_claude_code"))
            hide_memory()
            with CliProxy(self._assignment.connect, self._assignment.clock) as proxy:
                return self._correct_until_done(proxy)
        except _Ended as end:
            return EngineResult(end.outcome, end.message, self._turns)
        except (ModelError, Interrupted) as exc:
            return judge_error(exc, self._turns)
        finally:
            self._home.remove()

    def _correct_until_done(self, proxy: CliProxy) -> EngineResult:
        """Ask, look at the evidence, and ask again."""
        cli = find_cli(self._environ)
        if isinstance(cli, Problem):
            raise _Ended(Outcome.DEFECT, f"{cli.what} {cli.fix}")
        request, api = self._request, CliApi(proxy.base_url, proxy.token)
        environ = build_environment(request.model, request.limits, api, self._home, self._environ)
        content = build_prompt(self._assignment)
        for round_ in range(request.limits.max_corrections + 1):
            result = self._ask(cli, proxy, environ, content, resume=round_ > 0)
            if not (defects := self._assignment.find_defects()):
                return EngineResult(Outcome.OK, result.text, self._turns)
            self._assignment.progress(f"not done yet: {defects[0]}")
            content = [_text(render_defects(defects))]
        raise _Ended(Outcome.DEFECT, "\n".join(["The result has defects:", *defects]))

    def _ask(
        self,
        cli: Cli,
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
            cwd=self._assignment.attempt.work,
            environ=environ,
            prompt=json.dumps({"type": "user", "message": message}).encode() + b"\n",
            clock=CheckedClock(self._assignment.clock, proxy.check),
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
        return self._judged(stream, code, process.said, proxy.rejected)

    def _listen(self, message: Block) -> CliStream:
        model = self._request.model
        return CliStream(
            usage=Usage(model.provider, model.model, simulated=model.simulation is not None),
            root=str(self._assignment.attempt.work.resolve()),
            now=self._assignment.clock.monotonic,
            on_turn=self._record,
            on_progress=self._assignment.progress,
            sent=[message],
        )

    def _record(self, turn: Turn) -> None:
        self._turns += 1
        started = self._assignment.clock.time() - turn.reply.usage.duration_s
        self._assignment.transcript.record(self._turns, turn.sent, turn.reply, started)

    def _judged(
        self, stream: CliStream, code: int | None, said: str, rejected: RequestRejected | None
    ) -> CliResult:
        """The result of a prompt that went well. Raises what it came to otherwise."""
        result = stream.result
        if result is None:
            raise _Ended(*_without_result(stream.unreadable, code, said))
        if result.out_of_turns:
            raise self._out_of_turns()
        if result.refused:
            raise _Ended(Outcome.REFUSED, f"Claude declined the task. {result.text}".rstrip())
        if result.failed:
            text = result.text[:_SAID_CHARS].strip() or result.subtype
            raise rejected or _Ended(Outcome.DEFECT, f"Claude Code: {text}")
        return result

    def _out_of_turns(self) -> _Ended:
        most = self._request.limits.max_turns
        return _Ended(Outcome.DEFECT, f"The task was not done within {most} turns.")


def build_prompt(assignment: Assignment) -> list[Block]:
    """The shared text, the same bytes for all tasks of a run, then the task's own."""
    request, workspace = assignment.request, assignment.workspace
    contracts = {c.path: workspace.text(c.path) for c in request.contracts}
    files = [path for path, _ in workspace.files() if path not in contracts]
    place = f"<workspace>{assignment.attempt.work.resolve()}</workspace>"
    task = f"{render_task(request, files)}\n{place}"
    return [_text(render_shared(request, contracts)), _text(task)]


def _text(text: str) -> Block:
    return {"type": "text", "text": text}


def _without_result(unreadable: int, code: int | None, said: str) -> tuple[Outcome, str]:
    """What to make of a CLI that ended without its last word; without a code it did not end."""
    if _ROOT.search(said):
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
    if said:
        parts.append(f"It said: {said[-_SAID_CHARS:]}")
    return Outcome.DEFECT, " ".join(parts)
