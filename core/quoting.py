"""Texts and names of others in a message to a model: they end nothing that is around them."""

import re

_OWN_TAGS = re.compile(
    r"<(?=/?(?:request|repository|conventions|readme|context|failure|executors|plan|contract|task"
    r"|defects|feedback)\b)",
    re.IGNORECASE,
)


def quoted(text: str) -> str:
    """A text of several lines: it opens and closes none of our own blocks, and controls nothing."""
    shown = _OWN_TAGS.sub("&lt;", text.replace("\r\n", "\n"))
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in shown)


def escaped(name: str) -> str:
    """A name as one word, whatever it is made of."""
    return "".join(map(_escaped, name))


def _escaped(character: str) -> str:
    is_plain = character.isprintable() and character not in '<>"'
    return character if is_plain else f"\\u{ord(character):04x}"
