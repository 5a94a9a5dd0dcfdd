"""The generated project's two ways in, command line and web, with the HTTP server below."""

from __future__ import annotations

from claude.simulation import source
from claude.simulation.blueprint import Action, Blueprint, Entity
from claude.simulation.modules import api_call, meaning, page_actions
from claude.simulation.sections import fill
from claude.simulation.source import listed, sentence, tuple_of
from claude.simulation.vocabulary import Field, with_article, word_set


def server_source(blueprint: Blueprint) -> str:
    edits = any(e.of_kind("edit") and not e.is_private for e in blueprint.entities)
    only = fill("server.py", "only") if edits else ""
    return fill("server.py", "file", package=blueprint.package, only=only)


def web_source(blueprint: Blueprint) -> str:
    entities = blueprint.entities
    home = "" if blueprint.is_single else _web_home(blueprint)
    routes = [] if blueprint.is_single else ["*_home_routes(database),"]
    for entity in entities:
        for part in ("pages", "api"):
            routes.append(f"*_{entity.key}_{part}({entity.service}(database)),")
    return fill(
        "web.py",
        "file",
        title=blueprint.title,
        imports=_web_imports(blueprint),
        routes="".join(f"        {line}\n" for line in routes),
        functions=(home + "".join(_web_entity(blueprint, e) for e in entities)).rstrip("\n"),
    )


def _web_imports(blueprint: Blueprint) -> str:
    package = blueprint.package
    standard = {
        "collections.abc": ["Callable"],
        "http": ["HTTPStatus"],
        "pathlib": ["Path"],
    }
    server = sorted(
        word_set("""Handler Request Response Route html_response json_response make_server redirect
        static_routes""")
    )
    own = {
        package: ["pages"],
        f"{package}.contract": ["TITLE"],
        f"{package}.server": server,
        f"{package}.storage": ["Database"],
    } | {f"{package}.{e.module}": [e.service] for e in blueprint.entities}
    return source.import_block(standard) + "\n" + source.import_block(own)


def _web_home(blueprint: Blueprint) -> str:
    public = [e for e in blueprint.entities if not e.is_private]
    counts = "".join(
        f'                    "{e.slug}": len({e.service}(database).all()),\n' for e in public
    )
    return fill("web.py", "home", params="database: Database", counts=counts)


def _web_entity(blueprint: Blueprint, entity: Entity) -> str:
    common = {
        "module": entity.module,
        "slug": entity.slug,
        "page_path": source.page_path(blueprint, entity),
        "create": entity.create.method,
        "names": listed(f.name for f in entity.inputs),
    }
    search = entity.of_kind("search")
    kind = "private" if entity.is_private else "search" if search else "public"
    common["search"] = search[0].method if search else ""
    page_routes = [_act(entity, a, "form_route", common) for a in page_actions(entity)]
    return fill(
        "web.py",
        "entity",
        **common,
        key=entity.key,
        Service=entity.service,
        page=fill("web.py", f"page_{kind}", **common),
        after=source.after_create(blueprint, entity),
        page_routes="".join(page_routes),
        api_routes="".join(_api_routes(entity, common)),
    )


def _api_routes(entity: Entity, common: dict[str, str]) -> list[str]:
    create = fill("web.py", "create_route", **common)
    if entity.is_private:
        return [create]
    listing = "search_route" if entity.of_kind("search") else "list_route"
    return [
        fill("web.py", listing, **common),
        create,
        fill("web.py", "get_route", **common),
        *(_act(entity, a, "act_route", common) for a in page_actions(entity)),
    ]


def _act(entity: Entity, action: Action, section: str, common: dict[str, str]) -> str:
    http, tail = api_call(action)
    names = listed(f.name for f in entity.editable)
    return fill(
        "web.py",
        section,
        **common,
        method=action.method,
        verb=action.verb,
        http=http,
        tail=tail,
        args=f", **r.only({names})" if action.kind == "edit" else "",
    )


