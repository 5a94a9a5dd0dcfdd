"""The generated project's own tests, one module for each of its parts."""

from __future__ import annotations

from claude.simulation import markup, source
from claude.simulation.blueprint import Action, Blueprint, Entity
from claude.simulation.modules import field_kinds
from claude.simulation.sections import fill
from claude.simulation.source import listed, literal, new_constant, sentence

_NEW_VALUES: dict[str, str | int] = {"text": "Something else", "count": 3, "number": 7}
_NEWER_VALUES: dict[str, str | int] = {"text": "Another thing", "count": 4, "number": 8}


def storage_tests(blueprint: Blueprint) -> str:
    children = [e for e in blueprint.entities if any(f.refers for f in e.fields)]
    main, used, uses = blueprint.entities[0], "", [blueprint.entities[0]]
    if children:
        child = children[0]
        main = next(blueprint.entity(f.refers) for f in child.fields if f.refers)
        uses = [main, child]
        used = fill(
            "tests",
            "used",
            Child=child.class_name,
            child_module=child.module,
            CHILD=new_constant(child),
        )
    kinds = [k for k in ("email", "number", "count") if k in field_kinds(blueprint)]
    names = ["AppError", "Invalid", "NotFound", "MAX_TEXT_CHARS", *(e.class_name for e in uses)]
    return fill(
        "tests",
        "storage",
        package=blueprint.package,
        imports=source.import_names(names),
        new=source.new_constants(uses),
        NEW=new_constant(main),
        module=main.module,
        Class=main.class_name,
        reference=f', "{main.key}_id"' if children else "",
        used=used,
        fields="".join(fill("tests", kind) for kind in kinds),
    )


def service_tests(blueprint: Blueprint, entity: Entity) -> str:
    family = [*source.lineage(blueprint, entity), entity]
    parts = [
        _service_action(entity, action) for action in entity.actions if action.kind != "create"
    ]
    parts += [
        fill(
            "tests",
            "service_reference",
            label=f.refers.replace(" ", "_"),
            name=f.name,
            module=entity.module,
            create=entity.create.method,
            NEW=new_constant(entity),
        )
        for f in entity.fields
        if f.refers
    ]
    if entity.is_checkout:
        parts.append(_checkout_tests(blueprint, entity))
    on_id = [a for a in entity.actions if a.kind in ("state", "remove")]
    first = source.first_field(entity)
    return fill(
        "tests",
        "service",
        imports=_service_imports(blueprint, entity, family),
        replace="from dataclasses import replace\n" if entity.of_kind("edit") else "",
        new=source.new_constants(family),
        Test=f"{entity.service}Test",
        setup=_service_setup(blueprint, entity),
        module=entity.module,
        Service=entity.service,
        Class=entity.class_name,
        refill=_refill(blueprint, entity),
        create=entity.create.method,
        NEW=new_constant(entity),
        test_name=entity.key,
        first=first.name,
        first_value=literal(source.sample(entity, first)),
        methods="\n".join(parts).rstrip("\n") + "\n",
        on_id="".join(
            f"            self.{entity.module}.{m},\n" for m in ["get", *(a.method for a in on_id)]
        ),
    )


def _service_imports(blueprint: Blueprint, entity: Entity, family: list[Entity]) -> str:
    package = blueprint.package
    names = [entity.class_name, "Invalid", "NotFound"]
    modules = {f"{package}.contract": names, f"{package}.storage": ["Database"]}
    modules |= {f"{package}.{e.module}": [e.service] for e in family}
    return source.import_block(modules)


def _service_setup(blueprint: Blueprint, entity: Entity) -> str:
    lines = []
    for parent in source.lineage(blueprint, entity):
        call = f"{parent.service}(database).{parent.create.method}(**{new_constant(parent)})"
        if entity.is_checkout and parent.singular == "cart item":
            call = f"self.{parent.module} = {parent.service}(database)"
        lines.append(f"        {call}\n")
    return "".join(lines)


def _refill(blueprint: Blueprint, entity: Entity) -> str:
    """Before each checkout something must lie in the cart."""
    if not entity.is_checkout:
        return ""
    cart = blueprint.entity("cart item")
    return f"        self.{cart.module}.{cart.create.method}(**{new_constant(cart)})\n"


def _checkout_tests(blueprint: Blueprint, entity: Entity) -> str:
    price = source.samples(blueprint.entity("product"))["price_cents"]
    quantity = source.samples(blueprint.entity("cart item"))["quantity"]
    return fill(
        "tests",
        "service_checkout",
        method=entity.create.method,
        module=entity.module,
        NEW=new_constant(entity),
        total=str(int(price) * int(quantity)),
    )


