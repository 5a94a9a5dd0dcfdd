"""The helper on the head node, as a process with pipes: what it does, and what it does not."""

from __future__ import annotations

import ast
import atexit
import errno
import gzip
import io
import json
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import threading
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backends.parallelcluster.head_node import files, methods
from backends.parallelcluster.head_node.files import PaddedReader
from backends.parallelcluster.head_node.server import main
from backends.parallelcluster.head_node.streams import ChunkReader, DamagedStream, TruncatedStream
from backends.parallelcluster.head_node_archive import SOURCES, pack_helper
from backends.parallelcluster.rpc import read_answer
from backends.parallelcluster.upload import packed_upload
from backends.slurm.host import UploadFile

MARKER = "a-mark"
FILES = sorted(SOURCES.glob("*.py"))
ROOMS = ("backends", "claude", "core", "engine")
# Names that Python 3.6 lacks, and that are easily written.
NEWER = {"capture_output", "text", "missing_ok", "removeprefix", "removesuffix", "filter"}


@cache
def helper() -> Path:
    """As it lies on a head node."""
    place = tempfile.TemporaryDirectory()
    atexit.register(place.cleanup)
    path = Path(place.name) / "head_node.pyz"
    path.write_bytes(pack_helper())
    return path


def chunked(data: bytes, *, whole: bool = True) -> bytes:
    end = b"%08x" % 0 if whole else b""
    return b"%08x" % len(data) + data + end


def call(
    request: dict[str, Any], payload: bytes = b"", feed_from: Path | None = None, **environ: str
) -> subprocess.Popen[bytes]:
    """Its input goes on with what comes through the pipe `feed_from`."""
    process = subprocess.Popen(
        [sys.executable, "-I", str(helper()), MARKER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PATH": os.environ["PATH"], **environ},
    )
    assert process.stdin is not None
    stdin = process.stdin
    stdin.write(json.dumps(request).encode() + b"\n" + payload)
    stdin.flush()

    def feed() -> None:
        if feed_from is not None:
            stdin.write(feed_from.read_bytes())
        stdin.close()

    threading.Thread(target=feed).start()
    return process


def ask(request: dict[str, Any], payload: bytes = b"", **environ: str) -> dict[str, Any]:
    """Within this process, so that it is seen which lines ran."""
    code, printed = served(json.dumps(request).encode() + b"\n" + payload, **environ)
    assert code == 0
    return read_answer(io.BytesIO(printed), MARKER)


def served(request: bytes, **environ: str) -> tuple[int, bytes]:
    """Its exit code and what it printed."""
    out, before = io.BytesIO(), os.umask(0o022)
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name in set(os.environ) - {"PATH"}:
                patch.delenv(name)
            for name, value in environ.items():
                patch.setenv(name, value)
            patch.setenv("PATH", os.environ["PATH"])
            return main(["head_node.py", MARKER], io.BytesIO(request), out), out.getvalue()
    finally:
        os.umask(before)


def ask_a_process(request: dict[str, Any]) -> dict[str, Any]:
    with call(request) as process:
        assert process.stdout is not None
        return read_answer(process.stdout, MARKER)


class Place:
    """A shared directory with one run, and requests about it."""

    def __init__(self, root: Path) -> None:
        self.root, self.run_dir = root / "shared", root / "shared" / "runs" / "r-1"
        self.here = root / "here" / "runs" / "r"
        self.here.mkdir(parents=True)
        self.common = {"root": str(self.root), "code": "code-1", "run_dir": str(self.run_dir)}

    def command(self, *command: str, **more: Any) -> dict[str, Any]:
        request = {**self.common, "op": "run", "command": command, "once": "", "has_upload": False}
        return {**request, "variables": ["PATH", "SLURM_CONF"], "stdin": "", "url": "", **more}

    def upload(self, files: Sequence[UploadFile], source: Path | None = None) -> bytes:
        with packed_upload(self.here, files, (), "mine", source) as stream:
            return stream.read()

    def source(self) -> Path:
        source = self.here / "source"
        (source / "core").mkdir(parents=True)
        (source / "core" / "job.py").write_text("x = 1\n")
        return source


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "shared").mkdir()
    return Place(tmp_path)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_an_old_python_can_read_it(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 6))
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names |= {node.arg or "" for node in ast.walk(tree) if isinstance(node, ast.keyword)}
    assert names & NEWER == set()
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    modules = {node.module or "" for node in imports}
    assert "__future__" not in modules
    ours = {name for name in modules if name.partition(".")[0] in ROOMS}
    assert all(f"{name}.".startswith("backends.parallelcluster.head_node.") for name in ours), (
        "it travels alone"
    )


