"""The page of a run, served: to whom, and what is new in it."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from claude.http.plain_http import Incoming, Outgoing
from core.clock import SystemClock
from core.errors import SettingsError
from core.events import encode_event
from engine.report.watch import WatchApi, WatchedRun, watching
from engine.run.journal import Journal
from engine.run.rundir import RunDir, locked
from tests.fakes.reported_runs import (
    begun,
    done,
    ended,
    job,
    leave_result,
    make_run,
    plan_of,
    planned,
)

SECRET = "sk-canary"
EVENTS = [begun(f"Build {SECRET}"), planned([("a", [])]), *job("a", 2, 3), done("a", 3)]


def mask(text: str) -> str:
    return text.replace(SECRET, "***")


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    made = make_run(tmp_path, EVENTS, plan_of(["a"], SECRET))
    leave_result(made, "a", {"a.py": SECRET})
    return made


@pytest.fixture
def api(run: RunDir) -> WatchApi:
    made = WatchApi(WatchedRun(run, lambda _: None, mask, SystemClock()), "token", SystemClock())
    made.port = 1234
    return made


def ask(api: WatchApi, target: str, method: str = "GET", **headers: str) -> Outgoing:
    return api.handle(Incoming(method, target, {"host": "127.0.0.1:1234", **headers}))


def body(answer: Outgoing) -> str:
    return b"".join(answer.body).decode()


@pytest.mark.parametrize(
    ("target", "method", "host", "status"),
    [
        ("/token/", "GET", "127.0.0.1:1234", 200),
        ("/token/", "GET", "localhost:1234", 200),
        ("/token/", "GET", "evil.example:1234", 421),
        ("/token/", "GET", "127.0.0.1", 421),
        ("/token/", "GET", "", 421),
        ("/", "GET", "127.0.0.1:1234", 404),
        ("/tokem/", "GET", "127.0.0.1:1234", 404),
        ("/tökén/", "GET", "127.0.0.1:1234", 404),
        ("//token/", "GET", "127.0.0.1:1234", 404),
        ("/token/../../etc/passwd", "GET", "127.0.0.1:1234", 404),
        ("/token/details?of=nobody", "GET", "127.0.0.1:1234", 404),
        ("/token/contents?of=../run.json", "GET", "127.0.0.1:1234", 404),
        *(("/token/", name, "127.0.0.1:1234", 405) for name in ("POST", "HEAD", "PUT", "DELETE")),
    ],
)
def test_it_answers_get_to_whoever_knows_the_address(
    api: WatchApi, target: str, method: str, host: str, status: int
) -> None:
    assert ask(api, target, method, host=host).status == status


def test_no_answer_is_kept_or_framed(api: WatchApi) -> None:
    headers = ask(api, "/token/").headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize("target", ["", "model", "details?of=a", "contents?of=a.py"])
def test_secrets_are_masked_in_every_answer(api: WatchApi, target: str) -> None:
    ask(api, "/token/")
    answer = ask(api, f"/token/{target}")
    assert answer.status == 200
    assert SECRET not in body(answer)
    assert "***" in body(answer)


def test_what_has_not_changed_is_not_sent_again(api: WatchApi, run: RunDir) -> None:
    first = ask(api, "/token/model")
    tag = first.headers["etag"]
    assert json.loads(body(first))["model"]["run"]["state"] == "interrupted"
    assert ask(api, "/token/model", **{"if-none-match": tag}).status == 304
    journal = Journal(run.journal)
    journal.emit(ended(9))
    journal.close()
    after = ask(api, "/token/model", **{"if-none-match": tag})
    assert json.loads(body(after))["model"]["run"]["state"] == "succeeded"


def test_a_run_that_another_process_holds_is_running(api: WatchApi, run: RunDir) -> None:
    with locked(run):
        assert json.loads(body(ask(api, "/token/model")))["model"]["run"]["state"] == "running"


def test_half_a_line_waits_for_its_other_half(api: WatchApi, run: RunDir) -> None:
    ask(api, "/token/model")
    line = f"{encode_event(ended(9))}\n"
    for half, state in ((line[:30], "interrupted"), (line[30:], "succeeded")):
        with run.journal.open("a") as stream:
            stream.write(half)
        assert json.loads(body(ask(api, "/token/model")))["model"]["run"]["state"] == state


def test_a_damaged_journal_is_told(api: WatchApi, run: RunDir) -> None:
    with run.journal.open("a") as stream:
        stream.write("no event\n")
    answer = ask(api, "/token/model")
    assert answer.status == 500
    assert "journal.jsonl:6 is damaged" in body(answer)


def test_a_run_that_has_no_journal_yet_is_served(tmp_path: Path) -> None:
    made = make_run(tmp_path, [])
    made.journal.unlink()
    api = WatchApi(WatchedRun(made, lambda _: None, mask, SystemClock()), "token", SystemClock())
    api.port = 1234
    assert ask(api, "/token/").status == 200


def test_the_address_is_another_each_time_and_a_taken_port_is_refused(run: RunDir) -> None:
    clock = SystemClock()
    with watching(run, lambda _: None, mask, clock) as one:
        with watching(run, lambda _: None, mask, clock) as two:
            assert one.address.split("/")[3] != two.address.split("/")[3]
        with pytest.raises(SettingsError, match=f"Port {one.port}"):
            watching(run, lambda _: None, mask, clock, one.port).__enter__()


def test_the_end_of_a_run_waits_until_an_open_page_has_been_sent_it(
    api: WatchApi, run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.report.watch._LAST_LOOK_S", 60.0)
    body(ask(api, "/token/model"))
    waiting = threading.Thread(target=api.await_last_look)
    waiting.start()
    waiting.join(0.2)
    journal = Journal(run.journal)
    journal.emit(ended(9))
    journal.close()
    answer = ask(api, "/token/model")
    waiting.join(0.2)
    assert waiting.is_alive(), "the answer is not sent yet"
    assert "succeeded" in body(answer)
    waiting.join(30)
    assert not waiting.is_alive()
