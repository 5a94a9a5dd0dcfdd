"""Checks that cannot fail: by their text, by what they printed, and in an empty directory.

What such a check stands for is not proven, though it passed.
"""

import re
import shlex
from collections.abc import Iterator, Sequence
from itertools import dropwhile
from pathlib import PurePosixPath

from core.check_request import PROGRAMS
from core.checks.counts import count_tests

ALWAYS_PASSES = "it cannot fail, whatever the project does"
RAN_NO_TEST = "it ran no test"
PASSES_IN_EMPTY = "it cannot fail: it passes in an empty directory, too"

_OPERATOR = re.compile(r"&&|\|\||>&|<&|&>|\|&|[<>]+|[;&|()\n]")
_MARKS = "();<>|&\n"
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_NEVER_FAIL = frozenset({"true", ":", "echo", "printf"})
_PASS_ON = frozenset({"cat", "head", "sort", "tail", "tee", "uniq", "wc"})
_SHELLS = frozenset({"bash", "dash", "sh", "zsh"})
_RUN_ANOTHER = frozenset({"command", "env", "exec", "nice", "nohup", "stdbuf", "time", "timeout"})
_OF_THESE = re.compile(r"-.*|\d[\w.]*|[A-Za-z_]\w*=.*", re.DOTALL)
"""Their options, durations and variables, before what they run."""
_MAKE_IGNORES = re.compile(r"-[bBdekLmpqrRsStvw]*[in]\w*|--(?:ignore-errors|just-print|dry-run)")
_EXITS_WELL = re.compile(r"(?:^|[\s;&])exit 0\b")
_TEXT_OR_COMMENT = re.compile(r"""('[^']*'|"(?:\\.|[^"\\])*")|(?<!\S)#[^\n]*""", re.DOTALL)
# These pass where there is nothing to find fault with, and fail where there is.
_LOOKS_AT_ALL = re.compile(
    r"^\s*!|\b(biome|black|compileall|eslint|flake8|gofmt|isort|prettier|pyflakes|pylint|ruff"
    r"|stylelint|vet)\b"
)
_RUNS_TESTS = re.compile(
    r"\b(ava|ctest|jest|mocha|nose2|nox|phpunit|py\.?test|rspec|tap|tox|unittest|vitest)\b"
    r"|\b(bun|cargo|deno|dotnet|go|gradlew?|make|mvn|node|npm|pnpm|rake|yarn)\s.*\btest\b"
)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_NONE = re.compile(
    r"^Ran \d+ tests? in|^(?:#|\u2139) tests \d+|\bno tests?(?: files)?\b|^1\.\.0|^running 0 tests"
    r"|\b\d+ (?:skipped|deselected|pending|passing)\b|\bTests run: \d|\b\d+ tests? collected\b",
    re.MULTILINE | re.IGNORECASE,
)
_GO_PASSED = re.compile(r"^ok\s+\S+\s+(?:\(cached\)|[\d.]+s)(?!.*\[no tests)", re.MULTILINE)


def cannot_fail(command: str) -> bool:
    """Whether the text of a shell command says so. False is no more than that it does not."""
    text = _TEXT_OR_COMMENT.sub(lambda found: found[1] or "", command)
    lexer = shlex.shlex(text, posix=True, punctuation_chars=_MARKS)
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t\r", True, ""
    try:
        tokens = [part for token in lexer for part in _parts(token)]
    except ValueError:  # a quote is open
        return False
    return _passes(tokens, is_strict="pipefail" in command)


def _parts(token: str) -> Sequence[str]:
    """The operators of a token that holds nothing else."""
    return _OPERATOR.findall(token) if token and not token.strip(_MARKS) else (token,)


def _passes(tokens: Sequence[str], is_strict: bool) -> bool:
    """A script: the last of its lists decides, and all of them after `set -e`."""
    lists = [part for _, part in _split(tokens, (";", "&", "\n")) if part]
    if tokens[-1:] == ["&"] or any(map(_hides_the_end, lists)):
        return True
    ends = [tokens[place + 1 : place + 2] for place, word in enumerate(tokens) if word == "exit"]
    if any(end != ["0"] for end in ends):
        return False
    strict = [place for place, part in enumerate(lists) if _stops_early(part)]
    decisive = lists[strict[0] + 1 :] if strict else lists[-1:]
    return bool(decisive) and all(_list_passes(part, is_strict) for part in decisive)


