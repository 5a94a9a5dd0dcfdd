"""How many jobs may run at once, by what the provider refuses. Pure."""

# Jobs launched before a cut go on reporting what made it necessary; for so long they cut no more.
EPISODE_S = 60.0


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
