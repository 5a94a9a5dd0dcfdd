"""The helper's methods, apart from running a command: the state of jobs, and files."""

import fcntl
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from typing import IO

from backends.parallelcluster.head_node import tombstones
from backends.parallelcluster.head_node.commands import execute
from backends.parallelcluster.head_node.files import pack_results, remove_path
from backends.parallelcluster.head_node.paths import OPEN_FLAGS, Request, join, list_dir, text
from backends.parallelcluster.head_node.s3 import CountingStream, Heartbeat, aws_copy
from backends.parallelcluster.head_node.streams import ChunkWriter

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


def poll(request: Request) -> Request:
    """Run a command, if there is one, and report what attempts have left, with the new lines of
    their events."""
    answer = execute(request) if request["command"] else {}
    room = MAX_EVENTS_BYTES
    answer["traces"] = traces = {}
    for attempt, offset in request["attempts"].items():
        top = join(request["run_dir"], attempt)
        result = join(top, "result")
        # listing a directory makes an NFS client ask its server
        claimed, has_result = b"claim" in list_dir(top), b"result.json" in list_dir(result)
        lines = new_lines(join(result, "events.jsonl"), offset, room)
        room -= len(lines)
        traces[attempt] = [claimed, has_result, text(lines)]
    return answer


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
