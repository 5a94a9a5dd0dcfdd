"""The Claude Code CLI as we start it: where it is, whether it will do, its arguments, its
environment.

Nothing of the person's own set-up reaches it: home, settings, hooks, MCP servers and CLAUDE.md
stay out, and of the environment only what is named here goes in. Secrets go there and never into
arguments. https://code.claude.com/docs/en/cli-reference, .../settings, .../headless
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from core.bundle import Limits, ModelSettings
from core.credentials import Credentials
from core.errors import Problem

OLDEST = (2, 1, 100)
"""Older ones ask models that nobody chose, which costs money unseen, or call failures a success."""
TOOLS = ("Read", "Write", "Edit", "Glob", "Grep", "Bash")
_VERSION_TIMEOUT_S = 30.0
_INSTALL = "npm install -g @anthropic-ai/claude-code"

# What programs need to find others and to reach the network, and to speak the person's language.
_PASSED = frozenset(
    {"PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "USER", "LOGNAME", "SHELL"}
    | {"SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS"}
)
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
# How AWS hands a role to a process. https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html
_ROLE = (
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
)
_AWS_FILES = {"AWS_CONFIG_FILE": "config", "AWS_SHARED_CREDENTIALS_FILE": "credentials"}
_QUIET = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_TELEMETRY": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "CLAUDE_CODE_DISABLE_AUTO_MEMORY": "1",
    "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1",
}


@dataclass(frozen=True, slots=True)
class Cli:
    """A CLI that answered."""

    path: str
    version: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class CliHome:
    """The directory below an attempt that stands in for the person's home."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "config"

    @property
    def temporary(self) -> Path:
        return self.root / "tmp"

    @property
    def system_prompt(self) -> Path:
        return self.root / "system.md"

    def make(self, system_prompt: str) -> None:
        """Make it anew; only the worker's user may look in."""
        shutil.rmtree(self.root, ignore_errors=True)
        for directory in (self.root, self.config, self.temporary):
            directory.mkdir(mode=0o700)
        self.system_prompt.write_text(system_prompt, encoding="utf-8")

    def remove(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)


def find_cli(environ: Mapping[str, str]) -> Cli | Problem:
    """The `claude` on the PATH of `environ`, or why it will not do."""
    path = shutil.which("claude", path=environ.get("PATH", ""))
    if path is None:
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
    said = (done.stdout + b"\n" + done.stderr).decode(errors="replace").strip()
    return judge_version(path, said, done.returncode)


def judge_version(path: str, said: str, code: int) -> Cli | Problem:
    """What `claude --version` printed, as a CLI or a problem."""
    if code == 127 and "node" in said:
        return Problem(
            f"{path} needs Node.js, which is not on the PATH.",
            f"Install Node.js 18 or newer, or a Claude Code that needs none: {_INSTALL}.",
        )
    match = re.match(r"(\d+)\.(\d+)\.(\d+)", said)
    if code != 0 or match is None:
        first = said.partition("\n")[0][:200]
        return Problem(
            f"{path} --version failed with exit code {code}: {first or 'it said nothing'}.",
            f"Install it again: {_INSTALL}.",
        )
    version = (int(match[1]), int(match[2]), int(match[3]))
    if version < OLDEST:
        return Problem(
            f"{path} has version {_dotted(version)}; {_dotted(OLDEST)} is the oldest that will do,"
            " since older ones ask other models on the side and report some errors as success.",
            f"Install a newer one: {_INSTALL}@latest.",
        )
    return Cli(path, version)


def build_command(
    cli: Cli, home: CliHome, model: str, session: str, *, resume: bool, max_turns: int
) -> list[str]:
    """One prompt's command line; the prompt itself goes to standard input.

    `acceptEdits` lets the file tools work below the current directory and nowhere else, and no
    mode that skips permissions is used, which root would be refused.
    """
    return [
        cli.path,
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
    model: ModelSettings,
    limits: Limits,
    credentials: Credentials,
    home: CliHome,
    environ: Mapping[str, str],
) -> dict[str, str]:
    """All that the CLI, and what the model runs in it, sees of the worker's environment."""
    return {
        **{name: environ[name] for name in sorted(_PASSED) if name in environ},
        **_QUIET,
        "HOME": str(home.root),
        "TMPDIR": str(home.temporary),
        "CLAUDE_CODE_TMPDIR": str(home.temporary),
        "CLAUDE_CONFIG_DIR": str(home.config),
        "CLAUDE_CODE_MAX_RETRIES": str(limits.request_retries),
        "CLAUDE_CODE_MAX_OUTPUT_TOKENS": str(model.max_output_tokens),
        # what it asks on the side goes to the model that was chosen, too
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": model.model,
        "ANTHROPIC_SMALL_FAST_MODEL": model.model,
        **_proxies(model, environ),
        **(
            _bedrock(model, credentials, environ)
            if model.provider == "bedrock"
            else _anthropic(model, credentials)
        ),
    }


def _proxies(model: ModelSettings, environ: Mapping[str, str]) -> dict[str, str]:
    """None for a simulation, which is on loopback."""
    names = () if model.simulation is not None else _PROXIES
    return {name: environ[name] for name in names if name in environ}


def _anthropic(model: ModelSettings, credentials: Credentials) -> dict[str, str]:
    found = {
        "ANTHROPIC_API_KEY": credentials.anthropic_api_key,
        "ANTHROPIC_AUTH_TOKEN": credentials.anthropic_auth_token,
        "ANTHROPIC_BASE_URL": model.base_url,
    }
    if credentials.anthropic_api_key:
        del found["ANTHROPIC_AUTH_TOKEN"]  # two would be sent, and the API takes one
    return {name: value for name, value in found.items() if value}


def _bedrock(
    model: ModelSettings, credentials: Credentials, environ: Mapping[str, str]
) -> dict[str, str]:
    held = {f.name.upper(): str(getattr(credentials, f.name)) for f in fields(credentials)}
    found = {name: value for name, value in held.items() if name.startswith("AWS_") and value}
    found |= {"CLAUDE_CODE_USE_BEDROCK": "1", "AWS_REGION": model.region}
    if model.base_url:
        found["ANTHROPIC_BEDROCK_BASE_URL"] = model.base_url
    if model.simulation is None:
        found |= {name: environ[name] for name in _ROLE if name in environ}
        if "HOME" in environ:  # profiles are found from there, and the CLI gets another home
            aws = Path(environ["HOME"], ".aws")
            found |= {n: environ.get(n, str(aws / file)) for n, file in _AWS_FILES.items()}
    return found


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
