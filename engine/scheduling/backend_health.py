"""Whether the backend can be reached: one word to the user when not, and an end to patience."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from core.clock import Clock
from core.errors import BackendBusy, BackendError
from engine.scheduling.calls import Calls

_BEST_EFFORT = frozenset({"logs"})  # nothing depends on their answers


@dataclass(slots=True)
class _Trouble:
    since: float | None = None
    told: bool = False
    doing: str = ""
    moved_at: float = 0.0
    moves_told_at: float = float("-inf")


class BackendHealth:
    """Keeps, per method, how long calls have failed or hung. Times in seconds."""

    def __init__(
        self,
        name: str,
        calls: Calls,
        clock: Clock,
        tell: Callable[[str], None],
        *,
        notice_s: float,
        give_up_s: float,
        under_way: Callable[[str], str] | None = None,
    ) -> None:
        self._name = name
        self._calls = calls
        self._clock = clock
        self._tell = tell
        self._notice_s = notice_s
        self._give_up_s = give_up_s
        self._under_way = under_way or (lambda _: "")
        self._troubles: dict[str, _Trouble] = {}

    def failed(self, method: str, answer: Any) -> bool:
        """Whether the whole call failed and is to be made again.

        Raises the answer when it is no BackendError, or has been one for `give_up_s`.
        """
        trouble = self._troubles.setdefault(method, _Trouble())
        if not isinstance(answer, Exception):
            trouble.since, trouble.told = None, False
            return False
        if not isinstance(answer, BackendError):
            raise answer
        now = self._clock.monotonic()
        if isinstance(answer, BackendBusy):
            trouble.since = None
        else:
            trouble.since = now if trouble.since is None else trouble.since
            if now - trouble.since >= self._give_up_s:
                raise answer
        self._tell_once(trouble, f"{self._name} {method}: {answer} Trying again.")
        return True

    def forget(self, method: str) -> None:
        """The call is not to be made again for now: its next failure is a new trouble."""
        self._troubles.pop(method, None)

    def check_hanging(self) -> None:
        """Raises BackendError when a call has not come back for `give_up_s`, nor moved."""
        for method, age_s in self._calls.overdue(self._notice_s).items():
            if self._moves(method):
                continue
            text = f"{self._name} has not answered {method} for {age_s:.0f} s"
            if age_s >= self._give_up_s and method not in _BEST_EFFORT:
                raise BackendError(f"{text}.", "Look after the backend, then resume the run.")
            self._tell_once(self._troubles.setdefault(method, _Trouble()), f"{text}; waiting.")

    def _moves(self, method: str) -> bool:
        """Whether a call that takes its time still gets on; told now and again."""
        trouble, now = self._troubles.setdefault(method, _Trouble()), self._clock.monotonic()
        if not (doing := self._under_way(method)):
            return False
        if doing != trouble.doing:
            trouble.doing, trouble.moved_at = doing, now
            if now - trouble.moves_told_at >= self._notice_s:
                trouble.moves_told_at = now
                self._tell(f"{self._name} {method}: {doing}.")
        return now - trouble.moved_at < self._give_up_s

    def _tell_once(self, trouble: _Trouble, text: str) -> None:
        """Unless another method's trouble was told and lasts: an outage meets all of them."""
        if not any(other.told for other in self._troubles.values()):
            trouble.told = True
            self._tell(text)
