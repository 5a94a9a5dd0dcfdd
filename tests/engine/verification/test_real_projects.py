"""Two projects with dependencies, installed from the registries and checked in a sandbox."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from core.bundle import build_manifest
from core.check_request import Check, CheckRequest
from core.checks.sandbox import Bubblewrap, find_bubblewrap
from core.checks.toolchain import programs_of
from core.clock import SystemClock
from core.events import CheckBegun, CheckEnded, Proof
from core.plan import Setup
from engine.delivery.merge import MergeSource, plan_merge
from engine.verification.verify import HostRunner

pytestmark = [
    pytest.mark.bubblewrap,
    pytest.mark.registries,
    pytest.mark.timeout(300),  # a compiler and two downloads beside other live tests
]

PROJECTS = Path(__file__).parent / "projects"
NODE = CheckRequest(
    Setup(
        tools=("Node.js 20", "npm"),
        install=("npm ci",),
        network="npm ci fetches packages",
        start="npm start",
    ),
    (Check("npm run typecheck"), Check("npm run build"), Check("npm test")),
)
PYTHON = CheckRequest(
    Setup(
        tools=("Python 3.11",),
        install=("pip install -e '.[test]'",),
        network="pip fetches packages",
        start="stock",
    ),
    (Check("python3 -m pytest -q"), Check("stock | grep -qx 'apples = 3'")),
)


@pytest.mark.parametrize(
    ("name", "request_"), [("node", NODE), ("python", PYTHON)], ids=["node", "python"]
)
def test_a_real_project_is_installed_checked_and_started(
    tmp_path: Path, name: str, request_: CheckRequest
) -> None:
    sandbox = find_bubblewrap(programs_of(request_.setup.tools))
    assert isinstance(sandbox, Bubblewrap), sandbox
    shutil.copytree(PROJECTS / name, tmp_path / "source")
    merged = plan_merge(
        [MergeSource("a", tmp_path / "source", build_manifest(tmp_path / "source"))]
    )
    ended: list[CheckEnded] = []

    def tell(data: CheckBegun | CheckEnded) -> None:
        if isinstance(data, CheckEnded):
            ended.append(data)

    HostRunner(sandbox, tmp_path / "root", SystemClock()).run(request_, merged, tell)
    told = [(end.phase, end.state, end.reason, end.output, end.seconds) for end in ended]
    assert {state for _, state, *_ in told} == {Proof.PASSED}, told
    phases = ["install", *["check"] * len(request_.checks), "start"]
    assert [phase for phase, *_ in told] == phases
