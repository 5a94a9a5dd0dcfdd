"""The views: what is shown where, hostile text, and readers that go away."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from claude.errors.endpoint import Endpoint
from core.bundle import ModelSettings
from core.events import Event, Kind, decode_event, encode_event
from core.simulation_notice import limitation_notice, simulation_notice
from engine.money.usage import Spend, cost_text
from engine.run.run_view import RunView
from engine.run.task_view import TaskPhase
from engine.views import make_view
from engine.views.console import SafeStream
from engine.views.format import (
    NAMED_REASONS,
    clean,
    duration,
    plural,
    queue_text,
    short_count,
    without_sequences,
)
from engine.views.live import LiveView, chosen_rows, draw
from engine.views.plain import JsonLines, PlainLines, Quiet
from engine.views.types import View
from tests.engine.run.test_run_view import CONFLICT, Story, handle, price, usage
from tests.fakes.events import event_of
from tests.fakes.scripted_claude import FakeClock

ROOT = Path(__file__).resolve().parents[3]
HOSTILE = "\x1b]0;title\x07\x1b[2J[bold red]x[/] :smile: \u202eevil\r\n\tnext\x00\x9b31m\ud800"
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Terminal(io.StringIO):
    """Says that it is one."""

    def isatty(self) -> bool:
        return True


class Gone(io.StringIO):
    """A pipe whose reader has left."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error
        self.tries = 0

    def write(self, text: str) -> int:
        self.tries += 1
        raise self.error


def run_events(simulated: bool = True, text: str = "hello") -> list[Event]:
    """A small run in which every kind of event happens and `text` is everywhere."""
    events: list[Event] = []

    def tell(kind: Kind, task: str = "", attempt: int = 0, **data: Any) -> None:
        events.append(event_of(kind, 1_000.0 + len(events), task, attempt, data))

    tell(Kind.RUN_STARTED, run="r1", run_dir="/w/r1", prompt=text, simulated=simulated,
         backend="threading", model="m", max_executors=3, target="/out", resumed=False)  # fmt: skip
    tell(Kind.PROGRESS, text=text)
    tasks = [["api", text, [], 10], ["web", text, ["api"], 10], ["doc", text, [], 10]]
    tell(Kind.PROGRESS, usage=usage())
    tell(Kind.PLAN_READY, title=text, tasks=tasks)
    for name in ("api", "doc"):
        tell(Kind.JOB_INTENDED, name, 1)
        tell(Kind.JOB_SUBMITTED, name, 1, handle=handle(name, 1))
        tell(Kind.JOB_STATE, name, 1, state="RUNNING", reason=None, message="")
        tell(Kind.PROGRESS, name, 1, text=text)
        tell(Kind.ANSWER_BEGUN, name, 1)
        tell(Kind.PROGRESS, name, 1, usage=usage())
    tell(Kind.JOB_ENDED, "api", 1, usage=[usage()], files=1, duration_s=3.0, message=text)
    tell(Kind.TASK_RETRY, "api", 1, reason="DEFECT", delay_s=1.5, message=text)
    tell(Kind.JOB_INTENDED, "api", 2)
    tell(Kind.JOB_ENDED, "api", 2, usage=[usage()], files=1, duration_s=3.0, message=text)
    tell(Kind.TASK_ENDED, "api", 2, state="FAILED", message=text)
    tell(Kind.TASK_ENDED, "web", 0, state="BLOCKED", message=text)
    tell(Kind.JOB_ENDED, "doc", 1, usage=[usage()], files=2, duration_s=3.0, message=text)
    tell(Kind.TASK_ENDED, "doc", 1, state="SUCCEEDED", message=text)
    tell(Kind.NOTICE, text=text)
    tell(Kind.MERGE_INTENDED, target="/out", files=2)
    tell(Kind.DELIVERED, target="/out", files=2, conflicts=[CONFLICT], refused=[])
    tell(Kind.RUN_ENDED, exit_code=1, outcome=text, message=text, wall_s=30.0)
    return events


def plain(events: list[Event], *, verbose: bool = False, now: float = 0.0) -> list[str]:
    stream = io.StringIO()
    with PlainLines(stream, price, FakeClock(now), verbose=verbose) as view:
        for event in events:
            view.emit(event)
    return stream.getvalue().splitlines()


def picture(run_view: RunView, now: float, width: int = 80, height: int = 24) -> list[str]:
    console = Console(
        record=True, width=width, height=height, file=io.StringIO(),
        markup=False, emoji=False, highlight=False,
    )  # fmt: skip
    console.print(draw(run_view, now, width, height))
    return [line.rstrip() for line in console.export_text().splitlines()]


