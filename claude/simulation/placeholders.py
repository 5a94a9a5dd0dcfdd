"""Small valid files for a task that is in no sample: of a random plan, or one given with --plan."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from html import escape
from pathlib import PurePosixPath

Render = Callable[[str], str]


def write_placeholders(task_id: str, owns: Iterable[str]) -> Mapping[str, str]:
    """A file for each owned path, in the syntax of its extension; a README.md below `dir/`."""
    paths = [f"{entry}README.md" if entry.endswith("/") else entry for entry in owns]
    return {path: _content(path, task_id) for path in paths}


def _content(path: str, task_id: str) -> str:
    file = PurePosixPath(path)
    text = f"Simulated: a placeholder for {file.name}, written by the task {task_id}."
    return _BY_SUFFIX.get(file.suffix.lower(), _render_text)(text)


def _render_text(text: str) -> str:
    return f"{text}\n"


def _render_html(text: str) -> str:
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{escape(text)}</title>\n</head>\n<body>\n<p>{escape(text)}</p>\n</body>\n</html>\n"
    )


def _render_xml(text: str) -> str:
    return f'<svg xmlns="http://www.w3.org/2000/svg"><title>{escape(text)}</title></svg>\n'


def _commented(begin: str, end: str = "") -> Render:
    return lambda text: f"{begin} {text.replace('*/', '* /')}{end}\n"


_BY_SUFFIX: Mapping[str, Render] = {
    **dict.fromkeys((".py", ".toml", ".yaml", ".yml", ".sh", ".ini", ".cfg"), _commented("#")),
    **dict.fromkeys((".js", ".mjs", ".ts"), _commented("//")),
    **dict.fromkeys((".html", ".htm"), _render_html),
    **dict.fromkeys((".svg", ".xml"), _render_xml),
    ".css": _commented("/*", " */"),
    ".json": lambda text: json.dumps({"note": text}, indent=2, ensure_ascii=False) + "\n",
}
