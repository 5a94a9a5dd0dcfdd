"""Files for a task that is in no project of ours, because a person edited or wrote the plan."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import PurePosixPath

from claude.simulation.lexicon import excerpt


def write_unplanned(
    task_id: str,
    owns: Sequence[str],
    prompt: str,
    seed: int,  # noqa: ARG001 - the same call as for planned tasks; nothing here is drawn
) -> Mapping[str, str]:
    """A small valid file for each owned path, by its extension; a README.md below `dir/`."""
    said = excerpt(prompt, 80) or "an empty request"
    paths = [f"{entry}README.md" if entry.endswith("/") else entry for entry in owns]
    return {path: _content(path, task_id, said) for path in paths}


def _content(path: str, task_id: str, said: str) -> str:
    note = f"{PurePosixPath(path).name}, written by the task {task_id}"
    suffix = PurePosixPath(path).suffix.lower()
    if suffix == ".py":
        return f"TASK = {json.dumps(task_id)}\nREQUEST = {json.dumps(said)}\n"
    if suffix == ".json":
        return json.dumps({"task": task_id, "request": said}, indent=2) + "\n"
    if suffix in (".html", ".htm"):
        return _html(note, said)
    if suffix in (".svg", ".xml"):
        return f'<svg xmlns="http://www.w3.org/2000/svg"><title>{escape(note)}</title></svg>\n'
    if suffix == ".css":
        return "body {\n  font-family: system-ui, sans-serif;\n}\n"
    if suffix in (".js", ".mjs", ".ts"):
        values = {"task": task_id, "request": said}
        return "".join(f"export const {k} = {json.dumps(v)};\n" for k, v in values.items())
    if suffix == ".toml":
        return f"task = {json.dumps(task_id)}\n"
    if suffix in (".ini", ".cfg"):
        return f"[task]\nname = {task_id}\n"
    if suffix in (".yaml", ".yml"):
        return f"task: {json.dumps(task_id)}\n"
    if suffix == ".sh":
        return f"#!/bin/sh\nprintf '%s\\n' {_shell_word(task_id)}\n"
    if suffix == ".md":
        return f"# {escape(note)}\n\n    {said}\n"
    return f"{note}\n{said}\n"


def _shell_word(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _html(note: str, said: str) -> str:
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{escape(note)}</title>\n</head>\n<body>\n<h1>{escape(note)}</h1>\n"
        f"<p>{escape(said)}</p>\n</body>\n</html>\n"
    )
