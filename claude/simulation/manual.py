"""The generated project's README: what it is, every command and route, where things are."""

from __future__ import annotations

from html import escape

from claude.simulation import modules, source
from claude.simulation.blueprint import Blueprint, Entity
from claude.simulation.sections import fill
from claude.simulation.source import and_list

_MARKDOWN = "\\`*_{}[]()#+-.!|~"


def readme(b: Blueprint) -> str:
    entity = b.entities[0]
    words = source.create_words(b, entity)
    routes = [f"| {method} | `{path}` | {what} |" for method, path, what in modules.route_table(b)]
    return fill(
        "readme",
        "file",
        title=b.title,
        intro=_intro(b),
        said=escape_markdown(b.said) or "an empty request",
        package=b.package,
        PACKAGE=b.package.upper(),
        port=str(b.port),
        first_command=_shell([*f"python3 -m {b.package}".split(), *words]),
        commands="\n".join(f"| `{c}` | {what} |" for c, what in modules.command_table(b)),
        routes="\n".join(routes),
        curl=_curl(b, entity),
        files="\n".join(f"| `{path}` | {what} |" for path, what in _file_table(b)),
    )


def _intro(b: Blueprint) -> str:
    what = and_list([e.plural for e in b.entities])
    if b.is_landing:
        return "A landing page with a contact form; what visitors send is stored and can be listed."
    return f"Keeps {what}, from the command line, in the browser, and through a JSON API."


def escape_markdown(text: str) -> str:
    """Text that Markdown and HTML show as it is."""
    return "".join(f"\\{c}" if c in _MARKDOWN else c for c in escape(text, quote=False))


def _shell(words: list[str]) -> str:
    plain = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.@/")
    return " ".join(w if set(w) <= plain else f'"{w}"' for w in words)


def _curl(b: Blueprint, entity: Entity) -> str:
    values = source.literal(source.samples(entity))
    return (
        f"curl -H 'Content-Type: application/json' -d '{values}' "
        f"http://127.0.0.1:{b.port}/api/{entity.slug}"
    )


def _file_table(b: Blueprint) -> list[tuple[str, str]]:
    rules = [(f"{b.package}/{e.module}.py", f"the rules for {e.plural}") for e in b.entities]
    return [
        (f"{b.package}/contract.py", "records, names, errors, commands and routes"),
        (f"{b.package}/storage.py", "the data file"),
        (f"{b.package}/fields.py", "checks of values"),
        *rules,
        (f"{b.package}/cli.py", "the command line"),
        (f"{b.package}/pages.py", "HTML"),
        (f"{b.package}/static/", "stylesheet and icon"),
        (f"{b.package}/server.py", "the HTTP server"),
        (f"{b.package}/web.py", "routes of pages and API"),
        (f"{b.package}/__main__.py", "start-up"),
        ("tests/", "tests, one file for each part"),
    ]