class Told(Story):
    """Keeps the events for a view."""

    def __init__(self, events: list[Event]) -> None:
        super().__init__()
        self._events = events

    def tell(self, kind: Kind, task: str = "", attempt: int = 0, **data: Any) -> Told:
        self._events.append(event_of(kind, self.at, task, attempt, data))
        return self


def tell_forecast(story: Story, **more: Any) -> None:
    figures: dict[str, Any] = {
        n: {"low": 2.0, "likely": 4.0, "high": 6.0} for n in ("seconds", "tokens")
    }
    parts: dict[str, Any] = {
        name: {"seconds": seconds, "tokens": 1, "cost_usd": 2.0}
        for name, seconds in (("planning", 60.0), ("alone", 180.0), ("parallel", 64.0))
    }
    story.tell(Kind.FORECAST, executors=2, work_s=1.0, cost_usd=None, **figures, **parts, **more)


class TestFormat:
    @pytest.mark.parametrize(
        ("text", "cleaned"),
        [
            ("plain", "plain"),
            ("\x1b[31mred\x1b[0m", "red"),
            ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x07", "link"),
            ("\x1b]52;c;unterminated", ""),
            ("a\r\nb\tc", "a b c"),
            ("a\u202eb\u200bc\ufeff", "abc"),
            ("\x9b31mx\x00\x7f", "31mx"),
            ("[bold]markup[/] :smile:", "[bold]markup[/] :smile:"),
            ("日本語 ä é", "日本語 ä é"),
            ("\ud800x", "x"),
            (None, "None"),
        ],
    )
    def test_only_printable_text_is_left(self, text: object, cleaned: str) -> None:
        assert clean(text) == cleaned

    @given(st.text(), st.integers(1, 50))
    def test_any_text_becomes_one_short_printable_line(self, text: str, limit: int) -> None:
        cleaned = clean(text, limit)
        assert len(cleaned) <= limit
        assert cleaned.isprintable()
        assert clean(cleaned, limit) == cleaned

    def test_long_text_is_cut_visibly_and_quickly(self) -> None:
        assert clean("x" * 10_000_000, 10) == "xxxxxxxxx…"

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [
            (None, "-"),
            (-3, "0:00"),
            (7.4, "0:07"),
            (59.6, "1:00"),
            (754, "12:34"),
            (3723, "1:02:03"),
            (float("inf"), "277777777:46:40"),
        ],
    )
    def test_durations(self, seconds: float | None, text: str) -> None:
        assert duration(seconds) == text

    def test_numbers(self) -> None:
        assert [short_count(n) for n in (0, 999, 1200, 3_400_000)] == ["0", "999", "1.2k", "3.4M"]
        assert [plural(n, "file") for n in (0, 1, 1000)] == ["0 files", "1 file", "1,000 files"]

    def test_of_a_queue_the_worst_and_the_most_frequent_come_first(self) -> None:
        waits = [("Resources", 2, False), ("Priority", 1800, False), ("\x1b[1mheld", 3, True)]
        assert queue_text(waits) == (
            "3 cannot start (held), 1,800 queued (Priority), 2 queued (Resources)"
        )
        assert queue_text([("", 1, True)]) == "1 cannot start (no reason given)"
        assert queue_text([("x" * 99, 1, False)], 10) == "1 queued (xxxxxxxxx…)"

    def test_of_many_reasons_some_are_named_and_the_rest_is_counted(self) -> None:
        waits = [(f"place {n}", 2, False) for n in range(NAMED_REASONS + 3)]
        text = queue_text(waits)
        assert text.count("queued (place ") == NAMED_REASONS
        assert text.endswith("(place 3), 6 for 3 other reasons")

    def test_a_cost_is_labelled(self) -> None:
        assert cost_text(Spend(cost_usd=0.12345), simulated=False) == "$0.1235"
        assert "simulated" in cost_text(Spend(cost_usd=2), simulated=True)
        assert cost_text(Spend(unpriced=2), simulated=False).endswith("price for 2 requests")


