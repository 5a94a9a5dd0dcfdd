from __future__ import annotations

import signal
import threading
import time

import pytest

from engine.cli.signals import all_raise, first_asks


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_asks_and_the_second_raises(number: signal.Signals) -> None:
    asked: list[str] = []
    with first_asks(lambda: asked.append("please")):
        signal.raise_signal(number)
        assert asked == ["please"]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert asked == ["please"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_both_signals_raise_the_same(number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt), all_raise():
        signal.raise_signal(number)


def test_the_handlers_before_are_put_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with all_raise(), first_asks(lambda: None):
        assert signal.getsignal(signal.SIGTERM) != before[1]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_what_the_caller_has_us_ignore_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with all_raise():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_on_another_thread_nothing_is_touched() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[object] = []

    def body() -> None:
        with all_raise():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert seen == [before]


class Dropping:
    def __del__(self) -> None:
        raise KeyboardInterrupt


def drop_and_wait(wait_s: float) -> None:
    Dropping()
    time.sleep(wait_s)


def test_an_interrupt_that_python_drops_comes_once_more() -> None:
    with pytest.raises(KeyboardInterrupt), all_raise():
        drop_and_wait(10)
