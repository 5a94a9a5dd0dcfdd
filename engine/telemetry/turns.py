"""The requests of an attempt with their times, as its transcript has them."""

import json
import math
from collections.abc import Iterator
from typing import NamedTuple

from core.bundle import AttemptDir
from core.errors import BundleError
from core.job import Usage
from core.wire import decode
from core.workspace.confined import read_regular
from core.workspace.protected_log import MAX_EARLIER_BYTES

_DAMAGE = (ValueError, TypeError, LookupError, RecursionError, BundleError)


class Turn(NamedTuple):
    """`began_at` is Unix time; `stop` is why the model stopped, empty where that is not known."""

    began_at: float
    usage: Usage
    stop: str = ""


def read_turns(attempt: AttemptDir) -> Iterator[Turn]:
    """None where there is no transcript. Lines that were damaged, or that a command of the model
    may have written, such as those with impossible times, are left out."""
    try:
        data = read_regular(attempt.transcript, MAX_EARLIER_BYTES)
    except OSError:
        return
    for text in data.decode(errors="replace").splitlines():
        try:
            line = json.loads(text)
            if "turn" in line:
                usage = decode(Usage, json.dumps(line["usage"]), str(attempt.transcript))
                yield _possible(Turn(float(line["at"]), usage, str(line["stop_reason"] or "")))
        except _DAMAGE:
            continue


def _possible(turn: Turn) -> Turn:
    """Raises ValueError for what is out of all bounds."""
    numbers = (turn.began_at, turn.usage.duration_s, *turn.usage.counts)
    if not all(math.isfinite(n) and 0 <= n < 1e10 for n in numbers) or len(turn.stop) > 100:
        raise ValueError
    return turn
