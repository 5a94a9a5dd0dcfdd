"""Values of settings: URLs and ports that a program could not use."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from engine.verification.config_files.tree import Tree

_VARIABLE = re.compile(r"\$\$|\$\{(\w+)(?:(:?[-?+])([^{}]*))?\}|\$(\w+)")
_URL = re.compile(r"\s*(?:jdbc:)?[A-Za-z][A-Za-z0-9+.-]*://")
_BETWEEN_URLS = re.compile(r"[\s,;]+")
_PLACEHOLDER = re.compile(r"[<>{}\[\]]|\.\.\.|\*")
_PORT_NAME = re.compile(r"(^|_)port$", re.IGNORECASE)
_NUMBER = re.compile(r"\d\w*")
_PORT = re.compile(r"\d+(?:-\d+)?")
_LAST_PORT = 65_535
_SHOWN_CHARS = 160


def interpolate(value: str) -> str:
    """With the defaults of its variables, and 1 for one that has none."""

    def replacement(found: "re.Match[str]") -> str:
        if found[0] == "$$":
            return "$"
        return found[3] if found[2] in (":-", "-") else "1"

    return _VARIABLE.sub(replacement, value)


def find_value_fault(name: str, value: str) -> str:
    """What is wrong with a setting that is a URL, or the number of a port by its name."""
    value = interpolate(value)
    if _PORT_NAME.search(name) and _NUMBER.fullmatch(value) and value != "0":
        return find_port_fault(value)
    return find_url_fault(value)


def find_url_fault(value: str) -> str:
    """What is wrong with a value that begins as a URL does; empty for any other."""
    if not _URL.match(value) or _PLACEHOLDER.search(value):
        return ""
    pieces = [piece for piece in _BETWEEN_URLS.split(value) if piece]
    if re.search(r"\s", value) and not ("\n" not in value and all(map(_URL.match, pieces))):
        what = "a line break" if "\n" in value else "a space"
        return f"{value[:_SHOWN_CHARS]!r} is a URL with {what} inside"
    return next(filter(None, map(_fault_of_url, pieces)), "")


def _fault_of_url(url: str) -> str:
    if not _URL.match(url):
        return ""
    try:
        parts = urlsplit(url.removeprefix("jdbc:"))
        if "," not in parts.netloc and parts.port == 0:
            return f"{url[:_SHOWN_CHARS]!r} has the port 0"
    except ValueError as exc:
        return f"{url[:_SHOWN_CHARS]!r} is no URL: {exc}"
    return ""


def find_port_fault(entry: str) -> str:
    """What is wrong with `[[host:]published:]container[/protocol]`."""
    *_, last = parts = re.sub(r"\[[^\]]*\]", "", entry).partition("/")[0].split(":")
    named = [part for part in parts[-2:] if part or part is last]
    for port in named:
        if not _PORT.fullmatch(port):
            return f"{entry!r} is no port"
        if not all(0 < int(number) <= _LAST_PORT for number in port.split("-")):
            return f"{entry!r}: ports go from 1 to {_LAST_PORT:,}"
    return ""


def find_env_faults(_path: str, text: str, _tree: Tree) -> Iterator[str]:
    """Of a file of KEY=VALUE lines."""
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, is_set, value = line.strip().removeprefix("export ").partition("=")
        if not is_set or not re.fullmatch(r"[A-Za-z_][\w.-]*", name.strip()):
            yield f"line {number} is no KEY=VALUE"
            continue
        value = value.strip()
        if value[:1] in ("'", '"'):
            quote = value[0]
            while value.find(quote, 1) < 0 and (more := next(lines, None)):
                value += f"\n{more[1]}"
            value, is_closed, _ = value[1:].partition(quote)
            if not is_closed:
                yield f"line {number}: the quote is not closed"
        else:
            value = re.split(r"\s#", value)[0].strip()
        if fault := find_value_fault(name.strip(), value):
            yield f"{name.strip()}: {fault}"
