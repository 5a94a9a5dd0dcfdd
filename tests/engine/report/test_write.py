"""The report as one file: whole for any run, and nothing in it but text."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from core.events import Kind
from engine.report.page import embedded_json
from engine.report.timeline import Timeline
from engine.report.write import read_timeline, render_report, write_final_report, write_report
from engine.run.run_view import RunView
from engine.run.rundir import RunDir
from tests.fakes.events import event_of
from tests.fakes.reported_runs import (
    EVIL,
    begun,
    done,
    ended,
    job,
    leave_result,
    make_run,
    plan_of,
    planned,
)

FAILED = [
    begun(EVIL),
    planned([("a", []), ("b", ["a"])], EVIL),
    *job("a", 2, 4),
    done("a", 4),
    *job("b", 4, 6, cause="REFUSED"),
    done("b", 6, "FAILED", EVIL),
    event_of(Kind.NOTICE, 6, data={"text": EVIL}),
    ended(7, 1, "finished with problems", EVIL),
]


def page_of(run: RunDir, secret: str = "no secret") -> str:
    def mask(text: str) -> str:
        return text.replace(secret, "********")

    return render_report(run, read_timeline(run, lambda _: 0.5), mask, 100.0)


class Parts(HTMLParser):
    """What a browser sees: elements, scripts and styles by their content."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.elements and self.cdata_elem in self.raw:
            self.raw[self.cdata_elem].append(data)

    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.raw["script"][0])
        return found


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    made = make_run(tmp_path, FAILED, plan_of(["a", "b"], EVIL))
    leave_result(made, "a", {"a.py": EVIL})
    return made


def test_hostile_texts_make_no_element_and_are_all_there(run: RunDir) -> None:
    page = Parts(page_of(run))
    assert len(page.raw["script"]) == 2
    assert not [tag for tag, attributes in page.elements if tag == "img" or "onerror" in attributes]
    data = page.data()
    assert data["contents"]["a.py"]["text"] == EVIL
    assert data["details"]["a"]["instructions"] == EVIL
    assert data["notices"][0]["text"] == EVIL
    assert {task["id"]: task["phase"] for task in data["tasks"]} == {"a": "done", "b": "failed"}


def test_nothing_is_loaded_and_only_its_own_script_and_style_are_allowed(run: RunDir) -> None:
    text = page_of(run)
    page = Parts(text)
    assert not {name for _, attributes in page.elements for name in attributes} & {"src", "srcset"}
    assert not re.search(r"@import|url\(|https?://(?!www\.w3\.org/2000/svg)", text)
    (policy,) = (a["content"] for tag, a in page.elements if tag == "meta" and "http-equiv" in a)
    for part in (page.raw["script"][1], page.raw["style"][0]):
        digest = base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in (policy or "")
    assert "default-src 'none'" in (policy or "")


@pytest.mark.parametrize("text", ["</script>", "<!--", "\u2028\u2029", "\ud800", "&amp;", '"\\'])
def test_data_is_embedded_so_that_only_a_json_parser_reads_it(text: str) -> None:
    embedded = embedded_json({text: [text]})
    assert not re.search("[<>&\u2028\u2029]", embedded)
    assert json.loads(embedded) == {text: [text]}


def test_secrets_are_masked_wherever_they_stand(tmp_path: Path) -> None:
    secret = 'sk-<b>&"canary"'
    made = make_run(tmp_path, [begun(f"Use {secret}"), *FAILED[1:]], plan_of(["a"], secret))
    leave_result(made, "a", {"a.py": f"KEY = {secret!r}"})
    text = page_of(made, secret)
    assert "canary" not in text
    assert text.count("********") > 3


def test_the_outcome_needs_no_script(run: RunDir) -> None:
    first = page_of(run).partition("<noscript>")[0]
    assert "finished with problems" in first
    assert "<b>b</b> failed: &lt;/script&gt;" in first
    assert "Nothing was delivered" in first


def test_a_crashed_run_and_one_without_a_plan_have_a_report(tmp_path: Path) -> None:
    crashed = make_run(tmp_path / "1", FAILED[:3], plan_of(["a", "b"]))
    assert Parts(page_of(crashed)).data()["run"]["state"] == "interrupted"
    early = make_run(tmp_path / "2", [begun()])
    assert Parts(page_of(early)).data()["tasks"] == []
    silent = make_run(tmp_path / "3", [])
    assert Parts(page_of(silent)).data()["spans"] == []


def test_damaged_times_are_no_numbers(tmp_path: Path) -> None:
    made = make_run(tmp_path, [begun()])
    timeline = read_timeline(made, lambda _: None)
    timeline.notices.append((float("inf"), "never"))
    page = render_report(made, timeline, str, 1.0)
    assert Parts(page).data()["notices"] == [{"at": None, "text": "never"}]


def test_what_goes_wrong_at_the_end_of_a_run_is_a_warning(run: RunDir) -> None:
    warnings: list[str] = []
    timeline = read_timeline(run, lambda _: None)
    run.report.mkdir()
    write_final_report(run, timeline, str, 1.0, warnings.append)
    assert len(warnings) == 1
    assert "The report could not be written" in warnings[0]


def test_no_report_is_written_where_the_run_was_removed(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "gone")
    write_final_report(run, Timeline(RunView()), str, 1.0, pytest.fail)
    assert not run.root.exists()


def test_it_can_be_written_elsewhere(run: RunDir, tmp_path: Path) -> None:
    write_report(run, read_timeline(run, lambda _: None), str, 1.0, tmp_path / "x.html")
    assert (tmp_path / "x.html").read_text().startswith("<!doctype html>")
    assert not run.report.exists()
