"""The blueprint: entities, actions and names of the project to be, drawn from a Reading.

Here words become identifiers. Every name is checked against Python's own and the project's, so
that a project about classes, imports or tests works like any other.
"""

from __future__ import annotations

import builtins
import hashlib
import keyword
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from claude.simulation import vocabulary as words
from claude.simulation.lexicon import Reading, Subject, excerpt
from claude.simulation.vocabulary import Field

T = TypeVar("T")

# Modules of every generated project, and names its modules define or import.
_MODULES = words.word_set(
    "cli contract fields pages server static storage web app main args database request"
)
_CLASSES = words.word_set("""
    Any AppError Callable Database Generic Handler HTTPStatus Invalid Iterator NotFound Path
    Request Response Route Sequence Table TypeVar""")
_METHODS = words.word_set("all get list help serve run show")


@dataclass(frozen=True, slots=True)
class Action:
    """What can be done to a record besides listing. `kind`: create, state, edit, search, remove.

    `verb` is the person's word, on the command line and in URLs; `method` its Python name; `done`
    its past participle; a state action sets `field` to `value`.
    """

    kind: str
    verb: str
    method: str
    done: str
    field: str = ""
    value: bool = True


@dataclass(frozen=True, slots=True)
class Entity:
    """A kind of record. A private one can be sent by anyone and read only on the machine."""

    singular: str
    plural: str
    fields: tuple[Field, ...]
    actions: tuple[Action, ...]
    example: str
    is_private: bool = False
    is_checkout: bool = False

    @property
    def class_name(self) -> str:
        return _camel(self.singular)

    @property
    def service(self) -> str:
        return _camel(self.plural)

    @property
    def module(self) -> str:
        return self.plural.replace(" ", "_")

    @property
    def slug(self) -> str:
        return self.plural.replace(" ", "-")

    @property
    def command(self) -> str:
        return self.singular.replace(" ", "-")

    @property
    def key(self) -> str:
        return self.singular.replace(" ", "_")

    @property
    def inputs(self) -> tuple[Field, ...]:
        return tuple(f for f in self.fields if f.is_input)

    @property
    def editable(self) -> tuple[Field, ...]:
        return tuple(f for f in self.inputs if f.kind != "reference")

    @property
    def flags(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(a.field for a in self.actions if a.kind == "state"))

    @property
    def create(self) -> Action:
        return next(a for a in self.actions if a.kind == "create")

    def of_kind(self, kind: str) -> tuple[Action, ...]:
        return tuple(a for a in self.actions if a.kind == kind)


@dataclass(frozen=True, slots=True)
class Blueprint:
    """The whole project: `package` is its import name, `said` the escaped-later prompt."""

    title: str
    package: str
    entities: tuple[Entity, ...]
    is_landing: bool
    said: str
    seed: int
    port: int
    accent: str
    greeting: str

    @property
    def is_single(self) -> bool:
        return len(self.entities) == 1

    def entity(self, singular: str) -> Entity:
        return next(e for e in self.entities if e.singular == singular)

    def parents(self, entity: Entity) -> tuple[Entity, ...]:
        """The entities whose services this one's service uses."""
        refers = [f.refers for f in entity.fields if f.refers]
        if entity.is_checkout:
            refers += ["cart item", "product"]
        return tuple(self.entity(name) for name in refers)

    def is_referred(self, entity: Entity) -> bool:
        return any(f.refers == entity.singular for e in self.entities for f in e.fields)


# Accents with a contrast of at least 4.5:1 to white (WCAG AA).
_ACCENTS = ("#1d4ed8", "#0f766e", "#7c3aed", "#b91c1c", "#15803d", "#a21caf", "#9a3412", "#334155")
_GREETINGS = (
    "Good to see you here. Tell us what you need, and a person will answer.",
    "One page, one question: how can we help you?",
    "We read every message. Write to us, and you will hear back.",
)


def draw(options: Sequence[T], seed: int, *key: str) -> T:
    """One of `options`, by seed and key alone."""
    text = "\x00".join((str(seed), *key)).encode("utf-8", "replace")
    return options[int.from_bytes(hashlib.sha256(text).digest()[:8]) % len(options)]


def build_blueprint(prompt: str, reading: Reading, seed: int) -> Blueprint:
    entities = _distinct([_entity(s, reading) for s in reading.subjects])
    name = _safe_noun(reading.product)
    title = _title(name, reading)
    return Blueprint(
        title=title,
        package=f"{name.replace(' ', '_')}_app",
        entities=entities,
        is_landing=reading.is_landing,
        said=excerpt(prompt),
        seed=seed,
        port=draw(range(8100, 8900), seed, "port", prompt),
        accent=draw(_ACCENTS, seed, "accent", prompt),
        greeting=draw(_GREETINGS, seed, "greeting", prompt),
    )


