"""A run on the AWS that is in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from parallel_task_orchestrator.conformance.live_run import LiveRun
from tests.fakes.aws import FakeAws
from tests.fakes.batch_run import NoWaiting, batch_run


@pytest.fixture
def aws() -> FakeAws:
    return FakeAws()


@pytest.fixture
def clock() -> NoWaiting:
    return NoWaiting()


@pytest.fixture
def live(tmp_path: Path, aws: FakeAws, clock: NoWaiting) -> Iterator[LiveRun]:
    with batch_run(tmp_path, aws, clock=clock) as made:
        yield made
