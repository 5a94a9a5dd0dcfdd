"""The helper on the Pythons and in the locales that head nodes have, the oldest as well."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from backends.parallelcluster.head_node.streams import ChunkReader
from backends.parallelcluster.head_node_archive import pack_helper
from backends.parallelcluster.rpc import read_answer
from backends.parallelcluster.upload import packed_upload
from backends.slurm.host import UploadFile

MARKER = "a-mark"
OLDEST, NEWEST = 6, sys.version_info.minor
ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
"""What makes any Python as that of 3.6 is in the C locale: file names are ASCII."""
ODD = os.fsdecode(b"odd-\xff")


def pythons() -> Iterator[str]:
    """This one, and each of another version that is installed here."""
    yield sys.executable
    installed = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    for minor in range(OLDEST, NEWEST):
        places = [*installed.glob(f"3.{minor}.*/bin/python3"), Path(f"/usr/bin/python3.{minor}")]
        yield from (str(path) for path in places[:1] if path.exists())


def version(python: str) -> str:
    output = subprocess.run([python, "--version"], capture_output=True, text=True, check=True)
    return output.stdout.split()[-1]


class HeadNode:
    """The helper by one Python, with a shared directory whose name is not ASCII."""

    def __init__(self, python: str, root: Path, environ: Mapping[str, str]) -> None:
        self.root, self.run_dir = root / "gemeinsam-ü", root / "gemeinsam-ü" / "runs" / "r-1"
        self.here = root / "here" / "runs" / "r"
        for path in (self.root, self.here):
            path.mkdir(parents=True)
        self.progress: list[int] = []
        self._python, self._helper = python, self.root / "head_node.pyz"
        self._helper.write_bytes(pack_helper())
        self._environ = {"PATH": os.environ["PATH"], "HOME": str(root), **environ}

    def ask(self, op: str, payload: bytes = b"", **more: Any) -> tuple[dict[str, Any], bytes]:
        """Its answer, and what it streams after it."""
        common = {
            "heartbeat_s": 0.1,
            "root": str(self.root),
            "code": "code-1",
            "run_dir": str(self.run_dir),
        }
        request = json.dumps({"op": op, **common, **more}).encode()
        done = subprocess.run(
            [self._python, str(self._helper), MARKER],
            input=request + b"\n" + payload,
            capture_output=True,
            env=self._environ,
        )
        assert (done.returncode, done.stderr) == (0, b"")
        printed = io.BytesIO(done.stdout)
        self.progress = []
        return read_answer(printed, MARKER, self.progress.append), printed.read()

    def fake_aws(self, script: str) -> None:
        place = self.root.parent / "bin"
        place.mkdir()
        (place / "aws").write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (place / "aws").chmod(0o755)
        self._environ["PATH"] = f"{place}:{self._environ['PATH']}"

    def hand_over(self, *command: str, files: list[UploadFile], url: str = "") -> dict[str, Any]:
        source = self.here / "source"
        (source / "core").mkdir(parents=True, exist_ok=True)
        (source / "core" / "job.py").write_text("x = 1\n")
        with packed_upload(self.here, files, (), "mine: ü", source) as stream:
            data = stream.read()
        fields = {
            "command": command,
            "once": "slurm/a",
            "has_upload": True,
            "url": url,
            "stdin": "ü",
        }
        payload = b"%08x" % len(data) + data + b"%08x" % 0
        return self.ask("run", payload, variables=["PATH"], **fields)[0]


PYTHONS = [pytest.param((python, ASCII), id=f"{version(python)}, C locale") for python in pythons()]


@pytest.fixture(params=[*PYTHONS, pytest.param((sys.executable, {}), id="no locale")])
def head_node(request: pytest.FixtureRequest, tmp_path: Path) -> HeadNode:
    python, environ = request.param
    return HeadNode(python, tmp_path, environ)


def test_names_that_are_not_ascii_pass_through_as_they_are(head_node: HeadNode) -> None:
    name = f"slurm/a/größe-{ODD}"
    command = ("sh", "-c", 'cat; cat "$1"', "sh", str(head_node.run_dir / name))
    answer = head_node.hand_over(*command, files=[UploadFile(name, b" and content")])
    assert answer == {"exit_code": 0, "stdout": "ü and content", "stderr": ""}
    greeting: dict[str, Any] = {"run": "r-1", "commands": ["sh", "no-such"], "packages": ["json"]}
    answer, _ = head_node.ask("info", **{**greeting, "root": "~/gemeinsam-ü"})
    assert (answer["root"], answer["has_code"]) == (str(head_node.root), True)
    assert answer["missing_commands"] == ["no-such"]
    assert head_node.ask("runs")[0] == {"runs": {"r-1": "mine: ü"}}


def test_what_is_left_under_any_name_is_fetched_and_removed(head_node: HeadNode) -> None:
    result = head_node.run_dir / "tasks" / "a" / "1" / "result"
    (result / "files" / "tür").mkdir(parents=True)
    (result / "files" / "tür" / ODD).write_bytes(b"1")
    (result / "events.jsonl").write_text('{"ü"}\n', encoding="utf-8")
    attempts = {"tasks/a/1": 0}
    answer, _ = head_node.ask("poll", command=[], attempts=attempts)
    assert answer["traces"]["tasks/a/1"] == [False, False, '{"ü"}\n']
    answer, _ = head_node.ask("tails", paths=[f"tasks/a/1/result/files/tür/{ODD}"], max_bytes=9)
    assert list(answer["tails"].values()) == ["1"]
    answer, data = head_node.ask("fetch", attempts=list(attempts))
    plain = gzip.decompress(ChunkReader(io.BytesIO(data)).read())
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        assert f"0/files/tür/{ODD}" in tar.getnames()
    assert head_node.ask("remove", paths=["tasks/a/1/result/files/tür"])[0] == {}
    assert not (result / "files" / "tür").exists()
    assert head_node.ask("remove_runs", names=["r-1"])[0] == {}
    assert list((head_node.root / "runs").iterdir()) == []


def test_a_slow_transfer_is_reported_of_and_a_cleanup_is_the_end(head_node: HeadNode) -> None:
    store = head_node.root.parent / "object"
    head_node.fake_aws(f'sleep 0.3; [ "$4" = - ] && exec cat >{store}; exec cat {store}')
    with packed_upload(head_node.here, [UploadFile("slurm/a/y", b"y")], (), "mine", None) as stream:
        store.write_bytes(stream.read())
    files = [UploadFile("slurm/a/x", b"x")]
    answer = head_node.hand_over("cat", files=files, url="s3://b/k")
    assert answer["stdout"] == "ü"
    assert (head_node.run_dir / "slurm" / "a" / "y").read_text() == "y"
    assert head_node.progress[0] == 0
    (head_node.run_dir / "tasks" / "a" / "1" / "result").mkdir(parents=True)
    assert head_node.ask("store", attempts=["tasks/a/1"], url="s3://b/k")[0] == {}
    with tarfile.open(store) as tar:
        assert tar.getnames() == ["0"]
    (head_node.root / "runs" / ".gone-r-0-1").mkdir()
    assert head_node.ask("remove_runs", names=["r-1"])[0] == {}
    assert list((head_node.root / "runs").iterdir()) == []
    assert head_node.hand_over("cat", files=files)["error"] == "the run was cleaned up"
    assert list((head_node.root / "runs").iterdir()) == []


def test_what_is_damaged_is_reported(head_node: HeadNode) -> None:
    answer, _ = head_node.ask("run", b"-0000001", once="", has_upload=True, url="", command=[])
    assert answer["error"].startswith("DamagedStream: ")
    data = gzip.compress(b"no tar")
    payload = b"%08x" % len(data) + data + b"%08x" % 0
    answer, _ = head_node.ask("run", payload, once="", has_upload=True, url="", command=[])
    assert answer["error"].startswith("ReadError: ")