def test_the_same_sources_make_the_same_archive(tmp_path: Path) -> None:
    """Also in another checkout, whose files are of another time."""
    script = (
        "import sys; from backends.parallelcluster.head_node_archive import pack_helper;"
        " sys.stdout.buffer.write(pack_helper())"
    )
    folder = tmp_path / "backends" / "parallelcluster"
    shutil.copytree(SOURCES, folder / "head_node")
    shutil.copy(SOURCES.with_name("head_node_archive.py"), folder)
    for package in (folder.parent, folder):
        (package / "__init__.py").touch()
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, stdout=subprocess.PIPE)
    assert done.stdout == pack_helper()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_annotations_need_nothing_that_is_newer(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
            assert node.value.id not in ("dict", "list", "tuple", "set"), ast.unparse(node)


def test_it_says_what_is_here(place: Place, tmp_path: Path) -> None:
    greeting = {
        "op": "info",
        "run": "r-1",
        "root": "~/x",
        "code": "c",
        "commands": ["sh", "no-such"],
    }
    answer = ask({**greeting, "packages": ["json", "no_such"]}, HOME=str(tmp_path))
    assert answer["root"] == f"{tmp_path}/x"
    assert (answer["missing_commands"], answer["missing_packages"]) == (["no-such"], ["no_such"])
    assert answer["python"] == list(sys.version_info[:3])
    assert answer["has_code"] is False
    assert not (tmp_path / "x").exists()


def test_commands_get_an_environment_that_is_allowed(place: Place) -> None:
    answer = ask(place.command("env"), SLURM_CONF="/c", ANTHROPIC_API_KEY="k", SBATCH_X="1")
    lines = set(answer["stdout"].splitlines())
    assert {"SLURM_CONF=/c", "LC_ALL=C"} <= lines
    assert not [line for line in lines if line.startswith(("ANTHROPIC", "SBATCH"))]
    assert any(line.startswith("PATH=") and line.endswith(":/opt/slurm/bin") for line in lines)


def test_what_a_command_comes_to_is_reported(place: Place) -> None:
    answer = ask(place.command("sh", "-c", "cat; echo no >&2; exit 3", stdin="yes"))
    assert answer == {"exit_code": 3, "stdout": "yes", "stderr": "no\n"}


def test_a_command_that_is_not_there_is_reported(place: Place) -> None:
    assert "no-such-command could not be started" in ask(place.command("no-such-command"))["error"]


def test_a_upload_is_laid_down_before_the_command_runs(place: Place) -> None:
    files = [
        UploadFile("slurm/a/job.sh", b"#!/bin/sh\necho hello\n", 0o755),
        UploadFile("slurm/credentials.json", b"secret", 0o600),
    ]
    script = str(place.run_dir / "slurm/a/job.sh")
    payload = chunked(place.upload(files, place.source()))
    answer = ask(place.command(script, has_upload=True), payload)
    assert answer["stdout"] == "hello\n"
    assert (place.root / "code-1/core/job.py").read_text() == "x = 1\n"
    held = place.run_dir / "slurm/credentials.json"
    assert stat.S_IMODE(held.stat().st_mode) == 0o600
    assert stat.S_IMODE(place.run_dir.stat().st_mode) == 0o700
    assert sorted(p.name for p in place.root.iterdir()) == ["code-1", "runs", "tombstones"]


def test_code_that_is_not_there_is_wanted_and_nothing_runs(place: Place) -> None:
    payload = chunked(place.upload([]))
    answer = ask(place.command("touch", str(place.root / "ran"), has_upload=True), payload)
    assert answer == {"missing_code": "code-1"}
    assert not (place.root / "ran").exists()


@pytest.mark.parametrize("share", [0.5, 0.99])
def test_a_upload_that_is_cut_starts_nothing(place: Place, share: float) -> None:
    (place.root / "code-1").mkdir()
    whole = chunked(place.upload([UploadFile("a", os.urandom(200_000))]), whole=False)
    request = place.command("touch", str(place.root / "ran"), has_upload=True)
    for part in (whole[: int(len(whole) * share)], whole):  # the second lacks its end only
        assert served(json.dumps(request).encode() + b"\n" + part) == (1, b"")
        assert not (place.root / "ran").exists()


def test_a_command_with_a_name_runs_once(place: Place) -> None:
    count = place.root / "count"
    request = place.command("sh", "-c", f"echo x >> {count}; echo 42", once="slurm/a")
    assert [ask(request)["stdout"] for _ in range(3)] == ["42\n"] * 3
    assert count.read_text() == "x\n"


def test_a_command_with_a_name_that_failed_may_run_again(place: Place) -> None:
    count = place.root / "count"
    request = place.command("sh", "-c", f"echo x >> {count}; exit 1", once="slurm/a")
    assert [ask(request)["exit_code"] for _ in range(2)] == [1, 1]
    assert count.read_text() == "x\nx\n"


def test_of_two_at_once_the_second_gets_the_answer_of_the_first(place: Place) -> None:
    count = place.root / "count"
    script = f"sleep 0.5; echo x >> {count}; echo 42"
    request = place.command("sh", "-c", script, once="slurm/a")
    answers: list[str] = []

    def answer() -> None:
        answers.append(ask_a_process(request)["stdout"])

    threads = [threading.Thread(target=answer) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["42\n"] * 3
    assert count.read_text() == "x\n"


def test_one_whose_caller_has_gone_still_keeps_its_answer(place: Place) -> None:
    request = place.command("sh", "-c", "sleep 0.3; echo 42", once="slurm/a")
    process = call(request)
    assert process.stdout is not None
    process.stdout.close()
    process.wait()
    assert ask(place.command("false", once="slurm/a"))["stdout"] == "42\n"


def attempt(place: Place, name: str, **files: bytes) -> Path:
    result = place.run_dir / "tasks" / name / "1" / "result"
    result.mkdir(parents=True)
    for file, data in files.items():
        (result / file.replace("_", ".")).write_bytes(data)
    return result


def look(place: Place, **offsets: int) -> dict[str, Any]:
    attempts = {f"tasks/{name}/1": offset for name, offset in offsets.items()}
    answer = ask({**place.command("echo", "rows"), "op": "poll", "attempts": attempts})
    assert answer["stdout"] == "rows\n"
    traces: dict[str, Any] = answer["traces"]
    return {name.split("/")[1]: trace for name, trace in traces.items()}


def test_a_look_brings_what_jobs_have_left(place: Place) -> None:
    events = '{"kind": "ü"}\n'.encode()
    attempt(place, "a", events_jsonl=events + events + b"cut", result_json=b"{}")
    (attempt(place, "b").parent / "claim").write_text("x")
    found = look(place, a=len(events), b=0, never=0)
    assert found["a"] == [False, True, events.decode()]
    assert found["b"] == [True, False, ""]
    assert found["never"] == [False, False, ""]


def waiting(place: Place, **more: Any) -> dict[str, Any]:
    """One who knows that the job `a` was claimed, and the first of its events."""
    (attempt(place, "a", events_jsonl=b"{}\n").parent / "claim").write_text("x")
    (place.run_dir / "slurm" / "known").mkdir(parents=True)
    known = {"tasks/a/1": [True, False], "tasks/b/1": [False, False]}
    wish: dict[str, Any] = {"known": known, "folder": "slurm", "arrays": ["known"], "wait_s": 600}
    wish |= {"is_followed": True, **more}
    attempts = {"tasks/a/1": 3, "tasks/b/1": 0}
    return {**place.common, "op": "poll", "command": [], "attempts": attempts, "await_news": wish}


def test_a_wait_ends_with_a_result(place: Place) -> None:
    with call(waiting(place)) as process:
        (attempt(place, "b") / "result.json").write_text("{}")
        assert process.stdout is not None
        traces = read_answer(process.stdout, MARKER)["traces"]
    assert traces == {"tasks/a/1": [True, False, ""], "tasks/b/1": [False, True, ""]}


@pytest.mark.parametrize(
    ("news", "wish", "after_s"),
    [
        ("tasks/a/1/result/result.json", {}, 0),
        ("slurm/other/index.json", {}, 0),
        ("tasks/b/1/claim", {}, methods.FOLLOW_EVERY_S),
        ("tasks/b/1/result/events.jsonl", {}, methods.FOLLOW_EVERY_S),
        ("tasks/b/1/result/events.jsonl", {"is_followed": False}, 600),
        ("tasks/a/1/work/file", {"wait_s": 1}, 1),
        ("tasks/b/1/claim", {"is_followed": False, "has_lines": False}, 0),
    ],
)
def test_what_ends_a_wait_and_when(
    place: Place, monkeypatch: pytest.MonkeyPatch, news: str, wish: dict[str, Any], after_s: float
) -> None:
    now = [0.0]
    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=lambda s: now.append(now.pop() + s))
    monkeypatch.setattr(methods, "time", clock)
    request = waiting(place, **wish)
    request["attempts"]["tasks/a/1"] = 3 if wish.get("has_lines", True) else 0
    path = place.run_dir / news
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}\n")
    ask(request)
    assert now == [after_s]


