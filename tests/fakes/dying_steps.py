"""The steps of a process that leave no line in a journal, and its death, as by kill -9, at one of
them: files that it opens, makes, renames or removes, and programs before they start, while they run
and after their end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

_CHANGES = {"os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.link", "os.symlink", "os.utime"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_MADE_UP = re.compile(r"(?<=-)[a-z0-9_]{8}(?![^/])|[0-9a-f]{8,}|\d+")
_GIT = "[a-z]+(-[a-z]+)+|var|status|config|init"
_OWN = ("base", "tasks", "merged", "repository.git", "verification", "undo")


def die_at(kind: str, number: int, place: Path, notes: Path) -> None:
    """At the step of this number among those of a kind, counted from 1, or of all where `kind` is
    empty. At number 0 it lives, and the kind of each step becomes a line of `notes`."""
    count, counting = 0, threading.RLock()
    fd = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def seen(step: str) -> None:
        nonlocal count
        with counting:
            count += kind in ("", step)
            if not number:
                os.write(fd, f"{step}\n".encode())
            elif count == number and kind in ("", step):
                os.kill(os.getpid(), signal.SIGKILL)

    def audit(event: str, given: tuple[Any, ...]) -> None:
        if event in _CHANGES:
            seen(f"{event.removeprefix('os.')} {_place(given[0], place)}")
        elif event == "open" and isinstance(given[0], str | bytes):
            changes = bool(given[2] & _WRITES)
            if changes or os.fsdecode(given[0]).startswith(f"{place}/"):
                seen(f"{'write' if changes else 'read'} {_place(given[0], place)}")
        elif event == "subprocess.Popen":
            seen(f"start {_program(given[1])}")

    def then(name: str, when: str) -> None:
        real: Callable[..., Any] = getattr(subprocess.Popen, name)

        def call(self: subprocess.Popen[Any], *given: Any, **options: Any) -> Any:
            had_ended = getattr(self, "returncode", None) is not None
            result = real(self, *given, **options)
            if not had_ended:
                seen(f"{when} {_program(self.args)}")
            return result

        setattr(subprocess.Popen, name, call)

    then("__init__", "while")
    then("wait", "after")
    sys.addaudithook(audit)


def _program(command: Any) -> str:
    """With what git is to do."""
    words = [os.fsdecode(word) for word in command] if isinstance(command, list | tuple) else []
    name = os.path.basename(words[0]) if words else "a program"
    verbs = (word for word in words[1:] if re.fullmatch(_GIT, word))
    return f"git {next(verbs, '')}" if name == "git" else name


def _place(path: Any, place: Path) -> str:
    """Where it is, without what differs between runs or is one of many."""
    text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else f"fd {path}"
    text = text.removeprefix(f"{place}/")
    parts = re.sub(r"^\.orchestrator/runs/[^/]+", "RUN", text).split("/")
    if len(parts) > 2 and parts[0] == "RUN" and parts[1] in _OWN:
        parts[2:] = ["*"]
    return _MADE_UP.sub("#", "/".join(parts))
