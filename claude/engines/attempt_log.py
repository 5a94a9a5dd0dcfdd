"""What an attempt writes while it runs: events.jsonl, log.txt and transcript.jsonl, line by line.

Continues where an earlier worker of the same attempt was killed: its usage counts too.
"""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from claude.engines.transcript import Transcript
from core.bundle import AttemptDir, read_spent
from core.events import AnswerProgress, Kind
from core.job import Usage
from core.wire import plain
from core.workspace.confined import remove_tree
from core.workspace.protected_log import ProtectedLog, make_directory


class AttemptLog:
    """The files of one attempt; `mask` hides secrets, `echo` gets each line of the events too."""

    def __init__(
        self, attempt: AttemptDir, mask: Callable[[str], str], echo: Callable[[str], None]
    ) -> None:
        make_directory(attempt.result)
        self.usage = list(read_spent(attempt))
        self.throttled = 0
        self.transcript = Transcript(attempt.transcript, mask)
        self._result = attempt.result
        self._result_paths = {attempt.files, attempt.result_json}
        self._events = ProtectedLog(attempt.events)
        self._log = ProtectedLog(attempt.log)
        self._mask = mask
        self._echo = echo
        self._lock = threading.Lock()

    def spent(self, usage: Usage) -> None:
        self.usage.append(usage)
        self._emit(Kind.PROGRESS, usage=plain(usage))

    def throttle(self) -> None:
        self.throttled += 1

    def progress(self, text: str) -> None:
        self._emit(Kind.PROGRESS, text=self._mask(text))

    def answer_begun(self) -> None:
        self._emit(Kind.ANSWER_BEGUN)

    def answering(self, progress: AnswerProgress) -> None:
        masked = replace(progress, path=self._mask(progress.path))
        self._emit(Kind.ANSWER_PROGRESS, **plain(masked))

    def log(self, text: str) -> None:
        self._log.write(self._mask(text).rstrip() + "\n")

    def settle(self) -> None:
        """Leave in result/ what was written here, and nothing that others put beside it."""
        make_directory(self._result)
        files = (self._events, self._log, self.transcript.file)
        known = self._result_paths | {file.path for file in files}
        for path in list(self._result.iterdir()):
            if path not in known:
                remove_tree(path)
        for file in files:
            file.settle()

    def _emit(self, kind: Kind, **data: Any) -> None:
        line = json.dumps({"kind": str(kind), **data})
        with self._lock:
            self._events.write(line + "\n")
            self._echo(line)
