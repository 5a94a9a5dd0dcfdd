"""A request that gets no answer ends with the clock of its client, over real HTTP."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from core.clock import CheckedClock, DeadlineClock, StoppableClock
from core.errors import Interrupted
from tests.fakes.silent_api import silent_server
from tests.fakes.simulated import PROVIDERS, Heard, ask, connected


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("pieces", [0, 2])
def test_a_stop_ends_a_silent_answer_at_once_and_what_it_told_is_counted(
    provider: str, pieces: int
) -> None:
    heard, stoppable = Heard(), StoppableClock()
    clock = CheckedClock(DeadlineClock(stoppable, 1_000), lambda: None)
    with (
        silent_server(pieces, provider) as (api, model),
        ThreadPoolExecutor() as pool,
        connected(model=model, clock=clock, hooks=heard.hooks, retries=8) as claude,
    ):
        asking = pool.submit(claude.send, ask())
        assert api.is_silent.wait(200)
        stoppable.stop()
        assert isinstance(asking.exception(100), Interrupted)
    assert [usage.input_tokens > 0 for usage in heard.usage] == ([True] if pieces else [])
    assert heard.progress == []


def test_a_client_of_a_stopped_clock_asks_nothing() -> None:
    clock = StoppableClock()
    with silent_server(0) as (api, model), connected(model=model, clock=clock) as claude:
        clock.stop()
        with pytest.raises(Interrupted):
            claude.send(ask())
        assert not api.is_silent.is_set()
