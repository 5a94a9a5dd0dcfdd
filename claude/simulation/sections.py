"""Template files of generated projects: each holds named sections of text with $names to fill in.

A line `#: name` opens a section. Files are read when first used.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from string import Template

_FOLDER = Path(__file__).parent / "templates"


@cache
def _sections(file: str) -> dict[str, Template]:
    text = (_FOLDER / f"{file}.tmpl").read_text(encoding="utf-8")
    found = (part.partition("\n") for part in ("\n" + text).split("\n#: ")[1:])
    return {name: Template(body.rstrip("\n") + "\n") for name, _, body in found}


def fill(file: str, section: str, **names: str) -> str:
    """The section with every $name replaced; ends in one newline. A missing name is a KeyError."""
    return _sections(file)[section].substitute(names)
