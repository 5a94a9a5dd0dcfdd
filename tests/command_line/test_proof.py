"""What a run says of the project that it has delivered, and its exit code."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest

import orchestrator

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("verified_here")]


def orchestrate(*args: str) -> int:
    return orchestrator.main([*args, "--sim-speed", "0"])


def test_a_project_that_passes_is_told_as_proven(capsys: pytest.CaptureFixture[str]) -> None:
    assert orchestrate("a script that counts words", "--output-dir", "out") == 0
    told = capsys.readouterr().out
    assert "  checks    1 of 1 passed, without a sandbox\n" in told
    assert sorted(p.name for p in Path("out").iterdir()) == ["README.md", "tests", "word_count.py"]
    (stored,) = Path(".orchestrator/runs").glob("*/provenance.json")
    provenance = json.loads(stored.read_text())
    for file in provenance["files"]:
        assert file["sha256"] == sha256(Path("out", file["path"]).read_bytes()).hexdigest()
        assert [check["state"] for check in file["checks"]] == ["passed"]
    assert provenance["version"] == 1
    (origin,) = {json.dumps(file["origin"]) for file in provenance["files"]}
    made = json.loads(origin)
    assert (made["task"], made["attempt"], made["models"]) == ("build", 1, ["claude-sonnet-5-5"])
    assert len(made["prompts"]) == 12
    shares = sum(file["cost_share_usd"] for file in provenance["files"])
    assert made["cost_usd"] == pytest.approx(shares, abs=1e-5)
    assert shares > 0


def test_verification_can_be_left_out_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert orchestrate("a script that counts words", "--no-verify") == 0
    assert "  checks    not run: --no-verify\n" in capsys.readouterr().out


def test_what_was_left_out_can_be_proven_later(capsys: pytest.CaptureFixture[str]) -> None:
    assert orchestrate("a script that counts words", "--no-verify", "--output-dir", "out") == 0
    (run,) = Path(".orchestrator/runs").glob("2*")
    capsys.readouterr()
    assert orchestrate("resume", run.name) == 0
    assert "  checks    not run: --no-verify\n" in capsys.readouterr().out
    assert orchestrate("resume", run.name, "--verify") == 0
    assert "  checks    1 of 1 passed, without a sandbox\n" in capsys.readouterr().out


def test_a_tool_that_is_not_here_is_told_before_the_first_task(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("engine.planning.lacking_tools.lacking_tools", lambda *_: "go is not here")
    assert orchestrate("plan", "a script that counts words") == 0
    assert capsys.readouterr().err.endswith("go is not here\n")
    monkeypatch.setattr("engine.pipeline.lacking_tools", lambda *_: "go is not here")
    assert orchestrate("a script that counts words", "--output-dir", "out") == 0
    told = capsys.readouterr().out
    assert 0 < told.index("note: go is not here") < told.index(": started\n")


def test_placeholders_of_a_simulation_are_not_checked(capsys: pytest.CaptureFixture[str]) -> None:
    task = {"id": "a", "instructions": "Do it.", "owns": ["a.py"], "checks": ["false"]}
    Path("plan.json").write_text(json.dumps({"tasks": [task]}))
    assert orchestrate("Build it", "--plan", "plan.json") == 0
    assert "not run: the files are a simulation's placeholders" in capsys.readouterr().out


def test_files_that_a_plan_brings_are_not_taken_for_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A plan of somebody else must not run code of its own because its commands look like ours."""
    planted = f"open({str(tmp_path / 'planted')!r}, 'w').close()\n"
    check = "python3 -m unittest discover -s tests -t ."
    task = {"id": "a", "instructions": "Do it.", "owns": ["a.py"], "checks": [check]}
    contract = {"path": "tests/__init__.py", "content": planted}
    Path("plan.json").write_text(json.dumps({"tasks": [task], "contracts": [contract]}))
    assert orchestrate("Build it", "--plan", "plan.json", "--output-dir", "out") == 0
    assert "not run: the files are a simulation's placeholders" in capsys.readouterr().out
    assert not (tmp_path / "planted").exists()
