"""The picture below the terminal's text: redrawn in place, whatever becomes of the terminal."""

from __future__ import annotations

import io
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

from engine.views.screen import Screen

ROOT = Path(__file__).resolve().parents[3]
HIDDEN, SHOWN = "\x1b[?25l", "\x1b[?25h"


class Below:
    """A screen on a terminal of this size."""

    def __init__(self, width: int, height: int = 10) -> None:
        self.stream = io.StringIO()
        self.console = Console(file=self.stream, force_terminal=True, width=width, height=height)
        self.screen = Screen(self.console)

    def draw(self, *lines: str) -> str:
        """What is written for a picture of these lines."""
        before = len(self.stream.getvalue())
        self.screen.draw(Text("\n".join(lines)))
        return self.stream.getvalue()[before:]


def rows_up(written: str) -> int:
    found = re.search(r"\x1b\[(\d+)A", written)
    return int(found[1]) if found else 0


def test_a_picture_takes_the_place_of_the_one_before() -> None:
    below = Below(80)
    assert rows_up(below.draw("a", "b", "c")) == 0
    assert rows_up(below.draw("a", "b")) == 3
    assert rows_up(below.draw("a")) == 2


def test_a_terminal_that_has_become_narrower_has_wrapped_what_is_there() -> None:
    below = Below(80)
    below.draw("x" * 80, "日" * 30, "x" * 40, "")
    below.console.size = (40, 10)
    assert rows_up(below.draw("a")) == 2 + 2 + 1 + 1
    below.console.size = (80, 10)
    assert rows_up(below.draw("a")) == 1


def test_lines_that_a_low_terminal_pushed_out_are_drawn_over_once_they_are_back() -> None:
    below = Below(80, 10)
    below.draw(*"abcdef")
    below.console.size = (80, 4)
    below.draw(*"abc")
    assert rows_up(below.draw(*"abc")) == 6
    below.console.size = (80, 10)
    assert rows_up(below.draw(*"abcdef")) == 6
    assert rows_up(below.draw(*"ab")) == 6
    assert rows_up(below.draw(*"ab")) == 2


def test_what_does_not_fit_is_left_out_at_the_end() -> None:
    written = Below(80, 4).draw("a", "b", "c", "d", "e")
    assert re.findall("[a-e]\n", written) == ["a\n", "b\n", "c\n"]


def test_what_is_above_is_left_there() -> None:
    below = Below(80)
    below.draw("a", "b")
    below.screen.draw(Text("c"), [Text("above")])
    written = below.draw("d")
    assert rows_up(written) == 1
    below.screen.clear([Text("last")])
    assert below.stream.getvalue().endswith(f"\r\x1b[1A\x1b[Jlast\n{SHOWN}")


def test_clearing_leaves_nothing_and_the_cursor() -> None:
    below = Below(80)
    assert HIDDEN in below.draw("a", "b")
    below.screen.clear()
    assert below.stream.getvalue().endswith("\r\x1b[2A\x1b[J" + SHOWN)
    assert rows_up(below.draw("a")) == 0


def test_ctrl_z_leaves_the_cursor_and_what_comes_after_it_is_drawn_below() -> None:
    code = (
        "import os, sys\n"
        "from core.clock import SystemClock\n"
        "from core.events import Event, RunStarted\n"
        "from engine.views import make_view\n"
        "clock = SystemClock()\n"
        "with make_view(sys.stdout, os.environ, lambda u: None, clock) as view:\n"
        "    view.emit(Event(RunStarted(prompt='Ready now'), clock.time()))\n"
        "    clock.sleep(600)\n"
    )
    ours, theirs = pty.openpty()
    worker = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "TERM": "xterm"},
        stdout=theirs, stderr=subprocess.DEVNULL, process_group=0,
    )  # fmt: skip
    os.close(theirs)
    shown = ""
    while "Ready now" not in shown:
        shown += os.read(ours, 1000).decode()
    worker.send_signal(signal.SIGTSTP)
    _, status = os.waitpid(worker.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    os.set_blocking(ours, False)
    while chunk := _available(ours):
        shown += chunk
    assert shown.rindex(SHOWN) > shown.rindex(HIDDEN)
    os.set_blocking(ours, True)
    worker.send_signal(signal.SIGCONT)
    after = ""
    while "Ready now" not in after:
        after += os.read(ours, 1000).decode()
    assert rows_up(after.partition("Ready now")[0]) == 0
    worker.kill()
    worker.wait()
    os.close(ours)


def _available(descriptor: int) -> str:
    try:
        return os.read(descriptor, 1000).decode(errors="replace")
    except BlockingIOError:
        return ""


def test_ctrl_z_in_the_middle_of_writing_waits_until_the_picture_is_whole() -> None:
    code = (
        "import io, os, signal\n"
        "from rich.console import Console\n"
        "from rich.text import Text\n"
        "from engine.views.screen import Screen\n"
        "class Stream(io.StringIO):\n"
        "    is_inside = was_hit = False\n"
        "    def write(self, text):\n"
        "        assert not self.is_inside, 'written to again in the middle of a write'\n"
        "        self.is_inside = True\n"
        "        if not self.was_hit:\n"
        "            self.was_hit = True\n"
        "            os.kill(os.getpid(), signal.SIGTSTP)\n"
        "        super().write(text)\n"
        "        self.is_inside = False\n"
        "stream = Stream()\n"
        "screen = Screen(Console(file=stream, force_terminal=True, width=80, height=10))\n"
        "with screen.heeding_job_control():\n"
        "    screen.draw(Text('picture'))\n"
        "    screen.draw(Text('below'))\n"
        "print(stream.getvalue())\n"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, text=True, process_group=0,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    _, status = os.waitpid(worker.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    worker.send_signal(signal.SIGCONT)
    out, err = worker.communicate(timeout=30)
    assert worker.returncode == 0, err
    picture, shown, below = out.partition(SHOWN)
    assert "picture" in picture
    assert shown
    assert "below" in below
    assert rows_up(below) == 0