def test_a_look_follows_no_link(place: Place, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret\n")
    (attempt(place, "a") / "events.jsonl").symlink_to(tmp_path / "secret")
    assert look(place, a=0)["a"] == [False, False, ""]


def test_tails_are_the_ends(place: Place) -> None:
    attempt(place, "a", log_txt=b"0123456789")
    name = "tasks/a/1/result/log.txt"
    answer = ask({**place.common, "op": "tails", "paths": [name, "none"], "max_bytes": 4})
    assert answer["tails"] == {name: "6789", "none": ""}


def fetched(place: Place, *names: str) -> dict[str, tuple[bytes, bytes]]:
    """Type and content by path."""
    request = {"op": "fetch", **place.common, "attempts": [f"tasks/{n}/1" for n in names]}
    code, text = served(json.dumps(request).encode() + b"\n")
    printed = io.BytesIO(text)
    assert (code, read_answer(printed, MARKER)) == (0, {})
    data = gzip.decompress(ChunkReader(printed).read())
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        members = tar.getmembers()
        files = {m.name: tar.extractfile(m) for m in members if m.isreg()}
        return {m.name: (m.type, f.read() if (f := files.get(m.name)) else b"") for m in members}


def test_what_is_fetched_is_all_there_is_of_each(place: Place) -> None:
    attempt(place, "a", log_txt=b"a")
    (attempt(place, "b", result_json=b"{}") / "files").mkdir()
    assert fetched(place, "a", "never", "b") == {
        "0": (tarfile.DIRTYPE, b""),
        "0/log.txt": (tarfile.REGTYPE, b"a"),
        "2": (tarfile.DIRTYPE, b""),
        "2/result.json": (tarfile.REGTYPE, b"{}"),
        "2/files": (tarfile.DIRTYPE, b""),
    }


def test_links_and_pipes_go_as_what_the_other_side_refuses(place: Place) -> None:
    result = attempt(place, "a")
    (result / "link").symlink_to("/etc/hostname")
    os.mkfifo(result / "pipe")
    found = fetched(place, "a")
    assert {found["0/link"][0], found["0/pipe"][0]} == {tarfile.SYMTYPE}


def test_forgetting_removes_those_runs_and_no_other(place: Place) -> None:
    attempt(place, "a", log_txt=b"a")
    (place.root / "runs" / "r-2").mkdir()
    for _ in range(2):
        assert ask({**place.common, "op": "remove_runs", "names": ["r-1"]}) == {}
    assert [p.name for p in (place.root / "runs").iterdir()] == ["r-2"]


def test_forgetting_takes_what_a_job_has_closed(place: Place) -> None:
    closed = attempt(place, "a", log_txt=b"a") / "modules"
    (closed / "deep").mkdir(parents=True)
    (closed / "deep" / "x").write_text("x")
    (closed / "deep").chmod(0o000)
    closed.chmod(0o555)
    for path in (place.root, *place.root.rglob("*")):
        os.chown(path, 65534, 65534)
    for path in place.root.parents[:-1]:
        path.chmod(path.stat().st_mode | 0o011)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the child does one thing and ends
        child = os.fork()
    if child == 0:  # root may remove everything
        os.setuid(65534)
        left = methods.remove_runs({**place.common, "names": ["r-1"]})
        os._exit(len(left))
    assert os.waitpid(child, 0)[1] == 0
    assert list((place.root / "runs").iterdir()) == []


def test_a_pipe_or_a_link_in_the_place_of_a_log_is_not_followed(place: Place) -> None:
    place.run_dir.mkdir(parents=True)
    os.mkfifo(place.run_dir / "0.log")
    (place.run_dir / "1.log").symlink_to("/etc/hostname")
    answer = ask({**place.common, "op": "tails", "paths": ["0.log", "1.log"], "max_bytes": 100})
    assert answer == {"tails": {"0.log": "", "1.log": ""}}


def test_removing_takes_files_and_directories(place: Place) -> None:
    attempt(place, "a", log_txt=b"a")
    assert ask({**place.common, "op": "remove", "paths": ["tasks", "never"]}) == {}
    assert list(place.run_dir.iterdir()) == []


def test_runs_are_listed_with_whose_they_are(place: Place) -> None:
    assert ask({**place.common, "op": "runs"}) == {"runs": {}}
    for name in ("r-1", "r-2"):
        (place.root / "runs" / name).mkdir(parents=True)
    (place.run_dir / "origin").write_text("mine")
    assert ask({**place.common, "op": "runs"}) == {"runs": {"r-1": "mine"}}


def test_a_disk_that_refuses_is_reported(place: Place) -> None:
    (place.root / "runs").write_text("a file")
    answer = ask(place.command("true", has_upload=True), chunked(place.upload([])))
    assert str(place.run_dir) in answer["error"]


@pytest.mark.parametrize("request_line", [b"", b"{", b"{}"])
def test_a_request_that_is_cut_gets_no_answer(request_line: bytes) -> None:
    assert served(request_line) == (1, b"")


@pytest.mark.parametrize(
    ("request_line", "expected"),
    [
        (b"{\n", "JSONDecodeError"),
        (b"{}\n", "KeyError"),
        (b"\xff\n", "UnicodeDecodeError"),
        (b'{"op": "no-such"}\n', "KeyError: 'no-such'"),
    ],
)
def test_what_cannot_be_done_is_reported_whatever_it_is(request_line: bytes, expected: str) -> None:
    code, printed = served(request_line)
    assert code == 0
    assert read_answer(io.BytesIO(printed), MARKER)["error"].startswith(expected)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (chunked(b"no tar"), "Not a gzip"),
        (chunked(gzip.compress(b"no tar")), "ReadError"),
        (chunked(gzip.compress(b"\0" * 10_000)[:20]), "EOFError"),
        (b"-0000001", "DamagedStream: a chunk of length b'-0000001'"),
    ],
    ids=["no gzip", "no tar", "half a gzip", "no chunk"],
)
def test_a_upload_that_is_damaged_is_reported_and_starts_nothing(
    place: Place, payload: bytes, expected: str
) -> None:
    (place.root / "code-1").mkdir()
    answer = ask(place.command("touch", str(place.root / "ran"), has_upload=True), payload)
    assert expected in answer["error"]
    assert sorted(path.name for path in place.root.iterdir()) == ["code-1", "runs"]