class TestSafeStream:
    @pytest.mark.parametrize("error", [BrokenPipeError(), OSError(5, "EIO"), ValueError("closed")])
    def test_a_reader_that_left_is_forgotten(self, error: Exception) -> None:
        gone = Gone(error)
        stream = SafeStream(gone)
        for _ in range(3):
            stream.write("x")
            stream.flush()
        assert gone.tries == 1
        assert not stream.isatty()

    def test_a_closed_stream_is_no_terminal(self) -> None:
        closed = io.StringIO()
        closed.close()
        assert not SafeStream(closed).isatty()
        SafeStream(closed).flush()

    def test_no_stream_at_all_will_do(self) -> None:
        stream = SafeStream(None)
        assert stream.write("x") == 1
        stream.flush()
        assert not stream.isatty()
        with pytest.raises(OSError, match="no stream"):
            stream.fileno()

    def test_what_the_encoding_lacks_is_replaced(self) -> None:
        below = io.BytesIO()
        stream = SafeStream(io.TextIOWrapper(below, encoding="ascii"))
        stream.write("a日\ud800")
        stream.flush()
        assert below.getvalue() == b"a??"

    def test_it_has_the_descriptor_of_what_is_below(self) -> None:
        with open(os.devnull, "w") as below:
            assert SafeStream(below).fileno() == below.fileno()

    def test_a_real_broken_pipe_ends_neither_the_run_nor_the_exit(self) -> None:
        code = (
            "import sys\n"
            "from core.clock import SystemClock\n"
            "from core.events import Event, Notice\n"
            "from engine.views.plain import PlainLines\n"
            "view = PlainLines(sys.stdout, lambda usage: None, SystemClock())\n"
            "for n in range(20000):\n"
            "    view.emit(Event(Notice('x' * 100), 9e9))\n"
            "print('still there', file=sys.stderr)\n"
        )
        worker = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert worker.stdout is not None
        assert worker.stderr is not None
        worker.stdout.readline()
        worker.stdout.close()
        assert worker.stderr.read() == "still there\n"
        worker.stderr.close()
        assert worker.wait() == 0


