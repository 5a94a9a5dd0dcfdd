"""The Python modules of a generated application, each from its template and the blueprint."""

from __future__ import annotations

from claude.simulation import source
from claude.simulation.blueprint import Action, Blueprint, Entity
from claude.simulation.sections import fill
from claude.simulation.source import literal, sentence
from claude.simulation.vocabulary import Field, with_article

_TYPES = {"text": "str", "note": "str", "email": "str"}
_CHECKS = {"reference": "count"}
_MEANINGS = {
    "list": "show all {plural}",
    "create": "store a new {singular}",
    "checkout": "turn the cart into an order",
    "edit": "change values of {a_singular}",
    "search": "show the {plural} with these words",
    "remove": "remove {a_singular}",
    "state": "mark {a_singular} as {meaning}",
}


def meaning(entity: Entity, kind: str, action: Action | None = None) -> str:
    """What a command or route does, in a few words."""
    if kind == "create" and entity.is_checkout:
        kind = "checkout"
    state = source.flag_label(action.field) if action else ""
    return _MEANINGS[kind].format(
        singular=entity.singular,
        plural=entity.plural,
        a_singular=with_article(entity.singular),
        meaning=state if action is None or action.value else f"not {state}",
    )


def command_table(blueprint: Blueprint) -> list[tuple[str, str]]:
    """Every command of the generated program with what it does."""
    rows = []
    for entity in blueprint.entities:
        for action in (entity.create, None, *(a for a in entity.actions if a.kind != "create")):
            verb, kind = (action.verb, action.kind) if action else ("list", "list")
            words = " ".join(source.cli_words(blueprint, entity, verb))
            rows.append((words, meaning(entity, kind, action)))
    return [*rows, ("serve", "open the web page and the JSON API")]


def route_table(blueprint: Blueprint) -> list[tuple[str, str, str]]:
    """Every route of the generated server with what it does."""
    rows = [] if blueprint.is_single else [("GET", "/", "the first page")]
    for entity in blueprint.entities:
        rows += [*_page_rows(blueprint, entity), *_api_rows(entity)]
    return rows


def _page_rows(blueprint: Blueprint, entity: Entity) -> list[tuple[str, str, str]]:
    what = "the contact form" if entity.is_private else f"the page of {entity.plural}"
    query = "; `?q=` searches" if entity.of_kind("search") and not entity.is_private else ""
    rows = [
        ("GET", source.page_path(blueprint, entity), what + query),
        ("POST", f"/{entity.slug}", f"form: {meaning(entity, 'create')}"),
    ]
    for action in page_actions(entity):
        path = f"/{entity.slug}/{{id}}/{action.verb}"
        rows.append(("POST", path, f"form: {meaning(entity, action.kind, action)}"))
    return rows


def page_actions(entity: Entity) -> tuple[Action, ...]:
    """What a page can do to one record."""
    if entity.is_private:
        return ()
    return tuple(a for a in entity.actions if a.kind in ("state", "edit", "remove"))


def _api_rows(entity: Entity) -> list[tuple[str, str, str]]:
    base = f"/api/{entity.slug}"
    create = ("POST", base, meaning(entity, "create"))
    if entity.is_private:
        return [create]
    query = "; `?q=` searches" if entity.of_kind("search") else ""
    rows = [("GET", base, f"all {entity.plural}{query}"), create]
    rows.append(("GET", f"{base}/{{id}}", f"one {entity.singular}"))
    for action in page_actions(entity):
        http, tail = api_call(action)
        rows.append((http, f"{base}/{{id}}{tail}", meaning(entity, action.kind, action)))
    return rows


def api_call(action: Action) -> tuple[str, str]:
    if action.kind == "state":
        return "POST", f"/{action.verb}"
    return ("PATCH" if action.kind == "edit" else "DELETE"), ""


def contract_source(blueprint: Blueprint) -> str:
    return fill(
        "contract.py",
        "file",
        title=blueprint.title,
        package=blueprint.package,
        PACKAGE=blueprint.package.upper(),
        port=str(blueprint.port),
        commands="".join(f"    {literal(words)},\n" for words, _ in command_table(blueprint)),
        routes="".join(
            f"    ({literal(method)}, {literal(path)}),\n"
            for method, path, _ in route_table(blueprint)
        ),
        records="\n\n".join(_record(e) for e in blueprint.entities),
    )


def _record(entity: Entity) -> str:
    fields = [f"    {f.name}: {_TYPES.get(f.kind, 'int')}" for f in entity.fields]
    fields += [f"    {flag}: bool = False" for flag in entity.flags]
    return fill(
        "contract.py",
        "record",
        Class=entity.class_name,
        A_singular=sentence(with_article(entity.singular)),
        fields="\n".join(fields),
    )


def storage_source(blueprint: Blueprint) -> str:
    refers = any(blueprint.is_referred(e) for e in blueprint.entities)

    def if_refers(text: str) -> str:
        return text if refers else ""

    return fill(
        "storage.py",
        "file",
        package=blueprint.package,
        imports=source.import_names(["AppError", "NotFound", *(["Invalid"] if refers else [])]),
        table_option=if_refers(', reference: str = ""'),
        table_argument=if_refers(", reference"),
        keep_reference=if_refers(fill("storage.py", "keep_reference")),
        check_reference=if_refers(fill("storage.py", "check_reference")),
        reference_method=if_refers(fill("storage.py", "reference_method") + "\n"),
        delete_raises=if_refers(", or Invalid when used"),
    )


