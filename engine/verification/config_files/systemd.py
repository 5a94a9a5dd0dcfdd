"""Units of systemd: what it would refuse to load, whatever the machine they are for has.

https://www.freedesktop.org/software/systemd/man/latest/systemd.syntax.html

`systemd-analyze verify` also refuses a unit whose program or user is not on this machine.
"""

import re
import shlex
from collections.abc import Iterator

from engine.verification.config_files.tree import Tree
from engine.verification.config_files.values import find_value_fault

NAMES = re.compile(r".+\.(service|socket|timer)")
_WANTED = {
    "service": ("Service", re.compile("ExecStart|ExecStop|SuccessAction"), "ExecStart"),
    "socket": ("Socket", re.compile("Listen.+"), "Listen..."),
    "timer": ("Timer", re.compile("On.+"), "On..."),
}
_OTHERS = re.compile(r"\A\s*<|\[D-BUS Service\]|\{[{%]")
"""Services of Avahi and D-Bus, and templates."""


def find_faults(path: str, text: str, _tree: Tree) -> Iterator[str]:
    if _OTHERS.search(text):
        return
    section, found = "", set[tuple[str, str]]()
    for number, line in _lines(text):
        key, is_set, value = (part.strip() for part in line.partition("="))
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif not is_set or not section:
            yield f"line {number}: {line} is no {'Key=value' if section else 'section'}"
        else:
            found.add((section, key if value else ""))
            if key == "Environment":
                yield from _faults_of_environment(number, value)
    wanted, keys, named = _WANTED[path.rpartition(".")[2]]
    if not any(section == wanted and keys.fullmatch(key) for section, key in found):
        yield f"it has no {named} in [{wanted}]"


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Each with its number, continued ones joined; comments and empty ones left out."""
    whole, began = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith(("#", ";")) or not (whole or line.strip()):
            continue
        began, whole = began if whole else number, f"{whole} {line.strip()}".strip()
        if whole.endswith("\\"):
            whole = whole[:-1].rstrip() or " "
            continue
        yield began, whole
        whole = ""
    if whole.strip():
        yield began, whole


def _faults_of_environment(number: int, value: str) -> Iterator[str]:
    try:
        settings = shlex.split(value)
    except ValueError:
        yield f"line {number}: a quote is not closed"
        return
    for name, _, content in (setting.partition("=") for setting in settings):
        if fault := find_value_fault(name, content):
            yield f"line {number}: {name}: {fault}"
