"""A run's page served on loopback while the run goes on, from its directory alone: from the process
that works on it, or from another terminal, or after the fact.

Whoever does not know the random part of the address gets nothing; nothing can be changed here.
"""

import hashlib
import hmac
import json
import secrets
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

from claude.http.loopback import LoopbackServer
from claude.http.plain_http import HOST, Incoming, Outgoing
from core.clock import Clock
from core.errors import BundleError, SettingsError
from core.events import Event, decode_event
from engine.delivery.merge import MergedFile
from engine.money.usage import Price
from engine.report.files import Results, file_content, run_files
from engine.report.model import build_model, masked, read_plan_of
from engine.report.page import render_page
from engine.report.timeline import Timeline
from engine.report.write import Mask, details_of, outcome_of
from engine.run.run_view import RunView
from engine.run.rundir import RunDir, is_locked

_LAST_LOOK_S = 3.0
"""How long the end of a run waits for a page that is open to see it."""
_DETAILS_S = 1.0
"""How long such a page may then take to ask for the details that it shows."""
_HEADERS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


class JournalReader:
    """The journal's events, each once, as they are written. Holds no lock of the run."""

    def __init__(self, run: RunDir) -> None:
        self._path = run.journal
        self.read_to = 0
        self._line = 0

    def new_events(self) -> Iterator[Event]:
        """Raises BundleError where a line is damaged."""
        try:
            with self._path.open("rb") as stream:
                stream.seek(self.read_to)
                data = stream.read()
        except FileNotFoundError:
            return
        for line in data[: data.rfind(b"\n") + 1].splitlines(keepends=True):
            self.read_to += len(line)
            self._line += 1
            if line.strip():
                yield decode_event(line, f"{self._path}:{self._line}")


class WatchedRun:
    """What a page asks for. For several threads at once."""

    def __init__(self, run: RunDir, price: Price, mask: Mask, clock: Clock) -> None:
        self.timeline = Timeline(RunView(price, run.run_id))
        self._run, self._mask, self._clock = run, mask, clock
        self._journal = JournalReader(run)
        self._results: Results = {}
        self._files: list[MergedFile] = []
        self._seen: object = None
        self._shown: dict[str, Any] = {}
        self.etag = ""

    def refresh(self) -> dict[str, Any]:
        """The model and the outcome as they are now. Raises BundleError."""
        self.timeline.read(self._run.run_id, self._journal.new_events())
        run_view, is_live = self.timeline.run_view, is_locked(self._run)
        claims = [key for key in run_view.jobs.open if self._run.attempt(key).claim.exists()]
        seen = (self._journal.read_to, is_live, claims)
        if seen != self._seen:
            self._seen = seen
            plan = read_plan_of(self._run)
            self._files = run_files(self._run, run_view, plan, self._results) if plan else []
            now = self._clock.time()
            model = build_model(self._run, self.timeline, plan, self._files, now, is_live=is_live)
            outcome = outcome_of(run_view, plan, self._mask, model["run"]["state"])
            self._shown = {"model": masked(model, self._mask), "outcome": outcome}
            self.etag = hashlib.sha256(repr(seen).encode()).hexdigest()[:20]
        return self._shown

    def details(self, task: str) -> dict[str, Any] | None:
        if task not in self.timeline.run_view.tasks:
            return None
        found = details_of(self._run, self.timeline, read_plan_of(self._run), task)
        return {**masked(found, self._mask)}

    def content(self, path: str) -> dict[str, Any] | None:
        file = next((file for file in self._files if file.path == path), None)
        return {**masked(file_content(file), self._mask)} if file else None