class TestPlainLines:
    def test_each_event_is_a_line(self) -> None:
        said = [line.partition("] ")[2] for line in plain(run_events())]
        assert said[:6] == [
            "run r1 started: m, backend threading, up to 3 executors, simulated without waits",
            "planning: hello",
            "plan: hello, 3 tasks",
            simulation_notice("hello"),
            "api: started",
            "doc: started",
        ]
        assert "api: hello; trying again in 1.5 s" in said
        assert "api: started, attempt 2" in said
        assert "api: failed (0/3) hello" in said
        assert "web: blocked (0/3) hello" in said
        assert "doc: done (1/3) 2 files in 0:03" in said
        assert "note: hello" in said
        assert "delivered 2 files to /out, 1 in conflict" in said
        assert said[-1].startswith("ended: hello; 440 tokens, $0.4400")

    def test_a_simulation_is_labelled_on_every_line(self) -> None:
        assert all(line.startswith("[simulated 0:") for line in plain(run_events()))
        assert not any("simulated" in line for line in plain(run_events(simulated=False)))

    def test_a_simulation_says_at_the_start_that_it_cannot_answer(self) -> None:
        said = [line.partition("] ")[2] for line in plain(run_events(text="what is 2+2"))]
        assert said[1] == limitation_notice("what is 2+2") != ""
        real = plain(run_events(simulated=False, text="what is 2+2"))
        assert not any("imulat" in line for line in real)

    def test_what_is_expected_is_said_before_planning_and_before_the_tasks(self) -> None:
        seen: list[Event] = []
        story = Told(seen)
        story.start(planning={"seconds": 300, "tokens": 1, "cost_usd": 0.12})
        story.plan(("a", [], 100))
        tell_forecast(story, past={"runs": 2, "time_factor": 1.26, "cost_factor": None})
        said = [line.partition("] ")[2] for line in plain(seen)]
        assert said[1] == "Planning is expected to take about 5 min, $0.12"
        assert said[-3].startswith("forecast: 1:04 (1:02 to 1:06), ")
        assert said[-2].startswith("One executor alone: about 3 min, $2.00; 2 in parallel: about")
        assert said[-1].endswith("were off by a factor of 1.3 in time (2 runs)")

    def test_that_nothing_moves_is_told_each_time_that_it_has_lasted_twice_as_long(self) -> None:
        events = run_events()[:10]
        for task, silent_s in [("doc", 5.0), ("api", 5.0), ("doc", 10.0), ("api", 10.0)]:
            data = {"silent_s": silent_s}
            events.append(event_of(Kind.ANSWER_PROGRESS, 1_100 + silent_s, task, 1, data))
        events.append(event_of(Kind.PROGRESS, 1_120.0, "api", 1, {"text": "again"}))
        events.append(event_of(Kind.ANSWER_PROGRESS, 1_130.0, "api", 1, {"silent_s": 5.0}))
        lines = plain(events)
        told = [line.partition("] ")[2] for line in lines if "no answer" in line]
        assert told == [f"note: no answer from Claude for {n} s" for n in (5, 10, 5)]

    def test_verbose_adds_the_states_of_jobs(self) -> None:
        quiet, loud = plain(run_events()), plain(run_events(), verbose=True)
        assert set(quiet) < set(loud)
        assert any(line.endswith("api: RUNNING") for line in loud)

    def test_a_queue_takes_one_line_however_many_jobs_wait_and_each_start_its_own(self) -> None:
        events = run_events()[:4]
        names = [f"t{n}" for n in range(200)]

        def tell(kind: Kind, task: str = "", **data: Any) -> None:
            events.append(event_of(kind, 1_100.0, task, 1, data))

        for name in names:
            tell(Kind.JOB_INTENDED, name)
        for why in ("Priority", "Resources", "Priority"):
            for name in names:
                tell(Kind.JOB_STATE, name, state="UNKNOWN", reason=None, message="")
                tell(Kind.JOB_STATE, name, state="QUEUED", reason=None, message=why)
        tell(Kind.QUEUE, waits=[["Priority", 200, False]])
        tell(Kind.JOB_STATE, "t7", state="RUNNING", reason=None, message="on node-3")
        tell(Kind.JOB_STATE, "t7", state="QUEUED", reason=None, message="Requeued")
        begun = len(names) + 4
        said = [line.partition("] ")[2] for line in plain(events)][begun:]
        assert said == ["queue: 200 queued (Priority)"]
        said = [line.partition("] ")[2] for line in plain(events, verbose=True)][begun:]
        assert said == [
            "queue: 200 queued (Priority)",
            "t7: RUNNING: on node-3",
            "t7: QUEUED: Requeued",
        ]

    def test_earlier_sessions_are_counted_and_not_shown(self) -> None:
        events = run_events()
        lines = plain(events, now=events[-1].at)
        assert len(lines) == 1
        assert "440 tokens" in lines[0]

    def test_hostile_text_stays_text(self) -> None:
        for line in plain(run_events(text=HOSTILE), verbose=True):
            assert not CONTROL.search(line)
        assert any("[bold red]x[/]" in line for line in plain(run_events(text=HOSTILE)))

    def test_a_broken_pipe_does_not_stop_the_run(self) -> None:
        with PlainLines(Gone(BrokenPipeError()), price, FakeClock(0)) as view:
            for event in run_events():
                view.emit(event)


class TestJsonLines:
    def test_each_event_is_one_line_as_on_the_wire(self) -> None:
        stream = io.StringIO()
        events = run_events(text="a\nb\x1b日")
        with JsonLines(stream) as view:
            for event in events:
                view.emit(event)
        lines = stream.getvalue().splitlines()
        assert lines == [encode_event(event) for event in events]
        assert [decode_event(line, "stdout") for line in lines] == events

    def test_it_stays_json_where_the_encoding_is_poor(self) -> None:
        below = io.BytesIO()
        stream = io.TextIOWrapper(below, encoding="ascii")
        JsonLines(stream).emit(event_of(Kind.NOTICE, 1.0, data={"text": "日"}))
        assert json.loads(below.getvalue())["data"]["text"] == "日"


class TestChoice:
    TERM = {"TERM": "xterm"}  # noqa: RUF012 - never changed

    def choose(self, stream: Any, environ: dict[str, str], **options: bool) -> View:
        return make_view(stream, environ, price, FakeClock(), **options)

    def test_json_before_quiet_before_live_before_plain(self) -> None:
        assert isinstance(
            self.choose(Terminal(), self.TERM, json_lines=True, quiet=True), JsonLines
        )
        assert isinstance(self.choose(Terminal(), self.TERM, quiet=True), Quiet)
        assert isinstance(self.choose(Terminal(), self.TERM), LiveView)
        assert isinstance(self.choose(io.StringIO(), self.TERM), PlainLines)

    @pytest.mark.parametrize("environ", [{"TERM": "dumb"}, {"TERM": ""}, {}])
    def test_a_poor_terminal_gets_lines(self, environ: dict[str, str]) -> None:
        assert isinstance(self.choose(Terminal(), environ), PlainLines)

    def test_verbose_means_lines(self) -> None:
        assert isinstance(self.choose(Terminal(), self.TERM, verbose=True), PlainLines)

    def test_a_closed_standard_output_is_no_terminal(self) -> None:
        assert isinstance(self.choose(None, self.TERM), PlainLines)

    def test_quiet_prints_nothing(self) -> None:
        stream = io.StringIO()
        with self.choose(stream, self.TERM, quiet=True) as view, view.suspended():
            for event in run_events():
                view.emit(event)
        assert stream.getvalue() == ""


