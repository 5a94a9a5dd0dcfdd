"""Commands of Slurm on the head node, alone or with a parcel of files that lie there first."""

import fcntl
import io
import json
import os
import subprocess
from typing import IO

from backends.parallelcluster.head_node.files import unpack, write_file
from backends.parallelcluster.head_node.names import NAMES, Request, place
from backends.parallelcluster.head_node.s3 import Pulse, download
from backends.parallelcluster.head_node.streams import Chunks
from backends.parallelcluster.head_node.tombstones import (
    CleanedUp,
    locked,
    mark_held,
    put_aside,
    refuse_cleaned_up,
    sweep,
    was_cleaned_up,
)

ANSWER_S = 120


def run(request: Request, stream: IO[bytes], pulse: Pulse) -> Request:
    """Run a command; for one that comes with a parcel, or with a name to be run once under, nothing
    is there and nothing is run any more once its run was cleaned up."""
    if not (request["packed"] or request["once"]):
        return execute(request)
    folder, name = os.path.split(place(request["run_dir"]))
    try:
        refuse_cleaned_up(request)
        if request["packed"] and not lay_down(request, stream, pulse):
            return {"wanted": request["code"]}
        with mark_held(place(request["root"]), name, fcntl.LOCK_SH) as mark:
            if mark.read(1):
                raise CleanedUp()
            return run_once(request) if request["once"] else execute(request)
    except OSError:
        refuse_cleaned_up(request)  # which is why files have gone
        raise
    finally:
        if was_cleaned_up(place(request["root"]), name):  # in the middle of all this
            put_aside(folder, name)
            sweep(place(request["root"]))


def lay_down(request: Request, stream: IO[bytes], pulse: Pulse) -> bool:
    """All that comes with a command, from the stream and from S3; gives whether there is code."""
    run_dir, code = place(request["run_dir"]), place(request["root"], request["code"])
    chunks = Chunks(stream)
    unpack(chunks, run_dir, code)
    chunks.drain()
    if request["url"]:
        refuse_cleaned_up(request)
        download(request["url"], run_dir, code, pulse)
    return os.path.isdir(code)


def run_once(request: Request) -> Request:
    """Give the answer of an earlier time, if it went well then."""
    folder = place(request["run_dir"], request["once"])
    with locked(folder):
        answer = place(folder, "answer.json")
        if os.path.exists(answer):
            with open(answer, encoding="utf-8") as earlier:
                known: Request = json.load(earlier)
            return known
        done = execute(request)
        if done.get("exit_code") == 0:
            write_file(answer, io.BytesIO(json.dumps(done).encode()), 0o600)
        return done


def execute(request: Request) -> Request:
    """Run a command with what its environment may hold."""
    environ = {n: os.environ[n] for n in request["variables"] if n in os.environ}
    environ["LC_ALL"] = "C"
    command = request["command"]
    try:
        done = subprocess.run(
            [place(word) for word in command],
            input=request.get("stdin", "").encode(**NAMES),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environ,
            timeout=ANSWER_S,
        )
    except OSError as exc:
        return {"error": "%s cannot be run: %s" % (command[0], exc.strerror)}
    except subprocess.TimeoutExpired:
        return {"error": "%s gave no answer within %d s" % (command[0], ANSWER_S)}
    texts = {"stdout": done.stdout, "stderr": done.stderr}
    answer: Request = {n: data.decode("utf-8", "replace") for n, data in texts.items()}
    answer["exit_code"] = done.returncode
    return answer