def _service_action(entity: Entity, action: Action) -> str:
    first = source.first_field(entity)
    field = entity.editable[0]
    setter = _setter(entity, action)
    before = f"        self.{entity.module}.{setter.method}(record.id)\n" if setter else ""
    return fill(
        "tests",
        f"service_{action.kind}",
        method=action.method,
        module=entity.module,
        flag=action.field,
        flag_name=action.field if action.value else f"{action.field}_to_false",
        value=str(action.value),
        before=before,
        field=field.name,
        new=literal(_NEW_VALUES[field.kind]),
        upper=literal(str(source.sample(entity, first)).upper()),
    )


def _setter(entity: Entity, action: Action) -> Action | None:
    """What must be done before an action that takes it back."""
    if action.kind != "state" or action.value:
        return None
    return next(a for a in entity.of_kind("state") if a.field == action.field and a.value)


def server_tests(blueprint: Blueprint) -> str:
    return fill("tests", "server", package=blueprint.package)


def pages_tests(blueprint: Blueprint) -> str:
    public = [e for e in blueprint.entities if not e.is_private]
    methods = "".join(_pages_entity(blueprint, e) for e in blueprint.entities)
    if not blueprint.is_single:
        methods += fill("tests", "pages_home", slug=public[0].slug)
    text = fill(
        "tests",
        "pages",
        package=blueprint.package,
        imports=source.import_names(e.class_name for e in public),
        new=source.new_constants(public),
        methods=methods.rstrip("\n"),
    )
    if not public:
        text = text.replace(f"from {blueprint.package}.contract import \n", "")
    return text


def _pages_entity(blueprint: Blueprint, entity: Entity) -> str:
    common = {
        "module": entity.module,
        "slug": entity.slug,
        "Class": entity.class_name,
        "NEW": new_constant(entity),
        "computed": "".join(f", {f.name}=2500" for f in entity.fields if not f.is_input),
    }
    if entity.is_private:
        return fill("tests", "pages_private", **common)
    empty = markup.empty_text(blueprint, entity)
    shown = literal(source.shown(entity))
    text = fill("tests", "pages_public", **common, shown=shown, empty=empty)
    if texts := [f.name for f in entity.inputs if f.kind == "text"]:
        text += fill("tests", "pages_hostile", **common, field=texts[0])
    if entity.of_kind("search"):
        text += fill("tests", "pages_search", **common)
    for action in entity.of_kind("state"):
        if action.value:
            label = sentence(source.flag_label(action.field))
            names = {"key": entity.key, "flag": action.field, "verb": action.verb, "label": label}
            text += fill("tests", "pages_state", **common, **names)
    return text


def web_tests(blueprint: Blueprint) -> str:
    methods = "".join(_web_entity(blueprint, e) for e in blueprint.entities)
    if not blueprint.is_single:
        paths = listed(f"/{e.slug}" for e in blueprint.entities)
        methods += fill("tests", "web_home", paths=paths)
    return fill(
        "tests",
        "web",
        package=blueprint.package,
        imports=source.import_names(["ROUTES", "Invalid"]),
        new=source.new_constants(blueprint.entities),
        methods=methods.rstrip("\n"),
    )


def _post(entity: Entity) -> str:
    return f'        self.ask("POST", "/api/{entity.slug}", **{new_constant(entity)})\n'


def _web_entity(blueprint: Blueprint, entity: Entity) -> str:
    first = source.first_field(entity)
    field = entity.editable[0]
    common = {
        "module": entity.module,
        "key": entity.key,
        "slug": entity.slug,
        "id": "1",
        "NEW": new_constant(entity),
        "parents": "".join(map(_post, source.lineage(blueprint, entity))),
        "page_path": source.page_path(blueprint, entity),
        "after": source.after_create(blueprint, entity),
        "shown": literal(source.shown(entity)),
        "first": first.name,
        "first_value": literal(source.sample(entity, first)),
        "field": field.name,
        "upper": literal(str(source.sample(entity, first)).upper()),
        "next": "2",
        "again": _again(blueprint, entity),
    }
    if entity.is_private:
        return fill("tests", "web_private", **common)
    values = {
        "new": literal(_NEW_VALUES[field.kind]),
        "newer": literal(_NEWER_VALUES[field.kind]),
    }
    text = fill("tests", "web_public", **common)
    for action in entity.actions:
        if action.kind != "create":
            own = {"method": action.method, "verb": action.verb, "flag": action.field}
            own["value"] = str(action.value)
            text += fill("tests", f"web_{action.kind}", **common, **own, **values)
    return text


