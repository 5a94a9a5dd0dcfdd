"""The plan of an application: contracts, tasks as a DAG, and the files each task writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from claude.simulation import fronts, markup, modules, proofs, source
from claude.simulation.blueprint import Blueprint, Entity, draw
from claude.simulation.manual import readme
from claude.simulation.sections import fill
from claude.simulation.source import and_list
from core.plan import Analysis, Contract, Criterion, Plan, Task

_MAX_RECOMMENDED = 5


@dataclass(frozen=True, slots=True)
class Work:
    """A task before it is in a plan, with the files its executor will write."""

    id: str
    title: str
    instructions: str
    files: Mapping[str, str]
    depends_on: tuple[str, ...] = ()
    owns: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()

    def task(self) -> Task:
        return Task(
            id=self.id,
            title=self.title,
            instructions=self.instructions,
            depends_on=self.depends_on,
            owns=self.owns or tuple(self.files),
            checks=self.checks or tuple(_unittests(self.files)),
            estimate=max(1, sum(map(len, self.files.values())) // 4),
        )


def _unittests(files: Mapping[str, str]) -> list[str]:
    tests = [p for p in files if p.startswith("tests/")]
    return [f"python3 -m unittest {p.removesuffix('.py').replace('/', '.')}" for p in tests]


def application(blueprint: Blueprint) -> tuple[Plan, dict[str, Mapping[str, str]]]:
    """The plan of an application with command line and web, and every task's files."""
    levels = _levels(blueprint)
    works = [_joined(work) for level in levels for work in _shuffled(level, blueprint)]
    title, package = blueprint.title, blueprint.package
    what = and_list([e.plural for e in blueprint.entities])
    plan = Plan(
        title=title,
        summary=(
            f"A program for {what} with a command line, web pages and a JSON API, in Python's "
            f"standard library alone. The package {package} keeps its data in one JSON file that "
            "command line and web share."
        ),
        analysis=_analysis(blueprint, levels),
        contracts=_contracts(blueprint),
        tasks=tuple(work.task() for work in works),
        acceptance_criteria=_criteria(blueprint),
    )
    return plan, {work.id: work.files for work in works}


def _joined(work: Work) -> Work:
    code = {p: source.join_short(t) if p.endswith(".py") else t for p, t in work.files.items()}
    return replace(work, files=code)


def _levels(blueprint: Blueprint) -> list[list[Work]]:
    """Tasks that may run at the same time, level by level."""
    services = [_service(blueprint, e) for e in blueprint.entities]
    ids = tuple(work.id for work in services)
    shared = [_storage(blueprint), _pages(blueprint), _assets(blueprint), _server(blueprint)]
    free = [s for s in services if s.depends_on == ("storage",)]
    bound = [s for s in services if s not in free]
    fronts = [_cli(blueprint, ids), _web(blueprint, ids)]
    return [[*shared, _docs(blueprint)], free, bound, fronts, [_app(blueprint)]]


def _shuffled(level: list[Work], blueprint: Blueprint) -> list[Work]:
    """Equals in an order drawn from the seed; rules that build on each other keep theirs."""
    ranks = {w.id: draw(range(10**6), blueprint.seed, "order", w.id) for w in level}
    if any(set(w.depends_on) & set(ranks) for w in level):
        return level
    return sorted(level, key=lambda w: (ranks[w.id], w.id))


