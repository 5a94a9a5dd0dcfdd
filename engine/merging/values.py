"""What a file says, apart from how it is written, and what two changes make of it."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from engine.merging.three_way import Hunk, side_by_side, three_way

# Of what is added to a list at most one has the same.
_IDENTITIES = ("id", "name", "key", "path", "slug")
_MOST_OF_A_NAME = 100
_REQUIREMENT = re.compile(r"['\"]?([\w.-]+) *(?:\[[^]]*\] *)?(?:[=<>!~]=?|@ )")


@dataclass(frozen=True, slots=True, order=True)
class Item:
    """One of a list. Both sides may add some at the same place if all have one `group`, and no two
    of them the same `name`."""

    text: str
    group: str = ""
    name: str = ""


Items: TypeAlias = tuple[Item, ...]
Value: TypeAlias = str | Items | dict[str, "Value"]


@dataclass(frozen=True, slots=True)
class Collision:
    """Where both sides changed one value, each otherwise. `is_new`: they added it."""

    where: str
    is_new: bool


def plain_value(data: object) -> Value:
    """Of what a parser of JSON and its like returns."""
    if isinstance(data, dict):
        return {str(key): plain_value(value) for key, value in data.items()}
    if isinstance(data, list):
        return items_of(plain_value(value) for value in data)
    return repr(data)


def items_of(values: Iterable[Value]) -> Items:
    return tuple(Item(repr(value), "item", _identity(value)) for value in values)


def requirement_name(text: str) -> str:
    """`requests` of `requests>=2`; empty where there is no version."""
    found = _REQUIREMENT.match(text)
    return re.sub(r"[-_.]+", "-", found[1]).lower() if found else ""


def put(into: dict[str, Value], key: str, value: Value) -> None:
    """Also where the key is taken: a second one is another. Raises ValueError for too many."""
    names = (key if number == 1 else f"{key} ({number})" for number in range(1, _MOST_OF_A_NAME))
    if (free := next((name for name in names if name not in into), None)) is None:
        raise ValueError(f"{key} stands there too often")
    into[free] = value


def merge_values(
    base: Value | None,
    ours: Value | None,
    theirs: Value | None,
    collisions: list[Collision],
    where: str = "",
) -> Value | None:
    """What has both changes; None is a value that is not there. Where they collide it is ours, and
    `collisions` has the place."""
    if ours == theirs or theirs == base:
        return ours
    if ours == base:
        return theirs
    if isinstance(ours, dict) and isinstance(theirs, dict):
        before = base if isinstance(base, dict) else {}
        merged = {}
        for key in {**ours, **theirs}:
            place = ".".join(filter(None, (where, key)))
            sides = (before.get(key), ours.get(key), theirs.get(key))
            if (value := merge_values(*sides, collisions, place)) is not None:
                merged[key] = value
        return merged
    if isinstance(ours, tuple) and isinstance(theirs, tuple):
        both = _merge_items(base if isinstance(base, tuple) else (), ours, theirs)
        if both is not None:
            return both
    collisions.append(Collision(where, base is None))
    return ours


def without_order(value: Value | None) -> Value | None:
    if isinstance(value, dict):
        return {key: without_order(inside) or "" for key, inside in value.items()}
    return tuple(sorted(value)) if isinstance(value, tuple) else value


def invents(found: Value, ours: Value, theirs: Value) -> bool:
    """Whether a mapping has a key that neither side has there, such as a second definition."""
    if not (isinstance(found, dict) and isinstance(ours, dict) and isinstance(theirs, dict)):
        return False
    either = {**theirs, **ours}
    return any(
        key not in either or invents(value, ours.get(key, ""), theirs.get(key, ""))
        for key, value in found.items()
    )


def _merge_items(base: Items, ours: Items, theirs: Items) -> Items | None:
    merged: list[Item] = []
    for chunk in three_way(base, ours, theirs):
        if not isinstance(chunk, Hunk):
            merged += chunk
        elif chunk.base or not _go_together(chunk.ours, chunk.theirs):
            return None
        else:
            merged += side_by_side(chunk.ours, chunk.theirs)
    if _clashes(set(ours) - set(base), set(theirs) - set(base)):
        return None
    return tuple(merged)


def _go_together(ours: Sequence[Item], theirs: Sequence[Item]) -> bool:
    groups = {item.group for item in (*ours, *theirs)}
    return len(groups) == 1 and "" not in groups


def _clashes(ours: set[Item], theirs: set[Item]) -> bool:
    names = {item.name for item in ours - theirs} & {item.name for item in theirs - ours}
    return bool(names - {""})


def _identity(value: Value) -> str:
    if isinstance(value, dict):
        return next((f"{key} {value[key]}" for key in _IDENTITIES if key in value), "")
    return requirement_name(value) if isinstance(value, str) else ""
