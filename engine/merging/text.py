"""The bytes of a file as lines that can be merged, and back: what is about the file as a whole (a
byte order mark, the ends of lines, the last of them) is merged on its own."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_BOM = "\ufeff"
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_TOKEN = re.compile(
    r'"""[\s\S]*?"""'
    r"|'''[\s\S]*?'''"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'(?:\\.|[^'\\\n])*'"
    r"|(?:\#|//)[^\n]*"
    r"|\n[^\S\n]*"
    r"|[^\S\n]+"
    r"|[\w.-]+"
    r"|."
)


@dataclass(frozen=True, slots=True)
class Form:
    """`has_crlf`: the lines end in it, and their text has it no more."""

    has_bom: bool
    has_crlf: bool
    ends_line: bool


def read_texts(versions: Sequence[bytes]) -> tuple[list[str], Form] | None:
    """Base, ours and theirs, each line with its end, and the form that both make of the base's.

    None where one is binary, or in another encoding than UTF-8."""
    try:
        texts = [version.decode() for version in versions]
    except UnicodeDecodeError:
        return None
    if any("\0" in text for text in texts):
        return None
    style = _has_crlf(texts[0])
    forms = [_form(text, style) for text in texts]
    lines = [text.removeprefix(_BOM) for text in texts]
    if style is not None:
        lines = [text.replace("\r\n", "\n") for text in lines]
    ended = [text if text.endswith("\n") or not text else f"{text}\n" for text in lines]
    return ended, _merge_forms(*forms)


def write_text(text: str, form: Form) -> bytes:
    if not form.ends_line:
        text = text.removesuffix("\n")
    if form.has_crlf:
        text = text.replace("\n", "\r\n")
    return (_BOM * form.has_bom + text).encode()


def split_lines(text: str) -> list[str]:
    return _LINE.findall(text)


def split_ends(text: str) -> list[str]:
    """Lines, and their ends apart: so lines beside each other can be changed, one by each side."""
    return re.findall(r"\n|[^\n]+", text)


def split_tokens(text: str) -> list[str]:
    """Words, strings, comments, space and signs, of whatever language: a guess good enough for what
    is checked afterwards."""
    return _TOKEN.findall(text)


def _form(text: str, style: bool | None) -> Form:
    own = _has_crlf(text) if "\n" in text else None
    has_crlf = style is not None and (style if own is None else own)
    return Form(text.startswith(_BOM), has_crlf, text.endswith("\n") or not text)


def _has_crlf(text: str) -> bool | None:
    """None where both kinds of ends are mixed."""
    count = text.count("\r\n")
    return None if 0 < count < text.count("\n") else count > 0


def _merge_forms(base: Form, ours: Form, theirs: Form) -> Form:
    return Form(
        theirs.has_bom if ours.has_bom == base.has_bom else ours.has_bom,
        theirs.has_crlf if ours.has_crlf == base.has_crlf else ours.has_crlf,
        theirs.ends_line if ours.ends_line == base.ends_line else ours.ends_line,
    )
