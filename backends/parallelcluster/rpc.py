"""Requests to a cluster's head node, each one call over the link.

What answers there is backends/head_node, copied over as one file when it is absent, under a name
made of its content. An answer begins with a random mark, so that greetings of a login shell are
passed over.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import IO, Any, Protocol

from backends.parallelcluster.head_node.streams import Chunks, Damaged
from backends.parallelcluster.head_node_archive import pack_helper
from backends.parallelcluster.rpc_responses import damaged
from core.errors import BackendError

FOLDER = ".parallel-orchestrator"
"""Below the shared directory, ours alone."""
MOST_ANSWER_BYTES = 64 * 1024 * 1024
"""A list of very many jobs, with the new lines of all their events."""
BEAT_S = 20.0
"""How often it says that an answer is still being made: a link takes a long silence for its end."""
_LINE_BYTES = 64 * 1024
Heard = Callable[[int], None]
_ABSENT = {"absent": True}
_NO_PYTHON = {"error": "there is no python3 on its PATH"}


class Link(Protocol):
    """See SshLink."""

    def run(
        self, command: str, feed: Iterable[bytes] = ()
    ) -> AbstractContextManager[IO[bytes]]: ...

    def close(self) -> None: ...


def ignore(moved: int) -> None:
    pass


class HeadNodeClient:
    """`shared` is a directory there, by its path from the home. All raise BackendError."""

    def __init__(self, link: Link, shared: str = "~", *, beat_s: float = BEAT_S) -> None:
        self._link, self._beat_s = link, beat_s
        whole = shared if shared[:1] in ("/", "~") else f"~/{shared}"
        self.root = f"{whole.rstrip('/')}/{FOLDER}"
        self._helper = f"head_node-{hashlib.sha256(pack_helper()).hexdigest()[:16]}.pyz"

    def ask(
        self, op: str, payload: Iterable[bytes] = (), heard: Heard = ignore, **request: Any
    ) -> dict[str, Any]:
        """The answer to a request. `heard` is told, while it is made, how many bytes have moved
        between the head node and a bucket."""
        with self.stream(op, payload, heard, **request) as (answer, _):
            return answer

    @contextmanager
    def stream(
        self, op: str, payload: Iterable[bytes] = (), heard: Heard = ignore, **request: Any
    ) -> Iterator[tuple[dict[str, Any], Chunks]]:
        """The answer, and what is streamed after it."""
        line = json.dumps({"op": op, "beat_s": self._beat_s, **request}).encode() + b"\n"
        for _ in range(2):
            mark = secrets.token_hex(16)
            with self._link.run(self._call(mark), _all(line, payload)) as printed:
                answer = read_answer(printed, mark, heard)
                if answer != _ABSENT:
                    try:
                        yield _checked(answer), Chunks(printed)
                    except Damaged as exc:
                        raise damaged() from exc
                    return
            self._install()
        raise BackendError(
            f"The head node does not keep what is written to {self.root}.",
            "Choose another --aws-shared-dir.",
        )

    def close(self) -> None:
        self._link.close()

    def _call(self, mark: str) -> str:
        """For whatever login shell there is; all it has to know are single quotes."""
        script = (
            f'f={self._place}; [ -r "$f" ] || {{ {_say(mark, _ABSENT)}; exit 0; }};'
            f" command -v python3 >/dev/null || {{ {_say(mark, _NO_PYTHON)}; exit 0; }};"
            f' exec python3 "$f" {mark}'
        )
        return f"exec sh -c {shlex.quote(script)}"

    def _install(self) -> None:
        mark = secrets.token_hex(16)
        script = (
            f'umask 077; f={self._place}; d=$(dirname "$f"); mkdir -p "$d" && cat >"$f.$$"'
            f' && mv "$f.$$" "$f" && {_say(mark, {})}'
        )
        with self._link.run(f"exec sh -c {shlex.quote(script)}", [pack_helper()]) as printed:
            _checked(read_answer(printed, mark))

    @property
    def _place(self) -> str:
        """The helper's path, in words of sh."""
        path = f"{self.root}/{self._helper}"
        return f'"$HOME"{shlex.quote(path[1:])}' if path.startswith("~") else shlex.quote(path)


def _say(mark: str, answer: Mapping[str, Any]) -> str:
    """As sh prints an answer."""
    return f"printf '\\n{mark}\\n{json.dumps(answer)}\\n'"


def _all(line: bytes, payload: Iterable[bytes]) -> Iterator[bytes]:
    """Payload is stuffed into chunks, with an empty one at its end."""
    yield line
    for data in payload:
        yield b"%08x" % len(data) + data
    yield b"%08x" % 0


def read_answer(printed: IO[bytes], mark: str, heard: Heard = ignore) -> dict[str, Any]:
    """The answer after its mark, and before it counts of bytes, which `heard` is told. Raises
    EOFError when it is not there, or not whole, and BackendError when it is none."""
    while (line := printed.readline(_LINE_BYTES)).strip() != mark.encode():
        if not line:
            raise EOFError
        if found := re.fullmatch(rf"{mark} (\d{{1,15}})\n".encode(), line):
            heard(int(found[1]))
    line = printed.readline(MOST_ANSWER_BYTES)
    if not line.endswith(b"\n"):
        raise damaged() if len(line) == MOST_ANSWER_BYTES else EOFError
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise damaged()
    return answer


def _checked(answer: dict[str, Any]) -> dict[str, Any]:
    if problem := answer.get("error"):
        remedy = str(answer.get("remedy") or "See how it is, and try again.")
        raise BackendError(f"On the head node: {problem}.", remedy)
    return answer
