"""The documentation is true: what it names exists, and all of --help is in docs/options.md."""

from __future__ import annotations

import ast
import re
import shlex
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import click
import pytest

from backends import BACKENDS
from backends.base import Backend
from backends.slurm.states import PENDING_REASONS, never_starts
from claude.simulation.faults import FAULTS, parse_faults
from config import SETTINGS, LoadedSettings, load_settings
from core import errors
from core.credentials import Credentials, resolve_credentials
from core.job import JobState, Outcome, Reason
from core.plan import Analysis, Plan, Setup, Task
from core.settings.options import Setting
from core.settings.worker import DEFAULT_MODELS
from engine.cli.options import Handlers, Surroundings, build_cli, run_cli
from engine.planning.plan_toml import parse_toml_plan
from engine.run.run_view import RunView
from engine.views.notify import describe_end
from orchestrator import VERSION
from tests.project.doc_pages import (
    DOCS,
    GENERATED,
    PAGES,
    README,
    ROOT,
    blocks,
    example_lines,
    prose,
    rows,
    tables,
    written,
)
from tests.project.messages_page import render_messages
from tests.project.options_page import default_in_words, render_options_page

CLI, OPTIONS, CONFIGURATION = (DOCS / f"{p}.md" for p in ("cli", "options", "configuration"))
SIMULATION, BACKENDS_PAGE = DOCS / "simulation.md", DOCS / "backends.md"
PLANS_PAGE, TROUBLESHOOTING = DOCS / "plans-and-runs.md", DOCS / "troubleshooting.md"
SOURCES = [
    path
    for path in ROOT.rglob("*.py")
    if not {"tests", "bench", "examples", ".venv", "build", "outputs"}
    & set(path.relative_to(ROOT).parts)
]
# Commands, backends and options of parts that may come; nothing may promise them before they do.
PERHAPS_LATER = (
    "docker", "batch", "slurm", "parallelcluster",
    "verify", "repair-rounds", "planner-in-docker",
)  # fmt: skip

# Read by the HTTP client of the SDK; the messages about proxies and certificates name them.
OF_THE_NETWORK = {"HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE"}
# Read for an installation that a check needs.
OF_REGISTRIES = {"PIP_INDEX_URL", "NODE_EXTRA_CA_CERTS", "XDG_CACHE_HOME"}
# Read by the SDK of Docker.
OF_DOCKER = {"DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"}

# Read by the SDK of OpenTelemetry, some by us too.
OF_OPENTELEMETRY = {
    *(f"OTEL_EXPORTER_OTLP_{name}" for name in ("ENDPOINT", "HEADERS", "PROTOCOL")),
    *("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_SDK_DISABLED"),
    *("OTEL_SERVICE_NAME", "OTEL_TRACES_EXPORTER"),
}

# What CloudFormation is to be told.
OF_CLOUDFORMATION = {"CAPABILITY_IAM"}

# Options of docker/build.sh, sbatch and apptainer that pages name.
OF_OTHERS = {
    "--ff-only",
    "--with",
    *("--array", "--exclusive", "--export", "--gres", "--output"),
    *("--cleanenv", "--containall", "--no-home", "--with"),
}

pages = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)


@dataclass
class Asked:
    """What an example command line came to."""

    command: str = ""
    given: dict[str, object] = field(default_factory=dict)

    def take(self, command: str, loaded: LoadedSettings) -> int:
        self.command, self.given = command, dict(loaded.given)
        return 0


def cli(asked: Asked, cwd: Path) -> click.Command:
    """The real command line over commands that only say that they were asked."""
    handlers = Handlers(
        run=lambda loaded, prompt: asked.take("run", loaded),
        plan=lambda loaded, prompt, output: asked.take("plan", loaded),
        resume=lambda loaded, run: asked.take("resume", loaded),
        runs=lambda loaded, limit: asked.take("runs", loaded),
        logs=lambda loaded, run, task, follow: asked.take("logs", loaded),
        show=lambda loaded, run, task: asked.take("show", loaded),
        report=lambda loaded, run, output, opens: asked.take("report", loaded),
        watch=lambda loaded, run, port, opens: asked.take("watch", loaded),
        simulated_api=lambda loaded, port: asked.take("simulated-api", loaded),
        doctor=lambda loaded, probe, register: asked.take("doctor", loaded),
        undo=lambda loaded, run: asked.take("undo", loaded),
        cancel=lambda loaded, run: asked.take("cancel", loaded),
        clean=lambda loaded, run, older_than_s, yes: asked.take("clean", loaded),
    )
    return build_cli(handlers, Surroundings({}, lambda: cwd, None), "1")


