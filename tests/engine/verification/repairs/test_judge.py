"""What a repair may do to tests: put names right, and nothing that makes them weaker."""

from __future__ import annotations

import pytest

from claude.simulation.mistakes.places import is_test, tree_of
from claude.simulation.mistakes.texts import CHEATS, cheat
from claude.simulation.mistakes.texts import test_names as names_of_tests
from claude.simulation.sample_projects import KEYWORDS, load_sample
from engine.verification.repairs.judge import find_objections

PY = '''"""Tests."""
import unittest

from todo.store import Store


class TestStore(unittest.TestCase):
    def setUp(self):
        self.store = Store("x.json")

    def test_add(self):
        """It adds."""
        item = self.store.add("milk", done=False)
        self.assertEqual(item.title, "milk")

    def test_raises(self):
        with self.assertRaises(ValueError):
            self.store.add("")


def test_plain():
    assert Store("y").add("a") == 1
'''
JS = """// tests
import test from 'node:test';
import assert from 'node:assert/strict';
const { add } = require('../src/store');

test('adds', () => {
  const item = add('milk');
  assert.equal(item.title, 'milk');
  expect(item.done).toBe(false);
});
"""
GO = """package store

import (
	"testing"
)

func TestAdd(t *testing.T) {
	if got := Add("a"); got != 3 { t.Errorf("got %d", got) }
}
"""
RUST = """pub fn add(a: u8) -> u8 { a }

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn adds() { assert_eq!(add(2), 4); }
}
"""
JAVA = """package app;
import org.junit.jupiter.api.Test;
class StoreTest {
  @Test void adds() { assertEquals(3, new Store().add(1)); }
}
"""
PACKAGE = '{"scripts": {"test": "node --test"}, "dependencies": {}}'
PYPROJECT = '[project]\ndependencies = []\n[tool.pytest.ini_options]\naddopts = "-ra"\n'
TSCONFIG = (
    '{"compilerOptions": {"strict": true, // all of it\n "target": "es5"}, "include": ["src"]}'
)

