"""Starts a project as its plan says, inside a sandbox, and reports what it saw as a line of JSON.

engine.verification.verify copies this file into the sandbox and runs it there with the command as
its argument, so it imports the standard library only. A server has to answer `GET /` below 500; a
command has to end with 0; what does neither has to be alive at the end.

/proc/net/tcp: https://docs.kernel.org/networking/proc_net_tcp.html
"""

import contextlib
import ctypes
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

LIMIT_S = 20.0
PASSED, FAILED, NOT_PROVEN = "passed", "failed", "not proven"
_TICK_S = 0.1
_LISTENS = "0A"
_PR_SET_CHILD_SUBREAPER = 36
_ABSENT, _WRONG_USAGE = 127, 2
_SHOWN_BYTES = 4_000
# <NAME>, [NAME], FILE, ...: what a person puts something in for
_PLACEHOLDER = re.compile(
    r"<[A-Za-z][^<>]*>|\[[A-Za-z-][^\[\]]*\]|(?<![\w$/.:=-])[A-Z][A-Z_]{2,}(?![\w=/.-])|\.\.\."
)
_NOT_FOUND = re.compile(r"(?:^|: )([^\s/:]+): (?:command )?not found\s*$", re.MULTILINE)


def check_start(command: str, limit_s: float = LIMIT_S) -> tuple[str, str, str]:
    """The state, what was seen, as words, and the end of what it printed."""
    if _PLACEHOLDER.search(command):
        return NOT_PROVEN, "it wants arguments", ""
    adopt_orphans()
    with tempfile.TemporaryFile() as printed:
        process = subprocess.Popen(  # noqa: S603
            ["/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            state, seen = _watch(process, limit_s)
        finally:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        printed.seek(max(0, printed.seek(0, os.SEEK_END) - _SHOWN_BYTES))
        output = printed.read().decode(errors="replace")
    if state == FAILED and process.returncode == _WRONG_USAGE and "usage" in output.lower():
        return NOT_PROVEN, "it wants arguments", output
    if state == FAILED and (lack := lacking_program(process.returncode, output)):
        return NOT_PROVEN, lack, output
    return state, seen, output


def _watch(process: "subprocess.Popen[bytes]", limit_s: float) -> tuple[str, str]:
    until, told = time.monotonic() + limit_s, ""
    while time.monotonic() < until:
        if (code := process.poll()) is not None:
            return FAILED if code else PASSED, f"it ended with exit code {code}"
        for port in own_ports():
            status = ask(port)
            told = f"GET / on port {port} was answered with {status}" if status else told
            if status and status < 500:
                return PASSED, told
        time.sleep(_TICK_S)
    if told:
        return FAILED, told
    ports = ", ".join(map(str, own_ports()))
    where = f"listens on port {ports}" if ports else "is alive"
    return PASSED, f"it {where} after {limit_s:g} s"


def lacking_program(exit_code: int | None, output: str) -> str:
    """That a program by its name alone, not a file of the project, was not found; or nothing."""
    found = _NOT_FOUND.findall(output) if exit_code == _ABSENT else []
    return f"{found[-1]} is not here" if found else ""


def adopt_orphans() -> None:
    """What the command leaves behind stays below this process."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def own_ports() -> list[int]:
    """The TCP ports that a process below this one listens on; the network may be that of others."""
    sockets = set(_sockets_below())
    return sorted({port for port, inode in listening_ports() if f"socket:[{inode}]" in sockets})


def _sockets_below() -> Iterator[str]:
    parents = dict(_parents())
    for pid in parents:
        above = pid
        while (above := parents.get(above, 0)) and above != os.getpid():
            pass
        if above:
            with contextlib.suppress(OSError):
                for number in os.listdir(f"/proc/{pid}/fd"):
                    yield os.readlink(f"/proc/{pid}/fd/{number}")


def _parents() -> Iterator[tuple[int, int]]:
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
            # the program's name, in brackets, may hold anything
            yield int(pid), int(file.read().rpartition(b")")[2].split()[1])


def listening_ports() -> Iterator[tuple[int, str]]:
    """The TCP ports that somebody listens on in this network namespace, and their sockets."""
    for name in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError), open(name, encoding="ascii") as file:
            for line in list(file)[1:]:
                fields = line.split()
                if fields[3] == _LISTENS:
                    yield int(fields[1].rpartition(":")[2], 16), fields[9]


def ask(port: int) -> int | None:
    """The status of `GET /`; None for no answer in HTTP."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as exc:
        return exc.code
    except (OSError, ValueError, http.client.HTTPException):
        return None


def read_report(output: str) -> tuple[str, str, str]:
    """What `check_start` gave, from what this file printed; empty where it was stopped."""
    try:
        state, seen, printed = json.loads(output.rstrip().rpartition("\n")[2])
    except (ValueError, TypeError):
        return "", "", ""
    return (
        (state, str(seen), str(printed)) if state in (PASSED, FAILED, NOT_PROVEN) else ("", "", "")
    )


if __name__ == "__main__":
    print("\n" + json.dumps(check_start(sys.argv[1])))  # noqa: T201 - for the orchestrator