def commands() -> dict[str, click.Command]:
    group = cli(Asked(), ROOT)
    assert isinstance(group, click.Group)
    return dict(group.commands)


def flags() -> set[str]:
    every = [cli(Asked(), ROOT), *commands().values()]
    found = {flag for c in every for p in c.params for flag in (*p.opts, *p.secondary_opts)}
    return {flag for flag in found if flag.startswith("-")} | {"--help", "-h", "--help-all"}


def test_the_example_of_a_plan_can_be_run() -> None:
    [text] = blocks(PLANS_PAGE, "toml")
    plan = parse_toml_plan(text, "the example")
    assert [task.id for task in plan.tasks] == ["store", "web"]
    assert {path for task in plan.tasks for path in task.uses} == {c.path for c in plan.contracts}


def ticked(text: str) -> list[str]:
    return re.findall("`([a-z_]+)`", text)


def test_the_page_about_plans_names_every_member() -> None:
    found = {name: row for row in rows(PLANS_PAGE, "Plans") for name in ticked(row[0])}
    assert set(found) == set(Plan.model_fields)
    for name, part in (("analysis", Analysis), ("setup", Setup)):
        assert set(ticked(found[name][1])) == set(part.model_fields)
    [words] = [text for text in prose(PLANS_PAGE).split("\n\n") if text.startswith("A task has")]
    assert set(Task.model_fields) <= set(ticked(words))


EXAMPLES = [(page, line) for page in PAGES for line in example_lines(page)]


@pytest.mark.parametrize(
    ("page", "line"),
    EXAMPLES,
    ids=lambda value: value.name if isinstance(value, Path) else value[:40],
)
def test_every_example_is_understood_by_the_command_line(
    page: Path, line: str, tmp_path: Path
) -> None:
    args = shlex.split(line.partition(" | ")[0])
    asked = Asked()
    assert run_cli(cli(asked, tmp_path), args) == 0
    assert asked.command or {"--help", "--help-all", "--show-config"} & set(args)
    parse_faults(str(asked.given.get("sim_faults", "")))


def test_there_are_examples() -> None:
    assert len(EXAMPLES) > 10


@pages
def test_every_option_named_exists(page: Path) -> None:
    named = re.findall(r"(?<![\w-])(--[a-z][a-z-]*[a-z]\b)(-\*|-\.\.\.)?", prose(page))
    whole = {flag for flag, more in named if not more}
    families = {flag for flag, more in named if more}  # the beginning of several
    assert whole - flags() - OF_OTHERS == set()
    assert all(any(f.startswith(f"{name}-") for f in flags()) for name in families)


