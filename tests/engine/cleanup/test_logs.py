"""`logs`: where the lines come from, that each comes once, and when following ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from backends.base import LogChunk
from core.errors import BackendError, UsageError
from core.events import Event, Kind
from core.job import JobHandle, JobKey, JobState, JobStatus
from core.wire import plain
from engine.cleanup.logs import follow_log
from engine.cleanup.run_backends import RunBackends, TimedBackend
from engine.run.journal import Journal
from engine.run.rundir import RunDir, RunFacts, create_run, locked
from tests.fakes.events import event_of
from tests.fakes.scripted_claude import FakeClock

RUN = "20260101-000000-aaaa"
KEY = JobKey(RUN, "a", 1)
HANDLE = plain(JobHandle(KEY, "far", "7"))
EVIL = "\x1b[2Jevil\u202e"


def progress(text: str) -> str:
    return f'{{"kind": "progress", "text": "{text}"}}'


PLANNED = (
    event_of(Kind.RUN_STARTED, 1.0, data={"run": RUN}),
    event_of(Kind.PLAN_READY, 1.0, data={"tasks": [["a", "A", [], 1]]}),
)
BEGUN = (
    event_of(Kind.JOB_INTENDED, 2.0, "a", 1),
    event_of(Kind.JOB_SUBMITTED, 2.0, "a", 1, {"handle": HANDLE}),
)
ENDED = (
    event_of(Kind.JOB_ENDED, 3.0, "a", 1, {"cause": "DEFECT"}),
    event_of(Kind.TASK_ENDED, 3.0, "a", 1, {"state": "FAILED"}),
)
RETRIED = (
    event_of(Kind.JOB_ENDED, 3.0, "a", 1, {"cause": "DEFECT"}),
    event_of(Kind.TASK_RETRY, 3.0, "a", 1),
    event_of(Kind.JOB_INTENDED, 4.0, "a", 2),
    event_of(Kind.JOB_ENDED, 5.0, "a", 2, {"cause": "OK"}),
    event_of(Kind.TASK_ENDED, 5.0, "a", 2, {"state": "SUCCEEDED"}),
)


class Far:
    """A backend that has these lines."""

    in_process = False
    logs_every_s = 0.5
    name = "far"

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.state = JobState.RUNNING
        self.is_down = False

    def logs(self, _: JobHandle, cursor: str) -> LogChunk:
        if self.is_down:
            raise BackendError("It is down.")
        return LogChunk(tuple(self.lines[int(cursor or 0) :]), str(len(self.lines)))

    def poll(self, handles: list[JobHandle]) -> dict[JobKey, JobStatus]:
        return {handle.key: JobStatus(self.state) for handle in handles}


class World(FakeClock):
    """A run, its backend, and a clock at whose sleeps the next step is taken."""

    def __init__(self, tmp_path: Path) -> None:
        super().__init__()
        self.run: RunDir = create_run(tmp_path, RunFacts(RUN, "p", "/o", 1.0, {}, True))
        self.far = Far()
        self.clock = self
        self.steps: list[Callable[[], None]] = []
        self.printed = ""

    def sleep(self, seconds: float) -> None:
        self.steps.pop(0)()

    def happen(self, *events: Event) -> None:
        journal = Journal(self.run.journal)
        for event in events:
            journal.emit(event)
        journal.close()

    def leave(self, number: int = 1, *, log: str = "the end", lines: tuple[str, ...] = ()) -> None:
        attempt = self.run.attempt(JobKey(RUN, "a", number))
        attempt.result.mkdir(parents=True, exist_ok=True)
        attempt.events.write_text("".join(f"{line}\n" for line in lines))
        attempt.log.write_text(f"{log}\n")

    @contextmanager
    def open(self, *_: object) -> Iterator[TimedBackend]:
        yield TimedBackend(cast(Any, self.far), self.clock)

    def logs(self, name: str = "a", *, follow: bool = False) -> str:
        def write(text: str) -> None:
            self.printed += text

        assert follow_log(self.run, name, cast(RunBackends, self), write, follow=follow) == 0
        assert not self.steps, "it ended too early"
        return self.printed


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_of_a_task_that_has_ended_the_run_directory_tells(world: World) -> None:
    world.happen(*PLANNED, *BEGUN, *ENDED)
    world.leave(lines=(progress("wrote a.py"), '{"kind": "answer_begun"}'))
    assert world.logs() == "wrote a.py\nthe end\n"


def test_of_a_running_one_the_backend_is_asked_once_without_follow(world: World) -> None:
    world.happen(*PLANNED, *BEGUN)
    world.far.lines = ["plain text", progress("half way")]
    with locked(world.run):
        assert world.logs() == "plain text\nhalf way\n"


def test_following_prints_each_line_once_and_ends_with_the_task(world: World) -> None:
    world.happen(*PLANNED)

    def begin() -> None:
        world.happen(*BEGUN)
        world.far.lines = [progress("one")]

    def more() -> None:
        world.far.lines += ["from a command", progress("two")]

    def end() -> None:
        world.happen(*ENDED)
        world.leave(lines=(progress("one"), progress("two"), progress("three")))

    world.steps = [begin, more, end]
    with locked(world.run):
        told = world.logs(follow=True)
    waited = "note: a: waiting; waits for a free executor\n"
    assert told == f"{waited}one\nfrom a command\ntwo\nthree\nthe end\n"


def test_following_waits_for_the_plan_and_goes_on_with_the_next_attempt(world: World) -> None:
    def retry() -> None:
        world.leave(1, log="no good")
        world.leave(2, log="good")
        world.happen(*RETRIED)

    world.steps = [lambda: world.happen(*PLANNED), lambda: world.happen(*BEGUN), retry]
    with locked(world.run):
        assert world.logs(follow=True).endswith("executor\nno good\n-- attempt 2\ngood\n")


def test_a_job_that_outlives_its_run_is_followed_to_its_end(world: World) -> None:
    world.happen(*PLANNED, *BEGUN)

    def end() -> None:
        world.far.lines = [progress("last")]
        world.far.state = JobState.SUCCEEDED

    world.steps = [end]
    told = world.logs(follow=True)
    assert told.startswith("last\nnote: no process works on this run now")
    assert f"resume {RUN}" in told


def test_a_backend_out_of_reach_is_told_once(world: World) -> None:
    world.happen(*PLANNED, *BEGUN)
    world.far.is_down = True

    def end() -> None:
        world.leave(lines=(progress("one"),))
        world.happen(*ENDED)

    world.steps = [lambda: None, end]
    with locked(world.run):
        told = world.logs(follow=True)
    assert told.count("gives no log: It is down.") == 1
    assert told.endswith("\none\nthe end\n")


def test_an_earlier_attempt_can_be_named(world: World) -> None:
    world.happen(*PLANNED, *BEGUN, *RETRIED)
    world.leave(1, log="no good")
    assert world.logs("a/1") == "no good\n"


def test_an_unknown_task_is_refused_with_those_there_are(world: World) -> None:
    world.happen(*PLANNED)
    with pytest.raises(UsageError, match="Its tasks: a"):
        world.logs("b")


def test_silence_and_files_are_told_when_that_is_news(world: World) -> None:
    world.happen(*PLANNED, *BEGUN)
    writing = '{"kind": "answer_progress", "tokens": 9, "path": "a.py"}'
    silent = '{{"kind": "answer_progress", "silent_s": {}}}'
    world.far.lines = [writing, writing, *(silent.format(s) for s in (5.0, 6.0, 10.0))]
    with locked(world.run):
        told = world.logs().splitlines()
    assert told[0] == "writing a.py"
    assert [line.rpartition(" for ")[2] for line in told[1:]] == ["5 s", "10 s"]


def test_no_control_character_reaches_the_terminal(world: World) -> None:
    world.happen(*PLANNED, *BEGUN, *ENDED)
    world.leave(log=EVIL, lines=(EVIL, progress("\\u001b[2J")))
    assert all(char.isprintable() or char == "\n" for char in world.logs())
