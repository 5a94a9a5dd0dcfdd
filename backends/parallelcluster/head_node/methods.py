"""The helper's methods: commands, alone or after an upload, the state of jobs, and files."""

import fcntl
import io
import json
import os
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from typing import IO

from backends.parallelcluster.head_node import tombstones
from backends.parallelcluster.head_node.files import pack_results, remove_path, unpack, write_file
from backends.parallelcluster.head_node.paths import (
    ENCODING,
    OPEN_FLAGS,
    Request,
    join,
    list_dir,
    text,
)
from backends.parallelcluster.head_node.s3 import CountingStream, Heartbeat, aws_copy, download
from backends.parallelcluster.head_node.streams import ChunkReader, ChunkWriter

COMMAND_TIMEOUT_S = 120
LOOK_S = 0.5
LOOKS_A_SECOND = 100
FOLLOW_EVERY_S = 5.0
MAX_EVENTS_BYTES = 4 * 1024 * 1024  # in one answer; what is left comes with the next


def info(request: Request) -> Request:
    """What is installed here; changes nothing."""
    root = os.path.abspath(os.path.expanduser(join(request["root"])))
    path = os.environ["PATH"]
    return {
        "root": text(root),
        "python": list(sys.version_info[:3]),
        "missing_commands": [n for n in request["commands"] if shutil.which(n, path=path) is None],
        "missing_packages": [name for name in request["packages"] if find_spec(name) is None],
        "has_code": os.path.isdir(join(root, request["code"])),
        "cleaned_up": tombstones.was_cleaned_up(root, join(request["run"])),
    }


def run(request: Request, stream: IO[bytes], heartbeat: Heartbeat) -> Request:
    """Run a command. One with an upload, or that is to run once, changes and runs nothing any more
    after its run was cleaned up."""
    if not (request["has_upload"] or request["once"]):
        return execute(request)
    root = join(request["root"])
    folder, name = os.path.split(join(request["run_dir"]))
    try:
        tombstones.refuse_cleaned_up(request)
        if request["has_upload"] and not unpack_upload(request, stream, heartbeat):
            return {"missing_code": request["code"]}
        with tombstones.locked_tombstone(root, name, fcntl.LOCK_SH) as tombstone:
            if tombstone.read(1):
                raise tombstones.CleanedUp()
            return run_once(request) if request["once"] else execute(request)
    except OSError:
        tombstones.refuse_cleaned_up(request)  # which explains why files have gone
        raise
    finally:
        if tombstones.was_cleaned_up(root, name):  # in the middle of all this
            tombstones.move_aside(folder, name)
            tombstones.sweep(root)


def unpack_upload(request: Request, stream: IO[bytes], heartbeat: Heartbeat) -> bool:
    """The upload, from the stream and from S3. Returns whether the worker's code is here."""
    run_dir, code = join(request["run_dir"]), join(request["root"], request["code"])
    chunks = ChunkReader(stream)
    unpack(chunks, run_dir, code)
    chunks.drain()
    if request["url"]:
        tombstones.refuse_cleaned_up(request)
        download(request["url"], run_dir, code, heartbeat)
    return os.path.isdir(code)


def run_once(request: Request) -> Request:
    """Repeat the answer of an earlier call, if the command succeeded then."""
    folder = join(request["run_dir"], request["once"])
    os.makedirs(folder, exist_ok=True)
    with open(join(folder, "lock"), "w") as lock:
        tombstones.flock(lock, fcntl.LOCK_EX)
        path = join(folder, "answer.json")
        if os.path.exists(path):
            with open(path, encoding="utf-8") as stream:
                earlier: Request = json.load(stream)
            return earlier
        answer = execute(request)
        if answer.get("exit_code") == 0:
            write_file(path, io.BytesIO(json.dumps(answer).encode()), 0o600)
        return answer


def execute(request: Request) -> Request:
    """Run a command with the variables that it may have."""
    environ = {n: os.environ[n] for n in request["variables"] if n in os.environ}
    environ["LC_ALL"] = "C"
    command = request["command"]
    try:
        done = subprocess.run(
            [join(word) for word in command],
            input=request.get("stdin", "").encode(**ENCODING),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environ,
            timeout=COMMAND_TIMEOUT_S,
        )
    except OSError as exc:
        return {"error": "%s could not be started: %s" % (command[0], exc.strerror)}
    except subprocess.TimeoutExpired:
        return {"error": "%s did not answer within %d s" % (command[0], COMMAND_TIMEOUT_S)}
    stdout, stderr = (data.decode("utf-8", "replace") for data in (done.stdout, done.stderr))
    return {"exit_code": done.returncode, "stdout": stdout, "stderr": stderr}


