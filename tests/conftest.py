"""Settings of the whole suite: steady property tests, and no skipped test on CI."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

# The suite's own helpers assert too, and are to show values as test files do.
pytest.register_assert_rewrite(
    "tests.conformance.suite",
    "tests.conformance.lifecycle",
    "tests.conformance.live_run",
    "tests.live.remote_cluster",
)

ON_CI = os.environ.get("CI") == "true"

# A busy machine must not fail a property by its clock, nor CI by another draw than the author's.
settings.register_profile("suite", deadline=None, derandomize=ON_CI)
settings.load_profile("suite")


@functools.cache
def _missing_engine() -> str:
    """Why tests on a Docker Engine cannot run here; empty when they can."""
    if shutil.which("docker") is None:
        return "there is no docker command; tests/services/docker_engine.sh starts an engine"
    done = subprocess.run(["docker", "version"], capture_output=True, timeout=60)
    return "" if done.returncode == 0 else "no Docker Engine answers; docker_engine.sh starts one"


@functools.cache
def _missing_service(name: str) -> str:
    """Why tests on what tests/services/<name>.sh starts cannot run here; empty when they can."""
    script = Path(__file__).parent / "services" / f"{name}.sh"
    done = subprocess.run([script, "ready"], capture_output=True, text=True, timeout=60)
    return "" if done.returncode == 0 else done.stderr.strip()


def _missing(marker: str) -> str:
    return _missing_engine() if marker == "docker_engine" else _missing_service(marker)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in ("docker_engine", "moto", "slurm", "sshd"):
        if item.get_closest_marker(marker) and (reason := _missing(marker)):
            pytest.skip(reason)


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure that gives the skip's reason."""
    expected_to_fail = hasattr(report, "wasxfail")
    if ON_CI and report.skipped and not expected_to_fail:
        told = report.longrepr
        reason = told[2] if isinstance(told, tuple) else str(told)
        report.outcome = "failed"
        report.longrepr = f"Skipped, which CI refuses: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse_skip(report)
    return report
