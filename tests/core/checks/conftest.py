"""A sandbox on this machine, with a project in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from core.checks.sandbox import Bubblewrap, Places, find_bubblewrap
from core.clock import SystemClock
from core.shell.shell import CommandEnd, Shell

MIB = 1024 * 1024


@dataclass
class Box:
    sandbox: Bubblewrap
    places: Places
    shell: Shell

    def run(self, command: str, *, network: bool = False, limit_s: float = 60) -> CommandEnd:
        return self.shell.execute(self.sandbox.wrap(command, self.places, network=network), limit_s)

    def python(self, code: str) -> CommandEnd:
        self.places.project.joinpath("hostile.py").write_text(code)
        return self.run("python hostile.py")


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    sandbox = find_bubblewrap(["node", "npm"])
    assert isinstance(sandbox, Bubblewrap), sandbox
    places = Places.below(tmp_path / "places")
    places.make()
    with Shell(
        places.project,
        SystemClock(),
        environ={},
        scratch=tmp_path / "scratch",
        max_printed_bytes=8 * MIB,
        max_memory_bytes=256 * MIB,
        max_disk_bytes=256 * MIB,
    ) as shell:
        yield Box(sandbox, places, shell)