def _title(name: str, reading: Reading) -> str:
    if reading.is_landing:
        return "Landing Page"
    if name in words.PRODUCTS:
        return name.title()
    said = set(reading.words)
    if "list" in said and name == "todo":
        return "Todo List"
    for kind in ("tracker", "manager", "catalog"):
        if kind in said:
            return f"{name.title()} {kind.title()}"
    return f"{words.plural(name).title()}"


def _entity(subject: Subject, reading: Reading) -> Entity:
    noun = subject.noun
    singular = _safe_noun(noun.singular)
    is_checkout = noun.singular == "order" and reading.is_shop
    is_private = noun.singular == "message" and reading.is_landing
    fields = (Field("customer"), Field("total_cents", "computed")) if is_checkout else noun.fields
    verbs = _verbs(subject, is_checkout, is_private)
    return Entity(
        singular=singular,
        plural=words.plural(singular),
        fields=fields,
        actions=_actions(verbs),
        example=noun.example,
        is_private=is_private,
        is_checkout=is_checkout,
    )


def _verbs(subject: Subject, is_checkout: bool, is_private: bool) -> tuple[str, ...]:
    """What the prompt says, else what such records are for; one verb that creates, always first."""
    verbs = [v for v in subject.verbs if v not in words.CREATE]
    creating = [v for v in subject.verbs if v in words.CREATE]
    if all(_kind(v) != "state" for v in verbs):
        verbs = [*subject.noun.states, *verbs]
    if not set(verbs) & words.REMOVE:
        verbs.append("delete")
    if is_checkout:
        creating = ["checkout"]
    elif not creating:
        creating = ["send"] if is_private else ["add"]
    return (creating[0], *verbs)


def _actions(verbs: Sequence[str]) -> tuple[Action, ...]:
    """One action a verb, and one verb a kind except for states."""
    actions: dict[str, Action] = {}
    flags = {words.participle(v) for v in verbs if _kind(v) == "state"}
    for n, verb in enumerate(verbs):
        kind = "create" if n == 0 else _kind(verb)
        action = _state(verb, flags) if kind == "state" else _plain(kind, verb)
        actions.setdefault(
            f"state {action.field} {action.value}" if kind == "state" else kind, action
        )
    return tuple(actions.values())


def _kind(verb: str) -> str:
    for kind, known in (("remove", words.REMOVE), ("edit", words.EDIT), ("search", words.SEARCH)):
        if verb in known:
            return kind
    return "state"


def _plain(kind: str, verb: str) -> Action:
    done = "ordered" if verb == "checkout" else words.participle(verb)
    return Action(kind, verb, _method(verb, done), done)


def _state(verb: str, flags: set[str]) -> Action:
    done = words.participle(verb)
    opposite = words.OPPOSITES.get(verb, verb.removeprefix("un"))
    undone = words.participle(opposite)
    takes_back = opposite != verb and undone in flags
    flag = undone if takes_back else done
    command = f"mark-{done}" if verb in _METHODS else verb
    return Action("state", command, _method(verb, done), done, flag, not takes_back)


def _method(verb: str, done: str) -> str:
    return f"mark_{done}" if _is_pythons(verb) or verb in _METHODS else verb


def _is_pythons(name: str) -> bool:
    return keyword.iskeyword(name) or keyword.issoftkeyword(name)


def _safe_noun(noun: str) -> str:
    """The noun itself, or with `entry` behind it where its names would hide others."""
    many = words.plural(noun)
    hides = (
        noun == many
        or {noun, many} & _MODULES
        or {_camel(noun), _camel(many)} & (_CLASSES | set(dir(builtins)))
        or many in dir(builtins)
        or _is_pythons(many)
        or _is_pythons(_camel(noun))
        or noun in _METHODS
    )
    return f"{noun} entry" if hides else noun


def _distinct(entities: Sequence[Entity]) -> tuple[Entity, ...]:
    """The first of those whose names would collide."""
    by_name: dict[str, Entity] = {}
    for entity in entities:
        if not {entity.key, entity.module} & set(by_name):
            by_name |= {entity.key: entity, entity.module: entity}
    return tuple(dict.fromkeys(by_name.values()))


def _camel(phrase: str) -> str:
    return "".join(word.capitalize() for word in phrase.split())
