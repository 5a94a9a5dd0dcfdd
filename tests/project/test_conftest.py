"""On CI a skipped test is a failure; elsewhere it is a skip."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SKIPS = {
    "decorated": "import pytest\n@pytest.mark.skip(reason='no moon')\ndef test_it(): pass\n",
    "called": "import pytest\ndef test_it(): pytest.skip('no moon')\n",
    "fixture": "import pytest\n@pytest.fixture\ndef f(): pytest.skip('no moon')\n"
    "def test_it(f): pass\n",
    "module": "import pytest\npytest.skip('no moon', allow_module_level=True)\n",
    "absent": "import pytest\npytest.importorskip('no_moon', exc_type=ImportError)\n",
}


def run_pytest(where: Path, test: str, ci: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(Path(__file__).parents[1] / "conftest.py", where)
    (where / "test_it.py").write_text(test)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull]
    environ = {**os.environ, "CI": ci, "PYTEST_ADDOPTS": "", "COVERAGE_PROCESS_START": ""}
    return subprocess.run(
        [*command, "--rootdir", str(where), str(where)],
        cwd=where,
        env=environ,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("how", SKIPS)
def test_a_skip_fails_on_ci_and_gives_its_reason(tmp_path: Path, how: str) -> None:
    done = run_pytest(tmp_path, SKIPS[how], "true")
    assert done.returncode != 0
    assert "which CI refuses" in done.stdout
    assert "moon" in done.stdout


def test_a_skip_is_a_skip_elsewhere(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, SKIPS["called"], "")
    assert done.returncode == 0
    assert "1 skipped" in done.stdout


def test_an_expected_failure_is_no_skip(tmp_path: Path) -> None:
    body = "import pytest\n@pytest.mark.xfail(reason='known')\ndef test_it(): assert False\n"
    assert "1 xfailed" in run_pytest(tmp_path, body, "true").stdout
