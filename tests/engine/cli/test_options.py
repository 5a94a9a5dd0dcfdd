"""The command line: what is a prompt, what is a command, and how mistakes are answered."""

from __future__ import annotations

import io
import json
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import SETTINGS, LoadedSettings
from core.errors import RunInterrupted, SettingsError, UsageError
from core.settings.options import settings_of
from engine.cli.options import Handlers, Surroundings, build_cli, run_cli

ROOT = Path(__file__).resolve().parents[3]


class Program:
    """The command line over handlers that only note what they were given."""

    def __init__(self, cwd: Path, stdin: bytes = b"", **more: Any) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.exit_code = 0
        environ = more.pop("environ", {})
        around = Surroundings(environ, lambda: cwd, io.BytesIO(stdin))
        names = [f.name for f in fields(Handlers)]
        handlers = {name: self.note(name.replace("_", "-")) for name in names} | more
        self.cli = build_cli(Handlers(**handlers), around, "1.2.3")

    def note(self, name: str) -> Any:
        def handler(loaded: LoadedSettings, *rest: object) -> int:
            self.calls.append((name, dict(loaded.given), *rest))
            return self.exit_code

        return handler

    def __call__(self, *args: str) -> int:
        return run_cli(self.cli, args)

    def refuses(self, *args: str) -> str:
        with pytest.raises(UsageError) as caught:
            self(*args)
        assert caught.value.exit_code == 2
        assert self.calls == []
        return str(caught.value)


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


