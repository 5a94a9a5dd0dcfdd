"""Surroundings of the program that a test has for itself, and what a run there has told."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest


def clean(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory, and an environment without credentials or settings."""
    monkeypatch.chdir(place)
    for name in list(os.environ):
        if name.startswith(("ANTHROPIC_", "AWS_", "ORCHESTRATOR_", "DOCKER_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("ORCHESTRATOR_VERIFY", "false")


def journal(place: Path = Path()) -> list[dict[str, Any]]:
    """The events of the only run in `place`, as they are stored."""
    (path,) = place.glob(".orchestrator/runs/*/journal.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def usages_of(event: dict[str, Any]) -> list[dict[str, Any]]:
    found = event["data"].get("usage") or []
    return found if isinstance(found, list) else [found]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
