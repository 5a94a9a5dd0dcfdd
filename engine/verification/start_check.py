"""Starts a project as its plan says, inside a sandbox, and reports what it saw as a line of JSON.

engine.verification.verify copies this file into the sandbox and runs it there with the command as
its argument, so it imports the standard library only. A server has to answer `GET /` below 500; a
command has to end with 0; what does neither has to be alive at the end.

/proc/net/tcp: https://docs.kernel.org/networking/proc_net_tcp.html
"""

import contextlib
import http.client
import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

LIMIT_S = 20.0
PASSED, FAILED, NOT_PROVEN = "passed", "failed", "not proven"
_TICK_S = 0.1
_LISTENS = "0A"
_ABSENT, _WRONG_USAGE = 127, 2
# <NAME>, [NAME], FILE, ...: what a person puts something in for
_PLACEHOLDER = re.compile(r"<[^>]+>|\[[^\]]+\]|(?<![\w$/.:=-])[A-Z][A-Z_]{2,}(?![\w=/.-])|\.\.\.")


def check_start(command: str, limit_s: float = LIMIT_S) -> tuple[str, str]:
    """The state and what was seen, as words."""
    if _PLACEHOLDER.search(command):
        return NOT_PROVEN, "it wants arguments"
    before = set(listening_ports())
    process = subprocess.Popen(["/bin/sh", "-c", command], stdin=subprocess.DEVNULL)  # noqa: S603
    try:
        return _watch(process, before, limit_s)
    finally:
        process.kill()
        process.wait()


def _watch(process: "subprocess.Popen[bytes]", before: set[int], limit_s: float) -> tuple[str, str]:
    until, told = time.monotonic() + limit_s, ""
    while time.monotonic() < until:
        if (code := process.poll()) is not None:
            return _judge_exit(code)
        for port in sorted(set(listening_ports()) - before):
            status = ask(port)
            told = f"GET / on port {port} was answered with {status}" if status else told
            if status and status < 500:
                return PASSED, told
        time.sleep(_TICK_S)
    if told:
        return FAILED, told
    ports = ", ".join(map(str, sorted(set(listening_ports()) - before)))
    where = f"listens on port {ports}" if ports else "is alive"
    return PASSED, f"it {where} after {limit_s:g} s"


def _judge_exit(code: int) -> tuple[str, str]:
    if code == 0:
        return PASSED, "it ended with exit code 0"
    if code == _ABSENT:
        return NOT_PROVEN, "a program that it needs is not here"
    if code == _WRONG_USAGE:
        return NOT_PROVEN, "it wants arguments"
    return FAILED, f"it ended with exit code {code}"


def listening_ports() -> Iterator[int]:
    """The TCP ports that somebody listens on in this network namespace."""
    for name in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError), open(name, encoding="ascii") as file:
            for line in list(file)[1:]:
                fields = line.split()
                if fields[3] == _LISTENS:
                    yield int(fields[1].rpartition(":")[2], 16)


def ask(port: int) -> int | None:
    """The status of `GET /`; None for no answer in HTTP."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as exc:
        return exc.code
    except (OSError, ValueError, http.client.HTTPException):
        return None


if __name__ == "__main__":
    print("\n" + json.dumps(check_start(sys.argv[1])))  # noqa: T201 - for the orchestrator
