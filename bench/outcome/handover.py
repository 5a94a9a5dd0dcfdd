"""What is handed over beside the function: a README, tests that pass, no foreign packages."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from bench.outcome.product import PYTHON, Product


def readme(root: Path) -> str:
    """The README's text; AssertionError if there is none."""
    found = [path for path in root.iterdir() if path.name.lower().startswith("readme")]
    assert found, "there is no README"
    return found[0].read_text(encoding="utf-8")


def foreign_imports(root: Path) -> set[str]:
    """Top-level modules that Python files import and that neither Python nor the codebase has."""
    files = list(root.rglob("*.py"))
    assert files, "there are no Python files"
    own = {path.stem for path in files} | {path.parent.name for path in files}
    imported = {name for path in files for name in imports_of(path)}
    return imported - own - sys.stdlib_module_names


def imports_of(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.add(node.module.partition(".")[0])
    return names


def own_tests_pass(product: Product) -> None:
    """AssertionError unless `python -m unittest` finds tests and all pass."""
    done = product.run([PYTHON, "-m", "unittest"], timeout_s=18)
    assert done.code == 0, done.err[-300:]
    assert "Ran 0 tests" not in done.err, done.err