T = "tests/test_store.py"
J = "test/store.test.js"
ALLOWED = {
    "names of what is tested": (T, PY, [("store.add(", "store.add_item("), ("done=", "is_done=")]),
    "an attribute in an assertion": (T, PY, [("item.title", "item.name")]),
    "an attribute that has the name of a built-in": (
        T,
        PY.replace("item.title", "item.id"),
        [("item.id", "item.key")],
    ),
    "where a server of vite is": ("vite.config.ts", "a: 1,\ntest: {}", [("a: 1", "a: 2")]),
    "imports": (
        T,
        PY,
        [("from todo.store import Store", "from todo import db\nfrom todo.db import Store")],
    ),
    "where an assertion of the project's own is": (
        T,
        "from tests.helpers import assert_ok\n",
        [("tests.helpers", "tests.support")],
    ),
    "formatting, comments, docstrings": (T, PY, [('"""It adds."""', '"""It does."""  # so')]),
    "one more test": (
        T,
        PY,
        [("def test_plain", "def test_more():\n    assert 1\n\n\ndef test_plain")],
    ),
    "a file that did not parse": (
        T,
        PY.replace("def setUp(self)", "def setUp(self"),
        [("def setUp(self", "def setUp(self)")],
    ),
    "names, in JavaScript": (
        J,
        JS,
        [("add(", "addTodo("), ("{ add }", "{ addTodo }"), ("item", "found")],
    ),
    "paths of imports, in JavaScript": (J, JS, [("'../src/store'", "'../lib/store.js'")]),
    "layout, in JavaScript": (J, JS, [("('adds', () => {", "('adds', () =>\n{"), (";\n", "\n")]),
    "one more test, in JavaScript": (
        J,
        JS,
        [("false);\n});\n", "false);\n});\ntest('b', () => {});\n")],
    ),
    "names, in Go": ("store/store_test.go", GO, [("Add(", "AddItem(")]),
    "code beside the tests of a file of Rust": (
        "src/lib.rs",
        RUST,
        [("-> u8 { a }", "-> u8 { a * 2 }")],
    ),
    "code that is no test": ("src/store.py", "assert x == 1\n", [("assert x == 1\n", "")]),
    "dependencies of npm": (
        "package.json",
        PACKAGE,
        [('"dependencies": {}', '"dependencies": {"a": "1"}')],
    ),
    "a manifest that could not be read": ("package.json", PACKAGE[:-1], [("{}", "{}}")]),
    "dependencies of Python": ("pyproject.toml", PYPROJECT, [("= []", '= ["flask"]')]),
    "what the compiler aims at": ("tsconfig.json", TSCONFIG, [("es5", "es2022")]),
}
REFUSED = {
    "a value that is expected": (
        T,
        PY,
        [('title, "milk"', 'title, "tea"')],
        "test_add was changed in more",
    ),
    "a value that is given": (T, PY, [('add("milk"', 'add("tea"')], "test_add was changed in more"),
    "an assertion less": (
        T,
        PY,
        [('        self.assertEqual(item.title, "milk")\n', "")],
        "test_add was changed in more",
    ),
    "a weaker assertion": (T, PY, [("assertEqual", "assertTrue")], "test_add was changed in more"),
    "another exception": (T, PY, [("ValueError", "Exception")], "test_raises was changed in more"),
    "an operator": (T, PY, [("== 1", "!= 1")], "test_plain was changed in more"),
    "an early return": (
        T,
        PY,
        [("        item =", "        return\n        item =")],
        "test_add was changed in more",
    ),
    "a result made up": (
        T,
        PY,
        [('self.store.add("milk", done=False)', "object()")],
        "test_add was changed in more",
    ),
    "both sides the same": (
        T,
        PY.replace('item.title, "milk"', "item.title, item.name"),
        [("item.name", "item.title")],
        "an assertion of TestStore.test_add compares a thing with itself",
    ),
    "a constant": (
        T,
        PY.replace("assert Store", "assert flag and Store"),
        [("flag", "True")],
        "test_plain was changed in more",
    ),
    "a test renamed": (T, PY, [("def test_raises", "def raises")], "TestStore.test_raises is gone"),
    "a test that is defined twice": (
        T,
        PY,
        [("def test_raises", "def test_add")],
        "test_raises is gone",
    ),
    "a fixture": (T, PY, [('Store("x.json")', "Fake()")], "TestStore.setUp was changed in more"),
    "a base": (T, PY, [("(unittest.TestCase)", "")], "TestStore was changed in more"),
    "a skip": (T, PY, [("    def test_add", "    @unittest.skip\n    def test_add")], "skips"),
    "a marker": (
        T,
        PY,
        [("def test_plain", "@pytest.mark.xfail\ndef test_plain")],
        "pytest.mark.xfail",
    ),
    "a hook of the runner": (
        T,
        PY,
        [("def test_plain", "def load_tests(*a): ...\n\n\ndef test_plain")],
        "load_tests",
    ),
    "a fixture added": (
        T,
        PY,
        [("    def test_add", "    def tearDown(self): ...\n\n    def test_add")],
        "tearDown is new",
    ),
    "what runs on import": (
        T,
        PY,
        [("def test_plain", "Store.add = None\n\n\ndef test_plain")],
        "the module itself",
    ),
    "a stand-in": (
        T,
        PY,
        [("from todo.store import Store", "from unittest.mock import MagicMock as Store")],
        "mock",
    ),
    "a file that parses no more": (T, PY, [("class TestStore", "class")], "no valid Python"),
    "a test less in a file that did not parse": (T, PY + "(", [(PY[-110:] + "(", "")], "is gone"),
    "a file removed": (T, PY, None, "holds tests, and may not be removed"),
    "data of tests": ("tests/data/a.json", "1", [("1", "2")], "what tests compare with"),
    "a snapshot": ("src/__snapshots__/a.snap", "1", [("1", "2")], "what tests compare with"),
    "a value, in JavaScript": (
        J,
        JS,
        [("'milk');\n  expect", "'tea');\n  expect")],
        "was changed in more",
    ),
    "a weaker matcher": (J, JS, [("toBe(false)", "toBeDefined()")], "was changed in more"),
    "a skip, in JavaScript": (J, JS, [("test('adds'", "test.skip('adds'")], "test.skip"),
    "only one test": (J, JS, [("test('adds'", "it.only('adds'")], "it.only"),
    "an option of a test": (
        J,
        JS,
        [("'adds', ()", "'adds', {skip: true}, ()")],
        "was changed in more",
    ),
    "a test commented out": (
        J,
        JS,
        [("  assert.equal", "  // assert.equal")],
        "was changed in more",
    ),
    "a value, in Go": ("store/store_test.go", GO, [("!= 3", "!= 4")], "was changed in more"),
    "a skip, in Go": ("store/store_test.go", GO, [("\tif got", "\tt.Skip()\n\tif got")], "t.Skip("),
    "a value, in Rust": ("src/lib.rs", RUST, [("4)", "2)")], "was changed in more"),
    "ignored, in Rust": ("src/lib.rs", RUST, [("#[test]", "#[test]\n    #[ignore]")], "#[ignore"),
    "a value, in Java": (
        "src/test/java/app/StoreTest.java",
        JAVA,
        [("(3,", "(2,")],
        "was changed in more",
    ),
    "disabled, in Java": ("StoreTest.java", JAVA, [("@Test", "@Disabled @Test")], "@Disabled"),
    "scripts": ("package.json", PACKAGE, [("node --test", "true")], "that was changed"),
    "options of pytest": ("pyproject.toml", PYPROJECT, [("-ra", "-k nothing")], "that was changed"),
    "how strict the compiler is": (
        "tsconfig.json",
        TSCONFIG,
        [("true", "false")],
        "that was changed",
    ),
    "targets of cargo": (
        "Cargo.toml",
        "[lib]\n",
        [("[lib]\n", "[lib]\ntest = false\n")],
        "that was changed",
    ),
    "the tests of vite": ("vite.config.ts", "test: {}", [("{}", "{exclude: []}")], "was changed"),
    "sections of setup.cfg": (
        "setup.cfg",
        "[tool:pytest]\nx=1\n",
        [("x=1", "x=2")],
        "that was changed",
    ),
    "what pytest loads": ("conftest.py", "", [("", "x")], "may not be changed"),
    "targets of make": ("sub/Makefile", "test:\n", [("test:", "test: all")], "may not be changed"),
    "a silenced type checker": (
        "src/a.py",
        "x = 1\n",
        [("x = 1", "x = 1  # type: ignore")],
        "silences a check",
    ),
    "a silenced compiler": (
        "src/a.ts",
        "x()\n",
        [("x()", "// @ts-ignore\nx()")],
        "silences a check",
    ),
    "an exit before the end": (
        "todo/a.py",
        "x\n",
        [("x\n", "import os\nos._exit(0)\n")],
        "os._exit",
    ),
}

