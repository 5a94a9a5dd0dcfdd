"""`logs RUN TASK`: what the task's worker wrote, from the run directory, or from the backend while
it runs."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

from core.bundle import AttemptDir
from core.errors import BackendError
from core.events import AnswerBegun, AnswerProgress, Progress
from core.job import JobHandle, JobKey
from core.workspace.confined import read_regular
from core.workspace.protected_log import MAX_EARLIER_BYTES
from engine.cleanup.run_backends import RunBackends, TimedBackend
from engine.run.journal import JournalReader
from engine.run.run_view import RunView
from engine.run.rundir import RunDir, is_locked
from engine.scheduling.progress_line import parse_progress
from engine.views.format import clean, printable_lines, short_count, silence_text
from engine.views.show import find_attempt, standing

LOOK_S = 1.0
"""Between two looks while a log is followed, where the backend does not ask for more."""


def follow_log(
    run: RunDir, name: str, backends: RunBackends, write: Callable[[str], None], *, follow: bool
) -> int:
    """Write the log of the task's last attempt, or of that in task/attempt; with `follow` until the
    task ends, further attempts too. Gives the exit code. Raises UsageError for an unknown task."""
    with ExitStack() as stack:
        log = _Log(run, name, backends, write, stack)
        while log.look() and follow:
            backends.clock.sleep(log.pause_s)
    return 0


@dataclass
class _Log:
    run: RunDir
    name: str
    backends: RunBackends
    write: Callable[[str], None]
    stack: ExitStack
    pause_s: float = LOOK_S
    _opened: dict[str, TimedBackend] = field(default_factory=dict)
    _attempt: "_AttemptLines | None" = None
    _is_told: bool = False
    """That the backend gives no log."""
    _told: str = ""
    """The last note."""

    def __post_init__(self) -> None:
        self._facts = self.run.read_facts()
        self._journal = JournalReader(self.run.journal)
        self._run_view = RunView(run_id=self.run.run_id)

    def look(self) -> bool:
        """Write what is new; whether there may be more."""
        is_at_work = is_locked(self.run)  # before the journal: what it says then is all
        run_view = self._run_view
        for event in self._journal.read():
            run_view.apply(event)
        if not run_view.planned and is_at_work:
            return True
        task, number = find_attempt(run_view, self.name)
        key = JobKey(self.run.run_id, task.id, number)
        if self._attempt is None or self._attempt.number != number:
            if self._attempt is not None:
                self._attempt.finish()
                self._print(f"-- attempt {number}")
            self._attempt = _AttemptLines(self.run.attempt(key), number, self._print)
        handle = run_view.jobs.open.get(key)
        if handle is not None:
            self._look_at_job(self._attempt, handle)
            if is_at_work or self._outlives(handle):
                return True
        has_begun = run_view.jobs.attempts.get(task.id, 0) >= number
        if has_begun and key not in run_view.jobs.open:
            self._attempt.finish()
            return is_at_work and not (task.phase.final or "/" in self.name)
        if reason := standing(run_view, task):
            self._note(f"{task.id}: {task.phase}; {reason}")
        if not is_at_work:
            self._note(f"no process works on this run now; `{self.run.command('resume')}`")
        return is_at_work and not task.phase.final

    def _look_at_job(self, attempt: "_AttemptLines", handle: JobHandle) -> None:
        try:
            backend = self._open(handle.backend)
            self.pause_s = max(LOOK_S, backend.backend.logs_every_s)
            chunk = backend.call("logs", lambda b: b.logs(handle, attempt.cursor))
        except BackendError as exc:
            if not self._is_told:
                self._print(f"note: {handle.backend} gives no log: {exc}")
            self._is_told = True
            return
        attempt.cursor = chunk.cursor
        attempt.take(chunk.lines)

    def _outlives(self, handle: JobHandle) -> bool:
        """Whether the job goes on although no process works on its run."""
        try:
            backend = self._open(handle.backend)
            if backend.backend.in_process:
                return False
            return not backend.call("poll", lambda b: b.poll([handle]))[handle.key].state.final
        except BackendError:
            return False

    def _open(self, name: str) -> TimedBackend:
        if name not in self._opened:
            opened = self.backends.open(self.run, name, self._facts)
            self._opened[name] = self.stack.enter_context(opened)
        return self._opened[name]

    def _note(self, text: str) -> None:
        if text != self._told:
            self._print(f"note: {text}")
        self._told = text

    def _print(self, text: str) -> None:
        self.write("".join(f"{line}\n" for line in printable_lines(text)))


@dataclass
class _AttemptLines:
    """The lines of one attempt, each once: from its backend, later from its files."""

    place: AttemptDir
    number: int
    write: Callable[[str], None]
    cursor: str = ""
    _events: int = 0
    """Of the worker's own events, how many were seen."""
    _path: str = ""
    _silence_s: float = 0.0
    _is_finished: bool = False

    def take(self, lines: tuple[str, ...]) -> None:
        for line in lines:
            self._events += line.startswith('{"kind":')
            for text in self._texts(line):
                self.write(text)

    def catch_up(self) -> None:
        """With what is in the run directory."""
        text = _text(self.place, "events")
        self.take(tuple(text.split("\n")[:-1][self._events :]))

    def finish(self) -> None:
        """The attempt is over: write what its worker said at the end, once."""
        if not self._is_finished:
            self._is_finished = True
            self.catch_up()
            if text := _text(self.place, "log").rstrip("\n"):
                self.write(text)

    def _texts(self, line: str) -> Iterator[str]:
        match parse_progress(line):
            case AnswerBegun():
                self._path, self._silence_s = "", 0.0
            case AnswerProgress(silent_s=silent_s) if silent_s:
                if silent_s >= 1.5 * self._silence_s:
                    self._silence_s = silent_s
                    yield silence_text(silent_s)
            case AnswerProgress(path=path) if path and path != self._path:
                self._path = path
                yield f"writing {clean(path, 400)}"
            case Progress(text, usage):
                if text:
                    yield text
                if usage is not None:
                    taken = short_count(usage.total_tokens - usage.output_tokens)
                    written = f"{short_count(usage.output_tokens)} out"
                    yield f"used {taken} tokens in, {written}, {usage.duration_s:.1f} s"


def _text(place: AttemptDir, name: str) -> str:
    try:
        return read_regular(getattr(place, name), MAX_EARLIER_BYTES).decode(errors="replace")
    except OSError:
        return ""