@pages
def test_every_environment_variable_named_is_read(page: Path) -> None:
    named = set(re.findall(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b", written(page)))
    known = {d.env for d in SETTINGS} | {v for d in SETTINGS for v in d.standard_env}
    known |= {str(name) for kind in (Outcome, Reason, JobState) for name in kind}
    known |= describe_end(RunView()).keys()
    known |= OF_THE_NETWORK | OF_REGISTRIES | OF_DOCKER | OF_CLOUDFORMATION
    known |= OF_OPENTELEMETRY
    unknown = {name for name in named - known if not is_credential(name)}
    assert unknown == set()


def is_credential(variable: str) -> bool:
    return resolve_credentials({variable: "x"}) != Credentials()


@pages
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", prose(page)):
        assert not re.match(r"[a-z]+:", target), f"{target} is on the network"
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert file.is_relative_to(ROOT), target
        assert not anchor or anchor in anchors(file), target


def anchors(page: Path) -> set[str]:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pages
def test_every_file_and_folder_of_the_program_named_exists(page: Path) -> None:
    named = re.findall(r"`((?:[\w-]+/)+(?:[\w-]+\.(?:py|md|sh|yaml))?)`", prose(page))
    rooms = {path.name for path in ROOT.iterdir() if path.is_dir()}
    ours = {name for name in named if name.partition("/")[0] in rooms - {"outputs"}}
    assert [name for name in sorted(ours) if not (ROOT / name).exists()] == []


@pages
def test_nothing_is_promised_that_is_not_there(page: Path) -> None:
    built = {*commands(), *BACKENDS, *(flag.lstrip("-") for flag in flags())}
    spans = re.findall(r"`([^`\n]+)`", prose(page))
    promised = {
        word for word in PERHAPS_LATER for span in spans if re.match(rf"(--)?{word}( |$)", span)
    }
    assert promised - built == set()


@pages
def test_the_lines_are_no_longer_than_code_may_be(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if len(line) > 100 and not line.startswith("|")] == []


def test_the_commands_are_those_of_the_command_line() -> None:
    named = [row[0].strip("`").split()[0] for row in rows(CLI, "Commands")]
    assert sorted(named) == sorted(commands())


def test_the_page_of_options_is_the_one_that_the_settings_give() -> None:
    """Renewed by: PYTHONPATH=. python3 tests/project/options_page.py > docs/options.md"""
    assert OPTIONS.read_text(encoding="utf-8") == render_options_page()


def test_the_page_of_options_holds_every_option() -> None:
    named = {
        flag for row in tables(OPTIONS) for flag in re.findall(r"(--?[a-z][a-z0-9-]*)", row[0])
    }
    assert named == flags()


def test_the_table_of_commands_tells_of_the_options_of_single_commands() -> None:
    text = " ".join(row[1] for row in rows(CLI, "Commands"))
    of_one = ("-o FILE", "--port N", "--older-than AGE", "--yes", "--probe")
    for option in (*of_one, "--register-job-definition"):
        assert f"`{option}`" in text


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.key)
def test_each_setting_has_its_row_with_variable_and_default(setting: Setting) -> None:
    [row] = [row for row in rows(OPTIONS, setting.group) if row[1] == f"`{setting.env}`"]
    assert (row[0].strip("`").split() or [""])[0] == setting.spelling
    assert row[2].strip("`") == default_in_words(setting)


def test_the_default_model_of_bedrock_is_named() -> None:
    assert f"`{DEFAULT_MODELS['bedrock']}`" in prose(README)


def test_the_exit_codes_are_those_of_the_errors() -> None:
    tree = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    codes = {kind.exit_code for kind in tree if issubclass(kind, errors.OrchestratorError)}
    assert {int(row[0]) for row in rows(CLI, "Exit codes")} == codes | {0}


def test_the_backends_are_those_there_are() -> None:
    assert {row[0].strip("`") for row in rows(README, "Backends")} == set(BACKENDS)


PAGES_OF_BACKENDS = [
    ROOT / path
    for row in rows(README, "Backends")
    for path in re.findall(r"\((docs/[\w-]+\.md)\)", row[1])
]
OF_A_BACKEND = (
    *("What it needs", "How a job runs", "Credentials"),
    *("What survives", "What is left", "When something goes wrong"),
)


@pytest.mark.parametrize("page", PAGES_OF_BACKENDS, ids=lambda path: path.name)
def test_the_page_of_a_backend_has_what_all_have(page: Path) -> None:
    assert set(OF_A_BACKEND) <= set(re.findall(r"^## (.*)$", prose(page), re.M))


def test_each_backend_has_a_page_and_survives_something() -> None:
    assert len(PAGES_OF_BACKENDS) == len(BACKENDS)
    told = {row[0].strip("`") for row in rows(DOCS / "resume.md", "By backend")}
    assert set(BACKENDS) <= told


@pages
def test_every_test_named_exists(page: Path) -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", written(page))
    missing = [n for f, n in named if f"def {n}(" not in (ROOT / f).read_text(encoding="utf-8")]
    assert missing == []


def test_the_example_of_a_settings_file_loads_without_a_warning(tmp_path: Path) -> None:
    [text] = blocks(CONFIGURATION, "toml")
    (tmp_path / "orchestrator.toml").write_text(text, encoding="utf-8")
    loaded = load_settings({}, {}, tmp_path)
    assert loaded.warnings == ()
    assert {"orchestrator.toml", "default"} == set(loaded.origin.values())


def test_the_example_of_a_backend_is_one() -> None:
    [code] = blocks(BACKENDS_PAGE, "python")
    names: dict[str, object] = {"__name__": "roomy"}
    exec(compile(code, str(BACKENDS_PAGE), "exec"), names)
    kind = names["RoomyBackend"]
    assert isinstance(kind, type)
    assert issubclass(kind, Backend)
    assert not kind.__abstractmethods__


def test_the_faults_are_those_of_the_simulation() -> None:
    assert [row[0].strip("`") for row in rows(SIMULATION, "Faults")] == list(FAULTS)


EXPLAINED = (
    (TROUBLESHOOTING, "Messages"),
    (DOCS / "bedrock-model-setup.md", "What each message means"),
    (DOCS / "docker-backend.md", "When something goes wrong"),
    (DOCS / "docker-backend.md", "The planner in Docker"),
    (DOCS / "threads.md", "When something goes wrong"),
    (DOCS / "aws-batch.md", "When something goes wrong"),
    (DOCS / "slurm.md", "When something goes wrong"),
    (DOCS / "parallelcluster.md", "When something goes wrong"),
)
MESSAGES = sorted(
    {m for where in EXPLAINED for row in rows(*where) for m in re.findall(r"`([^`]+)`", row[0])}
)


@pytest.mark.parametrize("message", MESSAGES)
def test_each_message_explained_is_one_of_the_program(message: str) -> None:
    """Dots and numbers stand for what differs from case to case."""
    for part in re.split(r"\.\.\.|\b\d+\b", message):
        constant = part.strip().rstrip(".")
        assert not constant or constant in texts_of_the_program(), part


@lru_cache(maxsize=1)
def texts_of_the_program() -> str:
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES]
    constants = [
        node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)
    ]
    return "\n".join(node.value for node in constants if isinstance(node.value, str))


