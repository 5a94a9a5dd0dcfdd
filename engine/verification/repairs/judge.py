"""Whether a repaired tree may count: no test was loosened, skipped or removed, and nothing that
decides which tests run, or how strictly, was touched. By code, without a model and without running
anything."""

import configparser
import json
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from engine.verification.conventions import is_test, steers_tests
from engine.verification.repairs.shapes import WHOLE, inline_tests, names_of_tests, shapes_of

_SKIPS = re.compile(
    r"@(?:unittest\.)?(?:skip|expectedFailure)\w*|pytest\.mark\.(?:skip|xfail)\w*|importorskip"
    r"|\bskipTest\b|\bSkipTest\b|pytest\.(?:skip|xfail|exit)\b|\bload_tests\b|__test__|collect_ignore"
    r"|\b(?:test|it|describe|suite|context|t)\.(?:skip|todo|only|failing|fixme|concurrent\.skip)\b"
    r"|\b(?:xit|xtest|xdescribe|xcontext|fit|fdescribe|ftest)\s*\(|\bt\.Skip\w*\(|\.SkipNow\("
    r"|#\[ignore|@Disabled\b|@Ignore\b|markTestSkipped|Assume\.|assumeTrue|\bMagicMock\b|\bmock\b"
    r"|\bspyOn\b|\bmock[RI]\w+|\bmonkeypatch\b|\bsinon\b|\bprocess\.exit\w*|\bos\.Exit\b"
    r"|\bTestMain\b|^//\s*(?:go:build|\+build)\b|\bsys\.exit\b",
    re.MULTILINE,
)
_TAMPERS = re.compile(
    r"\b(?:unittest|_?pytest|builtins|TestCase|assert|expect)\.[\w.]+\s*=(?![=>])|\bexpect\.extend\b"
    r"|\bsetattr\(\s*(?:unittest|_?pytest|builtins|TestCase)\b|\bmacro_rules!\s*(?:assert|panic)\w*"
    r"|\bfunction\s+(?:expect|assert|it|test|describe)\b|\bprocess\.on\(\s*.(?:beforeE|e)xit\b"
    r"|\bprocess\.exitCode\s*=\s*0|\bcfg\((?:any\(\)|not\(test\))|\bcfg!\(test\)|JEST_WORKER_ID"
    r"|NODE_TEST_CONTEXT|\btesting\.Testing\(|\bflag\.Lookup\(\"test"
    r"|\bfunc init\(\)\s*\{[^}]*os\.Exit"
)
_IN_PRODUCT = re.compile(
    r"^[ \t]*(?:import|from)[ ]+(?:unittest|_?pytest)\b|\bSkipTest\b"
    r"|[\"']_?(?:pytest|unittest)[\"']\s+in\b"
    r"|^(?:sys\.exit|process\.exit|exit|quit)\(0?\)|^raise SystemExit(?:\(0?\))?$",
    re.MULTILINE,
)
"""What code has no use for that is tested."""
_SILENCERS = re.compile(
    r"#\s*type:\s*ignore|#\s*noqa|@ts-(?:ignore|nocheck|expect-error)|(?:eslint|tslint)-disable"
    r"|//\s*nolint|#!?\[allow\(|@SuppressWarnings|\bos\._exit\b|PYTEST_CURRENT_TEST"
    r"|skipTests|testFailureIgnore|ignoreFailures|pragma: no cover|istanbul ignore"
)
_STRICTNESS = re.compile(
    r'"(strict\w*|no[A-Z]\w*|include|exclude|files|skipLibCheck|checkJs|extends)"\s*:\s*(\[[^\]]*\]|[^,}\s]+)'
)
_JSON_COMMENT = re.compile(r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/', re.DOTALL)
_CARGO_TESTS = re.compile(
    r"^\s*(\[\[(?:test|bench)\]\]|(?:test|harness|doctest|autotests)\s*=.*)$", re.M
)
_VITEST = re.compile(r"\b(?:test|include|exclude|passWithNoTests|setupFiles|globals)\s*:.*")
_PACKAGING = {"poetry", "hatch", "setuptools", "setuptools_scm", "uv", "pdm", "flit"}
_RUNNERS = ("scripts", "jest", "mocha", "vitest", "ava", "c8", "nyc", "tap", "eslintConfig")


def find_objections(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Why `after` may not count as a repair of `before`, one sentence each; empty if it may. Both
    are files by path, as texts; those that are the same in both may be left out."""
    found: list[str] = []
    for path in sorted({*before, *after}):
        old, new = before.get(path), after.get(path)
        if old != new:
            found += _of_file(path, old, new)
    return found


def _of_file(path: str, old: str | None, new: str | None) -> Iterator[str]:
    if steers_tests(path):
        yield f"{path} decides which tests run and how, and may not be {_how(old, new)}"
        return
    if old is None:
        old = ""
        if not path.endswith(".json"):  # none is there to be read
            yield from _of_settings(path, old, new or "")
    elif new is None:
        if is_test(path):
            yield f"{path} holds tests, and may not be removed"
        return
    else:
        yield from _of_settings(path, old, new)
        yield from _of_tests(path, old, new)
    for pattern, harm in (
        (_SKIPS, "skips or replaces what is tested"),
        (_SILENCERS, "silences a check"),
        (_TAMPERS, "changes what tests are judged with"),
        (_IN_PRODUCT, "behaves in another way where it is tested"),
    ):
        has_tests = is_test(path) or path.endswith(".rs")
        if {_SKIPS: has_tests, _IN_PRODUCT: not is_test(path)}.get(pattern, True):
            for text in Counter(pattern.findall(new or "")) - Counter(pattern.findall(old)):
                yield f"{path} {harm}: {text.strip()}"


def _how(old: str | None, new: str | None) -> str:
    return "added" if old is None else "removed" if new is None else "changed"


def _of_tests(path: str, old: str, new: str) -> Iterator[str]:
    if path.endswith(".rs") and not is_test(path):
        old, new = inline_tests(old), inline_tests(new)
        if not old:
            return
    elif not is_test(path):
        return
    was, now = shapes_of(path, old), shapes_of(path, new)
    if was is None and path.endswith(".py"):  # it is the fault that is repaired
        gone = sorted(names_of_tests(old) - names_of_tests(new))
        fewer = new.count("assert") < old.count("assert")
        yield from (f"{path}: the test {name} is gone" for name in gone)
        if fewer:
            yield f"{path} has fewer assertions than before"
    elif was is None:
        yield f"{path} is what tests compare with, and may not be changed"
    elif now is None:
        yield f"{path} is no valid Python"
    else:
        for name, shape in was.parts.items():
            kept = now.parts.get(name)
            if kept is None:
                yield f"{path}: {_named(name)} is gone"
            elif kept != shape and not (was.growing and kept[: len(shape)] == shape):
                yield f"{path}: {_named(name)} was changed in more than the names that it uses"
        for name in now.parts.keys() - was.parts.keys():
            if not name.rpartition(".")[2].startswith(("test", "Test")):
                yield f"{path}: {_named(name)} is new, and is no test"
        own = {judge.partition(" ")[0] for judge in was.judges}
        for judge in sorted(now.judges):
            if judge.partition(" ")[0] not in own:
                yield f"{path}: what tests are judged with comes from the project: {judge}"
        for name in Counter(now.same_sides) - Counter(was.same_sides):
            yield f"{path}: an assertion of {_named(name)} compares a thing with itself"


def _named(part: str) -> str:
    if part == WHOLE:
        return part
    place, _, name = part.rpartition(".")
    return f"what runs in {place or 'the module'} itself" if name == "*" else part


def _of_settings(path: str, old: str, new: str) -> Iterator[str]:
    for name, read in _SETTINGS.items():
        if re.fullmatch(name, path.rpartition("/")[2]):
            was = _read(read, old)
            if was is not None and was != _read(read, new):
                yield f"{path} says which tests run and how strictly, and that was changed"


def _read(read: Callable[[str], object], text: str) -> object:
    """None for what cannot be read: that may be the fault."""
    try:
        return read(text)
    except (ValueError, configparser.Error, AttributeError, TypeError):
        return None


def _of_package_json(text: str) -> object:
    found = json.loads(text)
    return {name: found.get(name) for name in _RUNNERS}


def _of_pyproject(text: str) -> object:
    tools: dict[str, Any] = tomllib.loads(text).get("tool", {})
    judged = {name: value for name, value in tools.items() if name not in _PACKAGING}
    commands = [tools.get("hatch", {}).get("envs"), tools.get("pdm", {}).get("scripts")]
    return judged, commands


def _of_tsconfig(text: str) -> object:
    return sorted(_STRICTNESS.findall(_JSON_COMMENT.sub(r"\1", text)))


def _of_vite(text: str) -> object:
    """What it says of tests, to the end of the file where that takes several lines."""
    block = re.search(r"\btest\s*:\s*\{(?![^\n]*\}).*", text, re.DOTALL)
    return _VITEST.findall(text), "".join(block[0].split()) if block else ""


def _of_setup_cfg(text: str) -> object:
    parser = configparser.RawConfigParser()
    parser.read_string(text)
    names = [n for n in parser.sections() if n != "metadata" and not n.startswith("options")]
    return {name: dict(parser[name]) for name in names}


_SETTINGS: dict[str, Callable[[str], object]] = {
    r"package\.json": _of_package_json,
    r"pyproject\.toml": _of_pyproject,
    r"setup\.cfg": _of_setup_cfg,
    r"tsconfig.*\.json": _of_tsconfig,
    r"Cargo\.toml": _CARGO_TESTS.findall,
    r"vite\.config\.\w+": _of_vite,
}
