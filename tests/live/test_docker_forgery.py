"""A model in a container that ends its own worker, or gives one file two names."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.bundle import Limits
from core.errors import CollectError
from core.job import JobState, Outcome
from tests.fakes.plans import make_plan
from tests.fakes.scripted_model import KEYS, model_that, run, write
from tests.live.docker_run import docker_run

pytestmark = [pytest.mark.docker_engine, pytest.mark.slow]
ON_LOOPBACK = {"docker_network": "host", "real": True}
FORGERY = """
import hashlib, json, os, signal
os.chdir("/job/bundle/result")
os.makedirs("files/fast")
with open("files/fast/a.py", "w") as file:
    file.write("A = 1")
entry = {"path": "fast/a.py", "size": 5, "mode": 0o644}
entry["sha256"] = hashlib.sha256(b"A = 1").hexdigest()
key = json.load(open("../request/task.json"))["key"]
with open("result.json", "w") as file:
    json.dump({"key": key, "outcome": "OK", "manifest": {"entries": [entry]}}, file)
for name in os.listdir("/proc"):
    if name.isdigit() and int(name) not in (1, os.getpid()):
        try:
            os.kill(int(name), signal.SIGKILL)
        except OSError:
            pass
"""


def test_a_result_that_was_written_for_a_worker_that_was_killed_is_none(tmp_path: Path) -> None:
    steps = (write("fast/forge.py", FORGERY), run("python fast/forge.py"))
    with (
        model_that(*steps) as (model, _),
        docker_run(
            tmp_path,
            options=ON_LOOPBACK,
            model=model,
            credentials=KEYS,
            plan=make_plan({"fast": []}),
        ) as live,
    ):
        [handle] = live.submit("fast")
        [status] = live.wait_ended(handle)
        assert (status.state, status.exit_code) == (JobState.FAILED, 137)
        assert isinstance(live.collect(handle), CollectError)
        assert not live.attempt("fast").result_json.exists()


def test_hard_links_come_back_as_files(tmp_path: Path) -> None:
    steps = (write("fast/a.py", "A = 1\n"), run("ln fast/a.py fast/b.py"))
    with (
        model_that(*steps) as (model, _),
        docker_run(
            tmp_path,
            options=ON_LOOPBACK,
            model=model,
            credentials=KEYS,
            plan=make_plan({"fast": []}),
            limits=Limits(max_corrections=1),
        ) as live,
    ):
        result = live.finish("fast")
        assert (result.outcome, result.message) == (Outcome.OK, "It is done.")
        assert [entry.path for entry in result.manifest.entries] == ["fast/a.py", "fast/b.py"]
