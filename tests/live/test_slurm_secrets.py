"""A canary in place of the key, looked for wherever a cluster keeps or shows things.

The provider holds its first answer back, so that all is looked at while the worker has its key.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.job import Outcome
from tests.live.slurm_clusters import OwnCluster, cluster_of_its_own
from tests.live.slurm_run import KEY, SlurmRun, held_run

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

CANARY = KEY.anthropic_api_key
HELD = "credentials.json"


@pytest.fixture(scope="module")
def own() -> Iterator[OwnCluster]:
    with cluster_of_its_own() as cluster:
        yield cluster


def files_of(*roots: Path) -> list[Path]:
    return [path for root in roots for path in root.rglob("*") if path.is_file()]


def holding(paths: list[Path]) -> list[Path]:
    return [path for path in paths if CANARY.encode() in path.read_bytes()]


def shown(cluster: OwnCluster, job: str) -> str:
    """All that Slurm tells of a job, its script included."""
    return "\n".join(
        [
            cluster.run("scontrol", "show", "job", "-d", job),
            cluster.run("scontrol", "write", "batch_script", job, "-"),
            cluster.run("squeue", "-t", "all", "-O", "Name:,Comment:,Command:,WorkDir:,STDOUT:"),
        ]
    )


def command_lines() -> str:
    """Of all processes of the machine."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            found.append((process / "cmdline").read_bytes().decode(errors="replace"))
        except OSError:
            continue
    return "\n".join(found)


def check_cluster(live: SlurmRun, cluster: OwnCluster, job: str) -> None:
    output = shown(cluster, job)
    assert f"orchestrator-{live.run.run_id}" in output
    assert "batch_executor.py" in output
    assert CANARY not in output
    kept = files_of(cluster.place)
    assert [path for path in kept if path.name == "slurmctld.log"]
    assert holding(kept) == []


def test_a_workers_key_shows_nowhere_but_in_its_own_file(own: OwnCluster, tmp_path: Path) -> None:
    with held_run(tmp_path, own) as (live, api):
        [handle] = live.submit("fast")
        live.eventually(lambda: bool(api.asked), "the first request")
        assert CANARY in json.dumps(dict(api.asked[0].headers)), "it was not used at all"
        check_cluster(live, own, handle.native_id)
        kept = {path.name for path in files_of(own.place)}
        assert {"script", "environment", "slurm_script"} <= kept, "the search saw no job's files"
        lines = command_lines()
        assert "batch_executor.py" in lines
        assert CANARY not in lines
        [file] = holding(files_of(live.run.root))
        assert file == live.run.root / "slurm" / HELD
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert holding(files_of(tmp_path)) == [file]

        api.released.set()
        live.wait_ended(handle)
        assert live.result(handle).outcome is Outcome.OK
        live.backend.cleanup(live.run.run_id)
        assert holding(files_of(tmp_path)) == []
        check_cluster(live, own, handle.native_id)
        assert [text for text in live.said if CANARY in text] == []
