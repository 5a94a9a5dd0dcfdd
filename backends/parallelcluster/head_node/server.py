"""One request in, one answer out.

The request is a line of JSON, and for `run` chunks of a compressed tar after it; the answer, after
the mark that tells it from a login shell's greetings, is the same for `fetch`. What takes its time
says so before that, by lines of the mark and a count of bytes.
"""

import json
import os
import sys
from typing import IO, List

from backends.parallelcluster.head_node.commands import run
from backends.parallelcluster.head_node.methods import (
    fetch,
    forget,
    greet,
    look,
    remove,
    runs,
    seal,
    store,
    tails,
)
from backends.parallelcluster.head_node.names import Request, text
from backends.parallelcluster.head_node.s3 import Pulse
from backends.parallelcluster.head_node.streams import CutOff
from backends.parallelcluster.head_node.tombstones import CleanedUp

SLURM_BIN = "/opt/slurm/bin"
"""Where AWS ParallelCluster has it; a shell that is not of a login does not look there."""
ASKED = {"greet": greet, "look": look, "tails": tails, "remove": remove}
ASKED.update({"runs": runs, "seal": seal, "forget": forget})


def read_request(stream: IO[bytes]) -> Request:
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise CutOff()
    request: Request = json.loads(line.decode())
    return request


def answer_to(request: Request, stream: IO[bytes], pulse: Pulse) -> Request:
    if request["op"] == "fetch":
        return {}
    if request["op"] == "store":
        return store(request, pulse)
    return run(request, stream, pulse) if request["op"] == "run" else ASKED[request["op"]](request)


def words(exc: Exception) -> str:
    if isinstance(exc, OSError):
        return "%s: %s" % (text(exc.filename or "the disk"), exc.strerror or exc)
    return "%s: %s" % (type(exc).__name__, exc)


def main(argv: List[str], incoming: IO[bytes], out: IO[bytes]) -> int:
    os.umask(0o077)
    paths = os.environ.get("PATH", os.defpath).split(os.pathsep)
    os.environ["PATH"] = os.pathsep.join(paths if SLURM_BIN in paths else [*paths, SLURM_BIN])
    request = {}  # type: Request
    try:
        request = read_request(incoming)
        with Pulse(out, argv[1], request.get("beat_s", 20)) as pulse:
            answer = answer_to(request, incoming, pulse)
    except CutOff:  # nobody is left to tell
        return 1
    except CleanedUp:
        answer = {"error": "the run was cleaned up", "remedy": "Resume it to go on with it."}
    except Exception as exc:  # noqa: BLE001 - silence would be taken for a lost connection
        answer = {"error": words(exc)}
    try:
        out.write(b"\n" + argv[1].encode() + b"\n" + json.dumps(answer).encode() + b"\n")
        if request.get("op") == "fetch":
            fetch(request, out)
        out.flush()
    except OSError as exc:  # too late for an answer
        sys.stderr.write("%s\n" % words(exc))
        return 1
    return 0
