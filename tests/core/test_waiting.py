"""What is waited for is told, but only where that takes a while."""

import queue

from core.waiting import announced


def test_a_wait_is_told_unless_it_is_short() -> None:
    said: queue.Queue[str] = queue.Queue()
    with announced("nothing", said.put, after_s=3_600.0):
        pass
    with announced("AWS", said.put, after_s=0.0, every_s=3_600.0):
        assert said.get() == "Waiting for AWS ..."
    assert said.empty()


def test_a_long_wait_is_told_again() -> None:
    said: queue.Queue[str] = queue.Queue()
    with announced("AWS", said.put, after_s=0.0, every_s=0.0):
        told = [said.get(), said.get(), said.get()]
    assert told[1:] == ["Still waiting for AWS (0 s) ..."] * 2
