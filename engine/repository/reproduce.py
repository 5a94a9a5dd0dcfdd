"""The command that a prompt reports as failing, and how the project it fails in is set up."""

import json
import re
from collections.abc import Callable, Collection, Iterator

from core.plan import Setup

_MOST_CHARS = 300
_TESTERS = (
    r"(?:python3? -m )?pytest|python3? -m unittest|tox|nox|(?:npm|yarn|pnpm|bun) (?:run )?test\S*"
    r"|npx (?:jest|vitest|mocha|playwright)|node --test|jest|vitest|go (?:test|vet|build)"
    r"|cargo (?:test|check|build|clippy)|make [\w-]+|mvn \w+|(?:\./)?gradlew? \w+"
    r"|dotnet (?:test|build)|(?:bundle exec )?(?:rspec|rake)(?: \w+)?|mix test|swift test"
    r"|deno test|ctest|phpunit|mypy|ruff"
)
_PROGRAMS = (
    r"python3?|node|npm|npx|yarn|pnpm|bun|deno|uv|poetry|hatch|go|cargo|make|just|mvn|gradle|dotnet"
    r"|bundle|ruby|rake|rspec|php|composer|phpunit|mix|swift|ctest|cmake|bash|sh|tsc|eslint"
    r"|\.{1,2}/[\w./-]+"
)
_ENVIRONMENT = r"(?:[A-Z][A-Z0-9_]*=\S+ )*"
_ANY = re.compile(rf"{_ENVIRONMENT}(?:{_TESTERS}|{_PROGRAMS})(?: .*)?")
_PLAIN = re.compile(
    rf"(?<![\w/`\"'.-]){_ENVIRONMENT}(?:{_TESTERS})"
    r"(?: +(?:-[km] \w+|-[^\s,;]*|[^\s,;`\"']*[./:_=\[][^\s,;`\"']*))*"
)
_AT_A_PROMPT = re.compile(r"^\s*\$ ([^\n]+)", re.MULTILINE)
_IN_QUOTES = re.compile(r"`([^`\n]+)`|\"([^\"\n]+)\"|'([^'\n]+)'")
_FAILS = r"\b(?:fail\w*|break\w*|broken|crash\w*|hangs?|red|not pass\w*"
_FAILS_BEFORE = re.compile(rf"{_FAILS})\b", re.IGNORECASE)
_FAILS_AFTER = re.compile(
    rf"{_FAILS}|errors?|raises?|exits?|wrong\w*|doesn't|does not)\b", re.IGNORECASE
)
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|\n\s*\n")


def command_in(prompt: str) -> str | None:
    """The first command of which the prompt says that it fails: in the same sentence, or anywhere
    for one that is shown as it was typed. None where there is none."""
    for before, command, after in _commands(prompt):
        told = _FAILS_BEFORE.search(before) or _FAILS_AFTER.search(after)
        if told and len(command) <= _MOST_CHARS:
            return command
    return None


def _commands(prompt: str) -> Iterator[tuple[str, str, str]]:
    """Those that may be, with what stands before and after them."""
    for match in _AT_A_PROMPT.finditer(prompt):
        yield prompt[: match.start()], match[1].strip(), prompt[match.end() :]
    for match in [*_IN_QUOTES.finditer(prompt), *_PLAIN.finditer(prompt)]:
        before = _SENTENCE_END.split(prompt[: match.start()])[-1]
        after = _SENTENCE_END.split(prompt[match.end() :])[0]
        text = next(filter(None, match.groups()), match[0]).strip()
        if _ANY.fullmatch(text):
            yield before, re.sub(r"(?<=\w)[.:]+$", "", text), after


def guess_setup(command: str, paths: Collection[str], read: Callable[[str], str]) -> Setup:
    """How a project with files at `paths` is installed, as far as these tell: what a plan would
    say, before there is one. `read` gives a text, "" for none."""
    install = [*_python(command, paths, read), *_node(paths, read)]
    return Setup(install=tuple(install), network="for the installation" if install else "none")


def _python(command: str, paths: Collection[str], read: Callable[[str], str]) -> Iterator[str]:
    files = [name for name in paths if re.fullmatch(r"requirements[\w.-]*\.txt", name)]
    yield from (f"pip install -r {name}" for name in sorted(files))
    if "setup.py" in paths or "[build-system]" in read("pyproject.toml"):
        extras = re.findall(r"^(test|tests|testing|dev) *= *\[", read("pyproject.toml"), re.M)
        yield f"pip install -e '.[{','.join(extras)}]'" if extras else "pip install -e ."
    if "pytest" in command:
        yield "pip install pytest"


def _node(paths: Collection[str], read: Callable[[str], str]) -> Iterator[str]:
    if "package-lock.json" in paths:
        yield "npm ci"
    elif "package.json" in paths:
        try:
            found = json.loads(read("package.json"))
            needs = any(found.get(name) for name in ("dependencies", "devDependencies"))
        except (ValueError, AttributeError, RecursionError):
            return
        if needs:
            yield "npm install"
