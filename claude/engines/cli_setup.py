"""The Claude Code CLI as we start it: path, version, arguments and environment.

Nothing of the user's own set-up reaches it: home, settings, hooks, MCP servers and CLAUDE.md stay
out, and of the environment only the variables named here go in, no secrets among them.
https://code.claude.com/docs/en/cli-reference, .../settings, .../headless, .../llm-gateway
"""

import math
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from claude.http.plain_http import HOST
from core.bundle import Limits, ModelSettings
from core.errors import Problem
from core.paths import Below

OLDEST = (2, 1, 100)
"""Older ones use other models too, which costs money unseen, or report failures as success."""
TOOLS = ("Read", "Write", "Edit", "Glob", "Grep", "Bash")
_VERSION_TIMEOUT_S = 30.0
_INSTALL = "npm install -g @anthropic-ai/claude-code"

_PASSED = frozenset(
    {"PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "USER", "LOGNAME", "SHELL"}
    | {"SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS"}
)
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
_NO_PROXY = ("NO_PROXY", "no_proxy")
_QUIET = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_TELEMETRY": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "CLAUDE_CODE_DISABLE_AUTO_MEMORY": "1",
    "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1",
}
# What Bedrock takes differs: with this the body is the one that the CLI would send to Bedrock.
_FOR_BEDROCK = {"CLAUDE_CODE_DISABLE_EXPERIMENTAL_BETAS": "1"}
_MOST_MS = 2**31 - 1


@dataclass(frozen=True, slots=True)
class CliApi:
    """Where the CLI sends its requests, and the token that it shows there."""

    base_url: str
    token: str


@dataclass(frozen=True, slots=True)
class CliHome:
    """The directory below an attempt that stands in for the user's home."""

    root: Path

    config = Below("config")
    temporary = Below("tmp")
    system_prompt = Below("system.md")

    def make(self, system_prompt: str) -> None:
        """Make it anew; only the worker's user may look in."""
        shutil.rmtree(self.root, ignore_errors=True)
        for directory in (self.root, self.config, self.temporary):
            directory.mkdir(mode=0o700)
        self.system_prompt.write_text(system_prompt, encoding="utf-8")

    def remove(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)