class TestPicture:
    def test_a_small_run_shows_every_task_in_the_plans_order(self) -> None:
        story = Story().start(simulated=True, backend="threading", model="m", prompt="p")
        story.plan(*[(f"task-{n}", [], 100) for n in range(12)])
        story.begin("task-3").tell(Kind.PROGRESS, "task-3", 1, text="writing x.py", usage=usage())
        story.begin("task-0").end("task-0", duration_s=5.0, usage=[usage()]).finish("task-0")
        story.begin("task-5", 2).tell(Kind.ANSWER_BEGUN, "task-5", 2)
        story.finish("task-6", "FAILED", "no files")
        story.at += 20
        lines = picture(story.run_view, story.at)
        rows = [line for line in lines if "task-" in line]
        assert re.findall(r"task-[0-9]+(?= +[a-z])", "\n".join(rows)) == [
            f"task-{n}" for n in range(12)
        ]
        assert "SIMULATED" in lines[0]
        assert lines[1].startswith("Simulated: the plan")
        assert "1/12 tasks  0:20  about" in lines[3]
        assert rows[0].split() == ["task-0", "done", "0:05", "110", "Title", "task-0"]
        assert rows[3].split() == ["1", "task-3", "running", "0:20", "110", "writing", "x.py"]
        assert rows[5].split()[:4] == ["2", "task-5", "writing", "0:20"]
        assert "attempt 2" in rows[5]
        assert rows[6].endswith("failed                  no files")
        assert "2 running  1 failed  8 waiting  1 done" in lines
        assert lines[-1].startswith("200 tokens in, 20 out · $0.2200 (simulated")

    def test_a_simulation_shows_its_notices_where_there_is_room(self) -> None:
        story = Story().start(simulated=True, prompt="what is 2+2").plan(("a", [], 100))
        assert picture(story.run_view, story.at, 120)[2] == limitation_notice("what is 2+2")
        small = picture(story.run_view, story.at, 120, 10)
        assert not any("cannot answer" in line for line in small)

    def test_planning_shows_that_something_goes_on(self) -> None:
        story = Story().start(prompt="Build a todo list").tell(Kind.PROGRESS, text="asking")
        story.at += 65
        lines = picture(story.run_view, story.at)
        assert lines[0].startswith("Build a todo list")
        assert lines[1] == "planning 1:05  asking"
        story.start(planning={"seconds": 90, "tokens": 1, "cost_usd": 0.1})
        assert picture(story.run_view, story.at)[1] == "planning 0:00 of about 1:30  asking"
        story.tell(Kind.ANSWER_PROGRESS, tokens=2_100)
        lines = picture(story.run_view, story.at)
        assert lines[1] == "planning 0:00 of about 1:30  2.1k tokens so far  asking"
        assert lines[2].startswith("0 tokens in, 2.1k out")
        story.tell(Kind.ANSWER_PROGRESS, tokens=2_100, silent_s=10.0)
        lines = picture(story.run_view, story.at + 30)
        assert lines[1] == "planning 0:30 of about 1:30  no answer from Claude for 40 s"

    def test_what_an_answer_has_written_counts_up_and_silence_takes_the_place_of_the_eta(
        self,
    ) -> None:
        story = Story().start().plan(("a", [], 100), ("b", [], 100))
        story.begin("a").end("a", duration_s=10.0).finish("a").begin("b", 2)
        story.tell(Kind.ANSWER_PROGRESS, "b", 2, tokens=2_100, path="app/store.py")
        lines = picture(story.run_view, story.at)
        assert lines[1].endswith("1/2 tasks  0:00  about 0:10 left")
        assert lines[4].split(maxsplit=5) == [
            *("1", "b", "writing", "2.1k"),
            *("app/store.py,", "2.1k tokens (attempt 2)"),
        ]
        assert picture(story.run_view, story.at, 60)[4].endswith(" app/store.py (attempt 2)")
        story.tell(Kind.ANSWER_PROGRESS, "b", 2, tokens=9, path="/work/app/store.py")
        assert picture(story.run_view, story.at)[4].endswith(" store.py, 9 tokens (attempt 2)")
        story.tell(Kind.ANSWER_PROGRESS, "b", 2, tokens=2_100, silent_s=20.0)
        lines = picture(story.run_view, story.at + 20)
        assert lines[1].endswith("1/2 tasks  0:20  no answer from Claude for 40 s")
        assert lines[4].endswith("2.1k no answer for 40 s")

    @pytest.mark.parametrize(
        ("path", "shown"),
        [
            ("a/very/long/way/down/to/the/file/models.py", "a/very/…/models.py (attempt 2)"),
            ("a_file_with_a_name_that_has_no_room_at_all.py", "a_fil…om_at_all.py (attempt 2)"),
        ],
    )
    def test_of_a_long_path_the_middle_is_cut_and_never_what_comes_after(
        self, path: str, shown: str
    ) -> None:
        story = Story().start().plan(("a-task-with-its-name", [], 100))
        story.begin("a-task-with-its-name", 2)
        story.tell(Kind.ANSWER_PROGRESS, "a-task-with-its-name", 2, tokens=9, path=path)
        (line,) = (x for x in picture(story.run_view, story.at) if " writing " in x)
        assert line.startswith("1    a-task-with-its-name")
        assert line.endswith(shown)

    def test_a_silence_names_the_file_that_it_came_in(self) -> None:
        story = Story().start().plan(("a", [], 100)).begin("a")
        story.tell(Kind.ANSWER_PROGRESS, "a", 1, tokens=9, path="app/store.py", silent_s=20.0)
        assert picture(story.run_view, story.at)[3].endswith("no answer for 20 s, in app/store.py")

    def test_how_long_a_running_task_has_not_moved_comes_first(self) -> None:
        story = Story().start().plan(("a", [], 100)).begin("a")
        story.tell(Kind.PROGRESS, "a", 1, text="runs the tests")
        assert picture(story.run_view, story.at + 29)[3].endswith(" runs the tests")
        assert picture(story.run_view, story.at + 40)[3].endswith(
            "no news for 40 s: runs the tests"
        )
        story.at += 41
        story.tell(Kind.PROGRESS, "a", 1, text="wrote a.py")
        assert picture(story.run_view, story.at)[3].endswith(" wrote a.py")

    def test_of_a_queued_task_the_time_is_how_long_it_waits(self) -> None:
        story = Story().start().plan(("a", [], 100)).tell(Kind.JOB_INTENDED, "a", 1)
        story.tell(Kind.JOB_STATE, "a", 1, state="QUEUED", message="Priority")
        story.tell(Kind.JOB_STATE, "a", 1, state="QUEUED", message="Resources")
        line = picture(story.run_view, story.at + 75)[3]
        assert line.split() == ["1", "a", "queued", "1:15", "Resources"]
        story.tell(Kind.JOB_STATE, "a", 1, state="RUNNING")
        assert picture(story.run_view, story.at + 2)[3].split()[:4] == ["1", "a", "running", "0:02"]

    def test_a_retry_tells_its_cause_and_when_it_comes(self) -> None:
        story = Story().start().plan(("a", [], 100)).begin("a").end("a")
        story.tell(Kind.TASK_RETRY, "a", 1, message="No a.py.", delay_s=8.0)
        assert picture(story.run_view, story.at + 3)[3].endswith("No a.py.; again in 5 s")
        assert picture(story.run_view, story.at + 9)[3].endswith("No a.py.")

    def test_a_simulation_says_how_far_its_times_are_off(self) -> None:
        story = Story().start(simulated=True, speed=20.0)
        assert "SIMULATED at 20x" in picture(story.run_view, story.at)[0]

    def test_the_cause_of_a_retry_is_not_what_is_cut(self) -> None:
        story = Story().start().plan(("a", [], 100))
        endpoint = Endpoint(ModelSettings("bedrock"), "host.example", str, lambda: 0.0)
        text = f"{endpoint} is overloaded: no capacity. Trying again in 3.0 s (retry 1 of 8)."
        story.begin("a").tell(Kind.PROGRESS, "a", 1, text=text)
        assert "Claude is overloaded: no capacity." in picture(story.run_view, story.at)[3]
        story.end("a")
        story.tell(Kind.TASK_RETRY, "a", 1, message=f"The connection to {endpoint} was lost.")
        assert "The connection to Claude was lost." in picture(story.run_view, story.at)[3]

    def test_a_planner_that_still_writes_is_shown_below_the_tasks(self) -> None:
        story = Story().start().plan(("a", [], 100)).tell(Kind.PROGRESS, text="contract x.py")
        assert "planning" not in "".join(picture(story.run_view, story.at))
        story.tell(Kind.ANSWER_PROGRESS, tokens=300)
        lines = picture(story.run_view, story.at)
        assert "planning 0:00  300 tokens so far  contract x.py" in lines

    @pytest.mark.parametrize(
        ("height", "rows", "counts"),
        [(24, 12, "12 waiting"), (12, 5, "+7 more  12 waiting"), (5, 1, "+11 more  12 waiting")],
    )
    def test_tasks_without_a_row_are_counted(self, height: int, rows: int, counts: str) -> None:
        story = Story().start().plan(*[(f"task-{n}", [], 100) for n in range(12)])
        tell_forecast(story)
        lines = picture(story.run_view, story.at, height=height)
        assert len([line for line in lines if "task-" in line]) == rows
        assert counts in [line.strip() for line in lines]

    @pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 10), (20, 5), (200, 50)])
    @pytest.mark.parametrize("tasks", [1, 12, 1000])
    def test_it_fits_every_terminal(self, width: int, height: int, tasks: int) -> None:
        story = Story().start(prompt="日本語" * 50, backend="b" * 99, model="m" * 99)
        story.plan(*[(f"t{n}-" + "x" * 25, [], 100) for n in range(tasks)])
        for n in range(tasks // 2):
            story.begin(f"t{n}-" + "x" * 25)
        story.tell(Kind.PROGRESS, "t0-" + "x" * 25, 1, text="語" * 500)
        story.tell(Kind.NOTICE, text="日" * 500)
        told = {"state": "QUEUED", "reason": "UNSCHEDULABLE", "message": "語" * 500}
        story.tell(Kind.JOB_STATE, f"t{tasks - 1}-" + "x" * 25, 1, **told)
        tell_forecast(story)
        lines = picture(story.run_view, story.at, width, height)
        assert max(cell_len(line) for line in lines) <= width
        assert len(lines) <= height - 1

    def test_both_ways_are_shown_where_there_is_room(self) -> None:
        story = Story().start().plan(("a", [], 100))
        tell_forecast(story)
        shown = picture(story.run_view, story.at, 100)
        assert shown[-2].startswith("forecast: 1:04 (1:02 to 1:06), ")
        assert shown[-1].startswith("One executor alone: about 3 min, $2.00; 2 in parallel: about")
        assert "alone" not in "".join(picture(story.run_view, story.at, 100, 12))

    def test_what_queued_jobs_wait_for_is_in_their_rows_and_below_in_one_line(self) -> None:
        story = Story().start(backend="slurm", max_executors=40)
        story.plan(*[(f"task-{n}", [], 100) for n in range(40)])
        held = "ReqNodeNotAvail, UnavailableNodes:compute-dy-c5-[1-99]"
        for n in range(40):
            story.tell(Kind.JOB_INTENDED, f"task-{n}", 1)
            why = {17: ("UNSCHEDULABLE", held)}.get(n, (None, "Priority"))
            told = dict(zip(("reason", "message"), why, strict=True))
            story.tell(Kind.JOB_STATE, f"task-{n}", 1, state="QUEUED", **told)
        lines = picture(story.run_view, story.at)
        assert lines[3].split(maxsplit=3) == [
            *("18", "task-17", "queued"),
            "cannot start: ReqNodeNotAvail, Unavailable…",
        ]
        assert lines[4].split() == ["1", "task-0", "queued", "Priority"]
        assert lines[-2] == "queue: 1 cannot start (ReqNodeNotAvail, Unavai…), 39 queued (Priority)"
        assert len(lines) <= 23
        story.tell(Kind.JOB_STATE, "task-17", 1, state="QUEUED", reason="UNSCHEDULABLE")
        assert picture(story.run_view, story.at)[3].endswith("cannot start: no reason given")
        story.tell(Kind.JOB_STATE, "task-17", 1, state="RUNNING", reason=None, message="")
        assert picture(story.run_view, story.at)[-2] == "queue: 39 queued (Priority)"

    def test_of_a_thousand_tasks_running_and_failed_come_first(self) -> None:
        story = Story().start()
        story.plan(*[(f"t{n}", [], 1) for n in range(1000)])
        for n in (900, 5, 700):
            story.begin(f"t{n}")
        story.finish("t990", "FAILED", "x").finish("t1").finish("t2", "BLOCKED")
        shown = chosen_rows(story.run_view, 5)
        assert [task.id for task in shown] == ["t900", "t5", "t700", "t990", "t2"]
        assert sum(story.run_view.tasks.counts.values()) == 1000

    def test_hostile_text_stays_text(self) -> None:
        run_view = RunView(price)
        for event in run_events(text=HOSTILE):
            run_view.apply(event)
            text = "\n".join(picture(run_view, event.at))
            assert not CONTROL.search(text)
        assert "[bold red]x[/]" in text
        assert ":smile:" in text


class TestLiveView:
    def view(self, stream: Any, *, color: bool = True) -> LiveView:
        return LiveView(stream, price, FakeClock(), color=color)

    def test_it_draws_and_hands_the_terminal_back(self) -> None:
        terminal = Terminal()
        with self.view(terminal) as view:
            for event in run_events():
                view.emit(event)
        shown = terminal.getvalue()
        assert "SIMULATED" in shown
        assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")

    def test_notices_stay_whole_and_those_of_earlier_sessions_are_not_repeated(self) -> None:
        terminal, text = Terminal(), " ".join(f"word{n}" for n in range(40))
        with LiveView(terminal, price, FakeClock(1_000.0)) as view:
            view.emit(event_of(Kind.NOTICE, 900.0, data={"text": "yesterday"}))
            for event in (run_events()[0], event_of(Kind.NOTICE, 1_001.0, data={"text": text})):
                view.emit(event)
        shown = without_sequences(terminal.getvalue())
        assert " ".join(shown.split()).count(f"note: {text}") == 1
        assert "yesterday" not in shown

    def test_it_stops_on_an_exception_and_stays_stopped(self) -> None:
        terminal = Terminal()
        view = self.view(terminal)

        def interrupted() -> None:
            with view:
                view.emit(run_events()[0])
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        shown = terminal.getvalue()
        assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
        view.close()
        view.emit(run_events()[0])
        with view.suspended():
            pass
        assert terminal.getvalue() == shown

    def test_while_suspended_the_terminal_is_left_alone(self) -> None:
        terminal = Terminal()
        with self.view(terminal) as view:
            view.emit(run_events()[0])
            with view.suspended():
                shown = terminal.getvalue()
                assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
            shown = terminal.getvalue()
            assert shown.rindex("\x1b[?25l") > shown.rindex("\x1b[?25h")

    def test_without_colour_there_is_none(self) -> None:
        terminal = Terminal()
        with self.view(terminal, color=False) as view:
            for event in run_events():
                view.emit(event)
        assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", terminal.getvalue())

    def test_a_terminal_that_vanishes_does_not_stop_the_run(self) -> None:
        with self.view(Gone(OSError(5, "EIO"))) as view:
            for event in run_events():
                view.emit(event)

    def test_on_a_real_terminal_an_interrupt_leaves_the_cursor_on(self) -> None:
        code = (
            "import os, sys\n"
            "from core.clock import SystemClock\n"
            "from core.events import Event, RunStarted\n"
            "from engine.views import make_view\n"
            "clock = SystemClock()\n"
            "with make_view(sys.stdout, os.environ, lambda u: None, clock) as view:\n"
            "    view.emit(Event(RunStarted(prompt='Ready now'), clock.time()))\n"
            "    clock.sleep(60)\n"
        )
        ours, theirs = pty.openpty()
        environ = {**os.environ, "TERM": "xterm"}
        worker = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=ROOT, env=environ, stdout=theirs, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(theirs)
        shown = b""
        while b"Ready now" not in shown:
            shown += os.read(ours, 1000)
        worker.send_signal(signal.SIGINT)
        while worker.poll() is None or b"\x1b[?25h" not in shown:
            try:
                shown += os.read(ours, 1000)
            except OSError:  # the other end is closed
                break
        os.close(ours)
        assert worker.wait() != 0
        assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l")


def test_every_phase_of_a_task_has_a_place_and_a_style() -> None:
    story = Story().start().plan(*[(f"t{n}", [], 1) for n in range(8)])
    for n, phase in enumerate(TaskPhase):
        story.run_view.tasks[f"t{n}"].phase = phase
    assert len(chosen_rows(story.run_view, 7)) == 7
    assert len(picture(story.run_view, story.at)) >= 8
