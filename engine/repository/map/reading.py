"""Reads files with code, within bounds."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from core.job import Manifest, ManifestEntry
from core.workspace.confined import read_regular
from engine.repository.map.symbols import LANGUAGES

_MOST_FILES, _MOST_BYTES = 4_000, 24_000_000
_LONGEST = 400_000


def suffix_of(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def code_files(manifest: Manifest) -> list[ManifestEntry]:
    return [entry for entry in manifest.entries if suffix_of(entry.path) in LANGUAGES]


def read_in_order(root: Path, entries: Iterable[ManifestEntry]) -> Iterator[tuple[str, str]]:
    """Path and text of as many as may be read; what is very long or no text is left out."""
    files, left = 0, _MOST_BYTES
    for entry in entries:
        if files == _MOST_FILES:
            break
        if entry.size <= min(left, _LONGEST) and (text := read_text(root, entry.path)) is not None:
            files, left = files + 1, left - entry.size
            yield entry.path, text


def read_text(root: Path, path: str, limit: int = _LONGEST) -> str | None:
    try:
        text = read_regular(root / path, limit).decode("utf-8", "replace")
    except OSError:
        return None
    return None if "\0" in text else text
