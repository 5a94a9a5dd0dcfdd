"""Compose files: values that load, and names and files that are there.

https://docs.docker.com/reference/compose-file/
"""

import posixpath
import re
from collections.abc import Iterator
from typing import Any

from engine.verification.config_files.tree import Tree
from engine.verification.config_files.values import (
    find_port_fault,
    find_value_fault,
    interpolate,
)
from engine.verification.config_files.yaml_text import items, load_yaml, mapping

NAMES = re.compile(r"(docker-)?compose(\.[\w-]+)*\.ya?ml")
_BASE = re.compile(r"(docker-)?compose\.ya?ml")
_REMOTE = re.compile(r"^[\w+.-]+://|^git@|\.git(#|$)")
_EXAMPLES = ("{}.example", "{}.sample", "{}.template")


def find_faults(path: str, text: str, tree: Tree) -> Iterator[str]:
    documents = load_yaml(text)
    if not documents:
        return
    top, base = mapping(documents[0]), posixpath.dirname(path)
    services = mapping(top.get("services"))
    if not services and _is_base(path) and "include" not in top:
        yield "it has no services"
    known = set(services)
    for other in tree.texts:
        if posixpath.dirname(other) == base and other != path and _is_compose(other):
            known |= _names_of_services(tree.texts[other])
    for name, service in services.items():
        for fault in _faults_of_service(mapping(service), path, tree):
            yield f"{name}: {fault}"
        wanted = mapping(service).get("depends_on")
        for needed in sorted({*mapping(wanted), *filter(_is_name, items(wanted))} - known):
            if "include" not in top:
                yield f"{name}: depends_on names {needed}, which is no service"


def contexts_of(dockerfile: str, tree: Tree) -> Iterator[str]:
    """The directories that compose files build this Dockerfile in."""
    for path, text in tree.texts.items():
        if _is_compose(path):
            base = posixpath.dirname(path)
            for service in _services(text).values():
                context, file = _build_of(mapping(service))
                directory = posixpath.normpath(posixpath.join(base, context or "."))
                if posixpath.normpath(posixpath.join(directory, file)) == dockerfile:
                    yield directory


def _is_compose(path: str) -> bool:
    return NAMES.fullmatch(posixpath.basename(path)) is not None


def _is_base(path: str) -> bool:
    return _BASE.fullmatch(posixpath.basename(path)) is not None


def _services(text: str) -> dict[str, Any]:
    try:
        documents = load_yaml(text)
    except ValueError:
        return {}
    return mapping(mapping(documents[0]).get("services")) if documents else {}


def _is_name(value: object) -> bool:
    return isinstance(value, str)


def _names_of_services(text: str) -> set[str]:
    return set(_services(text))


def _build_of(service: dict[str, Any]) -> tuple[str, str]:
    """The context, empty where none is built, and the Dockerfile in it."""
    build = service.get("build", "")
    if isinstance(build, str):
        return interpolate(build), "Dockerfile"
    build = mapping(build)
    return interpolate(str(build.get("context", "."))), interpolate(
        str(build.get("dockerfile", "" if "dockerfile_inline" in build else "Dockerfile"))
    )


def _faults_of_service(service: dict[str, Any], path: str, tree: Tree) -> Iterator[str]:
    base = posixpath.dirname(path)
    if _is_base(path) and service.keys().isdisjoint({"image", "build", "extends", "provider"}):
        yield "it has neither an image nor a build"
    for name, value in _environment(service.get("environment")):
        if fault := find_value_fault(name, value):
            yield f"{name}: {fault}"
    for port in items(service.get("ports")):
        if isinstance(port, str) and (fault := find_port_fault(interpolate(port))):
            yield f"ports: {fault}"
    context, dockerfile = _build_of(service)
    if context and not _REMOTE.search(context):
        if not tree.has(context, base):
            yield f"build: {context} is no directory of the project"
        elif dockerfile and not tree.has(dockerfile, posixpath.join(base, context)):
            yield f"build: {posixpath.join(context, dockerfile)} is not in the project"
    for file in _env_files(service.get("env_file")):
        here = (tree.has(example.format(file), base) for example in _EXAMPLES)
        if not tree.has(file, base) and not any(here):
            yield f"env_file: {file} is not in the project"
    for source, target in _binds(service.get("volumes")):
        is_file = "." in posixpath.basename(target).lstrip(".")
        if is_file and not tree.has(source, base):
            yield f"volumes: {source} is not in the project"


def _environment(value: Any) -> Iterator[tuple[str, str]]:
    for name, text in mapping(value).items():
        if isinstance(text, str):
            yield name, text
    for line in items(value):
        if isinstance(line, str):
            name, _, text = line.partition("=")
            yield name, text


def _env_files(value: Any) -> Iterator[str]:
    for entry in [value] if isinstance(value, str) else items(value):
        file = mapping(entry)
        if isinstance(entry, str):
            yield interpolate(entry)
        elif file.get("required", "true") == "true" and isinstance(file.get("path"), str):
            yield interpolate(file["path"])


def _binds(value: Any) -> Iterator[tuple[str, str]]:
    """Source and target of each mount of something in the project."""
    for entry in items(value):
        mount = mapping(entry)
        if isinstance(entry, str):
            source, _, target = interpolate(entry).partition(":")
            target = target.partition(":")[0]
        else:
            source, target = str(mount.get("source", "")), str(mount.get("target", ""))
        if source.startswith(("./", "../")):
            yield source, target
