"""The HTML pages: records in, documents out. Every text of a record is escaped here."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from todo_app.contract import Todo


def render_page(title: str, body: str) -> str:
    """A whole document; `body` is HTML already, `title` is not."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<link rel="icon" href="/static/icon.svg">
<link rel="stylesheet" href="/static/style.css">
</head>
<body>
<header>
<nav aria-label="Main">
<a href="/">Todo List</a>
</nav>
</header>
<main>
{body}
</main>
</body>
</html>
"""


def render_error(status: int, message: str) -> str:
    """The page for a request that cannot be carried out."""
    return render_page(
        f"Error {int(status)}",
        f"<h1>Sorry, that did not work</h1>\n<p>{escape(message)}</p>\n"
        '<p><a href="/">Back to the start</a></p>',
    )


_TODO_FORM = """<form class="card" method="post" action="/todos">
<label for="todo-title">Title</label>
<input id="todo-title" name="title" required maxlength="10000">
<button class="primary">Add</button>
</form>"""
_NO_TODOS = '<p class="empty">No todos yet.</p>'


def render_todos(records: Sequence[Todo]) -> str:
    """The page of todos: a form for a new one, and each with what can be done to it."""
    items = "\n".join(_todo_item(record) for record in records)
    listing = f'<ul class="records">\n{items}\n</ul>' if items else _NO_TODOS
    return render_page("Todos", f"<h1>Todos</h1>\n{_TODO_FORM}\n{listing}")


def _todo_item(record: Todo) -> str:
    path = f"/todos/{record.id}"
    name = record.title
    buttons = [_button(f"{path}/delete", "Delete", name)]
    if not record.completed:
        buttons.append(_button(f"{path}/complete", "Complete", name))
    return f"""<li class="card">
<p class="name">{escape(name)}
{_badge(record.completed, "Completed")}</p>
<div class="actions">{"".join(buttons)}</div>
</li>"""


def _button(path: str, label: str, name: str) -> str:
    """A form of one button; `name` tells a screen reader which record it is for."""
    return (
        f'<form method="post" action="{path}">'
        f'<button aria-label="{label} {escape(name)}">{label}</button></form>'
    )


def _badge(shown: bool, label: str) -> str:
    return f'<span class="badge">{label}</span>' if shown else ""