def _hides_the_end(words: Sequence[str]) -> bool:
    return (
        words[0] == "trap"
        and len(words) > 2
        and not {"EXIT", "ERR", "0"}.isdisjoint(words[2:])
        and _EXITS_WELL.search(words[1]) is not None
    )


def _stops_early(words: Sequence[str]) -> bool:
    is_option = (w == "errexit" or (w.startswith("-") and "e" in w) for w in words[1:])
    return words[0] == "set" and any(is_option)


def _list_passes(tokens: Sequence[str], is_strict: bool) -> bool:
    """Pipelines, joined by && and ||, which bind alike, from the left."""
    passes = True
    for joint, part in _split(tokens, ("&&", "||")):
        each = (_command_passes(stage, n > 0) for n, (_, stage) in enumerate(_split(part, ("|",))))
        stages = list(each)
        pipeline = all(stages) if is_strict else stages[-1]
        passes = passes or pipeline if joint == "||" else passes and pipeline
    return passes


def _command_passes(words: Sequence[str], is_fed: bool) -> bool:
    """`is_fed`: it reads what another prints."""
    if words[:1] == ["("] and words[-1] == ")":
        return _passes(words[1:-1], is_strict=False)
    words = list(dropwhile(_ASSIGNMENT.match, words))
    if not words:
        return False
    name = PurePosixPath(words[0]).name
    if name in _RUN_ANOTHER:
        return _command_passes(list(dropwhile(_OF_THESE.fullmatch, words[1:])), is_fed)
    if name in _SHELLS and len(words) > 2 and words[1].startswith("-") and words[1][-1] == "c":
        return cannot_fail(f"set -e\n{words[2]}" if "e" in words[1] else words[2])
    if name == "exit":
        return words[1:2] == ["0"]
    if name == "make":
        return any(map(_MAKE_IGNORES.fullmatch, words[1:]))
    is_idle = name in _NEVER_FAIL or words == ["wait"]
    return is_idle or (is_fed and name in _PASS_ON) or "--exit-zero" in words


def _split(tokens: Sequence[str], operators: Sequence[str]) -> Iterator[tuple[str, Sequence[str]]]:
    """What stands between these operators outside of parentheses, each with the one before it."""
    depth, before, since = 0, "", 0
    for place, part in enumerate(tokens):
        depth += (part == "(") - (part == ")")
        if part in operators and depth == 0:
            yield before, tokens[since:place]
            before, since = part, place + 1
    yield before, tokens[since:]


def ran_no_test(command: str, output: str) -> bool:
    """Whether its test runner tells that there were none, or that all were skipped."""
    text = _COLOUR.sub("", output)
    ran = count_tests(text) or _GO_PASSED.search(text)
    return not ran and bool(_RUNS_TESTS.search(command) and _NONE.search(text))


def is_decided_by_empty_directory(command: str) -> bool:
    """Whether what it does there says something, and nothing else does."""
    return not (
        _RUNS_TESTS.search(command) or _LOOKS_AT_ALL.search(command) or cannot_fail(command)
    )


def in_empty_directories(commands: Sequence[str]) -> str:
    """A shell command that runs these at once, each in an empty directory with an empty home and
    without what the project has installed there; PROGRAMS are there. It prints the numbers of those
    that pass, from 0, and leaves nothing."""
    lines = ['from=$PWD; all=$(mktemp -d /tmp/empty-XXXXXX) && cd "$all" || exit']
    lines.append('PATH="${PATH#*:}"')
    programs = f'if [ -d "$from"/{PROGRAMS} ]; then cp -R "$from"/{PROGRAMS} .; fi'
    for number, command in enumerate(commands):
        inside = shlex.join(["/bin/sh", "-c", command])
        place = f"mkdir {number} && cd {number} && {programs}"
        place += ' && export HOME="$PWD" npm_config_offline=true'
        lines.append(f"({place} && {inside} >/dev/null 2>&1 && echo {number}) &")
    return "\n".join([*lines, "wait", 'rm -rf "$all"'])
