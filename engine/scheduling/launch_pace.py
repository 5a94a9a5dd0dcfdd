"""How many jobs may run at once: by the provider's refusals, and by the prompt cache. Pure."""

from core.job import JobKey

# Jobs launched before a cut go on reporting what made it necessary; for so long they cut no more.
EPISODE_S = 60.0
CACHE_LIVES_S = 300.0
"""A prompt cache, after its last use."""


class LaunchPace:
    """For workers that share a rate limit but no process: each has a governor of its own, and
    reports in its result what it met.

    `ceiling` is how many jobs may run at once now: from 1 to `most`, at first `most`. Additive
    increase, multiplicative decrease (RFC 5681 has the same rule for a network's load).
    """

    def __init__(self, most: int) -> None:
        self._most = max(1, most)
        self._ceiling = float(self._most)
        self._cut_at = float("-inf")

    @property
    def ceiling(self) -> int:
        return int(self._ceiling)

    def ended(self, throttled: int, now: float) -> None:
        """Hear of a job that ended at `now` (monotonic seconds) and met `throttled` refusals.

        The first that met any halves the ceiling, once per episode; each that met none brings it
        nearer to one more, so that a whole ceiling of them does.
        """
        if throttled <= 0:
            self._ceiling = min(self._most, self._ceiling + 1 / self.ceiling)
        elif now - self._cut_at >= EPISODE_S:
            self._ceiling = float(max(1, self.ceiling // 2))
            self._cut_at = now


class WarmUp:
    """The first executor writes the prompt cache; the others wait for it, and then read.

    Executors that start at once would each pay to write the prefix they share: tools, system
    prompt, plan and contracts. That is more than the 1,024 tokens below which nothing is cached.
    https://platform.claude.com/docs/en/build-with-claude/prompt-caching#cache-limitations
    Times are the clock's monotonic seconds.
    """

    def __init__(self, wanted: bool, most_s: float) -> None:
        self._most_s = most_s
        self._first: JobKey | None = None
        self._until = 0.0
        self._done = not wanted

    def room(self, free: int, now: float) -> int:
        """How many of `free` slots may be filled now."""
        if self._done or (self._first is not None and now >= self._until):
            return free
        return min(free, 1) if self._first is None else 0

    def begun(self, key: JobKey, now: float) -> None:
        if self._first is None:
            self._first, self._until = key, now + self._most_s

    def seen(self, key: JobKey) -> None:
        """The attempt has used something, or is over."""
        self._done = self._done or key == self._first

    def is_over(self) -> None:
        """Somebody else has warmed it."""
        self._done = True

    def waits(self, now: float) -> bool:
        """Whether news of the first executor is waited for."""
        return not self._done and self._first is not None and now < self._until

    @property
    def due(self) -> float | None:
        """When the wait ends at the latest."""
        return None if self._done or self._first is None else self._until