def cli_source(blueprint: Blueprint) -> str:
    call = "call" if blueprint.is_single else "call_nested"
    calls = [
        fill("cli.py", call, key=e.key, command=e.command, plural=e.plural)
        for e in blueprint.entities
    ]
    return fill(
        "cli.py",
        "file",
        title=blueprint.title,
        package=blueprint.package,
        imports=_cli_imports(blueprint),
        calls="".join(calls),
        functions="".join(_cli_entity(e) for e in blueprint.entities).strip("\n"),
    )


def _cli_imports(blueprint: Blueprint) -> str:
    package = blueprint.package
    constants = sorted(
        word_set("DATA_VARIABLE DEFAULT_DATA_FILE DEFAULT_HOST DEFAULT_PORT TITLE AppError")
    )
    standard: dict[str, list[str]] = {
        "argparse": [],
        "os": [],
        "sys": [],
        "collections.abc": ["Callable", "Sequence"],
        "pathlib": ["Path"],
        "typing": ["Any"],
    }
    own = {
        f"{package}.contract": [*constants, *(e.class_name for e in blueprint.entities)],
        f"{package}.storage": ["Database"],
    } | {f"{package}.{e.module}": [e.service] for e in blueprint.entities}
    return source.import_block(standard) + "\n" + source.import_block(own)


def _cli_entity(entity: Entity) -> str:
    listing = fill(
        "cli.py", "list", module=entity.module, Service=entity.service, plural=entity.plural
    )
    parsers = [_cli_parser(entity, entity.create), listing]
    parsers += [_cli_parser(entity, a) for a in entity.actions if a.kind != "create"]
    edits = [
        fill(
            "cli.py",
            "edit_function",
            **_cli_names(entity, action),
            names=tuple_of([f.name for f in entity.editable]),
        )
        for action in entity.of_kind("edit")
    ]
    return fill(
        "cli.py",
        "entity",
        key=entity.key,
        module=entity.module,
        plural=entity.plural,
        Class=entity.class_name,
        parsers="\n".join(parsers),
        show=_cli_show(entity),
    ) + "".join(edits)


def _cli_names(entity: Entity, action: Action) -> dict[str, str]:
    return {
        "key": entity.key,
        "module": entity.module,
        "plural": entity.plural,
        "a_singular": with_article(entity.singular),
        "Service": entity.service,
        "verb": action.verb,
        "method": action.method,
        "Done": sentence(action.done),
        "help": meaning(entity, action.kind, action),
    }


def _cli_parser(entity: Entity, action: Action) -> str:
    fields = entity.inputs if action.kind == "create" else entity.editable
    arguments = [_cli_argument(f, action.kind, n == 0) for n, f in enumerate(fields)]
    values = [f"                    {f.name}=args.{f.name},\n" for f in entity.inputs]
    section = "on_id" if action.kind in ("state", "remove") else action.kind
    return fill(
        "cli.py",
        section,
        **_cli_names(entity, action),
        arguments="".join(arguments),
        values="".join(values),
    )


def _cli_argument(field: Field, kind: str, is_first: bool) -> str:
    if kind == "create" and is_first:
        return f'    parser.add_argument("{field.name}")\n'
    extra = "" if kind == "edit" else ', default=""' if field.kind == "note" else ", required=True"
    return f'    parser.add_argument("{source.option(field)}"{extra})\n'


def _cli_show(entity: Entity) -> str:
    """The line of a record: id, name, its other values where there are any, its flags."""
    first = entity.fields[0]
    prefix = f"{first.label} " if first.kind == "reference" else ""
    lines = [f'    parts = [f"{{record.id}}. {prefix}{{record.{first.name}}}"]\n']
    for field in entity.fields[1:]:
        put = f'parts.append(f"{field.label.lower()}: {{record.{field.name}}}")\n'
        if field.kind == "note":
            lines.append(f"    if record.{field.name}:\n        {put}")
        else:
            lines.append(f"    {put}")
    for flag in entity.flags:
        label = source.flag_label(flag)
        lines.append(f'    if record.{flag}:\n        parts.append("[{label}]")\n')
    lines.append('    return _printable("  ".join(parts))\n')
    return "".join(lines)


def main_source(blueprint: Blueprint) -> str:
    return fill("cli.py", "main", package=blueprint.package)
