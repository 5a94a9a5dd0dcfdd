"""The warm-up: the first executor writes the prompt cache, and the others wait for that where it
pays. Pure; times are the clock's monotonic seconds.

Executors that start at once each pay for writing the prefix that they share. It can be read once an
answer to it has begun:
https://platform.claude.com/docs/en/build-with-claude/prompt-caching#cache-limitations
"""

from dataclasses import dataclass

CACHE_LIVES_S = 300.0
"""A prompt cache, after its last use."""
USD_A_SECOND = 0.01
"""What a second of a run is taken to be worth: 36 US dollars an hour."""
MOST_WAIT_S = 30.0


@dataclass(frozen=True, slots=True)
class SharedPrefix:
    """What the first requests of all executors of a run begin with: about so many tokens, and the
    price of all of them, written to the cache or read from it. Below `least_tokens` the provider
    caches nothing. `begins_s`: how long until it is known that a first answer begins."""

    tokens: int
    least_tokens: int
    write_usd: float
    read_usd: float
    begins_s: float

    def worth_waiting_s(self, others: int) -> float:
        """How long so many executors should wait for the first one's answer to begin, which lets
        them read what each would write; 0 where that costs more time than it saves money."""
        if self.tokens < self.least_tokens:
            return 0.0
        saved_usd = max(0, others) * (self.write_usd - self.read_usd)
        worth_s = min(saved_usd / USD_A_SECOND, MOST_WAIT_S)
        return worth_s if worth_s >= self.begins_s else 0.0


class WarmUp:
    """Holds the others back; without a prefix, which is in the cache already then, nobody."""

    def __init__(self, prefix: SharedPrefix | None) -> None:
        self._prefix = prefix
        self._begun_at: float | None = None
        self._until = 0.0

    def room(self, free: int, ready: int, now: float) -> int:
        """How many of `free` slots may be filled now, where `ready` tasks could take them."""
        if self._prefix is None:
            return free
        at_once = min(free, ready)
        if self._begun_at is None:
            return 1 if self._prefix.worth_waiting_s(at_once - 1) else free
        self._until = self._begun_at + self._prefix.worth_waiting_s(at_once)
        return 0 if now < self._until else free

    def begun(self, now: float) -> None:
        """An executor is on its way."""
        self._begun_at = now if self._begun_at is None else self._begun_at

    def is_over(self) -> None:
        """Somebody's answer has begun, or there is no use in waiting for it."""
        self._prefix = None

    def waits(self, now: float) -> bool:
        """Whether news of the first executor is waited for."""
        return self._prefix is not None and self._begun_at is not None and now < self._until

    @property
    def due(self) -> float | None:
        """When the wait ends at the latest."""
        return None if self._prefix is None or self._begun_at is None else self._until
