"""The page of a run in a real browser: marks, keys, colours, hostile texts, size, a live run."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from core.events import Kind
from engine.report.write import read_timeline, write_report
from tests.fakes.events import event_of
from tests.fakes.reported_runs import (
    EVIL,
    begun,
    deliver,
    done,
    ended,
    job,
    leave_result,
    make_run,
    plan_of,
    planned,
)

ROOT = Path(__file__).resolve().parents[2]
expect.set_options(timeout=60_000)  # a busy machine is no error
WORK = ("Script", "RecalcStyle", "Layout")
"""What a page costs whatever draws its pixels."""
MARKED = "[data-task=b].sel"

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    options = ["--no-sandbox", "--disable-background-networking"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=options)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that fails the test with the first error of its scripts, or of its policy."""
    found: list[str] = []
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    opened.on("pageerror", lambda error: found.append(str(error)))
    opened.on("console", lambda line: found.append(line.text) if line.type == "error" else None)
    opened.on("dialog", lambda dialog: found.append(f"dialog {dialog.message}"))
    yield opened
    opened.close()
    assert [line for line in found if "ERR_CONNECTION_REFUSED" not in line] == []  # the run ended


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run of tasks a, b and c, where b failed once, whose every text is hostile."""
    check = {"phase": "check", "command": f"test {EVIL}", "tasks": ["b"], "state": "failed",
             "seconds": 1, "output": f"{EVIL} printed"}  # fmt: skip
    files = {"a.py": f"{EVIL} content", f"{EVIL[:9].replace('/', '')}/x.py": "x"}
    run = make_run(
        tmp_path_factory.mktemp("work"),
        [begun(EVIL), planned([("a", []), ("b", ["a"]), ("c", ["a"])], EVIL),
         *job("a", 2, 4), done("a", 4), *job("c", 4, 6), *job("b", 4, 5, cause="DEFECT"),
         *job("b", 7, 9, attempt=2), done("b", 9), done("c", 9),
         event_of(Kind.DELIVERED, 9, data={"files": 2}), event_of(Kind.CHECK_ENDED, 10, data=check),
         event_of(Kind.NOTICE, 10, data={"text": EVIL}),
         ended(11, 1, "finished with problems", EVIL)],
        plan_of(["a", "b", "c"], EVIL),
    )  # fmt: skip
    leave_result(run, "a", files)
    leave_result(run, "b", {"b.py": EVIL}, attempt=2)
    deliver(run, files)
    write_report(run, read_timeline(run, lambda _: 0.1), str, 100.0, run.report)
    return run.report.as_uri()


def show(page: Page, address: str) -> None:
    page.goto(address)
    expect(page.locator("body[data-drawn=all]")).to_be_attached()


def test_a_click_on_a_task_marks_it_everywhere_and_opens_it(page: Page, report: str) -> None:
    show(page, report)
    page.locator("#graph [data-task=b]").click()
    assert page.locator(f"#timeline {MARKED}").count() >= 2  # both attempts
    for place in ("#graph", "#tasks", "#acceptance"):
        expect(page.locator(f"{place} {MARKED}").first).to_be_attached()
    expect(page.locator("#panel")).to_contain_text("Attempt 2: OK")
    expect(page.locator("#panel")).to_contain_text("the log of b")
    page.locator("#panel .close").click()
    expect(page.locator(".sel")).to_have_count(0)
    expect(page.locator("#panel")).to_be_hidden()


def test_everything_can_be_reached_by_keyboard(page: Page, report: str) -> None:
    show(page, report)
    page.locator("#graph [tabindex='0']").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator(f"#timeline {MARKED}").first).to_be_attached()
    page.keyboard.press("Escape")
    expect(page.locator("#panel")).to_be_hidden()
    page.keyboard.press("/")
    page.keyboard.type("b")
    expect(page.locator("#tasks tr[data-task]")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page.locator("#panel h2")).to_have_text("b")
    for chart in ("#timeline", "#graph", "#tasks-body"):  # one stop, however many tasks there are
        expect(page.locator(f"{chart} [tabindex='0']")).to_have_count(1)


def test_hostile_texts_are_shown_as_text(page: Page, report: str) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    show(page, report)
    page.locator("#tree, .tree").get_by_text("a.py").click()
    expect(page.locator("#viewer pre")).to_have_text(f"{EVIL} content")
    page.locator("#graph [data-task=a]").click()
    page.evaluate("document.querySelectorAll('#panel details').forEach(each => each.open = true)")
    expect(page.locator("#panel .diff").first).to_contain_text("onerror=alert(1)")
    expect(page.locator("#acceptance")).to_contain_text(f"{EVIL.split('&')[0]}")
    assert page.title() != "owned"
    assert page.locator("img, iframe, [onerror]").count() == 0
    assert page.locator("script").count() == 2
    assert asked == [report]


@pytest.mark.parametrize(("scheme", "is_dark"), [("light", False), ("dark", True)])
def test_it_follows_the_colours_of_the_system(
    page: Page, report: str, scheme: str, is_dark: bool
) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    show(page, report)
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    shades = [int(shade) for shade in re.findall(r"\d+", colour)]
    assert (sum(shades) < 3 * 128) is is_dark


def test_a_printed_page_has_all_of_it_and_no_controls(page: Page, report: str) -> None:
    page.emulate_media(media="print")
    show(page, report)
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    expect(page.locator("#bar")).to_be_hidden()
    expect(page.locator("#acceptance pre").first).to_be_visible()
    assert page.pdf().startswith(b"%PDF")


def test_without_javascript_the_outcome_is_there(browser: Browser, report: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report)
    expect(page.locator("#outcome")).to_contain_text("finished with problems")
    context.close()


def test_a_thousand_tasks_take_less_than_a_second_of_the_processor(
    page: Page, tmp_path: Path
) -> None:
    names = [f"task-{number}" for number in range(1_000)]
    events = [begun(), planned([(n, names[max(0, i - 20) : max(0, i - 17)])
                                for i, n in enumerate(names)])]  # fmt: skip
    for number, name in enumerate(names):
        begin = 2 + number // 50 * 3
        events += [*job(name, begin, begin + 3), done(name, begin + 3)]
    events.sort(key=lambda event: (event.at, event.kind is Kind.JOB_INTENDED))
    run = make_run(tmp_path, [*events, ended(70)], plan_of(names))
    write_report(run, read_timeline(run, lambda _: 0.1), str, 100.0, run.report)
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    spent = []
    for _ in range(3):
        show(page, run.report.as_uri())
        page.locator("#graph [data-task=task-500]").dispatch_event("click")
        expect(page.locator("#panel h2")).to_have_text("task-500")
        metrics = session.send("Performance.getMetrics")["metrics"]
        figures = {metric["name"]: metric["value"] for metric in metrics}
        spent.append(sum(figures[f"{name}Duration"] for name in WORK))
    assert page.locator("#timeline .bar[data-task]").count() == 1_000
    for place in ("#timeline", "#tasks"):  # which were scrolled to it
        expect(page.locator(f"{place} [data-task=task-500]")).to_have_class(re.compile("sel"))
    assert page.evaluate("document.querySelectorAll('*').length") < 15_000
    assert min(spent) < 1, spent


def test_a_live_run_is_followed_to_its_end(page: Page, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "orchestrator.py"), "Build a todo list app", "--watch",
               "--sim-speed", "20", "--no-verify", "--output-dir", "out"]  # fmt: skip
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        address = re.search(r"http://\S+", process.stderr.readline())
        assert address
        page.goto(address[0])
        page.evaluate("window.kept = true")
        expect(page.locator("#outcome .state")).to_have_text("running")
        expect(page.locator("#graph [data-task]").first).to_be_attached()
        page.locator("#graph [data-task=server]").click()
        expect(page.locator("#panel")).to_contain_text("Instructions")
        expect(page.locator("#outcome .state")).to_have_text("succeeded")
        expect(page.locator("#graph .node.done")).to_have_count(9)
        expect(page.locator("#panel h2")).to_have_text("server")
        assert page.evaluate("window.kept")
        assert process.wait(30) == 0
