"""The whole program from outside: its command line and its web server share the data."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

ROOT = Path(__file__).resolve().parent.parent


class AppTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.command = [sys.executable, "-m", "todo_app"]
        self.command += ["--data", str(Path(folder.name) / "data.json")]

    def run_app(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self.command, *arguments], cwd=ROOT, capture_output=True, encoding="utf-8", timeout=60
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def start_server(self) -> str:
        """The address of a server on a free port, which the test's end stops."""
        server = subprocess.Popen(
            [*self.command, "serve", "--port", "0"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        assert server.stdout is not None
        self.addCleanup(server.stdout.close)
        self.addCleanup(server.wait, 30)
        self.addCleanup(server.terminate)
        return server.stdout.readline().split()[-1].rstrip("/")

    def ask(self, method: str, address: str, body: bytes | None = None) -> Any:
        with urlopen(Request(address, body, method=method), timeout=30) as response:
            return response.read().decode()

    def test_command_line_and_web_share_their_data(self) -> None:
        address = self.start_server()
        self.run_app("add", "Buy milk")
        stored = json.loads(self.ask("GET", f"{address}/api/todos"))
        self.assertEqual(stored[0]["title"], "Buy milk")
        self.assertIn("Buy milk", self.ask("GET", f"{address}/"))
        self.ask("POST", f"{address}/todos/1/complete")
        self.assertIn("[completed]", self.run_app("list"))
        self.ask("DELETE", f"{address}/api/todos/1")
        self.assertEqual(self.run_app("list"), "No todos.\n")
