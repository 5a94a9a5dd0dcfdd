"""The generated project's pages: the module that renders them, and what lies in static/."""

from __future__ import annotations

from claude.simulation import source
from claude.simulation.blueprint import Action, Blueprint, Entity
from claude.simulation.sections import fill
from claude.simulation.source import sentence
from claude.simulation.vocabulary import Field

_EMPTY = ("No {plural} yet.", "Nothing here yet: no {plural}.", "There are no {plural} so far.")
_ATTRIBUTES = {
    "text": "required maxlength=10000",
    "email": "type=email required maxlength=10000",
    "number": "type=number min=0 required",
    "count": "type=number min=1 required",
    "reference": "type=number min=1 required",
}


def empty_text(blueprint: Blueprint, entity: Entity) -> str:
    """What the page says when there is no record; another seed says it otherwise."""
    return _EMPTY[blueprint.seed % len(_EMPTY)].format(plural=entity.plural)


def static_sources(blueprint: Blueprint) -> dict[str, str]:
    names = ("style.css", "icon.svg")
    return {name: fill("static", name, accent=blueprint.accent) for name in names}


def pages_source(blueprint: Blueprint) -> str:
    public = [e for e in blueprint.entities if not e.is_private]
    functions = "" if blueprint.is_single else fill("pages.py", "home")
    functions += "".join(_entity_page(blueprint, e) for e in blueprint.entities)
    if public:
        functions += fill("pages.py", "button")
    if any(e.flags for e in public):
        functions += fill("pages.py", "badge")
    return fill(
        "pages.py",
        "file",
        imports=_imports(blueprint, public),
        nav=_nav(blueprint),
        functions=functions.strip("\n"),
    )


def _imports(blueprint: Blueprint, public: list[Entity]) -> str:
    collections = [*([] if blueprint.is_single else ["Mapping"]), *(["Sequence"] if public else [])]
    standard = {"html": ["escape"]} | ({"collections.abc": collections} if collections else {})
    uses_title = not blueprint.is_single or len(public) < len(blueprint.entities)
    names = [e.class_name for e in public] + (["TITLE"] if uses_title else [])
    own = {f"{blueprint.package}.contract": names}
    return source.import_block(standard) + "\n" + source.import_block(own)


def _nav(blueprint: Blueprint) -> str:
    links = [("/", blueprint.title)]
    if not blueprint.is_single:
        links += [(f"/{e.slug}", sentence(e.plural)) for e in blueprint.entities]
    return "".join(f'<a href="{path}">{text}</a>\n' for path, text in links)


def _entity_page(blueprint: Blueprint, entity: Entity) -> str:
    common = {
        "KEY": entity.key.upper(),
        "slug": entity.slug,
        "module": entity.module,
        "singular": entity.singular,
        "plural": entity.plural,
        "Create": source.verb_label(entity.create.verb),
        "inputs": "\n".join(_control(entity, f) for f in entity.inputs),
    }
    if entity.is_private:
        return fill("pages.py", "private", **common, greeting=blueprint.greeting)
    return fill(
        "pages.py",
        "public",
        **common,
        MODULE=entity.module.upper(),
        key=entity.key,
        Class=entity.class_name,
        name=source.name_of(entity),
        empty=empty_text(blueprint, entity),
        search_parameter=', words: str = ""' if entity.of_kind("search") else "",
        body=_body(blueprint, entity),
        buttons="".join(_button(a) for a in entity.actions if a.kind in ("state", "remove")),
        badges="".join(_badge(flag) for flag in entity.flags),
        details="".join(_detail(f) for f in entity.fields[1:]),
        edit="".join(_edit(entity, a) for a in entity.of_kind("edit")),
    )


def _body(blueprint: Blueprint, entity: Entity) -> str:
    search = entity.of_kind("search")
    return fill(
        "pages.py",
        "body_search" if search else "body",
        Plural=sentence(entity.plural),
        plural=entity.plural,
        KEY=entity.key.upper(),
        page_path=source.page_path(blueprint, entity),
        Search=source.verb_label(search[0].verb) if search else "",
    )


def _button(action: Action) -> str:
    condition = f"record.{action.field}"
    return fill(
        "pages.py",
        action.kind,
        verb=action.verb,
        label=source.verb_label(action.verb),
        condition=f"not {condition}" if action.value else condition,
    )


def _badge(flag: str) -> str:
    return f'\n{{_badge(record.{flag}, "{sentence(source.flag_label(flag))}")}}'


def _detail(field: Field) -> str:
    value = f"{{escape(record.{field.name})}}"
    if field.kind not in ("text", "note", "email"):
        value = f"{field.label}: {{record.{field.name}}}"
    return f'<p class="detail">{value}</p>\n'


def _edit(entity: Entity, action: Action) -> str:
    controls = [_control(entity, f, "record") for f in entity.editable]
    return "\n" + fill(
        "pages.py",
        "edit",
        Edit=source.verb_label(action.verb),
        edit=action.verb,
        inputs="\n".join(controls),
    ).rstrip("\n")


def _control(entity: Entity, field: Field, record: str = "") -> str:
    """A label and its control; with `record`, the control of an f-string that edits it."""
    name = f"{entity.key}-{field.name}" + (f"-{{{record}.id}}" if record else "")
    current = f"{record}.{field.name}"
    if field.kind in ("text", "note", "email"):
        current = f"escape({current})"
    value = f"{{{current}}}" if record else ""
    label = f'<label for="{name}">{field.label}</label>\n'
    # two lines: an f-string of the generated module has to stay within its columns
    start = f'id="{name}" name="{field.name}"\n'
    if field.kind == "note":
        return f'{label}<textarea {start} rows="3" maxlength="10000">{value}</textarea>'
    given = f'value="{value}" ' if record else ""
    return f"{label}<input {start} {given}{_quoted(_ATTRIBUTES[field.kind])}>"


def _quoted(attributes: str) -> str:
    parts = (a.partition("=") for a in attributes.split())
    return " ".join(f'{name}="{value}"' if value else name for name, _, value in parts)
