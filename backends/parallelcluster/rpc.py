"""Calls of the helper on a cluster's head node, each of them one command over the link.

The helper is copied there as one file when it is absent, under a name made of its content. An
answer begins with a random marker, so that the greetings of a login shell are skipped.

That host is not trusted: an answer that does not fit is damaged, and nothing is taken that was not
requested. Texts may hold what is not Unicode, since names and outputs of jobs are passed unchanged.
"""

import hashlib
import json
import re
import secrets
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import IO, Any, Protocol, TypeVar

from backends.parallelcluster.head_node.paths import ENCODING
from backends.parallelcluster.head_node.streams import ChunkReader, DamagedStream
from backends.parallelcluster.head_node_archive import pack_helper
from backends.slurm.host import AttemptTrace, CommandResult
from core.errors import BackendError

FOLDER = ".parallel-orchestrator"  # below the shared directory
MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""Enough for a list of very many jobs with the new lines of all their events."""
HEARTBEAT_S = 20.0
"""How often the helper reports before its answer; a link takes a long silence for its end."""
_LINE_BYTES = 64 * 1024
T = TypeVar("T")
OnProgress = Callable[[int], None]
_ABSENT = {"absent": True}
_NO_PYTHON = {"error": "python3 was not found on its PATH"}
_NO_FOLDER = {
    "error": "the directory of --aws-shared-dir does not exist",
    "remedy": "Correct --aws-shared-dir, or create the directory on a disk that the nodes share.",
}


class Link(Protocol):
    """See SshLink."""

    def run(
        self, command: str, stdin: Iterable[bytes] = ()
    ) -> AbstractContextManager[IO[bytes]]: ...

    def close(self) -> None: ...


def ignore(moved: int) -> None:
    pass


def damaged_answer() -> BackendError:
    remedy = "Check that python3 works on the head node and that its disk has room."
    return BackendError("The head node's answer is damaged.", remedy)


class HeadNodeClient:
    """`shared` is a directory there, relative to the home. All methods raise BackendError."""

    def __init__(self, link: Link, shared: str = "~", *, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._link, self._heartbeat_s = link, heartbeat_s
        path = shared if shared[:1] in ("/", "~") else f"~/{shared}"
        self.root = f"{path.rstrip('/')}/{FOLDER}"
        file = f"{self.root}/head_node-{hashlib.sha256(pack_helper()).hexdigest()[:16]}.pyz"
        # in words of sh
        self._helper = f'"$HOME"{shlex.quote(file[1:])}' if file[0] == "~" else shlex.quote(file)

    @contextmanager
    def call(
        self,
        op: str,
        payload: Iterable[bytes] = (),
        on_progress: OnProgress = ignore,
        **request: Any,
    ) -> Iterator[tuple[dict[str, Any], ChunkReader]]:
        """The answer to a request, and what is streamed after it. Until it comes, `on_progress` is
        called with the number of bytes that have moved between the head node and a bucket."""
        line = json.dumps({"op": op, "heartbeat_s": self._heartbeat_s, **request}).encode() + b"\n"
        for _ in range(2):
            marker = secrets.token_hex(16)
            with self._link.run(self._command(marker), _encode(line, payload)) as output:
                answer = read_answer(output, marker, on_progress)
                if answer != _ABSENT:
                    try:
                        yield _checked(answer), ChunkReader(output)
                    except DamagedStream as exc:
                        raise damaged_answer() from exc
                    return
            self._install()
        message = f"Files written to {self.root} on the head node do not stay there."
        raise BackendError(message, "Choose another --aws-shared-dir.")

    def close(self) -> None:
        self._link.close()

    def _command(self, marker: str) -> str:
        """For any login shell that knows single quotes."""
        script = (
            f'f={self._helper}; [ -r "$f" ] || {{ {_print(marker, _ABSENT)}; exit 0; }};'
            f" command -v python3 >/dev/null || {{ {_print(marker, _NO_PYTHON)}; exit 0; }};"
            f' exec python3 "$f" {marker}'
        )
        return f"exec sh -c {shlex.quote(script)}"

    def _install(self) -> None:
        marker = secrets.token_hex(16)
        script = (
            f'umask 077; f={self._helper}; d=$(dirname "$f");'
            f' [ -d "$(dirname "$d")" ] || {{ {_print(marker, _NO_FOLDER)}; exit 0; }};'
            f' mkdir -p "$d" && cat >"$f.$$" && mv "$f.$$" "$f" && {_print(marker, {})}'
        )
        with self._link.run(f"exec sh -c {shlex.quote(script)}", [pack_helper()]) as output:
            _checked(read_answer(output, marker))


def _print(marker: str, answer: Mapping[str, Any]) -> str:
    """As sh prints an answer."""
    return f"printf '\\n{marker}\\n{json.dumps(answer)}\\n'"


def _encode(line: bytes, payload: Iterable[bytes]) -> Iterator[bytes]:
    """The request, then the payload in chunks."""
    yield line
    for data in payload:
        yield b"%08x" % len(data) + data
    yield b"%08x" % 0


def read_answer(output: IO[bytes], marker: str, on_progress: OnProgress = ignore) -> dict[str, Any]:
    """The answer that follows the marker.

    Raises EOFError when it is absent or cut off, and BackendError when it is damaged.
    """
    while (line := output.readline(_LINE_BYTES)).strip() != marker.encode():
        if not line:
            raise EOFError
        if found := re.fullmatch(rf"{marker} (\d{{1,15}})\n".encode(), line):
            on_progress(int(found[1]))
    line = output.readline(MAX_ANSWER_BYTES)
    if not line.endswith(b"\n"):
        raise damaged_answer() if len(line) == MAX_ANSWER_BYTES else EOFError
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise damaged_answer()
    return answer


def _checked(answer: dict[str, Any]) -> dict[str, Any]:
    if problem := answer.get("error"):
        remedy = str(answer.get("remedy") or "Sign in to the head node and correct that.")
        raise BackendError(f"On the head node: {problem}.", remedy)
    return answer


@dataclass(frozen=True, slots=True)
class HeadNodeInfo:
    root: str
    python: tuple[int, ...]
    missing_commands: tuple[str, ...]
    missing_packages: tuple[str, ...]
    has_code: bool
    cleaned_up: bool


# Each raises BackendError when an answer holds something else.


def read_info(answer: Mapping[str, Any]) -> HeadNodeInfo:
    return HeadNodeInfo(
        _field(answer, "root", str),
        _items(answer, "python", int),
        _items(answer, "missing_commands", str),
        _items(answer, "missing_packages", str),
        _field(answer, "has_code", bool),
        _field(answer, "cleaned_up", bool),
    )


def read_command_result(answer: Mapping[str, Any]) -> CommandResult:
    stdout, stderr = _field(answer, "stdout", str), _field(answer, "stderr", str)
    return CommandResult(_field(answer, "exit_code", int), stdout, stderr)


def read_traces(
    answer: Mapping[str, Any], attempts: Iterable[str]
) -> dict[str, tuple[AttemptTrace, bytes]]:
    """What each attempt has left, and the new lines of its events."""
    traces, found = _field(answer, "traces", dict), {}
    for attempt in attempts:
        trace = traces.get(attempt)
        if not isinstance(trace, list) or [type(v) for v in trace] != [bool, bool, str]:
            raise damaged_answer()
        try:
            found[attempt] = AttemptTrace(*trace[:2]), trace[2].encode(**ENCODING)
        except UnicodeEncodeError as exc:
            raise damaged_answer() from exc
    return found


def read_texts(answer: Mapping[str, Any], name: str) -> dict[str, str]:
    found = _field(answer, name, dict)
    if not all(isinstance(value, str) for value in found.values()):
        raise damaged_answer()
    return found


def _field(answer: Mapping[str, Any], name: str, kind: type[T]) -> T:
    if type(value := answer.get(name)) is not kind:
        raise damaged_answer()
    return value


def _items(answer: Mapping[str, Any], name: str, kind: type[T]) -> tuple[T, ...]:
    found = _field(answer, name, list)
    if any(type(value) is not kind for value in found):
        raise damaged_answer()
    return tuple(found)
