"""A plan in TOML, for people: texts are blocks, and what has a default is left out."""

import json
import re
import textwrap
import tomllib
from collections.abc import Mapping
from typing import Any

from core.errors import PlanInvalid
from core.plan import Plan, Task, build_plan

_WIDTH = 96
# What needs an escape: control characters but tab; in a block a newline does not.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_NOT_IN_BLOCK = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]|'''|'\Z")


def parse_toml_plan(text: str, source: str) -> Plan:
    """As core.plan.parse_plan for TOML."""
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as exc:
        raise PlanInvalid(
            f"{source} is not a plan:",
            [f"the document: Invalid TOML: {exc}"],
            "Correct it, or give it a name that ends in .json if it is JSON.",
        ) from exc
    return build_plan(document, source)


def render_toml_plan(plan: Plan) -> str:
    """The plan as TOML that `parse_toml_plan` reads."""
    document = plan.model_dump(mode="json", exclude_defaults=True)
    paths = [contract.path for contract in plan.contracts]
    document["tasks"] = [_render_task(task, paths) for task in plan.tasks]
    lines = [f"version = {plan.version}"]
    lines += [f"{k} = {_value(v)}" for k, v in document.items() if not _is_table(v)]
    for name, value in document.items():
        if _is_table(value):
            lines += _tables(name, value)
    return "\n".join(lines) + "\n"


def _render_task(task: Task, paths: list[str]) -> dict[str, Any]:
    """A task without what `build_plan` fills in."""
    kept = task.model_dump(mode="json", exclude_defaults=True)
    whole = task.model_dump(mode="json", include=set(kept) | {"title", "uses"})
    implied = {"title": task.id, "uses": paths}
    return {k: v for k, v in whole.items() if implied.get(k) != v}


def _is_table(value: Any) -> bool:
    return isinstance(value[0] if value and isinstance(value, list) else value, Mapping)


def _tables(name: str, value: Any) -> list[str]:
    head, tables = (f"[{name}]", [value]) if isinstance(value, Mapping) else (f"[[{name}]]", value)
    return [
        line
        for table in tables
        for line in ("", head, *(f"{k} = {_value(v)}" for k, v in table.items()))
    ]


def _value(value: Any) -> str:
    if isinstance(value, str):
        return _text(value)
    if not isinstance(value, list):
        return json.dumps(value)  # a number, true or false
    items = [_quoted(item) for item in value]
    line = f"[{', '.join(items)}]"
    return line if len(line) <= _WIDTH else "[\n" + "".join(f"    {i},\n" for i in items) + "]"


def _text(value: str) -> str:
    """A block where there is more than one line, or a long one that can be broken."""
    escaped = _escaped(value)
    if "\n" in value:
        lines = [_escaped(line) for line in value.split("\n")]
        return (
            '"""\n' + "\n".join(lines) + '"""'
            if _NOT_IN_BLOCK.search(value)
            else f"'''\n{value}'''"
        )
    lines = textwrap.wrap(escaped, _WIDTH, break_long_words=False, break_on_hyphens=False)
    if len(lines) > 1 and " ".join(lines) == escaped:
        return '"""\\\n' + " \\\n".join(lines) + '"""'
    return _quoted(value)


def _quoted(value: str) -> str:
    """On one line, as it is where that can be."""
    if ('"' in value or "\\" in value) and "'" not in value and not _CONTROL.search(value):
        return f"'{value}'"
    return f'"{_escaped(value)}"'


def _escaped(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)[1:-1].replace("\x7f", "\\u007f")
