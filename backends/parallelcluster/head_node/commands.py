"""Commands on the head node, alone or after the files of an upload are in place."""

import fcntl
import io
import json
import os
import subprocess
from typing import IO

from backends.parallelcluster.head_node import tombstones
from backends.parallelcluster.head_node.files import unpack, write_file
from backends.parallelcluster.head_node.paths import ENCODING, Request, join
from backends.parallelcluster.head_node.s3 import Heartbeat, download
from backends.parallelcluster.head_node.streams import ChunkReader

COMMAND_TIMEOUT_S = 120


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
