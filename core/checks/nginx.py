"""Configurations of nginx, which only nginx itself can judge: in the sandbox, since it loads what
they name.

It stops at the first thing that it lacks. A host, user, file or certificate may be where the
configuration is for, so only what is wrong everywhere counts.
"""

import re
import shlex

_NAME = re.compile(r"(.+/)?([^/]*nginx[^/]*\.conf|nginx/(.+/)?[^/]+\.conf)")
_WHOLE = re.compile(r"^\s*http\s*\{", re.MULTILINE)
_PART = re.compile(r"^\s*(server|upstream\s+\S+)\s*\{", re.MULTILINE)
_TRIED = re.compile(r"^nginx: (configuration file .* test failed|invalid option)", re.MULTILINE)
# what comes after the syntax, its pid file and directories, is of this machine
_TEST = (
    '; told=$(nginx -t -e stderr -c "$conf" 2>&1); code=$?; echo "$told"'
    '; echo "$told" | grep -q "syntax is ok" || exit $code'
)
_WRONG = re.compile(
    r"\[emerg\].*(unknown directive|unexpected|not terminated|invalid (number|value|parameter|port)"
    r"|not allowed here|is duplicate|no port in|unknown .* variable)"
)


def command_for(path: str, text: str) -> str:
    """What tests a file of the project; empty for one that is no configuration, or a piece of one
    that may stand anywhere."""
    if not _NAME.fullmatch(path):
        return ""
    file = f'"$PWD"/{shlex.quote(path)}'
    if _WHOLE.search(text):
        return f"conf={file}{_TEST}"
    if not _PART.search(text):
        return ""
    around = f'printf "events {{}} http {{ include \'%s\'; }}" {file} > "$conf"'
    return f"conf=$(mktemp) && {around}{_TEST}"


def lack_of(output: str) -> str:
    """Why a failure of it proves nothing, if that is so."""
    is_right = _TRIED.search(output) and not _WRONG.search(output)
    return "it names what is not here, such as a host or a certificate" if is_right else ""
