"""The command line, made from the declared settings: click parameters, grouped help, commands.

`build_cli` takes functions for the commands and gives a click command; `run_cli` runs it, so that
every usage error comes out as a core UsageError. A first word that is no command is the prompt of
`run`. Only options really given are handed on, which is what makes provenance work.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import click
from click.core import ParameterSource

from config import SETTINGS, LoadedSettings, load_settings, render_settings
from core.errors import RunInterrupted, UsageError
from core.settings.options import Group, Setting, settings_of

MAX_PROMPT_CHARS = 200_000
ORDINARY_HELP = frozenset({"-h", "--help", "--version"})
_IMPLIED = "prompt without a command"
_EPILOG = (
    "Every option also has an environment variable ORCHESTRATOR_<NAME> and a key in"
    " orchestrator.toml; --show-config tells each value and where it came from."
)


@dataclass(frozen=True, slots=True)
class DoctorOptions:
    """What `doctor` is to do besides looking. `probe` runs a small job on the backend,
    `register_job_definition` makes one for AWS Batch first."""

    probe: bool = False
    register_job_definition: bool = False


@dataclass(frozen=True)
class Handlers:
    """What the commands do; each gives an exit code. None: not built, so not listed."""

    run: Callable[[LoadedSettings, str], int]
    plan: Callable[[LoadedSettings, str, Path | None], int] | None = None
    resume: Callable[[LoadedSettings, str], int] | None = None
    runs: Callable[[LoadedSettings], int] | None = None
    simulated_api: Callable[[LoadedSettings, int], int] | None = None
    doctor: Callable[[LoadedSettings, DoctorOptions], int] | None = None
    cancel: Callable[[LoadedSettings, str], int] | None = None
    clean: Callable[[LoadedSettings, str, float, bool], int] | None = None
    """The run's name, "" for all; the age in seconds at which runs go; whether to do it."""


@dataclass(frozen=True)
class Surroundings:
    """What the command line reads besides its arguments."""

    environ: Mapping[str, str]
    cwd: Path
    stdin: BinaryIO | None

    def load(self, given: Mapping[str, object]) -> LoadedSettings:
        return load_settings(given, self.environ, self.cwd)


class HeadedOption(click.Option):
    """A click option that knows its heading, and whether it is a declared setting."""

    def __init__(
        self, group: str, names: Sequence[str], *, setting: bool = False, **shape: Any
    ) -> None:
        super().__init__(list(names), **shape)
        self.group = group
        self.setting = setting


class GroupedCommand(click.Command):
    """A command whose --help lists options under the headings of core.settings.options.Group."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_grouped_options(self, ctx, formatter)


class PromptGroup(click.Group):
    """Commands, where anything else is the prompt of `run`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args:
            click.echo(ctx.get_help(), err=True)
            ctx.exit(2)
        if args[0] not in self.commands and args[0] not in ORDINARY_HELP:
            args = ["run", *args]
            ctx.meta[_IMPLIED] = True
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_commands(ctx, formatter)
        run = self.commands["run"]
        write_grouped_options(run, click.Context(run, parent=ctx, info_name="run"), formatter)


def write_grouped_options(
    command: click.Command, ctx: click.Context, formatter: click.HelpFormatter
) -> None:
    sections: dict[str, list[tuple[str, str]]] = {name: [] for name in (*Group.ORDER, "Help")}
    for parameter in command.get_params(ctx):
        record = parameter.get_help_record(ctx)
        if isinstance(parameter, click.Option) and record is not None:
            sections[getattr(parameter, "group", "Help")].append(record)
    for name, rows in sections.items():
        if rows:
            with formatter.section(name):
                formatter.write_dl(rows, col_max=28)


def options_for(command: str) -> Callable[[click.Command], click.Command]:
    """Adds the declared options of `command`, and --show-config, to a click command."""

    def add(target: click.Command) -> click.Command:
        target.params += map(_parameter, settings_of(SETTINGS, command))
        shown = HeadedOption(
            Group.OUTPUT, ["--show-config"], is_flag=True, help="show all settings, and stop"
        )
        target.params.append(shown)
        return target

    return add


def _parameter(setting: Setting) -> click.Parameter:
    """Values stay as they were typed; the settings check them, whatever their source."""
    shape: dict[str, Any] = {"metavar": setting.placeholder, "multiple": setting.kind.is_list}
    if setting.kind.is_flag:
        shape = {"is_flag": True}
    text = f"{setting.text} ({setting.shown_default})" if setting.shown_default else setting.text
    names = [setting.flag, setting.key]
    return HeadedOption(setting.group, names, setting=True, help=text, **shape)


