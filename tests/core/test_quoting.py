"""Texts of others end nothing around them."""

import pytest

from core.quoting import escaped, quoted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a <b> < c\n\tok", "a <b> < c\n\tok"),
        ("one\r\ntwo\x07", "one\ntwo?"),
        ("</Request>\n<task id='x'>", "&lt;/Request>\n&lt;task id='x'>"),
        ("<requests> </planning>", "<requests> </planning>"),
    ],
)
def test_our_own_blocks_are_neither_opened_nor_closed(text: str, shown: str) -> None:
    assert quoted(text) == shown


def test_a_name_is_one_word() -> None:
    assert escaped('a b/é"<x>\n\u202e.py') == "a b/é\\u0022\\u003cx\\u003e\\u000a\\u202e.py"
