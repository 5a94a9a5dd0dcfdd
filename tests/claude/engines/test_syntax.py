"""What parsers say of files: the first fault in a line, and never an error of their own."""

from __future__ import annotations

import threading
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude.engines.syntax import MAX_CHARS, MAX_DOTS, PARSED, find_fault, read_node_report


def say(path: str, text: str) -> str:
    return str(find_fault(path, text) or "")


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        ("a.py", "x = 1\ndef f(:\n  pass\n", ": line 2: invalid syntax: def f(:"),
        ("a.pyi", "def f() -> : ...\n", ": def f() -> : ..."),
        ("a.py", "x = [1\ny = 2\nz = 3\n", ": line 1: '[' was never closed: x = [1"),
        ("a.py", "return 1\n", ": line 1: 'return' outside function: return 1"),
        ("a.py", "if x:\n    y\n  z\n", ": line 3: unindent does not match any outer"),
        ("a.py", "x = 'a\n", ": line 1: unterminated string literal"),
        ("a.json", '{"a": 1,\n "b" 2}', "not valid JSON: line 2: Expecting ':' delimiter: "),
        ("a.json", "[1, 2,]", "not valid JSON: line 1: "),
        ("p/package.json", "// no\n{}", "not valid JSON: line 1: Expecting value: // no"),
        ("a.toml", "[a]\nb = \n", "not valid TOML: line 2: Invalid value: b ="),
        ("a.toml", "a = 1\na = 2\n", "not valid TOML: line 2: "),
    ],
)
def test_a_syntax_error_is_named_with_its_line_and_text(path: str, text: str, said: str) -> None:
    assert said in say(path, text)
    assert say(path, text).startswith("not valid ")
    assert "\n" not in say(path, text)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a.py", "def f():\n"),
        ("a.py", "class A:\n    def f(self):\n        return 1\n\n    def g(self):\n"),
        ("a.py", "x = {\n    'a': 1,\n"),
        ("a.py", '"""A text\n\nthat goes on\n'),
        ("a.py", "try:\n    x\n"),
        ("a.py", "@cached\n"),
        ("a.json", '{"a": [1,\n'),
        ("a.json", '{"a": "b'),
        ("a.json", ""),
        ("a.toml", "a = [1,\n"),
        ("a.toml", "a = '''x\n"),
    ],
)
def test_a_text_that_ends_too_early_may_go_on(path: str, text: str) -> None:
    assert say(path, text).startswith("[incomplete so far (")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a.py", "x = 1\n"),
        ("a.py", ""),
        ("a.json", '{"a": [1, null]}\n'),
        ("a.toml", "[a]\nb = 1\n"),
        ("a.md", "def f(:"),
        ("a.yml", "a: [1"),
        ("a.ts", "const a = (1;"),
        ("py", "def f(:"),
        ("tsconfig.json", "{\n  // strict\n}"),
        ("web/tsconfig.build.json", "{,}"),
        (".vscode/settings.json", "{,}"),
        (".eslintrc.json", "{,}"),
    ],
)
def test_what_is_right_or_for_no_parser_here_is_passed_over(path: str, text: str) -> None:
    assert find_fault(path, text) is None


HOSTILE = {
    "parentheses": "(" * 50_000,
    "brackets": "[" * 45_000 + "]" * 45_000,
    "signs": "-" * 90_000 + "1",
    "negations": "not " * 20_000 + "1",
    "lambdas": "lambda:" * 10_000 + "1",
    "attributes": "x" + ".a" * 40_000,
    "sums": "+".join(["1"] * 40_000),
    "powers": "**".join(["2"] * 30_000),
    "branches": "if a: pass\n" + "elif a: pass\n" * 7_000,
    "indents": "".join(" " * n + "if 1:\n" for n in range(300)),
    "blocks": "".join(" " * n + "try:\n" for n in range(120)),
    "digits": "x = " + "9" * 90_000,
    "constants": "9**9**9**9 or 'a' * 4_000 * 4_000 * 4_000",
    "null": "a\0b",
    "objects": '{"a":' * 15_000,
    "dotted": "a." * 45_000 + "b = 1",
    "headers": "[" + "a." * 45_000 + "b]",
    "half a pair": "x = '\ud800'",
    "long line": "x = (" + "y " * 45_000,
    "carriage returns": "\r" * 1_000 + "def f(:\r",
}


@pytest.mark.parametrize("path", ["a.py", "a.json", "a.toml"])
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_nothing_that_is_written_breaks_or_floods_the_answer(path: str, text: str) -> None:
    said: list[str] = []
    worker = threading.Thread(target=lambda: said.append(say(path, text)))  # a smaller stack
    worker.start()
    worker.join()
    (line,) = said
    assert len(line) < 500


def test_what_is_too_long_is_not_judged() -> None:
    wrong = "x = (1\ny = 2\n"
    assert find_fault("a.py", wrong)
    assert find_fault("a.py", wrong + "#" * MAX_CHARS) is None
    assert find_fault("a.toml", "a\n" + "b." * (MAX_DOTS + 1) + "c = 1\n") is None


@given(
    st.sampled_from(sorted(PARSED)),
    st.text(st.sampled_from("ab1 :=.,()[]{}'\"#\\\n\t"), max_size=40),
)
def test_any_text_is_answered_in_a_line_or_not_at_all(suffix: str, text: str) -> None:
    assert "\n" not in say(f"a{suffix}", text)


def test_a_file_is_read_and_never_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    assert say("a.py", f"open({str(trace)!r}, 'w')\n") == ""
    assert not trace.exists()


@pytest.mark.parametrize("action", ["error", "always"])
def test_warnings_about_the_file_are_nobody_elses_business(action: str) -> None:
    with warnings.catch_warnings(record=action == "always") as heard:
        warnings.simplefilter(action)  # type: ignore[arg-type]  # one of its words
        assert say("a.py", "x = 1 is 1\ny = '\\d'\nassert (x, y)\n") == ""
    assert not heard


# -- what node says

CALLED = (
    "exit code 1\n/work/src/a.js:2\nconst a = (1;\n            ^\n\nSyntaxError: {}\n    at x\n"
)


def test_a_report_of_node_is_read() -> None:
    fault = read_node_report(CALLED.format("Unexpected token ';'"))
    assert str(fault) == "not valid JavaScript: line 2: Unexpected token ';': const a = (1;"
    ended = read_node_report("exit code 1\n/a.mjs:3\n\n\n\nSyntaxError: Unexpected end of input\n")
    assert str(ended) == "[incomplete so far (JavaScript): line 3: Unexpected end of input]"
    tabbed = read_node_report("a.js:1\n\tx = (1;\n\t      ^\n\nSyntaxError: Invalid\n")
    assert str(tabbed) == "not valid JavaScript: line 1: Invalid: x = (1;"


@pytest.mark.parametrize(
    "output",
    [
        "exit code 0\n(no output)",
        "exit code 127\n(no output)",
        "stopped: it was not done within 10 s\n(no output)",
        CALLED.format("Unexpected token '<'"),
        "exit code 1\nTypeError [ERR_UNKNOWN_FILE_EXTENSION]: Unknown file extension",
        "",
    ],
)
def test_what_is_no_syntax_error_to_node_is_passed_over(output: str) -> None:
    assert read_node_report(output) is None
