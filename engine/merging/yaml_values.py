"""YAML as values, from its events: nothing is constructed, and aliases are not followed."""

from collections.abc import Iterator
from typing import Any

from engine.merging.values import Value, items_of

Events = Iterator[Any]


def read_yaml(text: str) -> Value:
    """By the number of the document. Raises ValueError."""
    import yaml  # type: ignore[import-untyped]  # where it is used: most runs merge none

    try:
        loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # in C where that was built
        events = iter(yaml.parse(text, Loader=loader))
        starts = (e for e in events if isinstance(e, yaml.DocumentStartEvent))
        return {
            "document " * (n > 0) + str(n or ""): _node(next(events), events)
            for n, _ in enumerate(starts)
        }
    except yaml.YAMLError as exc:
        raise ValueError(str(exc)) from exc


def _node(event: Any, events: Events) -> Value:
    kind = type(event).__name__
    if kind == "AliasEvent":
        return f"*{event.anchor}"
    value: Value
    if kind == "MappingStartEvent":
        value = _mapping(events)
    elif kind == "SequenceStartEvent":
        value = items_of(_elements(events))
    else:
        value = event.value if event.implicit[0] else repr(event.value)
    marks: dict[str, Value] = {"&": event.anchor or "", "!": event.tag or ""}
    return {**marks, "": value} if event.anchor or event.tag else value


def _mapping(events: Events) -> dict[str, Value]:
    found: dict[str, Value] = {}
    while type(key := next(events)).__name__ != "MappingEndEvent":
        name = key.value if hasattr(key, "value") else repr(_node(key, events))
        if name in found:
            raise ValueError(f"the key {name!r} stands there twice")
        found[name] = _node(next(events), events)
    return found


def _elements(events: Events) -> Iterator[Value]:
    while type(event := next(events)).__name__ != "SequenceEndEvent":
        yield _node(event, events)
