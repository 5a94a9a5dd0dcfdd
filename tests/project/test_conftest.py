"""On CI a skipped test is a failure; elsewhere it is a skip."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

SKIPS = {
    "decorated": "import pytest\n@pytest.mark.skip(reason='no moon')\ndef test_it(): pass\n",
    "called": "import pytest\ndef test_it(): pytest.skip('no moon')\n",
    "fixture": "import pytest\n@pytest.fixture\ndef f(): pytest.skip('no moon')\n"
    "def test_it(f): pass\n",
    "module": "import pytest\npytest.skip('no moon', allow_module_level=True)\n",
    "absent": "import pytest\npytest.importorskip('no_moon', exc_type=ImportError)\n",
}


def run_pytest(where: Path, ci: str) -> str:
    """What pytest prints of these tests and of one that is expected to fail."""
    shutil.copy(Path(__file__).parents[1] / "conftest.py", where)
    for name, text in SKIPS.items():
        (where / f"test_{name}.py").write_text(text)
    (where / "test_xfail.py").write_text(
        "import pytest\n@pytest.mark.xfail(reason='known')\ndef test_it(): assert False\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", os.devnull, "-ra"]
    environ = {**os.environ, "CI": ci, "PYTEST_ADDOPTS": "", "COVERAGE_PROCESS_START": ""}
    done = subprocess.run(
        [*command, "--rootdir", str(where), "--continue-on-collection-errors", str(where)],
        cwd=where,
        env=environ,
        capture_output=True,
        text=True,
    )
    assert done.returncode == (1 if ci else 0)
    return done.stdout


def test_a_skip_fails_on_ci_and_gives_its_reason(tmp_path: Path) -> None:
    printed = run_pytest(tmp_path, "true")
    for name in SKIPS:
        line = rf"^(FAILED|ERROR) test_{name}\.py.* - .*CI refuses.*no.moon"
        assert re.search(line, printed, re.M), name
    assert " skipped" not in printed.splitlines()[-1]
    assert " 1 xfailed" in printed.splitlines()[-1]


def test_a_skip_is_a_skip_elsewhere(tmp_path: Path) -> None:
    printed = run_pytest(tmp_path, "")
    assert f" {len(SKIPS)} skipped, 1 xfailed" in printed.splitlines()[-1]


INTERRUPTED = """
import os, signal, subprocess, sys
def test_it():
    child = subprocess.Popen(["sleep", "60"])
    child.send_signal(signal.SIGINT)
    assert child.wait(20) == -signal.SIGINT
"""


def test_interrupts_are_heeded_in_a_background_process(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).parents[1] / "conftest.py", tmp_path)
    (tmp_path / "test_it.py").write_text(INTERRUPTED)
    pytest_of_it = f"{sys.executable} -m pytest -q -p no:cacheprovider -c {os.devnull} test_it.py"
    done = subprocess.run(
        ["sh", "-c", f"trap '' INT HUP QUIT; exec {pytest_of_it}"],
        cwd=tmp_path,
        env={**os.environ, "CI": "", "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