FAKE_JS = JS.replace("'node:assert/strict'", "'../src/fake.js'")
GO_SAME = GO.replace("got != 3", "got != want")
VITE = "test: {\n  exclude: [\n    'a',\n  ],\n}"
CHEATS_BY_TOOLS: dict[str, tuple[str, str, str]] = {
    "another unittest": (T, PY, PY.replace("import unittest", "from todo import x as unittest")),
    "another class of that name": (T, PY, PY + "from todo.fake import TestStore\n"),
    "all of a module": (T, PY, PY + "from todo.fake import *\n"),
    "a comparison inside of a call": (
        T,
        PY + "def test_x():\n    check(a == b)\n",
        PY + "def test_x():\n    check(a == a)\n",
    ),
    "an assertion replaced": (
        "todo/__init__.py",
        "",
        "import unittest as u\nunittest.TestCase.assertEqual = print\n",
    ),
    "a skip by the product": ("todo/a.py", "", "raise SkipTest\n"),
    "a look whether it is tested": ("todo/a.py", "", 'if "pytest" in sys.modules: ...\n'),
    "an exit at once": ("src/a.js", "a()\n", "process.exit(0)\na()\n"),
    "a module of the project that asserts": (J, JS, FAKE_JS),
    "a result compared with itself": (J, JS, JS.replace("item.title, 'milk'", "item, item")),
    "what is expected of itself": (J, JS + "expect(a).toBe(b)", JS + "expect(b).toBe(b)"),
    "an exit, in JavaScript": (J, JS, JS + "process.exit(0)\n"),
    "an expect of its own": (J, JS, JS + "function expect() {}\n"),
    "a spy": (J, JS, JS + "jest.spyOn(store, 'add')\n"),
    "a test of Go renamed": ("a_test.go", GO, GO.replace("TestAdd", "Testadd")),
    "a build tag": ("a_test.go", GO, "//go:build never\n\n" + GO),
    "a result compared with itself, in Go": (
        "a_test.go",
        GO_SAME,
        GO_SAME.replace("got != want", "want != want"),
    ),
    "code behind the name of a package": (
        "a_test.go",
        GO,
        GO.replace("store\n", "store; func init() { os.Exit(0) }\n", 1),
    ),
    "a module of tests that is never built": (
        "src/lib.rs",
        RUST,
        RUST.replace("#[cfg(test)]", "#[cfg(any())]\n#[cfg(test)]"),
    ),
    "tests commented out, in Rust": (
        "src/lib.rs",
        RUST,
        RUST.replace("#[cfg(test)]", "/*\n#[cfg(test)]") + "*/",
    ),
    "a macro that asserts nothing": ("src/lib.rs", RUST, "macro_rules! assert_eq {}\n" + RUST),
    "the rest of a line with an address": (
        "tests/e2e.sh",
        "curl http://localhost/ | grep ok\n",
        "curl http://localhost/ || true\n",
    ),
    "strictness commented out": (
        "tsconfig.json",
        '{"strict": true}',
        '{// "strict": true\n}',
    ),
    "tests that are left out in several lines": (
        "vite.config.ts",
        VITE,
        VITE.replace("'a',", "'a', 'b',"),
    ),
    "data of tests of Go": ("testdata/a.txt", "1", "2"),
    "a script that checks": ("scripts/check.py", "import sys\nsys.exit(1)\n", ""),
}


