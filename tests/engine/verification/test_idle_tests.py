"""Which checks run tests of which none can fail."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.checks.lying_check import ALWAYS_PASSES
from core.events import Proof
from engine.verification.idle_tests.find import ASSERT_NOTHING, find_doubt
from tests.engine.verification.conftest import Project

IDLE, HONEST = "def test_a():\n    assert 1 + 1 == 2\n", "def test_a():\n    assert run() == 2\n"
METHOD = "import unittest\nclass T(unittest.TestCase):\n    def test_a(self):\n        {}\n"


def doubt(place: Path, command: str, files: dict[str, str]) -> str:
    for path, text in files.items():
        place.joinpath(path).parent.mkdir(parents=True, exist_ok=True)
        place.joinpath(path).write_text(text)
    return find_doubt(command, {path: place / path for path in files})


@pytest.mark.parametrize(
    "text",
    [
        IDLE,
        "def test_a():\n    pass\n",
        "import app\ndef test_a():\n    app.run()\n",
        "X = 3\ndef test_a():\n    y = 'a'\n    assert X == 3 and len(y) == 1\n",
        METHOD.format("self.assertTrue(True)"),
        METHOD.format("self.assertEqual(2, 1 + 1, msg='m')"),
        "def test_a():\n    try:\n        assert run()\n    except Exception:\n        print(1)\n",
        "def test_a():\n    try:\n        assert run() == 1\n    except:\n        pass\n",
    ],
)
def test_python_that_cannot_fail(tmp_path: Path, text: str) -> None:
    assert doubt(tmp_path, "pytest -q", {"tests/test_a.py": text}) == ASSERT_NOTHING


@pytest.mark.parametrize(
    "text",
    [
        HONEST,
        "def test_a():\n    if run():\n        assert False\n",
        "X = run()\ndef test_a():\n    assert X\n",
        "def test_a(client):\n    client.check_page('/')\n",
        "def test_a():\n    with pytest.raises(ValueError):\n        run()\n",
        "def test_a():\n    subprocess.run(['x'], check=True)\n",
        "def test_a(m):\n    m.assert_called_once()\n",
        METHOD.format("self.assertEqual(run(), 1)"),
        METHOD.format("self.assertRaises(ValueError, run)"),
        "def test_a():\n    try:\n        run()\n    except Exception:\n        raise\n",
        "def test_a():\n    try:\n        run()\n    except Exception:\n        pytest.fail()\n",
        "from base import Cases\nclass TestA(Cases):\n    x = 1\n",
        "def test_a(:\n",
        "",
    ],
)
def test_python_that_may_fail(tmp_path: Path, text: str) -> None:
    assert doubt(tmp_path, "python3 -m pytest", {"tests/test_a.py": text}) == ""


@pytest.mark.parametrize(
    ("text", "is_idle"),
    [
        ("test('a', () => { expect(true).toBe(true); });", True),
        ("test('a', () => {\n  expect(1 + 1).toEqual(2)\n  run()\n})", True),
        ("const x = 3;\ntest('a', () => { assert.equal(x, 3) })", True),
        ("import assert from 'node:assert';\ntest('a', () => { run(); });", True),
        ("test('a', () => { // expect(run()).toBe(1)\n});", True),
        ("test('a', () => { assert.deepStrictEqual([1, 'x'], [1, 'x']); });", True),
        ("test('a', () => { expect(run()).toBe(1); });", False),
        ("test('a', () => { expect(1).toBe(run()); });", False),
        ("test('a', () => { assert.equal(`${x}`, '3'); });", False),
        ("test('a', () => { assert(run()); });", False),
        ("test('a', async () => { await assert.rejects(() => run()); });", False),
        ("test('a', () => request(app).get('/').expect(200));", False),
        ("import { ok } from 'assert';\ntest('a', () => { ok(run()) })", False),
        ("test('a', (t) => { t.is(run(), 1) })", False),
        ("test('a', () => { if (run()) throw new Error('x') })", False),
        ("test('a', () => { run().should.equal(1) })", False),
    ],
)
def test_javascript(tmp_path: Path, text: str, is_idle: bool) -> None:
    found = doubt(tmp_path, "node --test", {"test/a.test.mjs": text})
    assert found == (ASSERT_NOTHING if is_idle else "")


@pytest.mark.parametrize(
    ("command", "is_idle"),
    [
        ("python3 -m unittest tests.test_idle", True),
        ("python3 -m unittest tests.test_idle.T.test_a", True),
        ("pytest tests/test_idle.py::test_a -k 'not slow'", True),
        ("pytest sub/tests", True),
        ("cd sub && pytest", True),
        ("python3 -m unittest tests.test_honest tests.test_idle", False),
        ("python3 -m unittest discover -s tests -t .", False),
        ("pytest", False),
        ("pytest tests/test_idle.py && python3 app.py", False),
        ("python3 tests/test_idle.py", False),
    ],
)
def test_a_check_is_judged_by_the_tests_that_it_runs(
    tmp_path: Path, command: str, is_idle: bool
) -> None:
    files = {
        "tests/test_idle.py": IDLE,
        "tests/test_honest.py": HONEST,
        "sub/tests/test_b.py": IDLE,
    }
    assert doubt(tmp_path, command, files) == (ASSERT_NOTHING if is_idle else "")


@pytest.mark.parametrize(
    ("script", "found"),
    [('echo "no test specified" && exit 0', ALWAYS_PASSES), ("node --test", ""), ("", "")],
)
def test_a_script_of_a_package_is_judged_by_its_text(
    tmp_path: Path, script: str, found: str
) -> None:
    manifest = json.dumps({"scripts": {"test": script}})
    assert doubt(tmp_path, "cd web && npm test", {"web/package.json": manifest}) == found


@pytest.mark.parametrize(
    ("recipe", "found"),
    [
        ("\t@echo '5 passed in 0.1s'\n", ALWAYS_PASSES),
        ("\t@echo testing\n\t-pytest\n", ALWAYS_PASSES),
        ("\tpytest \\\n\t\t|| true\n", ALWAYS_PASSES),
        ("\tpytest; true\n\techo ok", ALWAYS_PASSES),
        ("\t@pytest\n\techo ok\n", ""),
        ("\t$(PYTHON) -m pytest\n", ""),
        ("\tpytest\nother:\n\ttrue\n", ""),
        ("", ""),
    ],
)
def test_a_target_of_make_is_judged_by_its_lines(tmp_path: Path, recipe: str, found: str) -> None:
    makefile = f"all: test\n\n.PHONY: test\ntest:\n{recipe}"
    assert doubt(tmp_path, "make test", {"Makefile": makefile}) == found
    assert doubt(tmp_path, "make all", {"Makefile": makefile}) == ""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("#!/bin/sh\n# all tests\necho 'Ran 5 tests in 0.1s'\necho OK\n", ALWAYS_PASSES),
        ("#!/bin/sh\npytest\nexit 0\n", ALWAYS_PASSES),
        ("#!/bin/bash\nset -euo pipefail\npytest\necho OK\n", ""),
        ("#!/bin/sh\npytest || exit 1\necho OK\n", ""),
        ("#!/bin/sh\npytest\n", ""),
    ],
)
@pytest.mark.parametrize("command", ["sh ci/test.sh", "cd ci && ./test.sh"])
def test_a_shell_script_is_judged_by_its_text(
    tmp_path: Path, command: str, text: str, found: str
) -> None:
    assert doubt(tmp_path, command, {"ci/test.sh": text}) == found


def test_such_a_check_may_fail_but_is_not_proven_if_it_passes(project: Project) -> None:
    command = "python3 -m unittest tests.test_app"
    project.write("tests/test_app.py", METHOD.format("self.assertTrue(True)"))
    assert project.verify(command)
    assert [(c.state, c.reason) for c in project.ended] == [(Proof.NOT_PROVEN, ASSERT_NOTHING)]
    project.write("tests/test_app.py", "import nothing\n" + METHOD.format("pass"))
    assert not project.verify(command)
