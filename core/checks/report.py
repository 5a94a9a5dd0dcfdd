"""What a worker tells of the checks that it runs: lines, which are taken as of one that runs code
nobody trusts."""

from contextlib import suppress
from dataclasses import replace

from core.check_request import CheckRequest
from core.checks.runner import SHOWN_CHARS, Tell
from core.errors import BundleError
from core.events import (
    CheckBegun,
    CheckEnded,
    EventData,
    Proof,
    Verified,
    decode_event,
    encode_event,
    event_at,
)

MOST_LINE_CHARS = 1_000_000
"""A command may have 100,000 bytes, each up to six characters of JSON."""
_MOST_S, _MOST_TESTS = 1e6, 10**9


def render_line(data: EventData) -> str:
    return encode_event(event_at(0.0, data))


class CheckReport:
    """Passes on what is told of the commands of `request`, and of each once; all else is ignored.

    `ends` has, for each phase that is over, why it makes checks prove nothing, or nothing.
    """

    def __init__(self, request: CheckRequest, tell: Tell) -> None:
        self._tell = tell
        self._open = list(request.commands())
        self._not_begun = [command for _, command, _ in self._open]
        self._total = len(self._open)
        self.ends: list[str] = []

    @property
    def has_begun(self) -> bool:
        return len(self._not_begun) < self._total

    def take(self, line: str) -> None:
        if len(line) > MOST_LINE_CHARS:
            return
        with suppress(BundleError):
            self._take(decode_event(line, "The worker's report").data)

    def _take(self, data: EventData) -> None:
        match data:
            case CheckBegun() if data.command in self._not_begun:
                self._not_begun.remove(data.command)
                number = self._total - len(self._not_begun)
                self._tell(CheckBegun(data.command, number, self._total))
            case CheckEnded() if (asked := (data.phase, data.command, data.tasks)) in self._open:
                ended = bounded(data)
                self._open.remove(asked)
                self._tell(ended)
            case Verified():
                self.ends.append(data.why_not[:SHOWN_CHARS])

    def end(self, reason: str) -> None:
        """The checks that nothing was told of are not proven."""
        for phase, command, tasks in self._open:
            if phase == "check":
                self._tell(CheckEnded(phase, command, tasks, Proof.NOT_PROVEN, reason))
        self._open.clear()


def bounded(ended: CheckEnded) -> CheckEnded:
    """With no more of its texts than is shown. Raises BundleError for numbers that cannot be."""
    if not (0 <= ended.seconds <= _MOST_S and 0 <= ended.tests <= _MOST_TESTS):
        told = f"{ended.seconds} s and run {ended.tests} tests"
        raise BundleError(f"{ended.command!r} is said to have taken {told}.")
    reason, output = ended.reason[:SHOWN_CHARS], ended.output[-SHOWN_CHARS:]
    return replace(ended, reason=reason, output=output)
