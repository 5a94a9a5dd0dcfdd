from __future__ import annotations

import contextlib
import io
import tempfile
import unittest
from pathlib import Path

from todo_app.cli import build_parser, main
from todo_app.contract import COMMANDS
from todo_app.storage import Database

NEW_TODO = (
    "add",
    "Buy milk",
)


class CliTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.data = str(Path(folder.name) / "data.json")
        self.served: list[tuple[Path, str, int]] = []

    def serve(self, database: Database, host: str, port: int) -> None:
        self.served.append((database.path, host, port))

    def run_cli(self, *arguments: str, code: int = 0) -> str:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            self.assertEqual(main(["--data", self.data, *arguments], self.serve), code)
        return (err if code else out).getvalue()

    def test_every_command_of_the_contract_exists(self) -> None:
        for command in COMMANDS:
            with (
                self.subTest(command=command),
                contextlib.redirect_stdout(io.StringIO()),
                self.assertRaises(SystemExit) as ended,
            ):
                build_parser().parse_args([*command.split(), "--help"])
            self.assertEqual(ended.exception.code, 0)

    def test_an_unknown_command_is_a_usage_error(self) -> None:
        with contextlib.redirect_stderr(io.StringIO()), self.assertRaises(SystemExit) as ended:
            main(["frob"], self.serve)
        self.assertEqual(ended.exception.code, 2)

    def test_serve_hands_over_data_host_and_port(self) -> None:
        self.run_cli("serve", "--port", "0")
        self.assertEqual(self.served, [(Path(self.data), "127.0.0.1", 0)])

    def test_todos_come_and_are_listed(self) -> None:
        self.assertEqual(self.run_cli("list"), "No todos.\n")
        self.assertIn("Buy milk", self.run_cli(*NEW_TODO))
        self.assertIn("Buy milk", self.run_cli("list"))

    def test_an_empty_todo_is_an_error(self) -> None:
        self.assertIn("error: ", self.run_cli(*NEW_TODO[:1], "", *NEW_TODO[2:], code=1))

    def test_delete_of_todos(self) -> None:
        self.assertIn("error: ", self.run_cli("delete", "99", code=1))
        self.run_cli(*NEW_TODO)
        self.run_cli("delete", "1")
        self.assertEqual(self.run_cli("list"), "No todos.\n")

    def test_complete_of_todos(self) -> None:
        self.assertIn("error: ", self.run_cli("complete", "99", code=1))
        self.run_cli(*NEW_TODO)
        self.run_cli("complete", "1")
        self.assertIn("[completed]", self.run_cli("list"))
