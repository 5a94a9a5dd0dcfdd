"""The shape that the API holds a planner to."""

import json
from enum import Enum
from functools import lru_cache
from typing import Any

from claude.client.types import Block
from core.plan import Plan

_NAMED = ("properties", "$defs")
"""Of a JSON schema: what maps names to schemas."""
_OWN = ("version", "prompt")
"""Of a plan: what the program sets."""


_OF_EXISTING = ("shared",)
"""Of a plan: what there is only where code exists."""
_OF_PART = ("reads",)
"""Of a plan: what there is only where executors get a part of that code."""


BEGINNING = ("title", "summary", "assumptions", "analysis")
"""Of a plan: what decides whether several executors pay."""


class Members(Enum):
    """Which members of a plan an answer has."""

    ALL = "all"
    BEGINNING = "beginning"
    REST = "rest"


@lru_cache(maxsize=8)
def build_schema(
    members: Members = Members.ALL, *, existing: bool = False, part: bool = False
) -> Block:
    """The JSON schema of Plan for the API, without the fields that the program sets; those that
    need `existing` code, or a `part` of it, only with that."""
    import claude.sdk  # noqa: F401, I001 - makes the next quick; a third of a second all the same
    from anthropic import transform_schema

    schema = transform_schema(_plain(Plan.model_json_schema()))
    absent = (*_OWN, *(() if existing else _OF_EXISTING), *(() if part else _OF_PART))
    for own in absent:
        schema["properties"].pop(own)
    if members is not Members.ALL:
        keeps = members is Members.BEGINNING
        named = schema["properties"].items()
        schema["properties"] = {k: v for k, v in named if (k in BEGINNING) is keeps}
        used = json.dumps(schema["properties"])
        schema["$defs"] = {k: v for k, v in schema["$defs"].items() if f'$defs/{k}"' in used}
    schema["required"] = list(schema["properties"])
    return schema


def _plain(schema: Any) -> Any:
    """Without titles and defaults: a planner writes every field."""
    if isinstance(schema, list):
        return [_plain(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    named = {k: {n: _plain(s) for n, s in schema[k].items()} for k in _NAMED if k in schema}
    rest = {k: _plain(v) for k, v in schema.items() if k not in ("title", "default", *_NAMED)}
    every = [name for name in named.get("properties", ()) if name not in _OWN]
    return rest | named | ({"required": every} if every else {})
