"""Completion of the command line in bash, zsh and fish, by click, with runs and tasks."""

import glob
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import NoReturn

import click

COMPLETE = "_PARALLEL_ORCHESTRATOR_COMPLETE"
"""The variable by which a shell asks."""


def complete(cli: click.Command) -> NoReturn:
    """Answer a shell; its side is made for a command of one word."""
    with redirect_stdout(sys.__stdout__):  # which takes bytes
        cli.main(args=[], prog_name="parallel-orchestrator", complete_var=COMPLETE)
    sys.exit(0)


def find_runs(ctx: click.Context, _: click.Parameter, begun: str) -> list[str]:
    """Ids of runs that begin so, the newest first."""
    found = Path(_work_dir(ctx), "runs").glob(f"{glob.escape(begun)}*/run.json")
    return sorted((path.parent.name for path in found), reverse=True)


def find_tasks(ctx: click.Context, _: click.Parameter, begun: str) -> list[str]:
    """Ids of the run's tasks that begin so, where they have begun."""
    name = str(ctx.params.get("run_id"))
    runs = sorted(path.parent for path in Path(_work_dir(ctx), "runs").glob("*/run.json"))
    near = [run for run in runs if run.name.startswith(name) or run.name.endswith(name)]
    found = runs[-1:] if name == "last" else near[:1]
    return sorted(t.name for run in found for t in run.glob(f"tasks/{glob.escape(begun)}*"))


def _work_dir(ctx: click.Context) -> str:
    given = ctx.params.get("work_dir") or os.environ.get("ORCHESTRATOR_WORK_DIR")
    return str(given or ".orchestrator")