def field_kinds(blueprint: Blueprint) -> set[str]:
    """Kinds of checks, besides text and note, that the project needs."""
    kinds = {_check(f) for e in blueprint.entities for f in e.inputs}
    return (kinds | {"number"} if "count" in kinds else kinds) - {"text", "note"}


def fields_source(blueprint: Blueprint) -> str:
    kinds = field_kinds(blueprint)
    pattern = '_EMAIL = re.compile(r"[^@\\s]+@[^@\\s]+\\.[^@\\s]+")\n' if "email" in kinds else ""
    body = fill(
        "fields.py",
        "file",
        package=blueprint.package,
        re_import="import re" if kinds else "",
        pattern=pattern,
    ).replace("annotations\n\n\nfrom", "annotations\n\nfrom")
    used = [kind for kind in ("email", "number", "count") if kind in kinds]
    return body + "".join(fill("fields.py", kind) for kind in used)


def _check(field: Field) -> str:
    return _CHECKS.get(field.kind, field.kind)


def service_source(blueprint: Blueprint, entity: Entity) -> str:
    parents = blueprint.parents(entity)
    has_reference = any(f.refers for f in entity.fields)
    methods = [_method(blueprint, entity, action) for action in entity.actions]
    if has_reference:
        methods.append(_references(blueprint, entity))
    body = fill(
        "service.py",
        "file",
        singular=entity.singular,
        plural=entity.plural,
        Class=entity.class_name,
        Service=entity.service,
        imports=_service_imports(blueprint, entity),
        checks=_checks(entity),
        init=_service_init(blueprint, entity, parents),
        methods="\n".join(methods).rstrip("\n"),
    )
    if not entity.of_kind("search"):
        return body
    texts = [
        f"record.{f.name}" if f.kind in _TYPES else f"str(record.{f.name})" for f in entity.fields
    ]
    joined = ", ".join(texts) + ("," if len(texts) == 1 else "")
    return body + fill("service.py", "texts", Class=entity.class_name, texts=joined)


def _checks(entity: Entity) -> str:
    rows = "".join(f'    "{f.name}": fields.{_check(f)},\n' for f in entity.inputs)
    return f"CHECKS = {{\n{rows}}}\n"


def _service_imports(blueprint: Blueprint, entity: Entity) -> str:
    package = blueprint.package
    names = [entity.class_name, *(["Invalid"] if entity.is_checkout else [])]
    modules = {
        package: ["fields"],
        f"{package}.contract": names,
        f"{package}.storage": ["Database"],
    } | {f"{package}.{p.module}": [p.service] for p in blueprint.parents(entity)}
    uses_any = entity.of_kind("edit") or any(f.refers for f in entity.fields)
    return ("from typing import Any\n\n" if uses_any else "") + source.import_block(modules)


def _service_init(blueprint: Blueprint, entity: Entity, parents: tuple[Entity, ...]) -> str:
    lines = ["        self._database = database\n"] if entity.is_checkout else []
    reference = f', "{entity.key}_id"' if blueprint.is_referred(entity) else ""
    lines.append(
        f'        self._table = database.table("{entity.module}", {entity.class_name}{reference})\n'
    )
    lines += [f"        self._{p.module} = {p.service}(database)\n" for p in parents]
    return "".join(lines)


def _method(blueprint: Blueprint, entity: Entity, action: Action) -> str:
    checker = "self._checked(" if any(f.refers for f in entity.fields) else "fields.check(CHECKS, "
    cart = [p for p in blueprint.parents(entity) if p.singular == "cart item"]
    is_checkout = entity.is_checkout and action.kind == "create"
    state = source.flag_label(action.field)
    return fill(
        "service.py",
        "checkout" if is_checkout else action.kind,
        method=action.method,
        Class=entity.class_name,
        singular=entity.singular,
        params=_parameters(entity),
        check_values=f"{checker}values)",
        check_changes=f"{checker}changes)",
        values=_values(entity),
        remove=cart[0].of_kind("remove")[0].method if is_checkout else "",
        field=action.field,
        value=str(action.value),
        meaning=state if action.value else f"not {state}",
        used=", or Invalid while it is used" if blueprint.is_referred(entity) else "",
    )


def _parameters(entity: Entity) -> str:
    ordered = sorted(entity.inputs, key=lambda f: f.kind == "note")
    return ", ".join(
        f"{f.name}: {_TYPES.get(f.kind, 'int')}" + (' = ""' if f.kind == "note" else "")
        for f in ordered
    )


def _values(entity: Entity) -> str:
    return ", ".join(f'"{f.name}": {f.name}' for f in entity.inputs)


def _references(blueprint: Blueprint, entity: Entity) -> str:
    lookups = [
        fill("service.py", "lookup", name=f.name, parent=f"_{blueprint.entity(f.refers).module}")
        for f in entity.fields
        if f.refers
    ]
    return fill("service.py", "references", lookups="".join(lookups).rstrip("\n"))
