"""What the engine on the Claude Code CLI needs on this machine, and what of it is missing."""

from __future__ import annotations

from collections.abc import Mapping

from claude.engines.cli_setup import find_cli
from core.bundle import ModelSettings
from core.credentials import Credentials
from core.errors import Problem


def find_cli_problems(
    model: ModelSettings, credentials: Credentials, environ: Mapping[str, str], in_process: bool
) -> list[Problem]:
    """Nothing for another engine. `in_process` tells that executors run on this host, uncontained;
    elsewhere the CLI is the image's or the node's own, and the worker looks for it."""
    if model.engine != "claude-code":
        return []
    return [
        *(_on_this_host(model, environ) if in_process else []),
        *_without_key(model, credentials),
    ]


def _on_this_host(model: ModelSettings, environ: Mapping[str, str]) -> list[Problem]:
    problems = []
    if not model.allow_commands:
        problems.append(
            Problem(
                "The engine claude-code lets the model run commands, and nothing contains them on"
                " this host.",
                "Choose a backend that runs containers or batch jobs, or say --allow-commands.",
            )
        )
    if isinstance(found := find_cli(environ), Problem):
        problems.append(found)
    return problems


def _without_key(model: ModelSettings, credentials: Credentials) -> list[Problem]:
    """The SDK has more ways to authenticate than can be handed to the CLI."""
    if model.simulation is not None or model.provider != "anthropic":
        return []
    if credentials.anthropic_api_key or credentials.anthropic_auth_token:
        return []
    return [
        Problem(
            "The Claude Code CLI gets no credentials: it is given environment variables only.",
            "Set ANTHROPIC_API_KEY or ANTHROPIC_AUTH_TOKEN.",
        )
    ]