def build_cli(handlers: Handlers, around: Surroundings, version: str) -> click.Command:
    """The whole command line over `handlers`."""
    group = PromptGroup(
        "orchestrator",
        help="Turns one sentence into a working project: Claude plans it, executors build it in"
        " parallel. Without --real all is simulated, and no key is needed.",
        epilog=_EPILOG,
        options_metavar="",
        subcommand_metavar='[COMMAND] "PROMPT" [OPTIONS]',
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    for command in _commands(handlers, around):
        group.add_command(options_for(str(command.name))(command))
    return click.version_option(version, message="%(prog)s %(version)s")(group)


def run_cli(cli: click.Command, args: Sequence[str], program: str = "orchestrator.py") -> int:
    """The exit code of the command that `args` name. What click refuses is raised as UsageError."""
    try:
        return int(cli.main(args=list(args), prog_name=program, standalone_mode=False) or 0)
    except click.ClickException as exc:
        context = getattr(exc, "ctx", None)
        path = context.command_path if context else program
        message = exc.format_message()
        end = "" if message.endswith((".", "?", "?)")) else "."
        raise UsageError(f"{message}{end}", f"See '{path} --help'.") from exc
    except click.Abort as exc:
        raise RunInterrupted("Interrupted.") from exc


def given_options(ctx: click.Context) -> dict[str, object]:
    """The declared options that stood on the command line, by key; their values as typed."""
    return {
        str(p.name): list(value) if isinstance(value := ctx.params[str(p.name)], tuple) else value
        for p in ctx.command.params
        if isinstance(p, HeadedOption)
        and p.setting
        and ctx.get_parameter_source(str(p.name)) is ParameterSource.COMMANDLINE
    }


def read_prompt(argument: str | None, prompt_file: str | None, stdin: BinaryIO | None) -> str:
    """The prompt from its argument, a file, or standard input ("-" for either).

    Raises UsageError when there is none, there are two, or it is not a text of a sane size.
    """
    if argument is not None and prompt_file is not None:
        raise UsageError("There is a prompt and a --prompt-file.", "Give one of them.")
    if argument is not None and argument != "-":
        return _checked_prompt(argument, "The prompt")
    if argument is None and prompt_file is None:
        raise UsageError("There is no prompt.", 'Say what to build: "Build a todo list app".')
    source = argument or prompt_file or "-"
    where = "Standard input" if source == "-" else f"The prompt file {source}"
    try:
        return _checked_prompt(_read_bounded(source, stdin).decode("utf-8-sig"), where)
    except FileNotFoundError:
        raise UsageError(f"{where} does not exist.", "Check the path.") from None
    except OSError as exc:
        raise UsageError(f"{where} cannot be read: {exc.strerror}.", "Name a text file.") from exc
    except ValueError as exc:  # undecodable bytes, or a path that cannot be one
        raise UsageError(f"{where} is not text.", "Save it as UTF-8.") from exc


def _read_bounded(source: str, stdin: BinaryIO | None) -> bytes:
    """A little more than may be there, so that an endless device is refused and not read."""
    most_bytes = 4 * MAX_PROMPT_CHARS + 4
    if source != "-":
        with open(source, "rb") as stream:
            return stream.read(most_bytes)
    if stdin is None:
        raise UsageError("Standard input is closed.", "Give the prompt as an argument.")
    return stdin.read(most_bytes)


def _checked_prompt(text: str, where: str) -> str:
    if not text.strip():
        raise UsageError(f"{where} is empty.", "Say what to build.")
    if len(text) > MAX_PROMPT_CHARS:
        raise UsageError(
            f"{where} is longer than {MAX_PROMPT_CHARS:,} characters.",
            "Describe what to build, and leave out what is only reference.",
        )
    if "\0" in text or any(0xD800 <= ord(c) <= 0xDFFF for c in text):
        raise UsageError(f"{where} is not text.", "Save it as UTF-8.")
    return text.strip()


def _commands(handlers: Handlers, around: Surroundings) -> Iterator[click.Command]:
    """In the order of --help."""
    yield from _commands_that_ask(handlers, around)
    yield from _commands_on_runs(handlers, around)
    yield from _commands_on_this_machine(handlers, around)


def _commands_that_ask(handlers: Handlers, around: Surroundings) -> Iterator[click.Command]:
    yield _command(
        "run",
        "Plan, execute, merge and report; the word may be left out.",
        _prompt_parameters(),
        lambda ctx, loaded: handlers.run(loaded, _prompt(ctx, around, loaded)),
        around,
    )
    if (plan := handlers.plan) is not None:
        yield _command(
            "plan",
            "Plan only: the tasks, the contracts and a forecast.",
            [
                *_prompt_parameters(),
                HeadedOption(
                    Group.CORE, ["-o", "--output"], metavar="FILE", help="write the plan there"
                ),
            ],
            lambda ctx, loaded: plan(loaded, _prompt(ctx, around, loaded), _output_file(ctx)),
            around,
        )
    if (resume := handlers.resume) is not None:
        yield _command(
            "resume",
            "Go on with a run that was stopped or has failures.",
            [click.Argument(["run_id"], metavar="RUN")],
            lambda ctx, loaded: resume(loaded, ctx.params["run_id"]),
            around,
        )


def _commands_on_runs(handlers: Handlers, around: Surroundings) -> Iterator[click.Command]:
    if (runs := handlers.runs) is not None:
        yield _command(
            "runs", "List the runs in the work directory.", [], lambda _, s: runs(s), around
        )
    if (cancel := handlers.cancel) is not None:
        yield _command(
            "cancel",
            "Stop the jobs of a run wherever they run; it can be resumed.",
            [click.Argument(["run_id"], metavar="RUN")],
            lambda ctx, loaded: cancel(loaded, ctx.params["run_id"]),
            around,
        )
    if (clean := handlers.clean) is not None:
        yield _command(
            "clean",
            "Remove what runs left behind, and old runs; says first what.",
            _clean_parameters(),
            lambda ctx, loaded: clean(loaded, *_cleaning(ctx)),
            around,
        )


def _commands_on_this_machine(handlers: Handlers, around: Surroundings) -> Iterator[click.Command]:
    if (doctor := handlers.doctor) is not None:
        yield _command(
            "doctor",
            "Look at what backends and providers need, what is missing here, and the fix.",
            _doctor_parameters(),
            lambda ctx, loaded: doctor(loaded, _doctor_wishes(ctx)),
            around,
        )
    if (serve := handlers.simulated_api) is not None:
        port = HeadedOption(
            Group.CORE,
            ["--port"],
            type=click.IntRange(0, 65535),
            default=0,
            metavar="N",
            help="port on loopback; 0: a free one",
        )
        yield _command(
            "simulated-api",
            "Serve the simulated Claude on loopback.",
            [port],
            lambda ctx, loaded: serve(loaded, ctx.params["port"]),
            around,
        )


def _command(
    name: str,
    help_text: str,
    parameters: list[click.Parameter],
    act: Callable[[click.Context, LoadedSettings], int],
    around: Surroundings,
) -> click.Command:
    """A command that loads the settings first, and only shows them when asked to."""

    def callback(**_: object) -> int:
        ctx = click.get_current_context()
        if ctx.meta.get(_IMPLIED):
            _refuse_mistyped_command(ctx)
        loaded = around.load(given_options(ctx))
        if ctx.params["show_config"]:
            click.echo(render_settings(loaded, as_json=loaded.settings.json_lines))
            return 0
        return act(ctx, loaded)

    return GroupedCommand(name, params=parameters, callback=callback, help=help_text)


def _prompt_parameters() -> list[click.Parameter]:
    return [
        click.Argument(["words"], nargs=-1, metavar='"PROMPT"'),
        HeadedOption(
            Group.CORE, ["--prompt-file"], metavar="FILE", help="read the prompt there; -: stdin"
        ),
    ]


def _clean_parameters() -> list[click.Parameter]:
    return [
        click.Argument(["run_id"], metavar="[RUN]", required=False),
        HeadedOption(
            Group.CORE,
            ["--older-than"],
            metavar="AGE",
            default="7d",
            help="age at which a run that ended goes as a whole: 12h, 7d, 2w (7d)",
        ),
        HeadedOption(
            Group.CORE, ["--yes"], is_flag=True, help="remove it; without, only say what would go"
        ),
    ]


def _doctor_parameters() -> list[click.Parameter]:
    return [
        HeadedOption(
            Group.CORE, ["--probe"], is_flag=True, help="also run a small job on the backend"
        ),
        HeadedOption(
            Group.BATCH,
            ["--register-job-definition"],
            is_flag=True,
            help="make a job definition first, and look at that",
        ),
    ]


def _doctor_wishes(ctx: click.Context) -> DoctorOptions:
    return DoctorOptions(ctx.params["probe"], ctx.params["register_job_definition"])


def _cleaning(ctx: click.Context) -> tuple[str, float, bool]:
    given = ctx.params
    return given["run_id"] or "", parse_age(given["older_than"]), given["yes"]


def parse_age(text: str) -> float:
    """12h, 7d or 2w in seconds. Raises UsageError."""
    if (found := re.fullmatch(r"(\d{1,6})([hdw])", text.strip(), re.ASCII)) is None:
        raise UsageError(f"--older-than {text!r} is no age.", "Write it as 12h, 7d or 2w.")
    return int(found[1]) * {"h": 3_600.0, "d": 86_400.0, "w": 604_800.0}[found[2]]


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


def _output_file(ctx: click.Context) -> Path | None:
    return Path(ctx.params["output"]) if ctx.params["output"] else None


def _refuse_mistyped_command(ctx: click.Context) -> None:
    """One bare word in small letters looks like a command; as a prompt it might cost money."""
    words: tuple[str, ...] = ctx.params["words"]
    first = words[0] if words else ""
    group = ctx.find_root().command
    names = [*(group.commands if isinstance(group, click.Group) else ()), *ORDINARY_HELP]
    if first in names:
        raise UsageError(
            f"Options stand before the command {first!r}.", f"Write '{first} ... --option'."
        )
    near = difflib.get_close_matches(first, names, 1, 0.7)
    alone = len(words) == 1 and re.fullmatch(r"[a-z][a-z-]*", first)
    if " " not in first and (near or alone):
        meant = f"; did you mean {near[0]!r}?" if near else "."
        raise UsageError(
            f"There is no command {first!r}{meant}", f'If it is a prompt, write: run "{first}".'
        )
