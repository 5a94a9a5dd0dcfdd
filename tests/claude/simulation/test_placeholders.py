"""Files for tasks that are in no sample: small, valid by their extension, and labelled."""

from __future__ import annotations

import ast
import json
import tomllib
from pathlib import PurePosixPath
from xml.etree import ElementTree

import pytest

from claude.simulation.placeholders import write_placeholders

PATHS = ("a.py", "b.json", "c.html", "d.svg", "e.css", "f.js", "g.toml", "h.yaml", "i.sh", "j.md",
         "k.txt", "Makefile", "o'dd \"name\" */.PY", "docs/")  # fmt: skip


def test_every_owned_path_gets_a_file_that_says_it_is_simulated() -> None:
    files = write_placeholders("my-task", PATHS)
    assert list(files) == [*PATHS[:-1], "docs/README.md"]
    assert all("Simulated: a placeholder" in text for text in files.values())
    assert all("my-task" in text and text.endswith("\n") for text in files.values())


@pytest.mark.parametrize("path", PATHS)
def test_a_placeholder_is_valid_in_the_syntax_of_its_extension(path: str) -> None:
    (text,) = write_placeholders("my-task", [path]).values()
    match PurePosixPath(path).suffix.lower():
        case ".py":
            ast.parse(text)
        case ".json":
            json.loads(text)
        case ".toml":
            tomllib.loads(text)
        case ".svg":
            ElementTree.fromstring(text)
        case ".css":
            assert text.count("*/") == 1
