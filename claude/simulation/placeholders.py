"""Small valid files for a task that is in no sample: of a random plan, or one given with --plan."""

import json
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import PurePosixPath


def write_placeholders(task_id: str, owns: Iterable[str]) -> Mapping[str, str]:
    """A file for each owned path, in the syntax of its extension; a README.md below `dir/`."""
    paths = [f"{entry}README.md" if entry.endswith("/") else entry for entry in owns]
    return {path: _content(path, task_id) for path in paths}


def _content(path: str, task_id: str) -> str:
    file = PurePosixPath(path)
    text = f"Simulated: a placeholder for {file.name}, written by the task {task_id}."
    match file.suffix.lower():
        case ".py" | ".toml" | ".yaml" | ".yml" | ".sh" | ".ini" | ".cfg":
            return f"# {text}\n"
        case ".js" | ".mjs" | ".ts":
            return f"// {text}\n"
        case ".css":
            return f"/* {text.replace('*/', '* /')} */\n"
        case ".json":
            return json.dumps({"note": text}, indent=2, ensure_ascii=False) + "\n"
        case ".html" | ".htm":
            return f'<!doctype html>\n<html lang="en">\n<title>Simulated</title>\n{escape(text)}\n'
        case ".svg" | ".xml":
            return f'<svg xmlns="http://www.w3.org/2000/svg"><title>{escape(text)}</title></svg>\n'
    return f"{text}\n"
