"""One process of the CLI: its prompt in, its lines out, and no process left behind.

One loop reads both pipes and checks the clock, so that a stop is noticed while the CLI is silent.
"""

import contextlib
import os
import selectors
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

from core.clock import Clock
from core.errors import ModelError
from core.shell.processes import kill_marked, pump, watch_pipe

MAX_LINE_BYTES = 64 * 1024 * 1024
_TAIL_BYTES = 8 * 1024
_TICK_S = 0.1
_GRACE_S = 2.0
LINGER_S = 10.0
"""How long the CLI may take to end once it has given its result, or closed its output."""


class CliProcess:
    """Runs `command` with `prompt` on its standard input. `mark` is a variable of `environ` whose
    value is this attempt's alone: by it all is found that the CLI started, in any session."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        cwd: Path,
        environ: Mapping[str, str],
        prompt: bytes,
        clock: Clock,
        mark: str,
    ) -> None:
        self._clock = clock
        self._mark = os.fsencode(f"{mark}={environ[mark]}")
        self._lines: list[bytes] = []
        self._pending = bytearray()
        self._tail = b""
        self._linger_until: float | None = None
        self._process = subprocess.Popen(  # noqa: S603 - the CLI that was asked for
            command,
            cwd=cwd,
            env=dict(environ),
            stdin=subprocess.PIPE,  # a file would not do: the CLI takes nothing from one
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            bufsize=0,
        )
        threading.Thread(target=self._feed, args=(prompt,), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:  # which closes its pipes
            self._end()

    @property
    def exit_code(self) -> int | None:
        """Negative for the signal that ended it; None while it runs."""
        return self._process.poll()

    @property
    def stderr_tail(self) -> str:
        """The end of what it wrote to standard error."""
        return self._tail.decode(errors="replace").strip()

    def expect_end(self) -> None:
        """Its result is there: it may run on for LINGER_S and no longer."""
        if self._linger_until is None:
            self._linger_until = self._clock.monotonic() + LINGER_S

    def lines(self) -> Iterator[bytes]:
        """What it writes to standard output, line by line, until it ends. Raises Interrupted from
        the clock, and ModelError for a line without end."""
        with selectors.DefaultSelector() as selector:
            watch_pipe(selector, self._process.stdout, self._add_output)
            watch_pipe(selector, self._process.stderr, self._add_error)
            yield from self._read(selector)
        while self.exit_code is None and not self._lingered():
            self._clock.sleep(_TICK_S)

    def _read(self, selector: selectors.BaseSelector) -> Iterator[bytes]:
        while self._process.stdout in selector.get_map():
            self._clock.sleep(0.0)  # a stopped clock, or one past its end, raises here
            if self._lingered():
                return
            if not pump(selector, _TICK_S) and self.exit_code is not None:
                break  # what still holds the pipe is not the CLI
            lines, self._lines = self._lines, []
            yield from lines
            if len(self._pending) > MAX_LINE_BYTES:
                raise ModelError(f"Claude Code wrote a line over {MAX_LINE_BYTES} bytes.")
        self.expect_end()
        if self._pending:
            yield bytes(self._pending)

    def _feed(self, prompt: bytes) -> None:
        """Pass the prompt on, in a thread of its own; the CLI may end before it has read it."""
        rest = memoryview(prompt)
        if (pipe := self._process.stdin) is not None:
            with contextlib.suppress(OSError, ValueError), pipe:
                while rest:
                    rest = rest[pipe.write(rest) :]

    def _add_output(self, piece: bytes) -> None:
        self._pending += piece
        if b"\n" in piece:
            *whole, self._pending = self._pending.split(b"\n")
            self._lines += map(bytes, whole)

    def _add_error(self, piece: bytes) -> None:
        self._tail = (self._tail + piece)[-_TAIL_BYTES:]

    def _lingered(self) -> bool:
        until = self._linger_until
        return until is not None and self._clock.monotonic() >= until

    def _end(self) -> None:
        """End the process group, with SIGTERM first, then all other processes with the mark."""
        self._signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_S)
        self._signal(signal.SIGKILL)
        self._process.wait()
        kill_marked(self._mark)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, number)
