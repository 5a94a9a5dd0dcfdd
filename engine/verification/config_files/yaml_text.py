"""YAML with all scalars as the text that they are, which no alias can make grow."""

import re
from typing import Any

_TEMPLATE = re.compile(r"(?<!\$)\{\{|\{%")
_MOST_CHARS = 100_000
_MOST_MERGES, _MOST_MERGED = 3, 20


class Unreadable(ValueError):
    """The message says what its reader does."""


def load_yaml(text: str) -> list[Any]:
    """The documents, as dicts, lists and strings; empty where it is a template or very long.
    Raises Unreadable."""
    if len(text) > _MOST_CHARS:
        return []
    import yaml  # type: ignore[import-untyped]  # where it is used: most projects have none

    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # in C where that was built
    try:
        return list(yaml.load_all(text, Loader=loader))
    except (yaml.YAMLError, ValueError, TypeError) as exc:
        if _TEMPLATE.search(text):
            return []
        raise Unreadable(f"no valid YAML: {' '.join(str(exc).split())}") from exc
    except RecursionError:
        return []


def mapping(value: Any, merges: int = _MOST_MERGES) -> dict[str, Any]:
    """`value` with what it merges by `<<`, if it is a mapping."""
    if not isinstance(value, dict):
        return {}
    merged = value.get("<<", [])
    found: dict[str, Any] = {}
    for base in (merged if isinstance(merged, list) else [merged])[:_MOST_MERGED]:
        found |= mapping(base, merges - 1) if merges else {}
    return found | {str(key): item for key, item in value.items() if key != "<<"}


def items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
