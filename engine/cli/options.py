"""The command line, made from the declared settings. A first word that is no command is the prompt
of `run`; only options really given are handed on, which is what makes provenance work."""

import difflib
import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from config import SETTINGS, LoadedSettings, load_settings
from core.errors import Problem, RunInterrupted, UsageError, refuse_if
from core.settings.options import Group, Setting, settings_of
from core.startup import REMEDY, find_unusable
from engine.cli.completion import COMPLETE, complete, find_runs, find_tasks
from engine.cli.help import HeadedOption, HelpedCommand, HelpedGroup
from engine.cli.prompt import read_prompt
from engine.cli.show_config import show_config

ORDINARY_HELP = frozenset({"-h", "--help", "--help-all", "--version"})
_IMPLIED = "prompt without a command"
_PORT = click.IntRange(0, 65535)
_MISSING = {
    "run_id": " RUN is an id that `runs` lists, its end, or last.",
    "task": " TASK is an id that `show RUN` lists.",
}


@dataclass(frozen=True)
class Handlers:
    """What the commands do; each gives an exit code."""

    run: Callable[[LoadedSettings, str], int]
    plan: Callable[[LoadedSettings, str, Path | None], int]
    resume: Callable[[LoadedSettings, str], int]
    runs: Callable[[LoadedSettings, int | None], int]
    """How many of the newest; None where it was not said."""
    show: Callable[[LoadedSettings, str, str], int]
    """The run's name, and the task's, "" for none."""
    report: Callable[[LoadedSettings, str, Path | None, bool], int]
    """The run's name, where the report goes, and whether to open it."""
    watch: Callable[[LoadedSettings, str, int, bool], int]
    """The run's name, the port, and whether to open the page."""
    simulated_api: Callable[[LoadedSettings, int], int]
    doctor: Callable[[LoadedSettings, bool, bool], int]
    """Whether to run a small job on the backend; whether to register a job definition first."""
    logs: Callable[[LoadedSettings, str, str, bool], int]
    """The same two, and whether to follow."""
    cancel: Callable[[LoadedSettings, str], int]
    undo: Callable[[LoadedSettings, str], int]
    clean: Callable[[LoadedSettings, str, float, bool], int]
    """The run's name, "" for all; the age in seconds from which runs go; whether to remove."""


@dataclass(frozen=True)
class Surroundings:
    """What the command line reads besides its arguments."""

    environ: Mapping[str, str]
    cwd: Callable[[], Path]
    stdin: BinaryIO | None