def poll(request: Request) -> Request:
    """Run a command, if there is one, and report what attempts have left, with the new lines of
    their events; where news is to be awaited, as soon as there is some, or after a while."""
    answer = execute(request) if request["command"] else {}
    wish = request.get("await_news")
    begun = time.monotonic()
    answer["traces"] = look(request)
    while wish and not has_news(request, answer["traces"], time.monotonic() - begun):
        time.sleep(max(LOOK_S, len(request["attempts"]) / LOOKS_A_SECOND))
        answer["traces"] = look(request)
    return answer


def look(request: Request) -> Request:
    room, traces = MAX_EVENTS_BYTES, {}
    for attempt, offset in request["attempts"].items():
        top = join(request["run_dir"], attempt)
        result = join(top, "result")
        # listing a directory makes an NFS client ask its server
        claimed, has_result = b"claim" in list_dir(top), b"result.json" in list_dir(result)
        lines = new_lines(join(result, "events.jsonl"), offset, room)
        room -= len(lines)
        traces[attempt] = [claimed, has_result, text(lines)]
    return traces


def has_news(request: Request, traces: Request, waited_s: float) -> bool:
    """Of results, of arrays that the caller did not know of, or that it has waited long enough.
    Claims, and lines for one who follows them, are news once the last answer was a while ago; and
    at once as long as there are no lines at all, since a first answer is waited for."""
    wish, sizes = request["await_news"], request["attempts"]
    known = wish["known"]
    if waited_s >= wish["wait_s"] or any(traces[a][1] != known[a][1] for a in traces):
        return True
    if waited_s >= FOLLOW_EVERY_S or not any(sizes.values()):
        followed = [trace[2] for trace in traces.values() if wish["is_followed"]]
        if any(followed) or any(traces[a][0] != known[a][0] for a in traces):
            return True
    folder = join(request["run_dir"], wish["folder"])
    found = (n for n in list_dir(folder) if text(n) not in wish["arrays"])
    return any(os.path.isdir(join(folder, name)) for name in found)


def new_lines(path: bytes, offset: int, max_bytes: int) -> bytes:
    """Whole lines of a file from `offset` on."""
    try:
        with os.fdopen(os.open(path, OPEN_FLAGS), "rb") as stream:
            stream.seek(offset)
            data = stream.read(max(0, max_bytes))
    except OSError:
        return b""
    return data[: data.rfind(b"\n") + 1]


def tails(request: Request) -> Request:
    """The ends of files, as text."""
    found = {}
    for name in request["paths"]:
        try:
            path = join(request["run_dir"], name)
            with os.fdopen(os.open(path, OPEN_FLAGS), "rb") as stream:
                size = stream.seek(0, os.SEEK_END)
                stream.seek(max(0, size - request["max_bytes"]))
                found[name] = stream.read(request["max_bytes"]).decode("utf-8", "replace")
        except OSError:  # a pipe too: it has no end to seek
            found[name] = ""
    return {"tails": found}


def remove(request: Request) -> Request:
    for name in request["paths"]:
        remove_path(join(request["run_dir"], name))
    return {}


def runs(request: Request) -> Request:
    """The runs' directories, each with its origin, including those whose removal was cut off."""
    folder = join(request["root"], "runs")
    found = {}
    for name in list_dir(folder):
        try:
            with os.fdopen(os.open(join(folder, name, "origin"), OPEN_FLAGS), "rb") as stream:
                found[text(tombstones.run_name(name))] = stream.read().decode("utf-8", "replace")
        except OSError:
            continue
    return {"runs": found}


def mark_cleaned_up(request: Request) -> Request:
    """Once this has returned nothing of these runs is being submitted, nor will be, not even by a
    helper that was started before and has lost its caller."""
    root = join(request["root"])
    for name in request["names"]:
        with tombstones.locked_tombstone(root, join(name), fcntl.LOCK_EX) as tombstone:
            if not tombstone.read(1):
                tombstone.write(b"cleaned up\n")
    return {}


def remove_runs(request: Request) -> Request:
    """Remove runs' directories, and what earlier removals have left."""
    mark_cleaned_up(request)
    root, names = join(request["root"]), [join(name) for name in request["names"]]
    folder = join(root, "runs")
    for name in names:
        tombstones.move_aside(folder, name)
    tombstones.sweep(root)
    moved = [name for name in list_dir(folder) if name.startswith(tombstones.ASIDE)]
    left = [text(join(folder, name)) for name in moved if tombstones.run_name(name) in names]
    return {"error": "could not remove " + ", ".join(left)} if left else {}


def fetch(request: Request, out: IO[bytes]) -> None:
    """Stream the results of attempts."""
    writer = ChunkWriter(out)
    pack_results(request, writer)
    writer.end()


def store(request: Request, heartbeat: Heartbeat) -> Request:
    """Copy the results of attempts into an object of S3."""
    with aws_copy("-", request["url"], heartbeat, stdin=subprocess.PIPE) as process:
        pack_results(request, CountingStream(process.stdin, heartbeat))
        tombstones.refuse_cleaned_up(request)  # whose files have gone meanwhile
    return {}
