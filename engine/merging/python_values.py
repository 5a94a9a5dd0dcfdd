"""Python source as values: what may be added side by side are names, elements of displays, and
statements that register something by the same call."""

import ast
import warnings
from collections.abc import Sequence
from typing import TypeGuard

from engine.merging.values import Item, Items, Value, put, requirement_name

_NUMBERED = ("Enum", "Flag", "Choices")


def read_python(text: str) -> Value:
    """Raises SyntaxError, and what a parser raises of code that is nested too deeply."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _read_body(ast.parse(text).body)


def _read_body(statements: Sequence[ast.stmt], is_numbered: bool = False) -> dict[str, Value]:
    found: dict[str, Value] = {}
    rest: list[Item] = []
    for statement in statements:
        match statement:
            case ast.Import() | ast.ImportFrom():
                _read_import(statement, found)
            case ast.FunctionDef(name=name, body=body) | ast.AsyncFunctionDef(name=name, body=body):
                inside = tuple(_statement(line) for line in body)
                put(found, f"def {name}", (Item(_head(statement)), *inside))
            case ast.ClassDef(name=name, body=body, bases=bases):
                numbered = any(word in ast.unparse(base) for base in bases for word in _NUMBERED)
                _refuse_late_fields(statement)
                members = _read_body(body, numbered)
                put(found, f"class {name}", {"bases": _head(statement), **members})
            case ast.If(body=body, orelse=[]):
                put(found, f"if {ast.unparse(statement.test)}", _read_body(body))
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                put(found, name, _read_expression(value))
                if is_numbered and isinstance(value, ast.Constant):
                    put(found, f"the value {value.value!r}", name)
            case ast.AnnAssign(target=ast.Name(id=name), annotation=kind, value=value):
                told = _read_expression(value) if value else ""
                put(found, name, {"type": ast.unparse(kind), "": told})
            case _:
                rest.append(_statement(statement))
    return {**found, "": tuple(rest)}


def _read_import(statement: ast.Import | ast.ImportFrom, found: dict[str, Value]) -> None:
    """By the name that is bound: it can come from one place only."""
    source = ""
    if isinstance(statement, ast.ImportFrom):
        source = f"from {'.' * statement.level}{statement.module or ''} "
    for alias in statement.names:
        bound = alias.asname or alias.name
        name = f"* {source}" if bound == "*" else bound
        put(found, f"import {name}", f"{source}import {alias.name}")


def _refuse_late_fields(node: ast.ClassDef) -> None:
    """As Python does on import: a field without a default after one that has it."""
    decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
    if any("dataclass" in name and "kw_only" not in name for name in decorators):
        has_default = [line.value is not None for line in node.body if _is_field(line)]
        if has_default != sorted(has_default):
            raise ValueError("a field without a default follows one that has it")


def _is_field(node: ast.stmt) -> TypeGuard[ast.AnnAssign]:
    return isinstance(node, ast.AnnAssign) and "ClassVar" not in ast.unparse(node.annotation)


def _head(statement: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> str:
    statement.body = [ast.Pass()]
    return ast.unparse(statement)


def _statement(node: ast.stmt) -> Item:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        return Item(ast.unparse(node), ast.unparse(node.value.func), _first_argument(node.value))
    return Item(ast.unparse(node))


def _first_argument(call: ast.Call) -> str:
    return ast.unparse(call.args[0]) if call.args else ""


def _read_expression(node: ast.expr) -> Value:
    match node:
        case ast.List(elts=elements) | ast.Set(elts=elements):
            return _items(elements)
        case ast.Tuple(elts=elements) if not any(map(_is_number, elements)):
            return _items(elements)
        case ast.Dict(keys=keys, values=values) if None not in keys:
            found: dict[str, Value] = {}
            for key, value in zip(keys, values, strict=True):
                put(found, ast.unparse(key) if key else "", _read_expression(value))
            return found
        case ast.Call(func=func, args=args, keywords=keywords):
            told = ", ".join(map(ast.unparse, args))
            named = {word.arg or "**": _read_expression(word.value) for word in keywords}
            return {"": f"{ast.unparse(func)}({told})", **named}
    return ast.unparse(node)


def _items(elements: Sequence[ast.expr]) -> Items:
    return tuple(Item(ast.unparse(node), "item", _name(node)) for node in elements)


def _name(node: ast.expr) -> str:
    match node:
        case ast.Call(func=func):
            return f"{ast.unparse(func)} {_first_argument(node)}"
        case ast.Tuple(elts=[first, *_]):
            return ast.unparse(first)
    return requirement_name(ast.unparse(node))


def _is_number(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float)
