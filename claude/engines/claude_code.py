"""The engine on the Claude Code CLI: headless in the workspace, one process a prompt.

The CLI has file tools confined to the workspace and a shell that is not, so it runs only in a
container, in a batch job, or where commands were allowed. Its word counts for nothing: when it
stops, the evidence is looked at, and defects go back as another prompt of the same session.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from claude.engines import Assignment, Verdict, judge_error
from claude.engines.cli_process import CliProcess, hide_memory
from claude.engines.cli_setup import Cli, CliHome, build_command, build_environment, find_cli
from claude.engines.cli_stream import Block, CliResult, CliStream, Turn, error_of
from claude.prices import pricing
from claude.prompts import load_prompt, render_defects, render_shared, render_task
from core.bundle import Allowance, ModelSettings, read_spent
from core.credentials import Credentials
from core.errors import Interrupted, ModelError, Problem
from core.job import Outcome, Usage

PLACEHOLDER = "simulated"
"""The key that the CLI shows a simulated Claude."""
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
        self._purse = _Purse(self._request.model, self._request.allowance)
        for usage in read_spent(assignment.attempt):  # by a worker of this attempt that was killed
            self._purse.spend(usage)
        self._turns = 0

    def work(self) -> Verdict:
        transcript = self._assignment.transcript
        transcript.begin(self._request)
        try:
            verdict = self._work()
        except BaseException as exc:
            transcript.end(type(exc).__name__, str(exc))
            raise
        transcript.end(verdict.outcome, verdict.message)
        return verdict

    def _work(self) -> Verdict:
        try:
            self._home.make(load_prompt("executor_claude_code"))
            hide_memory()
            with self._upstream() as (model, credentials):
                return self._correct_until_done(model, credentials)
        except _Ended as end:
            return Verdict(end.outcome, end.message, self._turns)
        except (ModelError, Interrupted) as exc:
            return judge_error(exc, self._turns)
        finally:
            self._home.remove()

    @contextmanager
    def _upstream(self) -> Iterator[tuple[ModelSettings, Credentials]]:
        """Where the CLI sends its requests, and with what: a simulated Claude is served here."""
        model = self._request.model
        if model.simulation is None:
            yield model, self._assignment.credentials
            return
        from claude.simulation.server import serve

        with serve(0, model.simulation, self._assignment.clock) as server:
            yield (
                replace(model, base_url=server.base_url),
                Credentials(aws_bearer_token_bedrock=PLACEHOLDER)
                if model.provider == "bedrock"
                else Credentials(anthropic_api_key=PLACEHOLDER),
            )

    def _correct_until_done(self, model: ModelSettings, credentials: Credentials) -> Verdict:
        """Ask, look at the evidence, and ask again."""
        cli = find_cli(self._environ)
        if isinstance(cli, Problem):
            raise _Ended(Outcome.DEFECT, f"{cli.what} {cli.fix}")
        environ = build_environment(
            model, self._request.limits, credentials, self._home, self._environ
        )
        content = build_prompt(self._assignment)
        for round_ in range(self._request.limits.max_corrections + 1):
            result = self._ask(cli, environ, content, resume=round_ > 0)
            if not (defects := self._assignment.find_defects()):
                return Verdict(Outcome.OK, result.text, self._turns)
            self._assignment.progress(f"not done yet: {defects[0]}")
            content = [_text(render_defects(defects))]
        raise _Ended(Outcome.DEFECT, "\n".join(["The result has defects:", *defects]))

    def _ask(
        self, cli: Cli, environ: Mapping[str, str], content: list[Block], *, resume: bool
    ) -> CliResult:
        """One prompt, until the CLI is done with it."""
        turns = self._request.limits.max_turns - self._turns
        if turns < 1:
            raise self._out_of_turns()
        message = {"role": "user", "content": content}
        stream = self._listen(message)
        command = build_command(
            cli,
            self._home,
            self._request.model.model,
            self._session,
            resume=resume,
            max_turns=turns,
        )
        with CliProcess(
            command,
            cwd=self._assignment.attempt.work,
            environ=environ,
            prompt=json.dumps({"type": "user", "message": message}).encode() + b"\n",
            clock=self._assignment.clock,
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
                if (unseen := stream.unseen()) is not None:
                    self._spend(unseen)
        return self._judged(stream, code, process.said)

    def _listen(self, message: Block) -> CliStream:
        model, hooks = self._request.model, self._assignment.hooks
        return CliStream(
            usage=Usage(model.provider, model.model, simulated=model.simulation is not None),
            root=str(self._assignment.attempt.work.resolve()),
            now=self._assignment.clock.monotonic,
            on_turn=self._record,
            on_progress=self._assignment.progress,
            on_throttle=hooks.on_throttle,
            sent=[message],
        )

    def _record(self, turn: Turn) -> None:
        self._turns += 1
        usage = turn.reply.usage
        self._spend(usage)
        started = self._assignment.clock.time() - usage.duration_s
        self._assignment.transcript.record(self._turns, turn.sent, turn.reply, started)
        if turn.reply.stop_reason == "tool_use" and not self._purse.has_room_after(usage):
            raise _Ended(Outcome.BUDGET, "The next request does not fit into what is left.")

    def _spend(self, usage: Usage) -> None:
        self._purse.spend(usage)
        self._assignment.hooks.on_usage(usage)

    def _judged(self, stream: CliStream, code: int | None, said: str) -> CliResult:
        """The result of a prompt that went well. Raises what it came to otherwise."""
        result = stream.result
        if result is None:
            raise _Ended(*_without_result(stream.unreadable, code, said))
        if result.out_of_turns:
            raise self._out_of_turns()
        if result.refused:
            raise _Ended(Outcome.REFUSED, f"Claude declined the task. {result.text}".rstrip())
        if result.failed:
            raise error_of(result, stream.error_kind)
        return result

    def _out_of_turns(self) -> _Ended:
        most = self._request.limits.max_turns
        return _Ended(Outcome.DEFECT, f"The task was not done within {most} turns.")


class _Purse:
    """What is left of the attempt's allowance. The CLI sends its requests itself, so it is stopped
    between two of them: when one like the last would not fit."""

    def __init__(self, model: ModelSettings, allowance: Allowance) -> None:
        self._allowance = allowance
        self._price = pricing(model)
        self._tokens = 0
        self._cost_usd = 0.0

    def spend(self, usage: Usage) -> None:
        self._tokens += usage.total_tokens
        self._cost_usd += self._price(usage) or 0.0

    def has_room_after(self, last: Usage) -> bool:
        most, most_usd = self._allowance.max_tokens, self._allowance.max_cost_usd
        if most is not None and self._tokens + last.total_tokens > most:
            return False
        return most_usd is None or self._cost_usd + (self._price(last) or 0.0) <= most_usd


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
