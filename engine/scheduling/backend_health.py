"""Whether the backend can be reached: one notice to the user when not, and an end to patience."""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from core.clock import Clock
from core.errors import BackendBusy, BackendError
from engine.scheduling.calls import Calls


@dataclass(slots=True)
class _Trouble:
    """Of one method: failing since, and how a call that takes its time got on."""

    since: float | None = None
    notified: bool = False
    progress: str = ""
    progress_at: float = 0.0
    progress_notified_at: float = float("-inf")


@dataclass(slots=True)
class BackendHealth:
    """Keeps, per method, how long calls have failed or hung. Times in seconds."""

    name: str
    calls: Calls
    clock: Clock
    notify: Callable[[str], None]
    _: KW_ONLY
    notice_s: float
    give_up_s: float
    under_way: Callable[[str], str] = lambda _: ""
    _troubles: dict[str, _Trouble] = field(default_factory=dict, init=False)

    def failed(self, method: str, answer: Any) -> bool:
        """Whether the whole call failed and is to be made again.

        Raises the answer when it is no BackendError, or has been one for `give_up_s`.
        """
        trouble = self._troubles.setdefault(method, _Trouble())
        if not isinstance(answer, Exception):
            trouble.since, trouble.notified = None, False
            return False
        if not isinstance(answer, BackendError):
            raise answer
        now = self.clock.monotonic()
        if isinstance(answer, BackendBusy):
            trouble.since = None
        else:
            trouble.since = now if trouble.since is None else trouble.since
            if now - trouble.since >= self.give_up_s:
                raise answer
        self._notify_once(trouble, f"{self.name} {method}: {answer} Trying again.")
        return True

    def forget(self, method: str) -> None:
        """The call is not to be made again for now: its next failure is a new trouble."""
        self._troubles.pop(method, None)

    def check_hanging(self) -> None:
        """Raises BackendError when a call has not come back for `give_up_s`, nor got on."""
        for method, age_s in self.calls.overdue(self.notice_s).items():
            trouble = self._troubles.setdefault(method, _Trouble())
            if self._gets_on(method, trouble):
                continue
            text = f"{self.name} has not answered {method} for {age_s:.0f} s"
            if age_s >= self.give_up_s and method != "logs":  # on which nothing depends
                raise BackendError(f"{text}.", "Check the backend, then resume the run.")
            self._notify_once(trouble, f"{text}; waiting.")

    def _gets_on(self, method: str, trouble: _Trouble) -> bool:
        """Whether a call that takes its time makes progress; notified now and again."""
        now = self.clock.monotonic()
        if not (progress := self.under_way(method)):
            return False
        if progress != trouble.progress:
            trouble.progress, trouble.progress_at = progress, now
            if now - trouble.progress_notified_at >= self.notice_s:
                trouble.progress_notified_at = now
                self.notify(f"{self.name} {method}: {progress}.")
        return now - trouble.progress_at < self.give_up_s

    def _notify_once(self, trouble: _Trouble, text: str) -> None:
        """Unless another method's trouble was notified and lasts: an outage meets all of them."""
        if not any(other.notified for other in self._troubles.values()):
            trouble.notified = True
            self.notify(text)
