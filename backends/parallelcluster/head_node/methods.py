"""What can be asked for besides running a command: how things stand there, and files."""

import fcntl
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from typing import IO

from backends.parallelcluster.head_node.commands import execute
from backends.parallelcluster.head_node.files import pack_results, remove_path
from backends.parallelcluster.head_node.names import REGULAR, Request, listing, place, text
from backends.parallelcluster.head_node.s3 import Counted, Pulse, aws
from backends.parallelcluster.head_node.streams import ChunkWriter
from backends.parallelcluster.head_node.tombstones import (
    GONE,
    mark_held,
    name_of,
    put_aside,
    refuse_cleaned_up,
    sweep,
    was_cleaned_up,
)

MOST_EVENTS_BYTES = 4 * 1024 * 1024
"""In one answer; what is left comes with the next."""


def greet(request: Request) -> Request:
    """What is here; nothing is changed."""
    root = os.path.abspath(os.path.expanduser(place(request["root"])))
    found = os.environ["PATH"]
    return {
        "root": text(root),
        "user": os.environ.get("USER", ""),
        "python": list(sys.version_info[:3]),
        "missing": [name for name in request["commands"] if shutil.which(name, path=found) is None],
        "lacking": [name for name in request["packages"] if find_spec(name) is None],
        "has_code": os.path.isdir(place(root, request["code"])),
        "cleaned_up": was_cleaned_up(root, place(request["run"])),
    }


def look(request: Request) -> Request:
    """Run a command if there is one, and see what attempts have left, new lines of their events
    with it."""
    answer = execute(request) if request["command"] else {}
    room = MOST_EVENTS_BYTES
    answer["traces"] = traces = {}
    for attempt, offset in request["attempts"].items():
        top = place(request["run_dir"], attempt)
        result = place(top, "result")
        claimed, has_result = holds(top, "claim"), holds(result, "result.json")
        lines = new_lines(place(result, "events.jsonl"), offset, room)
        room -= len(lines)
        traces[attempt] = [claimed, has_result, text(lines)]
    return answer


def holds(folder: bytes, name: str) -> bool:
    """By listing it, which makes an NFS client ask its server."""
    try:
        return place(name) in os.listdir(folder)
    except OSError:
        return False


def new_lines(path: bytes, offset: int, most: int) -> bytes:
    """Whole lines of a file since `offset`; more than `most` bytes wait for another time."""
    try:
        with os.fdopen(os.open(path, REGULAR), "rb") as stream:
            stream.seek(offset)
            data = stream.read(max(0, most))
    except OSError:
        return b""
    return data[: data.rfind(b"\n") + 1]


def tails(request: Request) -> Request:
    """The ends of files, as text."""
    found = {}
    for name in request["paths"]:
        try:
            path = place(request["run_dir"], name)
            with os.fdopen(os.open(path, REGULAR), "rb") as stream:
                size = stream.seek(0, os.SEEK_END)
                stream.seek(max(0, size - request["most"]))
                found[name] = stream.read(request["most"]).decode("utf-8", "replace")
        except OSError:  # a pipe too: it has no end to seek
            found[name] = ""
    return {"tails": found}


def remove(request: Request) -> Request:
    for name in request["paths"]:
        remove_path(place(request["run_dir"], name))
    return {}


def runs(request: Request) -> Request:
    """The runs' directories below the root, each with what it says of its origin; those too whose
    removal did not come to its end."""
    folder = place(request["root"], "runs")
    found = {}
    for name in listing(folder):
        try:
            path = place(folder, name, "origin")
            with os.fdopen(os.open(path, REGULAR), "rb") as stream:
                found[text(name_of(name))] = stream.read().decode("utf-8", "replace")
        except OSError:
            continue
    return {"runs": found}


def seal(request: Request) -> Request:
    """Mark runs as cleaned up. When this is answered nothing of them is being submitted, nor will
    be: by a helper that was started before, say, and was cut off from its caller."""
    for name in request["names"]:
        with mark_held(place(request["root"]), place(name), fcntl.LOCK_EX) as mark:
            if not mark.read(1):
                mark.write(b"cleaned up\n")
    return {}


def forget(request: Request) -> Request:
    """Remove runs' directories, and what removals before this one have left."""
    seal(request)
    root, names = place(request["root"]), [place(name) for name in request["names"]]
    for name in names:
        put_aside(place(root, "runs"), name)
    sweep(root)
    left = [n for n in listing(place(root, "runs")) if n.startswith(GONE) and name_of(n) in names]
    told = ", ".join(text(place(root, "runs", name)) for name in left)
    return {"error": "cannot be removed: " + told} if left else {}


def fetch(request: Request, out: IO[bytes]) -> None:
    """Stream what attempts have left."""
    writer = ChunkWriter(out)
    pack_results(request, writer)
    writer.end()


def store(request: Request, pulse: Pulse) -> Request:
    """The same into an object of S3, by the AWS CLI that is on ParallelCluster's images."""
    with aws("-", request["url"], pulse, stdin=subprocess.PIPE) as process:
        pack_results(request, Counted(process.stdin, pulse))
        refuse_cleaned_up(request)  # whose files have gone meanwhile
    return {}
