"""The judging of codebases: checks are isolated from each other, and each says what it wants."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.outcome.handover import foreign_imports
from bench.outcome.page import form_fields, read_page
from bench.outcome.product import PYTHON, Product, free_port
from bench.outcome.suite import load_checks, requests, run_checks, same

ROOT = Path(__file__).resolve().parents[2]


def check_passes(product: Product) -> None:
    """Passes."""
    same(product.run(["cat", "hello.txt"]).out, "hello")


def check_fails(product: Product) -> None:
    """Fails, and changes its copy of the codebase."""
    (product.work / "debris").touch()
    same(1, 2)


def check_dies(product: Product) -> None:
    """Ends its process without a word."""
    os._exit(3)


def check_hangs(product: Product) -> None:
    """Starts a server and never ends."""
    port = free_port()
    (product.shared / "port").write_text(str(port))
    product.start([PYTHON, "-m", "http.server", str(port), "--bind", "127.0.0.1"], port=port)
    time.sleep(600)


def codebase(folder: Path) -> Path:
    (folder / "hello.txt").write_text("hello")
    return folder


def test_a_check_that_fails_or_dies_fails_alone(tmp_path: Path) -> None:
    checks = {"fails": check_fails, "dies": check_dies, "passes": check_passes}
    fails, dies, passes = run_checks(codebase(tmp_path), checks)
    assert (fails.passed, dies.passed, passes.passed) == (False, False, True)
    assert "found 1, expected 2" in fails.detail
    assert "same(1, 2)" in fails.detail
    assert dies.detail == "its process died"
    assert passes.sentence == "Passes."
    assert [path.name for path in tmp_path.iterdir()] == ["hello.txt"]


@pytest.mark.slow
def test_a_check_that_hangs_is_ended_with_its_server(tmp_path: Path) -> None:
    def check_its_port_is_free(product: Product) -> None:
        port = int((product.shared / "port").read_text())
        with pytest.raises(AssertionError, match="not a server"):
            product.start([PYTHON, "-c", "print('not a server')"], port=port)

    checks = {"hangs": check_hangs, "after": check_its_port_is_free}
    hangs, after = run_checks(codebase(tmp_path), checks, limit_s=4)
    assert hangs.detail == "not done after 4 s"
    assert after.passed, after.detail


@pytest.mark.parametrize("request_name", requests())
def test_a_request_has_checks_that_say_what_they_want(request_name: str) -> None:
    checks = load_checks(request_name)
    assert len(checks) >= 25
    assert all((check.__doc__ or "").strip().endswith(".") for check in checks.values())


def test_the_command_prints_a_score(tmp_path: Path) -> None:
    name, *_ = load_checks("ledger")
    command = [sys.executable, "-m", "bench.outcome", str(tmp_path), "--request", "ledger"]
    done = subprocess.run(
        [*command, "--only", name, "--json"], cwd=ROOT, capture_output=True, check=True
    )
    score = json.loads(done.stdout)
    assert (score["request"], score["passed"], score["of"]) == ("ledger", 0, 1)
    assert score["checks"][0]["name"] == name


def test_a_form_is_read_as_a_browser_would() -> None:
    page = read_page(
        "<form><input name=a value='1 &amp; 2'><input type=checkbox name=b checked value=x>"
        "<input type=checkbox name=c><textarea name=d>two\nlines</textarea>"
        "<select name=e><option value=1>One<option value=2 selected>Two</select>"
        "<input type=submit name=f value=Go></form><p>after"
    )
    fields = {"a": "1 & 2", "b": "x", "d": "two\nlines", "e": "2"}
    assert form_fields(page.one("form")) == fields


def test_imports_from_elsewhere_are_found(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("import json\nfrom flask import Flask\n")
    (tmp_path / "main.py").write_text("import own\nfrom . import own\nimport click.testing\n")
    assert foreign_imports(tmp_path) == {"flask", "click"}