def _again(blueprint: Blueprint, entity: Entity) -> str:
    """A second record of the same kind."""
    refill = _post(blueprint.entity("cart item")) if entity.is_checkout else ""
    return refill + _post(entity)


def cli_tests(blueprint: Blueprint) -> str:
    methods = "".join(_cli_entity(blueprint, e) for e in blueprint.entities)
    new = "".join("\n" + _new_words(blueprint, e) for e in blueprint.entities)
    return fill("tests", "cli", package=blueprint.package, new=new, methods=methods.rstrip("\n"))


def _new_words(blueprint: Blueprint, entity: Entity) -> str:
    words = source.create_words(blueprint, entity)
    lines = "".join(f"    {literal(word)},\n" for word in words)
    return fill("tests", "new_words", KEY=entity.key.upper(), words=lines)


def _run(entity: Entity) -> str:
    return f"        self.run_cli(*{new_constant(entity)})\n"


def _cli_entity(blueprint: Blueprint, entity: Entity) -> str:
    new = new_constant(entity)
    at = len(source.cli_words(blueprint, entity, entity.create.verb))
    first = source.first_field(entity)
    common = {
        "module": entity.module,
        "key": entity.key,
        "plural": entity.plural,
        "shown": literal(source.shown(entity)),
        "list_words": listed(source.cli_words(blueprint, entity, "list")),
        "parents": "".join(map(_run, source.lineage(blueprint, entity))),
        "NEW": new,
        "bad_words": f'*{new}[:{at}], "", *{new}[{at + 1}:]',
        "upper": literal(str(source.sample(entity, first)).upper()),
    }
    text = fill("tests", "cli_entity", **common)
    for action in entity.actions:
        if action.kind != "create":
            text += _cli_action(blueprint, entity, action, common)
    return text


def _cli_action(
    blueprint: Blueprint, entity: Entity, action: Action, common: dict[str, str]
) -> str:
    field = entity.editable[0]
    run_list = f"self.run_cli({common['list_words']})"
    label = literal(f"[{source.flag_label(action.field)}]")
    inside = "assertIn" if action.value else "assertNotIn"
    assertion = f"self.{inside}(\n            {label},\n            {run_list},\n        )"
    if action.kind == "remove":
        empty = literal(f"No {entity.plural}.\n")
        assertion = f"self.assertEqual(\n            {run_list},\n            {empty},\n        )"
    return fill(
        "tests",
        "cli_on_id" if action.kind in ("state", "remove") else f"cli_{action.kind}",
        **common,
        method=action.method,
        command_words=listed(source.cli_words(blueprint, entity, action.verb)),
        assertion=assertion,
        option=source.option(field).removeprefix("--"),
        new=literal(str(_NEW_VALUES[field.kind])),
    )


def app_tests(blueprint: Blueprint) -> str:
    entity = blueprint.entities[0]
    first = source.first_field(entity)
    common = {
        "slug": entity.slug,
        "plural": entity.plural,
        "parents": "",
        "create_words": "".join(
            f"            {literal(word)},\n" for word in source.create_words(blueprint, entity)
        ),
        "list_words": listed(source.cli_words(blueprint, entity, "list")),
        "page_path": source.page_path(blueprint, entity),
        "shown": literal(source.shown(entity)),
        "first": first.name,
        "first_value": literal(source.sample(entity, first)),
        "NEW": new_constant(entity),
    }
    if entity.is_private:
        body = fill("tests", "app_private", **common)
    else:
        body = fill("tests", "app_public", **common) + _app_actions(entity, common)
    return fill(
        "tests",
        "app",
        package=blueprint.package,
        json="" if entity.is_private else "import json\n",
        urlencode="from urllib.parse import urlencode\n" if entity.is_private else "",
        new=source.new_constants([entity]) if entity.is_private else "",
        body=body.rstrip("\n"),
    )


def _app_actions(entity: Entity, common: dict[str, str]) -> str:
    text = ""
    for action in [a for a in entity.of_kind("state") if a.value][:1]:
        label = source.flag_label(action.field)
        text += fill("tests", "app_state", **common, verb=action.verb, label=label)
    return text + "".join(fill("tests", "app_remove", **common) for _ in entity.of_kind("remove"))