def _analysis(blueprint: Blueprint, levels: list[list[Work]]) -> Analysis:
    entities = len(blueprint.entities)
    actions = sum(len(e.actions) for e in blueprint.entities)
    width = max(map(len, levels))
    return Analysis(
        complexity=min(8, 2 + entities + actions // 4),
        rationale=(
            f"{entities} kind{'s' if entities > 1 else ''} of records with {actions} actions, "
            "reached from a command line and from the web. Storage, HTTP server, pages, styles "
            f"and manual need only the contract, so {width} tasks can start at once; rules, "
            "command line and web follow, and one task puts all together and proves it from "
            "outside."
        ),
        recommended_executors=min(width, _MAX_RECOMMENDED),
        parallel_pays=True,
    )


def _contracts(blueprint: Blueprint) -> tuple[Contract, ...]:
    package, title = blueprint.package, blueprint.title
    return (
        Contract(
            path=f"{package}/contract.py",
            purpose="Records with their field names, errors, commands, routes, port and data file",
            content=modules.contract_source(blueprint),
        ),
        Contract(
            path=f"{package}/__init__.py",
            purpose="Makes the package importable under its agreed name",
            content=fill("contract.py", "init", title=title),
        ),
        Contract(
            path="tests/__init__.py",
            purpose="Makes the tests discoverable from the project's root",
            content=fill("contract.py", "tests", title=title),
        ),
    )


def _storage(b: Blueprint) -> Work:
    kinds = ", ".join(["text, note", *sorted(modules.field_kinds(b))])
    return Work(
        "storage",
        "Data file and checks of values",
        f"Write {b.package}/storage.py: Database(path) with table(name, kind), reading() and "
        "transaction(), and Table with all, get, insert, update and delete on frozen dataclasses. "
        "One JSON document {table: {next_id, rows}}; ids are never used twice; a change holds a "
        "lock (threads and processes), is written to a temporary file and renamed over the old "
        "one. A damaged file or an unusable path raises AppError, an unknown id NotFound. Write "
        f"{b.package}/fields.py: check(checks, values) and one function a kind of field ({kinds}), "
        "each (name, value) -> the value in its proper form, or Invalid with a message that "
        "names the field. Test both with hostile values, threads and damaged files.",
        {
            f"{b.package}/storage.py": modules.storage_source(b),
            f"{b.package}/fields.py": modules.fields_source(b),
            "tests/test_storage.py": proofs.storage_tests(b),
        },
    )


def _service(b: Blueprint, entity: Entity) -> Work:
    own = ", ".join(a.method for a in entity.actions)
    rules = "".join(_rule(entity, field_name) for field_name in entity.flags)
    parents = b.parents(entity)
    for field in entity.fields:
        if field.refers:
            rules += f" {field.name} must be the id of a {field.refers} that exists."
    if entity.is_checkout:
        rules += (
            " checkout adds up price_cents times quantity of every cart item, empties the cart "
            "and stores the order, all in one transaction; an empty cart is Invalid."
        )
    if entity.of_kind("search"):
        rules += " Searching ignores case and looks at every value."
    return Work(
        _task_id(entity),
        f"Rules for {entity.plural}",
        f"Write {b.package}/{entity.module}.py: class {entity.service}(database) with all, get, "
        f"{own}, on the table {entity.module!r} of {entity.class_name} records. Every value goes "
        "through fields.check; results are records of the contract." + rules + " Test each method, "
        "an unknown id, and an empty value that must leave nothing behind.",
        {
            f"{b.package}/{entity.module}.py": modules.service_source(b, entity),
            f"tests/test_{entity.module}.py": proofs.service_tests(b, entity),
        },
        depends_on=("storage", *(_task_id(p) for p in parents)),
    )


def _rule(entity: Entity, flag: str) -> str:
    ways = [
        f"{a.method} sets {flag} to {a.value}" for a in entity.of_kind("state") if a.field == flag
    ]
    return f" {source.sentence(and_list(ways))}."


def _task_id(entity: Entity) -> str:
    return f"rules-{entity.slug}"[:32].rstrip("-")


def _pages(b: Blueprint) -> Work:
    names = ", ".join(f"render_{e.module}" for e in b.entities)
    home = "" if b.is_single else " render_home(counts) shows how many records of each kind exist."
    form = (
        " The landing page has a short welcome, a labelled contact form and thanks after sending."
        if b.is_landing
        else ""
    )
    return Work(
        "pages",
        "HTML pages",
        f"Write {b.package}/pages.py: render_page(title, body), render_error(status, message) and "
        f"{names}: records in, whole HTML documents out, no I/O. Escape every text. Each control "
        "has a label, each button an aria-label that names its record, ids are unique. Forms post "
        "to the routes of the contract. Stylesheet and icon are /static/style.css and "
        f"/static/icon.svg; no inline style or script.{home}{form} Test that markup nests, that "
        "every control has a label, and that hostile text stays text.",
        {
            f"{b.package}/pages.py": markup.pages_source(b),
            "tests/test_pages.py": proofs.pages_tests(b),
        },
    )


def _assets(b: Blueprint) -> Work:
    folder = f"{b.package}/static/"
    return Work(
        "assets",
        "Stylesheet and icon",
        f"Write {folder}style.css and {folder}icon.svg. Readable from 320 px up, system fonts, "
        f"accent {b.accent} (4.5:1 on white), visible keyboard focus. Classes that the pages use: "
        "card, records, name, detail, badge, empty, actions, primary, notice, hero, points. "
        "Nothing is loaded from another host.",
        {folder + name: text for name, text in markup.static_sources(b).items()},
        owns=(folder,),
        checks=(f"test -s {folder}style.css", f"test -s {folder}icon.svg"),
    )


def _server(b: Blueprint) -> Work:
    return Work(
        "server",
        "HTTP server",
        f"Write {b.package}/server.py on http.server: Request, Response, Route(method, path, "
        "handle) with {id} in paths, json_response, html_response, redirect (303), static_routes("
        "folder) and make_server(routes, error_page, host, port). NotFound is 404, Invalid 400, "
        "an unknown path 404, a wrong method 405, a body above 64 KiB 413, another site's Origin "
        "403; errors are JSON below /api/ and pages elsewhere. Send a Content-Security-Policy. "
        "It must know nothing of this program's records. Test it over real HTTP on a free port.",
        {
            f"{b.package}/server.py": fronts.server_source(b),
            "tests/test_server.py": proofs.server_tests(b),
        },
    )


def _cli(b: Blueprint, services: tuple[str, ...]) -> Work:
    return Work(
        "cli",
        "Command line",
        f"Write {b.package}/cli.py: build_parser() and main(arguments, serve) -> exit code, with "
        "exactly the commands of contract.COMMANDS. --data FILE comes before the command, else "
        f"the variable {b.package.upper()}_DATA, else the default file. An AppError is printed to "
        "standard error as 'error: ...' with exit code 1. A record is one line: id, name, values, "
        "and each flag that is set in square brackets; control characters are left out. serve("
        "database, host, port) is handed in, so that this module does not import the web. Test "
        "every command.",
        {
            f"{b.package}/cli.py": fronts.cli_source(b),
            "tests/test_cli.py": proofs.cli_tests(b),
        },
        depends_on=("storage", *services),
    )


def _web(b: Blueprint, services: tuple[str, ...]) -> Work:
    return Work(
        "web",
        "Pages and API behind their routes",
        f"Write {b.package}/web.py: build_routes(database) with exactly contract.ROUTES and the "
        "files of static/, and serve(database, host, port), which prints 'Serving ... on "
        "http://HOST:PORT/' and runs until Ctrl-C. A form answers with 303 to its page; the API "
        "answers with the record it touched, 201 for a new one. Test that the routes are those of "
        "the contract, and each action through page and API.",
        {
            f"{b.package}/web.py": fronts.web_source(b),
            "tests/test_web.py": proofs.web_tests(b),
        },
        depends_on=("storage", *services, "pages", "assets", "server"),
    )


def _app(b: Blueprint) -> Work:
    return Work(
        "app",
        "Start-up and proof from outside",
        f"Write {b.package}/__main__.py, which hands web.serve to cli.main. Write "
        "tests/test_app.py: run the program as a subprocess, serve on a free port, and check that "
        "what one side changes the other side sees.",
        {
            f"{b.package}/__main__.py": fronts.main_source(b),
            "tests/test_app.py": proofs.app_tests(b),
        },
        depends_on=("cli", "web"),
        checks=(
            "python3 -m unittest tests.test_app",
            f"python3 -m {b.package} --help",
        ),
    )


def _docs(b: Blueprint) -> Work:
    return Work(
        "docs",
        "Manual",
        "Write README.md from the contract alone: what the program is, how to start it, every "
        "command and every route with what it does, where the data lies, how to run the tests, "
        "and which file holds what. Commands must work when pasted.",
        {"README.md": readme(b)},
        checks=("test -s README.md",),
    )


def _criteria(b: Blueprint) -> tuple[Criterion, ...]:
    rows = [_criterion(e) for e in b.entities]
    return (
        *rows,
        Criterion(
            text="Command line and web work on the same data, which survives a restart.",
            served_by=("storage", "app"),
        ),
        Criterion(
            text="Hostile text is shown as text; bad requests get a message and exit code 1, or "
            "HTTP 400 or 404.",
            served_by=("storage", "server", "pages", "cli"),
        ),
        Criterion(
            text="The pages are readable on a phone and usable by keyboard and screen reader.",
            served_by=("pages", "assets"),
        ),
        Criterion(
            text="python3 -m unittest discover -s tests -t . passes in the project's root.",
            served_by=(
                *("storage", "server", "pages", "cli", "web", "app"),
                *(_task_id(e) for e in b.entities),
            ),
        ),
        Criterion(text="The README tells every command and route.", served_by=("docs",)),
    )


def _criterion(entity: Entity) -> Criterion:
    verbs = and_list([*(a.verb for a in entity.actions), "list"])
    where = "from the command line" if entity.is_private else "from command line, page and API"
    text = f"A person can {verbs} {entity.plural} {where}."
    if entity.is_private:
        text = f"A visitor can send a {entity.singular}; its owner can {verbs} them {where}."
    return Criterion(text=text, served_by=(_task_id(entity), "pages", "cli", "web"))