def test_all_errors_of_the_code_are_listed() -> None:
    listed = TROUBLESHOOTING.read_text(encoding="utf-8").partition(GENERATED)[2].strip()
    same = listed == render_messages().strip()
    assert same, "Renew the list: PYTHONPATH=. python3 tests/project/messages_page.py"


def test_errors_of_each_kind_are_among_those_listed() -> None:
    """Else the list would be true of a code that it does not read."""
    listed = render_messages()
    samples = (
        "| The result of ... lacks ..., which its task owns. |",
        "| ... has an unknown key ... |",
        "| No key for the Anthropic API was found. |",
        "| The Docker Engine has no image ... |",
        "| ... rejected a request (...) |",
        "| The quota of the AWS account for ... is used up: ... |",
    )
    assert [sample for sample in samples if sample not in listed] == []


def test_the_reasons_why_jobs_wait_are_those_of_the_backend() -> None:
    table = rows(DOCS / "slurm.md", "When a job waits")
    told = {row[0].strip("`"): row[1:] for row in table if row[0].startswith("`")}
    known = {
        word: [meaning, "no" if never_starts(word) else "yes"]
        for word, meaning in PENDING_REASONS.items()
    }
    assert told == known


def test_the_make_targets_named_exist() -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    shown = [text for page in PAGES for text in blocks(page, "sh")]
    shown += [text for page in PAGES for text in re.findall(r"`make [a-z]+`", prose(page))]
    assert set(re.findall(r"\bmake ([a-z]+)", "\n".join(shown))) <= set(targets)


def test_the_two_commands_come_first() -> None:
    first = blocks(README, "sh")[0].split()
    assert (first[:2], first[first.index("test") - 1]) == (["make", "demo"], "make")


@pytest.mark.parametrize(("name", "shown"), [("run", "4/9 tasks"), ("repaired", "round 1: ")])
def test_a_picture_of_a_terminal_shows_a_simulation_and_fetches_nothing(
    name: str, shown: str
) -> None:
    picture = ET.parse(DOCS / "images" / f"{name}.svg").getroot()
    assert picture.tag.endswith("svg")
    text = "".join(picture.itertext()).replace("\xa0", " ")
    assert "simulated: nothing is billed" in text
    assert shown in text
    assert "url(http" not in text
    assert not [name for node in picture.iter() for name in node.attrib if "href" in name]


def test_the_changes_begin_with_the_version_there_is() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## \[([\d.]+)\]", text, re.M)[0] == VERSION


def test_the_readme_fits_in_250_lines() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) < 250


def test_every_page_is_linked_from_the_readme_or_a_page_that_is() -> None:
    found, waiting = {README}, [README]
    while waiting:
        page = waiting.pop()
        targets = re.findall(r"\]\(([^)#]+\.md)", page.read_text(encoding="utf-8"))
        linked = {(page.parent / target).resolve() for target in targets} - found
        found |= linked
        waiting += linked
    assert set(PAGES) - found == set()