@pytest.mark.parametrize(("path", "old", "new"), CHEATS_BY_TOOLS.values(), ids=CHEATS_BY_TOOLS)
def test_what_tests_are_judged_with_stays(path: str, old: str, new: str) -> None:
    assert old != new
    assert find_objections({path: old}, {path: new})


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("pyproject.toml", '[tool.pytest.ini_options]\naddopts = "--deselect tests/a.py"\n'),
        ("setup.cfg", "[tool:pytest]\naddopts = -k nothing\n"),
        (".cargo/config.toml", ""),
        ("__mocks__/store.js", ""),
    ],
)
def test_settings_of_tests_may_not_appear(path: str, text: str) -> None:
    assert find_objections({}, {path: text})


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("package.json", PACKAGE),
        ("tsconfig.json", TSCONFIG),
        ("setup.cfg", "[metadata]\nname = a\n"),
        ("src/cli.js", "try { main() } catch {\n  process.exit(1)\n}\n"),
        ("todo/__main__.py", "def main():\n    sys.exit(0)\n"),
    ],
)
def test_what_a_project_lacks_may_be_added(path: str, text: str) -> None:
    assert find_objections({}, {path: text}) == []


def changed(text: str, edits: list[tuple[str, str]] | None) -> dict[str, str] | None:
    for old, new in edits or []:
        assert old in text
        text = text.replace(old, new, 1) if old else new
    return None if edits is None else {"text": text}


@pytest.mark.parametrize(("path", "text", "edits"), ALLOWED.values(), ids=ALLOWED)
def test_names_may_be_put_right(path: str, text: str, edits: list[tuple[str, str]]) -> None:
    after = changed(text, edits)
    assert after is not None
    assert after["text"] != text
    assert find_objections({path: text}, {path: after["text"]}) == []


@pytest.mark.parametrize(("path", "text", "edits", "why"), REFUSED.values(), ids=REFUSED)
def test_what_weakens_tests_is_refused(
    path: str, text: str, edits: list[tuple[str, str]] | None, why: str
) -> None:
    after = changed(text, edits)
    found = find_objections({path: text}, {path: after["text"]} if after else {})
    assert found
    assert any(why in objection for objection in found)
    assert all(path in objection and "\n" not in objection for objection in found)


@pytest.mark.parametrize(
    "path", ["conftest.py", "sitecustomize.py", "a/pytest.ini", "unittest/x.py"]
)
def test_what_decides_about_tests_may_not_appear(path: str) -> None:
    assert find_objections({}, {path: "x"}) == [
        f"{path} decides which tests run and how, and may not be added"
    ]


def test_new_files_and_new_tests_are_free() -> None:
    assert find_objections({}, {"todo/new.py": "x = 1\n", "tests/test_new.py": PY}) == []


@pytest.mark.parametrize("way", CHEATS)
@pytest.mark.parametrize("sample", sorted(KEYWORDS))
def test_no_test_of_our_samples_can_be_cheated(sample: str, way: str) -> None:
    tests = {path: text for path, text in tree_of(load_sample(sample)).items() if is_test(path)}
    for path, text in tests.items():
        for name in names_of_tests(text)[:3]:
            assert find_objections({path: text}, {path: cheat(text, name, way)}), (path, name)
