"""What --help shows: one screen for the program and for commands of many options, and with
--help-all every option under its heading."""

from collections.abc import Sequence
from typing import Any

import click

from backends import BACKENDS, installed_backends
from core.settings.options import Group, Setting

SUMMARY = "Builds a project from one sentence: Claude plans, executors work in parallel."
EXAMPLES = (
    '"Build a todo list app" --output-dir todo',
    '"Add due dates" --into todo --real --max-cost 2',
)
RARE = frozenset({"cancel", "clean", "logs", "simulated-api", "undo", "watch"})
"""Commands that a short help only names."""
BRIEF = {
    "real": "ask the real Claude; without it, a simulated one answers",
    "backend": "threading, docker, batch, slurm, parallelcluster",
    "max_executors": "how many executors run at once (5)",
    "output_dir": "where a new project goes; must be new or empty",
    "into": "the existing code that is changed instead",
    "max_cost": "stop before the run costs more than this",
}
"""The options of a short help, by key."""
LONG = 20
"""A command with more settings than this has a short help."""
_HELP_ALL = "list every option"
_EPILOG = (
    "Every option also has an environment variable ORCHESTRATOR_<NAME> and a key in"
    " orchestrator.toml. --show-config shows each value and where it came from."
)


class HeadedOption(click.Option):
    """An option with its heading, and the setting that it gives, where it gives one."""

    def __init__(
        self,
        group: str,
        names: Sequence[str],
        help: str,  # noqa: A002 - click's name for it
        metavar: str = "",
        setting: Setting | None = None,
        **shape: Any,
    ) -> None:
        super().__init__(list(names), help=help, metavar=metavar or None, **shape)
        self.group = group
        self.setting = setting


class HelpedCommand(click.Command):
    """A command with --help-all beside --help, where its options are many."""

    @property
    def is_long(self) -> bool:
        return sum(getattr(p, "setting", None) is not None for p in self.params) > LONG

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return super().get_params(ctx) + ([help_all_option()] if self.is_long else [])

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.is_long and not ctx.meta.get(_HELP_ALL):
            write_brief_options(self, ctx, formatter)
        else:
            write_grouped_options(self, ctx, formatter)


class HelpedGroup(click.Group):
    """The program itself. Its options are those of `run`."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), help_all_option()]

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_usage(ctx, formatter)
        formatter.write(f"\n{SUMMARY}\n")
        formatter.write("".join(f"  {ctx.info_name} {example}\n" for example in EXAMPLES))
        run = self.commands["run"]
        of_run = click.Context(run, parent=ctx, info_name="run")
        is_brief = not ctx.meta.get(_HELP_ALL)
        left_out = [name for name in self.commands if is_brief and name in RARE]
        told = [c for name, c in self.commands.items() if name not in left_out]
        with formatter.section("Commands"):
            formatter.write_dl([(_synopsis(c, ctx), c.help or "") for c in told])
            if left_out:
                formatter.write_text(f"and {', '.join(left_out)} (see --help-all)")
        if not is_brief:
            write_grouped_options(run, of_run, formatter)
            formatter.write_paragraph()
            if names := {each.name for each in installed_backends()} - set(BACKENDS):
                listed = ", ".join(sorted(names))
                formatter.write_text(f"Backends of other packages here: {listed}.")
                formatter.write_paragraph()
            formatter.write_text(_EPILOG)
        else:
            write_brief_options(run, of_run, formatter, own=False)


def help_all_option() -> click.Option:
    def show(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
        if wanted and not ctx.resilient_parsing:
            ctx.meta[_HELP_ALL] = True
            click.echo(ctx.get_help())
            ctx.exit()

    return HeadedOption(
        "Help", ["--help-all"], _HELP_ALL, is_flag=True, is_eager=True, callback=show,
        expose_value=False,
    )  # fmt: skip


def write_brief_options(
    command: click.Command, ctx: click.Context, formatter: click.HelpFormatter, *, own: bool = True
) -> None:
    """The options of BRIEF, and with `own` those that are the command's alone."""
    options = [p for p in command.params if isinstance(p, HeadedOption)]
    rows = [
        (f"{s.flag} {s.placeholder}".strip(), BRIEF[s.key])
        for s in (p.setting for p in options)
        if s is not None and s.key in BRIEF
    ]
    of_command = (p.get_help_record(ctx) for p in options if p.setting is None and own)
    with formatter.section("Options (--help-all lists every option)"):
        formatter.write_dl([*rows, *(row for row in of_command if row is not None)])


def _synopsis(command: click.Command, ctx: click.Context) -> str:
    arguments = [p for p in command.params if isinstance(p, click.Argument)]
    return " ".join([command.name or "", *(p.make_metavar(ctx) for p in arguments)])


def write_grouped_options(
    command: click.Command, ctx: click.Context, formatter: click.HelpFormatter
) -> None:
    """Every option under its heading."""
    sections: dict[str, list[tuple[str, str]]] = {name: [] for name in (*Group, "Help")}
    for parameter in command.get_params(ctx):
        record = parameter.get_help_record(ctx)
        if isinstance(parameter, click.Option) and record is not None:
            sections[getattr(parameter, "group", "Help")].append(record)
    for name, rows in sections.items():
        if rows:
            with formatter.section(name):
                formatter.write_dl(rows, col_max=28)
