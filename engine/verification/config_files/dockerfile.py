"""Dockerfiles: known instructions, and files to copy that are there.

https://docs.docker.com/reference/dockerfile/
"""

import json
import posixpath
import re
from collections.abc import Iterator

from engine.verification.config_files.compose import contexts_of
from engine.verification.config_files.tree import Tree

NAMES = re.compile(r"(.+\.)?[Dd]ockerfile(\.(?!md$|txt$)[\w-]+)?|Containerfile")
_KNOWN = re.compile(
    r"ADD|ARG|CMD|COPY|ENTRYPOINT|ENV|EXPOSE|FROM|HEALTHCHECK|LABEL|MAINTAINER|ONBUILD|RUN|SHELL"
    r"|STOPSIGNAL|USER|VOLUME|WORKDIR"
)
_HEREDOC = re.compile(r"<<-?\s*[\"']?(\w+)[\"']?")
_REMOTE = re.compile(r"^\w+://|^git@")
_LAST_PORT = 65_535


def find_faults(path: str, text: str, tree: Tree) -> Iterator[str]:
    here = posixpath.dirname(path)
    contexts = [*contexts_of(path, tree), here, "", *_above(here)]
    is_begun = False
    for number, name, rest in _instructions(text):
        if not _KNOWN.fullmatch(name):
            yield f"line {number}: {name} is no instruction"
        elif not is_begun and name not in ("ARG", "FROM"):
            yield f"line {number}: {name} stands before FROM"
            return
        is_begun = is_begun or name == "FROM"
        if name in ("COPY", "ADD"):
            for source in _sources(rest):
                if not any(tree.has(source.lstrip("/"), context) for context in contexts):
                    yield f"line {number}: {source} is not in the project"
        if name == "EXPOSE":
            for port in rest.split():
                digits = port.partition("/")[0]
                if digits.isdecimal() and not 0 < int(digits) <= _LAST_PORT:
                    yield f"line {number}: {port} is no port"
    if not is_begun:
        yield "it has no FROM"


def _instructions(text: str) -> Iterator[tuple[int, str, str]]:
    """The line, the name in capitals and the rest of each; bodies of here-documents left out."""
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        whole = line.strip()
        while whole.endswith("\\") and (more := next(lines, None)):
            is_comment = more[1].lstrip().startswith("#")
            whole = whole if is_comment else f"{whole[:-1]} {more[1].strip()}"
        name, *rest = whole.split(maxsplit=1)
        for mark in _HEREDOC.findall(whole) if name.upper() in ("RUN", "COPY", "ADD") else ():
            while (more := next(lines, None)) and more[1].strip() != mark:
                pass
        yield number, name.upper(), rest[0] if rest else ""


def _sources(rest: str) -> Iterator[str]:
    """Of COPY and ADD: what has to be in the context."""
    words = rest.split()
    while words and words[0].startswith("--"):
        if words.pop(0).startswith("--from="):
            return
    if words and words[0].startswith("["):
        try:
            words = [str(word) for word in json.loads(" ".join(words))]
        except ValueError:
            return
    for word in words[:-1]:
        if "$" not in word and "<<" not in word and not _REMOTE.search(word):
            yield word


def _above(path: str) -> Iterator[str]:
    while path := posixpath.dirname(path):
        yield path
