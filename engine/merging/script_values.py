"""JavaScript and TypeScript as values: imports by the names that they bind, and all other lines,
which nothing here parses."""

import re

from engine.merging.values import Item, Value, put

# Bounded, since a file may be made to keep an expression busy.
_WORDS = r"""[^;'"()={}\n]{0,200}"""
_BRACES = r"""\{[^;'"()={}]{0,2000}\}"""
_FROM = r"""['"](?P<%s>[^'"\n]+)['"]"""
_END = r";?[ \t]*$"
_IMPORT = re.compile(
    rf"^import\b(?P<names>{_WORDS}?(?:{_BRACES}{_WORDS}?)?)(?:\bfrom\s*)?{_FROM % 'source'}{_END}"
    rf"|^export\b(?P<exported>{_WORDS}?(?:{_BRACES}\s*)?)\bfrom\s*{_FROM % 'origin'}{_END}"
    rf"|^const\s+(?P<required>\w+|{_BRACES})\s*=\s*require\({_FROM % 'module'}\){_END}",
    re.MULTILINE,
)
_RENAMED = re.compile(r"\s+as\s+|\s*:\s*")


def read_script(text: str) -> Value:
    found: dict[str, Value] = {}
    for match in _IMPORT.finditer(text):
        source = match["source"] or match["origin"] or match["module"]
        names = match["names"] or match["exported"] or match["required"] or ""
        kind = "export" if match["origin"] else "import"
        for name in re.split(r"[{},]", names):
            _put_name(found, kind, name.strip().removeprefix("type ").strip(), source)
        if not names.strip():
            put(found, f"import {source}", source)
    lines = _IMPORT.sub("", text).split("\n")
    return {**found, "": tuple(Item(line) for line in lines if line.strip())}


def _put_name(found: dict[str, Value], kind: str, name: str, source: str) -> None:
    if name in ("", "type"):
        return
    original, bound = (_RENAMED.split(name) * 2)[:2]
    bound = f"* from {source}" if bound == "*" else bound
    put(found, f"{kind} {bound}", f"{original} from {source}")