def find_cli(environ: Mapping[str, str]) -> str | Problem:
    """The path of `claude` on the PATH of `environ`, or why it cannot be used."""
    if (path := shutil.which("claude", path=environ.get("PATH", ""))) is None:
        return Problem(
            "The Claude Code CLI (claude) is not on the PATH.",
            f"Install it ({_INSTALL}), or use --engine api.",
        )
    try:
        done = subprocess.run(  # noqa: S603 - the CLI that was asked for
            [path, "--version"],
            env={"PATH": environ.get("PATH", "")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_VERSION_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        return Problem(f"{path} cannot be run: {exc}.", f"Install it again: {_INSTALL}.")
    output = (done.stdout + b"\n" + done.stderr).decode(errors="replace").strip()
    return judge_version(path, output, done.returncode)


def find_cli_problems(
    model: ModelSettings, environ: Mapping[str, str], in_process: bool
) -> list[Problem]:
    """What the engine claude-code, if chosen, misses where executors run `in_process`: on this
    host, uncontained. Elsewhere the worker checks the CLI of its image or node."""
    if model.engine != "claude-code" or not in_process:
        return []
    uncontained = Problem(
        "The engine claude-code lets the model run commands, and nothing contains them on this"
        " host.",
        "Choose a backend that runs containers, or set --allow-commands.",
    )
    problems = [] if model.allow_commands else [uncontained]
    found = find_cli(environ)
    return [*problems, found] if isinstance(found, Problem) else problems


def judge_version(path: str, output: str, code: int) -> str | Problem:
    """`path` if the CLI whose `--version` printed this can be used, else why not."""
    if code == 127 and "node" in output:
        return Problem(
            f"{path} needs Node.js, which is not on the PATH.",
            f"Install Node.js 18 or newer, or a Claude Code that needs none: {_INSTALL}.",
        )
    match = re.match(r"(\d+)\.(\d+)\.(\d+)", output)
    if code != 0 or match is None:
        first = output.partition("\n")[0][:200]
        return Problem(
            f"{path} --version failed with exit code {code}: {first or 'no output'}.",
            f"Install it again: {_INSTALL}.",
        )
    if tuple(map(int, match.groups())) < OLDEST:
        return Problem(
            f"{path} has version {match[0]}; the oldest supported is {'.'.join(map(str, OLDEST))}."
            " Older ones use other models too and report some errors as success.",
            f"Install a newer one: {_INSTALL}@latest.",
        )
    return path


def build_command(
    cli: str, home: CliHome, model: str, session: str, *, resume: bool, max_turns: int
) -> list[str]:
    """One prompt's command line; the prompt goes to standard input. `acceptEdits` keeps the file
    tools below the current directory; a mode that skips permissions would be refused to root."""
    return [
        cli,
        "--print",
        "--input-format=stream-json",
        "--output-format=stream-json",
        "--include-partial-messages",
        "--verbose",
        f"--model={model}",
        f"--max-turns={max_turns}",
        f"--system-prompt-file={home.system_prompt}",
        f"--tools={','.join(TOOLS)}",
        "--permission-mode=acceptEdits",
        "--allowedTools=Bash",
        "--setting-sources=",
        "--strict-mcp-config",
        "--disable-slash-commands",
        f"--resume={session}" if resume else f"--session-id={session}",
    ]


def build_environment(
    model: ModelSettings, limits: Limits, api: CliApi, home: CliHome, environ: Mapping[str, str]
) -> dict[str, str]:
    """All that the CLI, and what the model runs in it, sees of the worker's environment. No
    credentials: whatever the provider, it speaks the Messages API to `api`."""
    return {
        **{name: environ[name] for name in sorted(_PASSED) if name in environ},
        **_QUIET,
        "HOME": str(home.root),
        "TMPDIR": str(home.temporary),
        "CLAUDE_CODE_TMPDIR": str(home.temporary),
        "CLAUDE_CONFIG_DIR": str(home.config),
        "CLAUDE_CODE_MAX_OUTPUT_TOKENS": str(model.max_output_tokens),
        # its background requests go to the chosen model too
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": model.model,
        "ANTHROPIC_SMALL_FAST_MODEL": model.model,
        "ANTHROPIC_BASE_URL": api.base_url,
        "ANTHROPIC_API_KEY": api.token,
        **_patience(limits),
        **_proxies(model, environ),
        **(_FOR_BEDROCK if model.provider == "bedrock" else {}),
    }


def _patience(limits: Limits) -> dict[str, str]:
    """The proxy waits for limits, retries and stalls; the CLI only waits for the proxy. A refusal
    forbids another try by itself, so these tries are for a broken connection."""
    whole_attempt = str(min(math.ceil(limits.timeout_s * 1000), _MOST_MS))
    return {
        "CLAUDE_CODE_MAX_RETRIES": "2",
        "API_TIMEOUT_MS": whole_attempt,
        "CLAUDE_STREAM_IDLE_TIMEOUT_MS": whole_attempt,
        "API_FORCE_IDLE_TIMEOUT": "0",  # its HTTP client would give up after five minutes
    }


def _proxies(model: ModelSettings, environ: Mapping[str, str]) -> dict[str, str]:
    """For the model's commands, never on the way to the worker's proxy; none for a simulation."""
    if model.simulation is not None or not any(environ.get(name) for name in _PROXIES):
        return {}
    beside = ",".join(filter(None, (environ.get(n, "") for n in _NO_PROXY)))
    found = {name: environ[name] for name in _PROXIES if name in environ}
    return found | dict.fromkeys(_NO_PROXY, f"{beside},{HOST}".lstrip(","))
