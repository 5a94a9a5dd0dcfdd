"""What counts as started."""

from __future__ import annotations

import shlex
import shutil

import pytest

from core.checks import start_check
from core.checks.start_check import FAILED, NOT_PROVEN, PASSED
from tests.core.checks.conftest import Box

pytestmark = pytest.mark.bubblewrap
CHECK = """
import sys
sys.path.insert(0, "/sandbox/tools")
from start_check import check_start
print("\\n" + "; ".join(check_start(sys.argv[1], float(sys.argv[2]))[:2]))
"""
SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(sys.argv[1])); self.end_headers()
http.server.HTTPServer(('127.0.0.1', 8000), Handler).serve_forever()
"""
OTHER = """
import socketserver
class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b'{"error": "no JSON"}\\n')
socketserver.TCPServer(('127.0.0.1', 8000), Handler).serve_forever()
"""


def check(box: Box, command: str, limit_s: float) -> tuple[str, str]:
    shutil.copyfile(start_check.__file__, box.places.tools / "start_check.py")
    box.places.project.joinpath("check.py").write_text(CHECK)
    box.places.project.joinpath("server.py").write_text(SERVER)
    box.places.project.joinpath("other.py").write_text(OTHER)
    end = box.run(f"python check.py {shlex.quote(command)} {limit_s}")
    assert end.exit_code == 0, end.output
    state, _, seen = end.output.rstrip().rpartition("\n")[2].partition("; ")
    return state, seen


@pytest.mark.parametrize(
    ("command", "state", "seen"),
    [
        ("true", PASSED, "it ended with exit code 0"),
        ("exit 3", FAILED, "it ended with exit code 3"),
        ("echo Usage: app; exit 2", NOT_PROVEN, "it wants arguments"),
        ("exit 2", FAILED, "it ended with exit code 2"),
        ("no-such-program-here", NOT_PROVEN, "no-such-program-here is not here"),
        ("./nothere.sh", FAILED, "it ended with exit code 127"),
        ("[ -d x ] || exit 3", FAILED, "it ended with exit code 3"),
        ("exit 3 <FILE>", NOT_PROVEN, "it wants arguments"),
        ("exit 3 FOLDER", NOT_PROVEN, "it wants arguments"),
        ("FOLDER=1 PORT=8000 sh -c 'exit 3'", FAILED, "it ended with exit code 3"),
        ("sleep 60", PASSED, "it is alive after 3 s"),
        ("exec python other.py; sleep 60", PASSED, "it listens on port 8000 after 3 s"),
    ],
)
def test_a_command_is_judged_by_how_it_ends(box: Box, command: str, state: str, seen: str) -> None:
    assert check(box, command, 3 if "sleep 60" in command else 30) == (state, seen)


@pytest.mark.parametrize(
    ("status", "state", "limit_s"), [(200, PASSED, 30), (404, PASSED, 30), (500, FAILED, 5)]
)
def test_a_server_is_judged_by_its_answer(
    box: Box, status: int, state: str, limit_s: float
) -> None:
    seen = f"GET / on port 8000 was answered with {status}"
    assert check(box, f"python server.py {status}", limit_s) == (state, seen)


def test_a_server_that_is_left_behind_counts_and_one_of_others_does_not(box: Box) -> None:
    box.places.project.joinpath("behind.sh").write_text("setsid python server.py 200 & sleep 60")
    assert check(box, "sh behind.sh", 30)[1] == "GET / on port 8000 was answered with 200"
    end = box.run("python server.py 200 & sleep 1; python check.py 'sleep 60' 3")
    assert end.output.rstrip().endswith("it is alive after 3 s")
