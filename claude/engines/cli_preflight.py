"""What the engine on the Claude Code CLI needs on this machine, and what of it is missing."""

from __future__ import annotations

from collections.abc import Mapping

from claude.engines.cli_setup import find_cli
from core.bundle import ModelSettings
from core.errors import Problem


def find_cli_problems(
    model: ModelSettings, environ: Mapping[str, str], in_process: bool
) -> list[Problem]:
    """Nothing for another engine; credentials are the worker's matter, not the CLI's.

    `in_process` tells that executors run on this host, uncontained; elsewhere the CLI is the
    image's or the node's own, and the worker looks for it.
    """
    problems: list[Problem] = []
    if model.engine != "claude-code" or not in_process:
        return problems
    if not model.allow_commands:
        problems.append(
            Problem(
                "The engine claude-code lets the model run commands, and nothing contains them on"
                " this host.",
                "Choose a backend that runs containers, or say --allow-commands.",
            )
        )
    if isinstance(found := find_cli(environ), Problem):
        problems.append(found)
    return problems