def fake_aws(place: Place, script: str) -> str:
    """A PATH with an `aws` of a few lines, over a file."""
    folder = place.root.parent / "bin"
    folder.mkdir(exist_ok=True)
    (folder / "aws").write_text(f"#!/bin/sh\nfile={place.root.parent}/object\n{script}\n")
    (folder / "aws").chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def test_results_go_into_an_object_and_a_upload_comes_out_of_one(place: Place) -> None:
    path = fake_aws(place, '[ "$4" = - ] && exec cat >"$file"; exec cat "$file"')
    attempt(place, "a", log_txt=b"a")
    stored = {"op": "store", **place.common, "attempts": ["tasks/a/1"], "url": "s3://b/k"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", path)
        assert ask(stored) == {}
        data = gzip.decompress((place.root.parent / "object").read_bytes())
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            assert "0/log.txt" in tar.getnames()
        (place.root / "code-1").mkdir()
        (place.root.parent / "object").write_bytes(place.upload([UploadFile("x", b"1")]))
        request = place.command("true", has_upload=True, url="s3://b/k")
        assert ask(request, chunked(place.upload([])))["exit_code"] == 0
    assert (place.run_dir / "x").read_bytes() == b"1"


@pytest.mark.parametrize("script", ["exit 1", "head -c 9; echo denied >&2; exit 1"])
def test_an_object_that_cannot_be_had_starts_nothing(place: Place, script: str) -> None:
    path = fake_aws(place, script)
    attempt(place, "a", log_txt=os.urandom(1_000_000))
    stored = {"op": "store", **place.common, "attempts": ["tasks/a/1"], "url": "s3://b/k"}
    request = place.command("touch", str(place.root / "ran"), has_upload=True, url="s3://b/k")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", path)
        assert ask(stored)["error"].startswith("aws s3 cp: ")
        assert ask(request, chunked(place.upload([])))["error"].startswith("aws s3 cp: ")
    assert not (place.root / "ran").exists()


def test_a_transfer_to_which_nobody_listens_is_stopped_and_starts_nothing(place: Place) -> None:
    path = fake_aws(place, "exec sleep 60")
    (place.root / "code-1").mkdir()
    ran = str(place.root / "ran")
    request = place.command("touch", ran, has_upload=True, url="s3://b/k", heartbeat_s=0.1)
    process = call(request, chunked(place.upload([])), PATH=path)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(60) != 0
    assert not Path(ran).exists()


def test_half_of_what_was_meant_is_no_object(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(request: dict[str, Any], out: Any) -> None:
        out.write(b"half")
        raise OSError(errno.EIO, "Input/output error", "a file")

    monkeypatch.setattr(methods, "pack_results", fail)
    monkeypatch.setenv("PATH", fake_aws(place, 'cat >"$file.part" && mv "$file.part" "$file"'))
    answer = ask({"op": "store", **place.common, "attempts": [], "url": "s3://b/k"})
    assert answer == {"error": "a file: Input/output error"}
    assert not (place.root.parent / "object").exists()


def test_an_object_that_is_no_upload_is_no_answer(place: Place) -> None:
    request = place.command("true", has_upload=True, url="s3://b/k")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", fake_aws(place, "echo what is this"))
        assert "error" in ask(request, chunked(place.upload([])))


def test_a_command_that_hangs_is_given_up(place: Place) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(methods, "COMMAND_TIMEOUT_S", 0.2)
        answer = ask(place.command("sleep", "60"))
    assert answer["error"].startswith("sleep did not answer within")


def test_a_file_that_is_cut_while_it_is_read_goes_on_with_zeros() -> None:
    padded = PaddedReader(io.BytesIO(b"abc"))
    assert padded.read(5) == b"abc\0\0"


def test_a_file_that_cannot_be_read_on_spoils_only_itself(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = attempt(place, "a", log_txt=b"abc", result_json=b"{}")
    monkeypatch.setattr(files, "PaddedReader", lambda stream: PaddedReader(Stale()))
    assert fetched(place, "a")["0/log.txt"] == (tarfile.REGTYPE, b"\0\0\0")
    assert fetched(place, "a")["0/result.json"] == (tarfile.REGTYPE, b"\0\0")
    assert result.exists()


class Stale(io.BytesIO):
    """A file whose server has forgotten it."""

    def read(self, size: int | None = -1, /) -> bytes:
        raise OSError(errno.ESTALE, "Stale file handle")


def test_an_answer_that_nobody_takes_is_no_success(place: Place) -> None:
    attempt(place, "a", log_txt=os.urandom(1_000_000))
    process = call({"op": "fetch", **place.common, "attempts": ["tasks/a/1"]})
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait() != 0


@pytest.mark.parametrize("data", [b"", b"0000", b"00000005abc"])
def test_chunks_that_are_cut_are_reported_from_their_end(data: bytes) -> None:
    with pytest.raises(TruncatedStream):
        ChunkReader(io.BytesIO(data)).read()


@pytest.mark.parametrize("head", [b"-0000001", b"ffffffff", b"01000001", b" 0000001", b"no chunk"])
def test_a_length_that_no_chunk_has_is_damage(head: bytes) -> None:
    with pytest.raises(DamagedStream):
        ChunkReader(io.BytesIO(head + b"x" * 100)).read()


def test_it_is_reported_how_far_a_transfer_has_come() -> None:
    progress: list[int] = []
    printed = (
        f"Welcome 5\n\n{MARKER} 0\n\n{MARKER} 1500\n{MARKER} x\n"
        f"{MARKER} {'9' * 99}\n\n{MARKER}\n{{}}\n"
    )
    assert read_answer(io.BytesIO(printed.encode()), MARKER, progress.append) == {}
    assert progress == [0, 1500]


def test_an_answer_is_found_after_greetings() -> None:
    printed = io.BytesIO(b"Welcome!\nno newline yet\n" + MARKER.encode() + b'\n{"a": 1}\nmore')
    assert read_answer(printed, MARKER) == {"a": 1}


@pytest.mark.parametrize("text", [b"", b"Welcome\n", b"a-mark\n", b'a-mark\n{"a": '])
def test_an_answer_that_is_cut_is_none(text: bytes) -> None:
    with pytest.raises(EOFError):
        read_answer(io.BytesIO(text), MARKER)
