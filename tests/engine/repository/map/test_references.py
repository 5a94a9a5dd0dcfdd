"""Which files refer to others, by the names that they define and use."""

from __future__ import annotations

from pathlib import Path

from core.bundle import build_manifest
from engine.repository.map.references import find_references
from tests.engine.repository.repos import write_files

FILES = {
    "app/store.py": "from app.clock import system_clock\n\n\nclass TodoStore:\n    pass\n",
    "app/clock.py": "def system_clock():\n    pass\n",
    "app/words.py": "def update():\n    pass\n",
    "app/lists/__init__.py": "",
    "app/view.ts": "export function render(todos: TodoStore) {}\n",
    "app/both.py": "TodoStore(system_clock())\n",
    "tests/test_store.py": "TodoStore()\nTodoStore()\n",
    "notes.txt": "TodoStore system_clock\n",
    **{f"many/m{n}.py": "class Settings:\n    pass\n" for n in range(5)},
}


def references(root: Path, *owned: str, **more: str) -> list[str]:
    write_files(root, FILES | more)
    return find_references(build_manifest(root), root, owned)


def test_first_what_they_build_upon_then_what_builds_upon_them(tmp_path: Path) -> None:
    assert references(tmp_path, "app/store.py") == [
        "app/clock.py",
        *("app/both.py", "app/view.ts", "tests/test_store.py"),
    ]


def test_plain_words_and_names_of_many_tell_nothing(tmp_path: Path) -> None:
    assert references(tmp_path, "new.py", **{"new.py": "update(Settings)\n"}) == []


def test_modules_are_found_whatever_is_taken_from_them(tmp_path: Path) -> None:
    text = "import app.words\nfrom app.lists import update\nfrom app.clock import x\n"
    assert references(tmp_path, "new.py", **{"new.py": text}) == [
        *("app/words.py", "app/lists/__init__.py", "app/clock.py")
    ]


def test_nobody_refers_to_what_is_no_code(tmp_path: Path) -> None:
    assert references(tmp_path, "notes.txt") == []