class WatchApi:
    """Answers GET below a secret path, for the host it listens on, and nothing else."""

    def __init__(self, watched: WatchedRun, token: str, clock: Clock) -> None:
        self.port = 0
        self._clock = clock
        self._watched, self._token = watched, token
        self._lock = threading.Lock()
        self._asked_at = float("-inf")
        self._saw_end = threading.Event()

    def handle(self, incoming: Incoming) -> Outgoing:
        hosts = {f"{name}:{self.port}" for name in (HOST, "localhost")}
        if incoming.headers.get("host", "").lower() not in hosts:
            return _answer(421, b"This is not the host that is served here.\n")
        if incoming.method != "GET":
            return _answer(405, b"Only GET.\n", {"allow": "GET"})
        path, _, query = incoming.target.partition("?")
        _, token, rest = (*path.split("/", 2), "", "")[:3]
        if not hmac.compare_digest(token.encode(), self._token.encode()):
            return _answer(404, b"Not found.\n")
        with self._lock:
            try:
                return self._answer(rest, query, incoming.headers)
            except BundleError as exc:
                return _answer(500, f"{exc}\n".encode())

    def _answer(self, name: str, query: str, headers: Mapping[str, str]) -> Outgoing:
        of = parse_qs(query, keep_blank_values=True).get("of", [""])[0]
        match name:
            case "":
                shown = self._watched.refresh()
                page = render_page({**shown["model"], "live": True}, shown["outcome"], is_live=True)
                return _answer(200, page.encode(), {"content-type": "text/html; charset=utf-8"})
            case "model":
                return self._model(headers.get("if-none-match", ""))
            case "details":
                return _json(self._watched.details(of))
            case "contents":
                return _json(self._watched.content(of))
        return _answer(404, b"Not found.\n")

    def _model(self, known: str) -> Outgoing:
        self._asked_at = self._clock.monotonic()
        shown = self._watched.refresh()
        tag = {"etag": f'"{self._watched.etag}"'}
        answer = _answer(304, b"", tag) if known == tag["etag"] else _json(shown, tag)
        if self._watched.timeline.run_view.ended is None:
            return answer
        return replace(answer, body=self._telling_the_end(answer.body))

    def _telling_the_end(self, body: Iterable[bytes]) -> Iterator[bytes]:
        """A page has seen the end when it has been sent, and not before."""
        yield from body
        self._saw_end.set()

    def await_last_look(self) -> None:
        """Where a page is open, until it has seen the end of the run and asked for the rest."""
        self._saw_end.clear()
        is_open = self._clock.monotonic() - self._asked_at < _LAST_LOOK_S
        if is_open and self._saw_end.wait(_LAST_LOOK_S):
            self._clock.sleep(_DETAILS_S)


class RunServer(LoopbackServer):
    """A running server; a context manager that closes it."""

    def __init__(self, port: int, api: WatchApi, token: str) -> None:
        super().__init__(port, api, "watch")
        api.port = self.port
        self._api, self._token = api, token

    @property
    def address(self) -> str:
        return f"{self.base_url}/{self._token}/"


@contextmanager
def watching(
    run: RunDir, price: Price, mask: Mask, clock: Clock, port: int = 0
) -> Iterator[RunServer]:
    """Serve the run's page while inside. Raises SettingsError when the port cannot be had."""
    token = secrets.token_urlsafe(24)
    api = WatchApi(WatchedRun(run, price, mask, clock), token, clock)
    try:
        server = RunServer(port, api, token)
    except (OSError, OverflowError) as exc:
        raise SettingsError(
            f"Port {port} of {HOST} cannot be used: {exc}.", "Choose another --port, or 0 for any."
        ) from exc
    with server:
        yield server
        api.await_last_look()


def _json(value: object, headers: Mapping[str, str] | None = None) -> Outgoing:
    if value is None:
        return _answer(404, b"null")
    more = {"content-type": "application/json", **(headers or {})}
    return _answer(200, json.dumps(value).encode(), more)


def _answer(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> Outgoing:
    plain = {"content-type": "text/plain; charset=utf-8"}
    return Outgoing(status, {**_HEADERS, **plain, **(headers or {})}, (body,), len(body))
