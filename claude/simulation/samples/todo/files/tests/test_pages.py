from __future__ import annotations

import unittest
from html.parser import HTMLParser

from todo_app import pages
from todo_app.contract import Todo

HOSTILE = '<script>alert("x")</script>'
VOID = {"input", "link", "meta"}

NEW_TODO = {
    "title": "Buy milk",
}


class _Outline(HTMLParser):
    """Notes elements that are left open, controls without a label, and labels."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.controls: list[str] = []
        self.labels: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("input", "textarea"):
            self.controls.append(dict(attrs)["id"] or "")
        if tag == "label":
            self.labels.append(dict(attrs)["for"] or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> does not match"


class PagesTest(unittest.TestCase):
    def check(self, document: str) -> None:
        """Elements nest, ids are unique, every control has a label, and no text became markup."""
        outline = _Outline()
        outline.feed(document)
        self.assertEqual(outline.open, [])
        self.assertEqual(len(set(outline.controls)), len(outline.controls))
        self.assertEqual(sorted(outline.labels), sorted(outline.controls))
        self.assertNotIn("<script", document)

    def test_an_error_page_escapes_the_message(self) -> None:
        self.check(document := pages.render_error(400, HOSTILE))
        self.assertIn("&lt;script&gt;", document)

    def test_todos_are_shown(self) -> None:
        record = Todo(1, **NEW_TODO)
        self.check(document := pages.render_todos([record]))
        self.assertIn("Buy milk", document)

    def test_no_todos_is_said_so(self) -> None:
        self.check(document := pages.render_todos([]))
        self.assertIn("No todos yet.", document)

    def test_texts_of_todos_are_escaped(self) -> None:
        hostile = Todo(1, **{**NEW_TODO, "title": HOSTILE})
        self.check(document := pages.render_todos([hostile]))
        self.assertIn("&lt;script&gt;", document)

    def test_todos_that_are_completed_say_so(self) -> None:
        before = Todo(1, **NEW_TODO)
        after = Todo(1, **NEW_TODO, completed=True)
        badge = '<span class="badge">Completed</span>'
        action = 'action="/todos/1/complete"'
        self.assertNotIn(badge, pages.render_todos([before]))
        self.assertIn(badge, pages.render_todos([after]))
        self.assertIn(action, pages.render_todos([before]))
        self.assertNotIn(action, pages.render_todos([after]))