class PromptGroup(HelpedGroup):
    """Commands, where anything else is the prompt of `run`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help(), err=True)
            ctx.exit(2)
        if args and args[0] not in self.commands and args[0] not in ORDINARY_HELP:
            args = ["run", *args]
            ctx.meta[_IMPLIED] = True
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        found = super().shell_complete(ctx, incomplete)
        if incomplete.startswith("-"):  # of a prompt that comes last
            run = self.commands["run"]
            found += run.shell_complete(click.Context(run, ctx, "run"), incomplete)
        return found


def build_cli(handlers: Handlers, around: Surroundings, version: str) -> click.Command:
    """The whole command line over `handlers`."""
    group = PromptGroup(
        "orchestrator",
        options_metavar="",
        subcommand_metavar='[COMMAND] "PROMPT" [OPTIONS]',
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    for command in _commands(handlers, around):
        group.add_command(command)
    return click.version_option(version, message="parallel-orchestrator %(version)s")(group)


def run_cli(
    cli: click.Command, args: Sequence[str], program: str = "python3 orchestrator.py"
) -> int:
    """The exit code of the command that `args` name. What click refuses is raised as UsageError."""
    if COMPLETE in os.environ:
        complete(cli)
    try:
        return int(cli.main(args=list(args), prog_name=program, standalone_mode=False) or 0)
    except click.ClickException as exc:
        context = getattr(exc, "ctx", None)
        path = context.command_path if context else program
        message = exc.format_message()
        end = "" if message.endswith((".", "?", "?)")) else "."
        remedy = f"See '{path} --help'.{_hint(exc, args, path)}"
        raise UsageError(f"{message}{end}", remedy) from exc
    except click.Abort as exc:
        raise RunInterrupted("Interrupted.") from exc


def _hint(exc: click.ClickException, args: Sequence[str], path: str) -> str:
    """What is missing where that is a run or a task; what looked like an option may be a prompt
    that begins with a dash."""
    if isinstance(exc, click.MissingParameter):
        return _MISSING.get((exc.param and exc.param.name) or "", "")
    if not isinstance(exc, click.NoSuchOption):
        return ""
    asked = (a for a in args if a.startswith(exc.option_name) and " " in a and "=" not in a)
    if (prompt := next(asked, None)) is None:
        return ""
    return f" If it is the prompt, put it last, after --: {path} -- {shlex.quote(prompt[:200])}"


def given_options(ctx: click.Context) -> dict[str, object]:
    """The settings that stood on the command line, by key; their values as typed."""
    return {
        name: list(value) if isinstance(value := ctx.params[name], tuple) else value
        for name in (p.name or "" for p in ctx.command.params if getattr(p, "setting", None))
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }


def parse_age(text: str) -> float:
    """12h, 7d or 2w in seconds. Raises UsageError."""
    if (found := re.fullmatch(r"(\d{1,6})([hdw])", text.strip(), re.ASCII)) is None:
        raise UsageError(
            f"Invalid value {text!r} for --older-than: it must be an age.",
            "Give hours, days or weeks: 12h, 7d or 2w.",
        )
    return int(found[1]) * {"h": 3_600.0, "d": 86_400.0, "w": 604_800.0}[found[2]]


MakeCommand = Callable[..., click.Command]
"""As `command` in _commands."""


def _commands(do: Handlers, around: Surroundings) -> Iterator[click.Command]:
    """In the order of --help."""

    def command(
        name: str,
        text: str,
        act: Callable[[click.Context, LoadedSettings], int],
        *parameters: click.Parameter,
    ) -> click.Command:
        def callback(**_: object) -> int:
            return _act(click.get_current_context(), act, around)

        made = HelpedCommand(name, params=list(parameters), callback=callback, help=text)
        made.params += [_parameter(setting) for setting in settings_of(SETTINGS, name)]
        made.params.append(_flag(Group.OUTPUT, "--show-config", "show all settings, and stop"))
        return made

    yield from _commands_that_build(do, around, command)
    yield from _commands_that_show(do, command)
    yield from _commands_that_tidy(do, command)


def _run_id() -> click.Argument:
    return click.Argument(["run_id"], metavar="RUN", shell_complete=find_runs)


def _commands_that_build(
    do: Handlers, around: Surroundings, command: MakeCommand
) -> Iterator[click.Command]:
    prompt = click.Argument(["words"], nargs=-1, metavar='"PROMPT"')
    prompt_file = _own("--prompt-file", "FILE", "read the prompt from a file; -: standard input")
    yield command(
        "run",
        "Plan and build a project; the word run may be left out.",
        lambda ctx, loaded: do.run(loaded, _prompt(ctx, around, loaded)),
        *(prompt, prompt_file),
    )
    yield command(
        "plan",
        "Plan only: show the tasks, the contracts and a forecast.",
        lambda ctx, loaded: do.plan(
            loaded, _prompt(ctx, around, loaded), _path(ctx.params["output"])
        ),
        *(
            prompt,
            prompt_file,
            _own("--output", "FILE", "file to write the plan to, .json or .toml", "-o"),
        ),
    )
    yield command(
        "resume",
        "Continue a run that was stopped or has failures.",
        lambda ctx, loaded: do.resume(loaded, ctx.params["run_id"]),
        _run_id(),
    )


def _commands_that_show(do: Handlers, command: MakeCommand) -> Iterator[click.Command]:
    yield command(
        "runs",
        "List the runs in the work directory, the newest first.",
        lambda ctx, loaded: do.runs(loaded, ctx.params["limit"]),
        _own(
            *("--limit", "N", "how many (a terminal: what fits; elsewhere: all)"),
            type=click.IntRange(1),
        ),
    )
    yield command(
        "show",
        "Show a run, or a task: request, transcript, files, result.",
        lambda ctx, loaded: do.show(loaded, ctx.params["run_id"], ctx.params["task"] or ""),
        _run_id(),
        click.Argument(["task"], metavar="[TASK]", required=False, shell_complete=find_tasks),
    )
    opens = _flag(Group.CORE, "--open", "open it in the browser")
    yield command(
        "report",
        "Write a run's report, a page for a browser.",
        lambda ctx, loaded: do.report(
            loaded, ctx.params["run_id"], _path(ctx.params["output"]), ctx.params["open"]
        ),
        _run_id(),
        _own("--output", "FILE", "where to write it (report.html of the run)", "-o"),
        opens,
    )
    yield command(
        "watch",
        "Serve that page on this machine while the run goes on.",
        lambda ctx, loaded: do.watch(
            loaded, ctx.params["run_id"], ctx.params["port"], ctx.params["open"]
        ),
        _run_id(),
        _own("--port", "N", "port on loopback; 0: any free one", type=_PORT, default=0),
        opens,
    )
    yield command(
        "logs",
        "Show what a task's worker wrote, also while it runs.",
        lambda ctx, loaded: do.logs(
            loaded, ctx.params["run_id"], ctx.params["task"], ctx.params["follow"]
        ),
        _run_id(),
        click.Argument(["task"], metavar="TASK", shell_complete=find_tasks),
        _flag(Group.CORE, "--follow", "go on until the task ends"),
    )


def _commands_that_tidy(do: Handlers, command: MakeCommand) -> Iterator[click.Command]:
    yield command(
        "cancel",
        "Stop the jobs of a run wherever they run; it can be resumed.",
        lambda ctx, loaded: do.cancel(loaded, ctx.params["run_id"]),
        _run_id(),
    )
    yield command(
        "undo",
        "Give a directory that --into changed back as it was; for one without git.",
        lambda ctx, loaded: do.undo(loaded, ctx.params["run_id"]),
        _run_id(),
    )
    yield command(
        "clean",
        "Show what old runs left behind; --yes removes it.",
        lambda ctx, loaded: do.clean(
            loaded,
            ctx.params["run_id"] or "",
            parse_age(ctx.params["older_than"]),
            ctx.params["yes"],
        ),
        click.Argument(["run_id"], metavar="[RUN]", required=False),
        _own("--older-than", "AGE", "age from which ended runs go: 12h, 7d, 2w (7d)", default="7d"),
        _flag(Group.CORE, "--yes", "remove it; without, only show what would go"),
    )
    yield command(
        "doctor",
        "Check this machine, backends and providers; show each fix.",
        lambda ctx, loaded: do.doctor(
            loaded, ctx.params["probe"], ctx.params["register_job_definition"]
        ),
        _flag(Group.CORE, "--probe", "also run a small job on the backend"),
        _flag(Group.BATCH, "--register-job-definition", "register a job definition, and check it"),
    )
    yield command(
        "simulated-api",
        "Serve the simulated Claude on this machine.",
        lambda ctx, loaded: do.simulated_api(loaded, ctx.params["port"]),
        _own("--port", "N", "port on loopback; 0: any free one", type=_PORT, default=0),
    )


def _act(
    ctx: click.Context, act: Callable[[click.Context, LoadedSettings], int], around: Surroundings
) -> int:
    """Load the settings first, and only show them when asked to."""
    if ctx.meta.get(_IMPLIED):
        _refuse_mistyped_command(ctx)
    shows, given = ctx.params["show_config"], given_options(ctx)
    try:
        cwd = around.cwd()
    except OSError as exc:
        raise UsageError(
            f"The current directory cannot be used: {exc.strerror}.",
            "Change to a directory that exists.",
        ) from exc
    loaded = load_settings(given, around.environ, cwd, lenient=shows)
    if shows:
        return show_config(loaded)
    refuse_if([Problem(found, REMEDY) for found in find_unusable()])
    return act(ctx, loaded)


def _parameter(setting: Setting) -> click.Parameter:
    """Values stay as they were typed; the settings check them, whatever their source."""
    text = f"{setting.text} ({setting.shown_default})" if setting.shown_default else setting.text
    kind = setting.kind
    shape = {"is_flag": True} if kind.is_flag else {"multiple": kind.is_list}
    names = [setting.spelling, setting.key]
    return HeadedOption(setting.group, names, text, setting.placeholder, setting, **shape)


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _own(flag: str, metavar: str, text: str, *flags: str, **shape: Any) -> click.Parameter:
    """An option of one command, which is no setting."""
    return HeadedOption(Group.CORE, [*flags, flag], text, metavar, **shape)


def _flag(group: str, flag: str, text: str) -> click.Parameter:
    return HeadedOption(group, [flag], text, is_flag=True)


def _prompt(ctx: click.Context, around: Surroundings, loaded: LoadedSettings) -> str:
    """The prompt; empty where a plan given needs none."""
    words: tuple[str, ...] = ctx.params["words"]
    if len(words) > 1:
        raise UsageError(
            f"The prompt came as {len(words)} words.",
            f'Put it in quotes: "{words[0]} {words[1]} ...".',
        )
    argument, prompt_file = (words[0] if words else None), ctx.params["prompt_file"]
    if argument is None and prompt_file is None and loaded.settings.plan is not None:
        return ""
    return read_prompt(argument, prompt_file, around.stdin)


def _refuse_mistyped_command(ctx: click.Context) -> None:
    """One bare word in small letters looks like a command; as a prompt it might cost money."""
    words: tuple[str, ...] = ctx.params["words"]
    first = words[0] if words else ""
    group = ctx.find_root().command
    names = [*(group.commands if isinstance(group, click.Group) else ()), *ORDINARY_HELP]
    if first in names:
        raise UsageError(
            f"Options came before the command {first!r}.", f"Write '{first} ... --option'."
        )
    near = difflib.get_close_matches(first, names, 1, 0.7)
    alone = len(words) == 1 and re.fullmatch(r"[a-z][a-z-]*", first)
    if " " not in first and (near or alone):
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UsageError(
            f"Unknown command {first!r}.{hint}", f'If it is a prompt, write: run "{first}".'
        )