class TestPrompt:
    @pytest.mark.parametrize(
        "args",
        [
            ["Build a todo app", "--max-executors", "3"],
            ["--max-executors", "3", "Build a todo app"],
            ["--max-executors=3", "Build a todo app"],
            ["run", "Build a todo app", "--max-executors", "3"],
            ["run", "--max-executors", "3", "--", "Build a todo app"],
            ["--max-executors", "3", "--", "Build a todo app"],
        ],
    )
    def test_run_may_be_left_out_and_options_stand_anywhere(
        self, program: Program, args: list[str]
    ) -> None:
        assert program(*args) == 0
        assert program.calls == [("run", {"max_executors": "3"}, "Build a todo app")]

    def test_only_options_really_given_are_handed_on(self, program: Program) -> None:
        program("Build it all", "--sim-seed", "0")
        assert program.calls == [("run", {"sim_seed": "0"}, "Build it all")]

    @pytest.mark.parametrize("args", [["-"], ["run", "-"], ["--prompt-file", "-"]])
    def test_it_comes_from_standard_input(self, tmp_path: Path, args: list[str]) -> None:
        program = Program(tmp_path, stdin="Ein Prompt für später\n".encode())
        program(*args)
        assert program.calls[0][2] == "Ein Prompt für später"

    def test_it_comes_from_a_file(self, program: Program, tmp_path: Path) -> None:
        (tmp_path / "p.txt").write_text("\ufeffBuild\nthis", encoding="utf-8")
        program("--prompt-file", str(tmp_path / "p.txt"))
        assert program.calls[0][2] == "Build\nthis"

    def test_a_plan_given_needs_none(self, program: Program) -> None:
        program("--plan", "p.json")
        assert program.calls == [("run", {"plan": "p.json"}, "")]

    @pytest.mark.parametrize("word", ["todo", "deploy", "resumable-downloads", "x"])
    def test_one_small_word_is_a_prompt_only_after_run(self, program: Program, word: str) -> None:
        with pytest.raises(UsageError, match=f"Unknown command '{word}'") as caught:
            program(word)
        assert f'run "{word}"' in caught.value.remedy
        program("run", word)
        assert program.calls == [("run", {}, word)]

    @pytest.mark.parametrize("word", ["Tetris", "2048", "é"])
    def test_one_word_that_no_command_is_spelt_like_is_a_prompt(
        self, program: Program, word: str
    ) -> None:
        program(word)
        assert program.calls == [("run", {}, word)]

    def test_a_word_like_a_command_is_one_after_run(self, program: Program) -> None:
        program("run", "resum")
        assert program.calls == [("run", {}, "resum")]

    @given(text=st.text().map(lambda t: f"Build {t} and more"))
    def test_any_text_with_a_space_comes_through_whole(
        self, text: str, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        program = Program(tmp_path_factory.getbasetemp())
        if "\0" in text:
            program.refuses(text)
        else:
            program(text)
            assert program.calls == [("run", {}, text.strip())]


class TestMistakes:
    @pytest.mark.parametrize(
        ("args", "part"),
        [
            (["resum"], "Did you mean 'resume'"),
            (["resum", "r1"], "Did you mean 'resume'"),
            (["plam", "--quiet"], "Did you mean 'plan'"),
            (["help"], "Did you mean '--help'"),
            (["version"], "Did you mean '--version'"),
            (["--quiet", "resume", "r1"], "Options came before the command 'resume'"),
            (["build", "a", "todo", "app"], "quotes"),
            (["--max-executor", "3", "Build it"], "'--max-executors'"),
            (["Build it", "--max-executors"], "requires an argument"),
            (["Build it", "--real=yes"], "does not take a value"),
            (["--quiet"], "No prompt was given"),
            (["run"], "No prompt was given"),
            (["plan"], "No prompt was given"),
            ([""], "empty"),
            (["  \n"], "empty"),
            (["Build it", "--prompt-file", "x"], "Give only one of them"),
            (["a\udc80 b"], "not text"),
            (["resume"], "its end, or last."),
            (["logs", "last"], "TASK is an id that `show RUN` lists."),
            (["resume", "a", "b"], "unexpected"),
            (["cancel"], "RUN"),
            (["cancel", "a", "b"], "unexpected"),
            (["cancle", "a"], "Did you mean 'cancel'"),
            (["clean", "a", "b"], "unexpected"),
            (["clean", "--older-than"], "requires an argument"),
            (["clean", "--older-than", ""], "must be an age"),
            (["clean", "--older-than", "7"], "12h, 7d or 2w"),
            (["clean", "--older-than", "-7d"], "12h, 7d or 2w"),
            (["clean", "--older-than", "1.5d"], "12h, 7d or 2w"),
            (["clean", "--older-than", "٣d"], "12h, 7d or 2w"),
            (["clean", "--older-than", "9999999w"], "12h, 7d or 2w"),
            (["runs", "x"], "unexpected"),
            (["simulated-api", "--port", "99999"], "65535"),
            (["Build it", "--max-executors", "0"], "--max-executors"),
        ],
    )
    def test_it_is_one_message(self, program: Program, args: list[str], part: str) -> None:
        text = program.refuses(*args)
        assert part in text
        assert "\n" not in text
        assert "?." not in text

    def test_nothing_at_all_shows_the_help_and_is_a_usage_error(
        self, program: Program, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert program() == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        assert "--max-executors" in shown.err

    def test_interruption_while_parsing_is_one(self, tmp_path: Path) -> None:
        def interrupted(*_: object) -> int:
            raise KeyboardInterrupt

        program = Program(tmp_path, run=interrupted)
        with pytest.raises(RunInterrupted):
            program("Build it")

    def test_an_error_without_a_context_is_still_one(self) -> None:
        @click.command
        def broken() -> None:
            raise click.ClickException("odd")

        with pytest.raises(UsageError, match=r"odd\. See"):
            run_cli(broken, [])


class TestCommands:
    def test_each_gets_its_arguments(self, program: Program) -> None:
        program("plan", "Build it", "-o", "p.json", "--provider", "bedrock")
        program("resume", "r1", "--max-executors", "9")
        program("runs", "--json", "--work-dir", "w")
        program("show", "r1", "store/2")
        program("show", "r1")
        program("logs", "r1", "store", "--follow")
        program("report", "r1", "-o", "r.html", "--open")
        program("watch", "r1", "--port", "81")
        program("simulated-api", "--port", "8080", "--sim-seed", "3")
        program("cancel", "r1", "--json")
        program("clean")
        program("clean", "r1", "--older-than", "12h", "--yes", "--backend", "b")
        assert program.calls == [
            ("plan", {"provider": "bedrock"}, "Build it", Path("p.json")),
            ("resume", {"max_executors": "9"}, "r1"),
            ("runs", {"json": True, "work_dir": "w"}, None),
            ("show", {}, "r1", "store/2"),
            ("show", {}, "r1", ""),
            ("logs", {}, "r1", "store", True),
            ("report", {}, "r1", Path("r.html"), True),
            ("watch", {}, "r1", 81, False),
            ("simulated-api", {"sim_seed": "3"}, 8080),
            ("cancel", {"json": True}, "r1"),
            ("clean", {}, "", 7 * 86_400.0, False),
            ("clean", {"backend": "b"}, "r1", 12 * 3_600.0, True),
        ]

    @pytest.mark.parametrize("prompt", ["-prompt here", "--make it", "- a list"])
    def test_a_prompt_that_begins_with_a_dash_is_shown_its_way_in(
        self, program: Program, prompt: str
    ) -> None:
        told = program.refuses("plan", prompt)
        assert "after --" not in program.refuses("Build it", "--out=a b")
        command = shlex.split(told.rpartition("after --: ")[2])
        program(*command[command.index("plan") :])
        assert program.calls == [("plan", {}, prompt, None)]

    def test_the_plan_goes_nowhere_unless_told(self, program: Program) -> None:
        program("plan", "Build it")
        assert program.calls == [("plan", {}, "Build it", None)]

    def test_the_handlers_exit_code_comes_back(self, program: Program) -> None:
        program.exit_code = 4
        assert program("Build it") == 4

    def test_version(self, program: Program, capsys: pytest.CaptureFixture[str]) -> None:
        assert program("--version") == 0
        assert capsys.readouterr().out == "parallel-orchestrator 1.2.3\n"

    def test_flags_and_repeatable_options_are_handed_on(self, program: Program) -> None:
        program("Build it", "--docker", "--slurm-arg", "-x", "--slurm-arg=-w")
        assert program.calls == [("run", {"docker": True, "slurm_arg": ["-x", "-w"]}, "Build it")]
        with pytest.raises(SettingsError, match="twice"):
            program("Build it", "--docker", "--backend", "threading")

    @pytest.mark.parametrize(("flag", "value"), [("--verify", True), ("--no-verify", False)])
    def test_what_is_on_by_default_can_be_switched_both_ways(
        self, program: Program, flag: str, value: bool, capsys: pytest.CaptureFixture[str]
    ) -> None:
        program("Build it", flag)
        assert program.calls == [("run", {"verify": value}, "Build it")]
        assert program("Build it", flag, "--show-config") == 0
        assert f"option {flag}\n" in capsys.readouterr().out


class TestHelp:
    def help_of(
        self, program: Program, capsys: pytest.CaptureFixture[str], *args: str
    ) -> list[str]:
        assert program(*args) == 0
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= 80
        return lines

    @pytest.mark.parametrize("args", [["--help"], ["-h"]])
    def test_it_fits_one_screen_of_80_columns(
        self,
        args: list[str],
        program: Program,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("COLUMNS", "80")
        lines = self.help_of(program, capsys, *args)
        assert len(lines) <= 24
        text = "\n".join(lines)
        assert "--help-all lists every option" in text
        for flag in ("--real", "--backend", "--max-executors", "--output-dir", "--max-cost"):
            assert f"  {flag}" in text
        begin = lines.index("Commands:") + 1
        told = [line.split() for line in lines[begin : lines.index("", begin)]]
        names = [words[0] for words in told[:-1]] + [word.rstrip(",") for word in told[-1]]
        assert isinstance(program.cli, click.Group)
        assert set(names) >= {*program.cli.commands}

    def test_its_examples_are_command_lines_of_this_program(
        self, program: Program, capsys: pytest.CaptureFixture[str]
    ) -> None:
        lines = self.help_of(program, capsys, "--help")
        examples = [shlex.split(line) for line in lines if "  python3" in line]
        assert len(examples) == 2
        for _, name, *args in examples:
            assert name == "orchestrator.py"
            assert program(*args) == 0

    @pytest.mark.parametrize(
        "args", [["--help-all"], ["run", "--help-all"], ["Build it", "--help-all"]]
    )
    def test_all_of_it_lists_every_option_of_run_under_its_heading(
        self,
        args: list[str],
        program: Program,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("COLUMNS", "80")
        heading, found = "", {}
        for line in self.help_of(program, capsys, *args):
            if line.endswith(":") and not line.startswith(" "):
                heading = line[:-1]
            elif line.startswith("  --"):
                found[line.split()[0]] = heading
        for setting in settings_of(SETTINGS, "run"):
            assert found[setting.flag] == setting.group

    @pytest.mark.parametrize("args", [["run", "--help"], ["Build it", "--help"]])
    def test_a_command_of_many_options_shows_the_usual_ones(
        self, args: list[str], program: Program, capsys: pytest.CaptureFixture[str]
    ) -> None:
        text = "\n".join(self.help_of(program, capsys, *args))
        assert "--prompt-file" in text
        assert "--max-cost" in text
        assert "--help-all" in text
        assert "--slurm-partition" not in text

    def test_a_command_shows_only_what_it_takes(
        self, program: Program, capsys: pytest.CaptureFixture[str]
    ) -> None:
        text = "\n".join(self.help_of(program, capsys, "runs", "--help"))
        assert "--work-dir" in text
        assert "--max-executors" not in text
        assert "--help-all" not in text

    @pytest.mark.parametrize("args", [["--help"], ["Build it", "--max-executor", "3"]])
    def test_it_is_quick_because_nothing_heavy_is_imported(self, args: list[str]) -> None:
        code = (
            "import sys; import orchestrator\n"
            f"orchestrator.main({args!r})\n"
            "heavy = {'pydantic', 'pydantic_core', 'pydantic_settings', 'rich', 'anthropic',"
            " 'boto3', 'docker', 'asyncio', 'subprocess', 'socket', 'http', 'email'}\n"
            "print('LOADED', sorted(heavy & set(sys.modules)))"
        )
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "LOADED []"


class TestShowConfig:
    def test_it_shows_and_does_nothing_else(
        self, program: Program, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert program("--show-config", "--max-executors", "7") == 0
        assert program.calls == []
        shown = capsys.readouterr().out
        assert any(line.split() == ["real", "no", "default"] for line in shown.splitlines())
        assert "option --max-executors" in shown

    def test_it_speaks_json(self, program: Program, capsys: pytest.CaptureFixture[str]) -> None:
        program("resume", "r", "--show-config", "--json")
        assert json.loads(capsys.readouterr().out)["json"]["origin"] == "option --json"

    def test_it_reads_the_environment_it_was_given(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Program(tmp_path, environ={"ORCHESTRATOR_SIM_SEED": "5"})("--show-config")
        assert "environment ORCHESTRATOR_SIM_SEED" in capsys.readouterr().out

    def test_a_file_that_cannot_be_used_is_explained_beside_the_rest(
        self, program: Program, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "orchestrator.toml").write_text(
            "max_executor = 3\nreal = 'perhaps'\nquiet = true"
        )
        assert program("--show-config") == 2
        shown = capsys.readouterr()
        rows = {line.split()[0]: line.split(maxsplit=2)[1:] for line in shown.out.splitlines()}
        assert rows["quiet"] == ["yes", "orchestrator.toml"]
        assert rows["real"] == ["no", "default; orchestrator.toml is not valid"]
        assert "unknown key 'max_executor'. Did you mean 'max_executors'?" in shown.err
        assert "Invalid value 'perhaps' for real (orchestrator.toml)" in shown.err

    def test_a_file_that_is_not_toml_is_explained_too(
        self, program: Program, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "orchestrator.toml").write_text("real = ")
        assert program("--show-config") == 2
        shown = capsys.readouterr()
        assert "error: The settings file" in shown.err
        assert "threading" in shown.out

    def test_a_misspelt_variable_is_warned_of(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Program(tmp_path, environ={"ORCHESTRATOR_MAX_EXECUTOR": "5"})("--show-config")
        assert "warning: The variable ORCHESTRATOR_MAX_EXECUTOR" in capsys.readouterr().err
