"""Attribution: from what tools really print to the files that may be the cause."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.bundle import build_manifest
from core.events import CONTRACTS, CheckEnded, Proof, Suspect
from core.plan import Contract, Plan, Task
from engine.delivery.merge import MergePlan, MergeSource, plan_merge
from engine.verification.repairs.trace import MOST_SUSPECTS, find_suspects, lacks_dependency

TREES = {
    "python": {
        "todo/__init__.py": "",
        "todo/model.py": "class Todo: ...\n",
        "todo/store.py": "from .model import Todo\n\n\nclass Store:\n    def add_item(self): ...\n",
        "todo/cli.py": "from todo import model\n\ndef run(store): store.add()\n",
        "tests/test_cli.py": "from todo.cli import run\n",
        "tests/test_store.py": "from todo.store import (\n    Store,\n)\n",
        "requirements.txt": "",
        "README.md": "",
    },
    "node": {
        "web/package.json": "{}",
        "web/src/store.ts": "export class Store {}\n",
        "web/src/cli.ts": "import {Store} from './store.js'\n",
        "web/test/cli.test.ts": "import {run} from '../src/cli.js'\n",
    },
    "rust": {
        "Cargo.toml": "",
        "src/lib.rs": "pub mod store; pub mod cli;\n",
        "src/store.rs": "pub struct Store;\n",
        "src/cli.rs": "use crate::store::Store;\n",
        "tests/it.rs": "use todo::cli::run;\n",
    },
    "go": {
        "go.mod": "module example.com/todo\n",
        "main.go": 'package main\n\nimport (\n\t"example.com/todo/store"\n)\n',
        "store/store.go": "package store\n\ntype Store struct{}\n",
        "store/store_test.go": "package store\n",
    },
    "java": {
        "pom.xml": "",
        "src/main/java/app/Cli.java": "package app;\nimport app.db.Store;\n",
        "src/main/java/app/db/Store.java": "package app.db;\npublic class Store {}\n",
        "src/test/java/app/CliTest.java": "package app;\n",
    },
    "c": {
        "Makefile": "",
        "src/main.c": '#include "store.h"\n',
        "src/store.h": "",
        "src/store.c": "",
    },
}

PY = 'Traceback (most recent call last):\n  File "/sandbox/project/tests/test_cli.py", line 5\n'
CASES = {
    "python, an attribute of another task's class": (
        "python",
        PY + '    run(Store())\n  File "/w/verification/project/todo/cli.py", line 4, in run\n'
        "    return store.add(args[0])\nAttributeError: 'Store' object has no attribute 'add'\n",
        ["todo/cli.py", "todo/store.py"],
    ),
    "python, an argument that a function does not take": (
        "python",
        PY + "    run(a=1)\nTypeError: run() got an unexpected keyword argument 'a'\n",
        ["todo/cli.py"],
    ),
    "python, a name that a module lacks": (
        "python",
        'Traceback (most recent call last):\n  File "/usr/lib/python3.11/unittest/loader.py", line'
        ' 162, in loadTestsFromName\n  File "/sandbox/project/todo/cli.py", line 1, in <module>\n'
        "    from todo.store import Stores\nImportError: cannot import name 'Stores' from"
        " 'todo.store' (/sandbox/project/todo/store.py)\n",
        ["todo/store.py", "todo/cli.py"],
    ),
    "python, what a module lacks comes before the callers of its user": (
        "python",
        '  File "/sandbox/project/todo/model.py", line 1, in main\n    run()\n'
        '  File "/sandbox/project/todo/cli.py", line 4, in run\n    store.render()\n'
        "AttributeError: module 'todo.store' has no attribute 'render'. Did you mean: 'add'?\n",
        ["todo/cli.py", "todo/store.py", "todo/model.py"],
    ),
    "python, a circular import tells no file": (
        "python",
        "ImportError: cannot import name 'Todo' from partially initialized module 'todo.model'",
        ["todo/model.py"],
    ),
    "python, a module that is not installed": (
        "python",
        '  File "/sandbox/project/todo/cli.py", line 1, in <module>\n    import flask\n'
        "ModuleNotFoundError: No module named 'flask'\n",
        ["todo/cli.py", "requirements.txt"],
    ),
    "python, a syntax error": (
        "python",
        '  File "/sandbox/project/todo/store.py", line 3\n    def add(:\nSyntaxError: invalid',
        ["todo/store.py"],
    ),
    "python, a syntax error of a test": (
        "python",
        '  File "/usr/lib/python3.11/unittest/loader.py", line 407, in _get_module\n'
        "    __import__(name)\n"
        '  File "/sandbox/project/tests/test_cli.py", line 11\n    from todo\n'
        "             ^\nSyntaxError: invalid syntax\n",
        ["tests/test_cli.py"],
    ),
    "python, an assertion alone: what the test imports": (
        "python",
        '  File "/sandbox/project/tests/test_store.py", line 5, in t\nAssertionError: 2 != 3\n',
        ["todo/store.py", "todo/model.py"],
    ),
    "pytest": (
        "python",
        "tests/test_cli.py:5: \n_ _ _\n>       return store.add(args[0])\n"
        "E       AttributeError: 'Store' object has no attribute 'add'\n\ntodo/cli.py:4: "
        "AttributeError\n=== short test summary info ===\nFAILED tests/test_cli.py::T::test_add\n",
        ["todo/cli.py", "todo/store.py"],
    ),
    "node, an export that a module lacks": (
        "node",
        "file:///sandbox/project/web/src/cli.ts:1\nimport {add} from './store.js'\n        ^^^\n"
        "SyntaxError: The requested module './store.js' does not provide an export named 'add'\n"
        "    at ModuleJob._instantiate (node:internal/modules/esm/module_job:213:21)\n",
        ["web/src/cli.ts", "web/src/store.ts"],
    ),
    "node, a method that is none": (
        "node",
        "  error: 's.add is not a function'\n  stack: |-\n"
        "    run (file:///sandbox/project/web/src/cli.ts:1:60)\n"
        "    TestContext.<anonymous> (file:///sandbox/project/web/test/cli.test.ts:3:45)\n",
        ["web/src/cli.ts", "web/src/store.ts"],
    ),
    "node, a package that is not installed": (
        "node",
        "Error [ERR_MODULE_NOT_FOUND]: Cannot find package 'express' imported from"
        " /sandbox/project/web/src/cli.ts\n",
        ["web/src/cli.ts", "web/package.json"],
    ),
    "tsc, run below the root": (
        "node",
        "src/cli.ts(1,9): error TS2724: '\"./store.js\"' has no exported member named 'Stores'.\n",
        ["web/src/cli.ts", "web/src/store.ts"],
    ),
    "tsc, a member of a type": (
        "node",
        "src/cli.ts(1,95): error TS2339: Property 'add' does not exist on type 'Store'.\n",
        ["web/src/cli.ts", "web/src/store.ts"],
    ),
    "cargo, a method that is none": (
        "rust",
        "error[E0599]: no method named `add` found for struct `Store` in the current scope\n"
        " --> src/cli.rs:2:37\n  |\n2 | pub fn run(s: &Store) -> String { s.add() }\n",
        ["src/cli.rs", "src/store.rs"],
    ),
    "cargo, a panic in a test": (
        "rust",
        "thread 'adds' (2) panicked at tests/it.rs:4:13:\nassertion `left == right` failed\n"
        "             at /rustc/5980/library/std/src/panicking.rs:689:5\n",
        ["src/cli.rs", "src/store.rs"],
    ),
    "go, a name that a package lacks": (
        "go",
        "# example.com/todo\n./main.go:5:8: undefined: store.New\n",
        ["main.go", "store/store.go"],
    ),
    "go, a test that names its file alone": (
        "go",
        "--- FAIL: TestAdd (0.00s)\n    store_test.go:9: got 2, want 3\nFAIL\n"
        "FAIL\texample.com/todo/store\n",
        ["store/store.go"],
    ),
    "javac": (
        "java",
        "src/main/java/app/Cli.java:2: error: cannot find symbol\n  symbol:   method add(String)\n"
        "  location: variable s of type Store\n1 error\n",
        ["src/main/java/app/Cli.java", "src/main/java/app/db/Store.java"],
    ),
    "java, a stack": (
        "java",
        'Exception in thread "main" java.lang.NullPointerException: Cannot invoke\n'
        "\tat java.base/java.util.ArrayList.get(ArrayList.java:427)\n"
        "\tat app.db.Store.add(Store.java:9)\n\tat app.Cli.main(Cli.java:2)\n",
        ["src/main/java/app/db/Store.java", "src/main/java/app/Cli.java"],
    ),
    "maven, a package that is not there": (
        "java",
        "[ERROR] /sandbox/project/src/main/java/app/Cli.java:[3,22] package org.slf4j does not"
        " exist\n",
        ["src/main/java/app/Cli.java", "pom.xml"],
    ),
    "c, the linker": (
        "c",
        "cc -o app src/main.c\nsrc/main.c: In function 'main':\nsrc/main.c:2:24: warning: implicit"
        " declaration of function 'add'\n/usr/bin/ld: /tmp/ccC.o: in function `main':\n"
        "main.c:(.text+0x14): undefined reference to `add'\n",
        ["src/main.c", "src/store.h"],
    ),
}


def merged(root: Path, files: dict[str, str]) -> MergePlan:
    for path, text in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return plan_merge([MergeSource("whole", root, build_manifest(root))])


def failure(output: str, command: str = "run", *tasks: str, phase: str = "check") -> CheckEnded:
    return CheckEnded(phase, command, tasks, Proof.FAILED, "exit code 1", 0.1, output)


def planned(**owns: tuple[str, ...]) -> Plan:
    tasks = (Task(id=name, instructions="Do it.", owns=paths) for name, paths in owns.items())
    return Plan(tasks=tuple(tasks))


@pytest.mark.parametrize(("tree", "output", "expected"), CASES.values(), ids=CASES)
def test_the_likeliest_files_come_first(
    tmp_path: Path, tree: str, output: str, expected: list[str]
) -> None:
    found = find_suspects([failure(output)], planned(), merged(tmp_path, TREES[tree]))
    assert [suspect.path for suspect in found][: len(expected)] == expected
    is_lack = any(path.endswith((".txt", ".json", ".xml")) for path in expected)
    assert lacks_dependency([failure(output)], merged(tmp_path, TREES[tree])) is is_lack


def test_a_suspect_is_named_with_its_task_and_a_contract_as_such(tmp_path: Path) -> None:
    plan = planned(store=("todo/",)).model_copy(
        update={"contracts": (Contract(path="todo/model.py", content=""),)}
    )
    output = "todo/store.py:3: in add\ntodo/model.py:1: ValueError\n"
    found = find_suspects([failure(output)], plan, merged(tmp_path, TREES["python"]))
    assert found[:2] == (Suspect("todo/model.py", CONTRACTS), Suspect("todo/store.py", "store"))


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        (failure("", "python3 -m todo.cli add x"), "todo/cli.py"),
        (failure("", "cd x && python3 todo/store.py"), "todo/store.py"),
        (failure("", "true", "docs"), "README.md"),
        (
            failure("ERROR: No matching distribution", "pip install x", phase="install"),
            "requirements.txt",
        ),
        (failure("/usr/lib/python3/store.py:1: error", "true"), "todo/__init__.py"),
    ],
)
def test_without_a_trace_commands_and_tasks_tell(
    tmp_path: Path, check: CheckEnded, expected: str
) -> None:
    plan = planned(docs=("README.md",))
    assert find_suspects([check], plan, merged(tmp_path, TREES["python"]))[0].path == expected


def test_many_suspects_are_bounded(tmp_path: Path) -> None:
    files = {f"part{number}.py": "" for number in range(40)}
    output = "".join(f"{path}:1: error\n" for path in files)
    found = find_suspects([failure(output)], planned(), merged(tmp_path, files))
    assert [suspect.path for suspect in found] == [f"part{n}.py" for n in range(39, 31, -1)]
    assert len(found) == MOST_SUSPECTS
    assert not find_suspects([failure(output)], planned(), MergePlan())
