"""Settings of the whole suite: steady property tests, signals as in a foreground process, and no
skipped test on CI."""

from __future__ import annotations

import functools
import gc
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator
from itertools import chain, groupby
from pathlib import Path

import pytest
from hypothesis import settings

# The suite's own helpers assert too, and are to show values as test files do.
pytest.register_assert_rewrite(
    "parallel_task_orchestrator.conformance",
    "tests.conformance.scheduled_run",
    "tests.live.mistakes",
    "tests.live.remote_cluster",
)

# Most runs of the suite are not about their project's checks, which take seconds.
os.environ["ORCHESTRATOR_VERIFY"] = "false"

# Traces of runs in tests go nowhere, whatever the surroundings say.
for _name in [name for name in os.environ if name.startswith("OTEL_")]:
    del os.environ[_name]

ON_CI = os.environ.get("CI") == "true"
SERVICES = (
    "docker_engine",
    "moto",
    "slurm",
    "sshd",
    "bubblewrap",
    "browser",
    "registries",
    "shells",
)
LIVE = Path(__file__).parent / "live"
NOT_UNIT = (*SERVICES, "claude_code", "wheel", "slow")

# A busy machine must not fail a property by its clock, nor CI by another draw than the author's.
settings.register_profile("suite", deadline=None, derandomize=ON_CI)
settings.load_profile("suite")


def _heed_signals() -> None:
    """`nohup make test &` makes all processes below ignore these; tests send them."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_IGN:
            interrupt = number == signal.SIGINT
            signal.signal(number, signal.default_int_handler if interrupt else signal.SIG_DFL)


_heed_signals()


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


collect_ignore = ["engine/verification/projects"]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Where live tests are wanted, files without any are not even imported, by each worker."""
    wanted = config.option.markexpr.startswith("not unit")
    if not wanted or not collection_path.match("test_*.py"):
        return None
    text = collection_path.read_text(encoding="utf-8")
    return None if any(f"mark.{name}" in text for name in NOT_UNIT) else True


def pytest_itemcollected(item: pytest.Item) -> None:
    if not any(map(item.get_closest_marker, NOT_UNIT)):
        item.add_marker("unit")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Whole runs on services take longest, so each worker begins with its share of their files:
    xdist hands out equal parts of this order, and what is left over at the end is short."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers == 1 or not config.option.markexpr.startswith("not unit"):
        return
    whole_runs = [item for item in items if LIVE in item.path.parents]
    files = [list(group) for _, group in groupby(whole_runs, key=lambda item: item.path)]
    others = [item for item in items if LIVE not in item.path.parents]
    size = len(items) // workers
    ordered: list[pytest.Item] = []
    for worker in range(workers):
        share = list(chain.from_iterable(files[worker::workers]))
        left = max(size - len(share), 0)
        ordered += [*share, *others[:left]]
        del others[:left]
    items[:] = [*ordered, *others]


def pytest_collection_finish() -> None:
    """Thousands of tests stay to the end; going through them took garbage collections a fifth of
    the time."""
    gc.collect()
    gc.freeze()
    if "botocore.session" in sys.modules:
        _share_descriptions_of_aws()


def _share_descriptions_of_aws() -> None:
    """Each session of boto3 reads those of its services anew, which takes most of its time."""
    from botocore import session

    loader = session.create_loader()
    session.create_loader = lambda *_: loader


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """A third of the time of unit tests is waiting, so that two cores carry three of them, and five
    live ones."""
    cores = os.cpu_count() or 1
    return cores + 1 if config.option.markexpr == "unit" else max(cores, 5)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in SERVICES:
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
