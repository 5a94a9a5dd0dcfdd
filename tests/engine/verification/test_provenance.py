"""Where files come from, without the attempts that wrote them; a whole run is in
tests/command_line/test_proof.py."""

from __future__ import annotations

import json
from pathlib import Path

from core.bundle import build_manifest
from core.events import CONTRACTS, CheckEnded, Proof
from core.plan import Contract, Plan, Task
from engine.delivery.merge import MergeSource, plan_merge
from engine.verification.provenance import write_provenance
from engine.verification.repairs.repair import Proven
from engine.verification.verify import Report
from tests.engine.verification.conftest import Project

PLAN = Plan(
    tasks=(
        Task(id="a", instructions="i", owns=("a.py", "compose.yaml"), uses=("c.py",)),
        Task(id="b", instructions="i", owns=("b.py",)),
    ),
    contracts=(Contract(path="c.py", content=""),),
)
ENDED = (
    CheckEnded("install", "pip install .", (), Proof.PASSED),
    CheckEnded("check", "test a", ("a",), Proof.PASSED),
    CheckEnded("check", "test b", ("b",), Proof.FAILED),
    CheckEnded("config", "compose.yaml", ("a",), Proof.NOT_PROVEN),
)


def test_a_file_has_its_origin_and_the_checks_about_its_task(
    project: Project, tmp_path: Path
) -> None:
    sources = []
    for owner, *paths in ((CONTRACTS, "c.py"), ("a", "a.py", "compose.yaml"), ("repair-1", "b.py")):
        root = tmp_path / owner
        root.mkdir()
        for path in paths:
            root.joinpath(path).touch()
        sources.append(MergeSource(owner, root, build_manifest(root)))
    proven = Proven(plan_merge(sources), Report(ENDED))
    write_provenance(project.session, PLAN, proven, lambda _: 1.0)
    stored = json.loads(project.session.run.provenance.read_text())
    files = {file["path"]: file for file in stored["files"]}
    assert {path: file["origin"]["task"] for path, file in files.items()} == {
        "a.py": "a",
        "b.py": "repair-1",
        "c.py": CONTRACTS,
        "compose.yaml": "a",
    }
    assert {path: [c["command"] for c in file["checks"]] for path, file in files.items()} == {
        "a.py": ["pip install .", "test a"],
        "b.py": ["pip install .", "test b"],
        "c.py": ["pip install .", "test a"],
        "compose.yaml": ["pip install .", "test a", "compose.yaml"],
    }
    assert files["b.py"]["checks"][1]["state"] == "failed"
