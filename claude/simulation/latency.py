"""How long the simulated Claude takes: a time to the first token, then a rate of tokens, of the
order seen with models of this class."""

import math
from dataclasses import dataclass

from claude.simulation.seeded_random import draw
from core.bundle import SimulationSettings
from core.clock import Clock

FIRST_TOKEN_S = 0.8
PER_INPUT_TOKEN_S = 0.00002
TOKENS_PER_S = 80.0
_VARIATION = 0.25


@dataclass(frozen=True, slots=True)
class Pace:
    """Simulated seconds of one answer."""

    first_token_s: float
    per_token_s: float

    def total_s(self, output_tokens: int) -> float:
        return self.first_token_s + output_tokens * self.per_token_s


def usual_pace(simulation: SimulationSettings | None) -> Pace:
    """What to expect of an answer, in real seconds; None stands for the real Claude."""
    speed = (simulation.speed or math.inf) if simulation else 1.0
    return Pace(FIRST_TOKEN_S / speed, 1 / (TOKENS_PER_S * speed))


def first_token_s(input_tokens: int) -> float:
    """Seconds until an answer to so much input begins, on average."""
    return FIRST_TOKEN_S + input_tokens * PER_INPUT_TOKEN_S


def pace(input_tokens: int, seed: int, *names: str | int) -> Pace:
    """The pace of one answer; `seed` and `names` draw its variation."""
    factor = 1 - _VARIATION + 2 * _VARIATION * draw(seed, "latency", *names)
    return Pace(first_token_s(input_tokens) * factor, factor / TOKENS_PER_S)


def scaled_s(seconds: float, speed: float) -> float:
    """Real seconds for simulated ones; speed 0 stands for no waiting."""
    return seconds / speed if speed > 0 else 0.0


def wait(clock: Clock, seconds: float, speed: float) -> None:
    """Wait simulated `seconds`. Sleeps even when that is 0, so that a stop is felt."""
    clock.sleep(scaled_s(seconds, speed))
