"""Which checks run tests of which none can fail."""

import json
import posixpath
import re
import shlex
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from core.checks.lying_check import ALWAYS_PASSES, cannot_fail
from core.workspace.confined import read_regular
from engine.verification.conventions import is_test
from engine.verification.idle_tests import javascript, python

ASSERT_NOTHING = "it cannot fail: its tests assert nothing about the project"

_RUN = re.compile(
    r"(?:cd (?P<directory>[\w./-]+) && )?(?:\w+=\S* )*(?:"
    r"(?:python[\d.]* (?:-\w+ )*-m )?(?P<python>unittest|py\.?test)"
    r"|(?P<javascript>node (?:--?[\w-]+(?:=\S+)? )*--test|(?:npx )?(?:ava|jest|mocha|vitest)"
    r"|(?:npm|pnpm|yarn) (?:run )?(?P<script>test[\w:-]*|t))"
    r")(?P<rest>(?: [^&|;<>$`]*)?)"
)
_SCRIPT = re.compile(
    r"(?:cd (?P<directory>[\w./-]+) && )?(?:(?:npm|pnpm|yarn) (?:run )?(?P<name>[\w:-]+)"
    r"|make (?P<target>[\w.-]+)|(?:(?:ba|da)?sh )?(?P<file>[\w./-]+\.sh))"
)
_RECIPE = r"^{}[ \t]*:[ \t]*\n((?:\t.*\n)+)"
"""Of a target that needs no other."""
_SUFFIXES = {
    "python": (".py",),
    "javascript": tuple(f".{c}{s}" for c in ("", "c", "m") for s in ("js", "jsx", "ts", "tsx")),
}
_MOST_BYTES = 256 * 1024


def find_doubt(command: str, files: Mapping[str, Path]) -> str:
    """Why a command that passes shows nothing, by the files that it runs; empty where it may."""
    if (script := _script_of(command, files)) and cannot_fail(script):
        return ALWAYS_PASSES
    run = _RUN.fullmatch(command.strip())
    if run is None:
        return ""
    language = "python" if run["python"] else "javascript"
    base = posixpath.normpath(run["directory"] or ".")
    tests = [p for p in files if is_test(p) and p.endswith(_SUFFIXES[language])]
    named = [p for word in _words(run["rest"]) for p in _tests_of(word, base, tests)]
    below = [path for path in tests if base == "." or path.startswith(f"{base}/")]
    texts = [_read(files[path]) for path in named or below]
    can_fail = python.can_fail if language == "python" else javascript.can_fail
    return "" if not any(texts) or any(map(can_fail, texts)) else ASSERT_NOTHING


def _script_of(command: str, files: Mapping[str, Path]) -> str:
    """What the command runs that the project has written: a script of package.json, a target of a
    Makefile, or a shell script; empty where there is none."""
    if (run := _SCRIPT.fullmatch(command.strip())) is None:
        return ""
    name = "package.json" if run["name"] else "Makefile" if run["target"] else run["file"]
    path = files.get(posixpath.normpath(posixpath.join(run["directory"] or ".", name)))
    text = _read(path) if path else ""
    if run["file"]:
        return text
    if run["target"]:
        return _recipe(text, run["target"])
    try:
        return str(json.loads(text)["scripts"][{"t": "test"}.get(run["name"], run["name"])])
    except (KeyError, TypeError, ValueError):
        return ""


def _recipe(makefile: str, target: str) -> str:
    """Each line has a shell of its own, and ends all if it fails, unless it begins with a dash."""
    if (found := re.search(_RECIPE.format(re.escape(target)), f"{makefile}\n", re.M)) is None:
        return ""
    lines = found[1].replace("\\\n", " ").splitlines()
    marks = [(line.lstrip("\t@-+ "), re.match(r"[\t@+ ]*-", line)) for line in lines]
    return "\n".join(["set -e", *("true" if ignored else f"({text})" for text, ignored in marks)])


def _read(path: Path) -> str:
    try:
        return read_regular(path, _MOST_BYTES).decode(errors="replace")
    except OSError:
        return ""


def _words(text: str) -> list[str]:
    try:
        return [word for word in shlex.split(text) if not word.startswith("-")]
    except ValueError:
        return []


def _tests_of(word: str, base: str, tests: Collection[str]) -> Iterator[str]:
    """Those that a word names: by a path, with or without the test in it, or as a module."""
    path = posixpath.normpath(posixpath.join(base, word.partition("::")[0]))
    yield from (test for test in tests if test == path or test.startswith(f"{path}/"))
    module = posixpath.normpath(posixpath.join(base, word.replace(".", "/")))
    yield from (t for t in tests if f"{module}/".startswith(f"{t.removesuffix('.py')}/"))
