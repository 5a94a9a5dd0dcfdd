"""One request in, one answer out.

The request is a line of JSON, followed for `run` by the chunks of a compressed tar. The answer
follows a marker that tells it from the greetings of a login shell, and is followed for `fetch` by
such chunks. Until there is an answer, heartbeats are lines of the marker and a count of bytes.
"""

import json
import os
import sys
from typing import IO, List

from backends.parallelcluster.head_node import methods
from backends.parallelcluster.head_node.paths import Request, text
from backends.parallelcluster.head_node.s3 import Heartbeat
from backends.parallelcluster.head_node.streams import TruncatedStream
from backends.parallelcluster.head_node.tombstones import CleanedUp

SLURM_BIN = "/opt/slurm/bin"
"""Where AWS ParallelCluster installs Slurm; only login shells have it on PATH."""
_NAMES = ("info", "poll", "tails", "remove", "runs", "mark_cleaned_up", "remove_runs")
METHODS = {name: getattr(methods, name) for name in _NAMES}


def call(request: Request, stream: IO[bytes], heartbeat: Heartbeat) -> Request:
    if request["op"] == "run":
        return methods.run(request, stream, heartbeat)
    if request["op"] == "store":
        return methods.store(request, heartbeat)
    if request["op"] == "fetch":
        return {}  # the results follow the answer
    answer: Request = METHODS[request["op"]](request)
    return answer


def describe(exc: Exception) -> str:
    if isinstance(exc, OSError):
        return "%s: %s" % (text(exc.filename or "the disk"), exc.strerror or exc)
    return "%s: %s" % (type(exc).__name__, exc)


def main(argv: List[str], incoming: IO[bytes], out: IO[bytes]) -> int:
    os.umask(0o077)
    paths = os.environ.get("PATH", os.defpath).split(os.pathsep)
    os.environ["PATH"] = os.pathsep.join(paths if SLURM_BIN in paths else [*paths, SLURM_BIN])
    request = {}  # type: Request
    try:
        line = incoming.readline()
        if not line.endswith(b"\n"):
            raise TruncatedStream()
        request = json.loads(line.decode())
        with Heartbeat(out, argv[1], request.get("heartbeat_s", 20)) as heartbeat:
            answer = call(request, incoming, heartbeat)
    except TruncatedStream:  # the caller has gone
        return 1
    except CleanedUp:
        remedy = "Resume the run."
        answer = {"error": "the run was cleaned up", "remedy": remedy}
    except Exception as exc:  # noqa: BLE001 - silence would be taken for a lost connection
        answer = {"error": describe(exc)}
    try:
        out.write(b"\n" + argv[1].encode() + b"\n" + json.dumps(answer).encode() + b"\n")
        if request.get("op") == "fetch":
            methods.fetch(request, out)
        out.flush()
    except OSError as exc:  # too late for an answer
        sys.stderr.write("%s\n" % describe(exc))
        return 1
    return 0
