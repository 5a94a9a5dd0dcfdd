"""Black-box checks of the request `job_queue`: commands, library, HTTP, pages."""

from __future__ import annotations

import json
import re

from bench.outcome.handover import readme
from bench.outcome.job_queue.queue import COMMAND, STATES, counts, eventually, start
from bench.outcome.page import read_page
from bench.outcome.product import Product, free_port
from bench.outcome.suite import same


def check_commands_for_jobs(product: Product) -> None:
    """`put`, `get`, `list`, `cancel`, `retry`, `pause` and `stats` print what was promised."""
    queue = start(product)
    same(queue.prints("put", "mail", '{"to": "x"}', "--priority", "4", "--key", "k"), ["1"])
    same(queue.prints("put", "mail", "null", "--delay", "5m", "--max-attempts", "7"), ["2"])
    same(queue.prints("put", "log", "1", "--after", "1", "--after", "2", "--backoff", "2s"), ["3"])
    job = json.loads("\n".join(queue.prints("get", "3")))
    same((job["state"], job["after"], job["backoff_ms"]), ("waiting", [1, 2], 2000))
    same(
        queue.prints("list"),
        ["1\tmail\tready\t0\t4", "2\tmail\tdelayed\t0\t0", "3\tlog\twaiting\t0\t0"],
    )
    same(queue.prints("list", "--queue", "mail", "--state", "delayed"), ["2\tmail\tdelayed\t0\t0"])
    same(queue.prints("cancel", "2"), ["cancelled"])
    same(queue.prints("retry", "2"), ["ready"])
    queue.prints("pause", "log")
    same(
        queue.prints("stats"),
        [
            "log ready=0 reserved=0 delayed=0 waiting=0 done=0 failed=0 cancelled=1 paused",
            "mail ready=2 reserved=0 delayed=0 waiting=0 done=0 failed=0 cancelled=0",
        ],
    )


def check_put_waits_for_the_result(product: Product) -> None:
    """`put --wait` prints the result, or ends with 1 and the job's error."""
    queue = start(product)
    handlers = (
        'add: async (p) => ({ sum: p[0] + p[1] }), boom: async () => { throw new Error("no"); },'
    )
    queue.worker(handlers, "--queue", "add", "--queue", "boom")
    [line] = queue.prints("put", "add", "[2, 3]", "--wait")
    same(json.loads(line), {"sum": 5})
    done = queue.command("put", "boom", "1", "--max-attempts", "1", "--wait")
    same((done.code, done.out, done.err.strip()), (1, "", "error: failed: no"))


def check_exit_codes(product: Product) -> None:
    """Errors end with 1, wrong usage with 2, no server with 3; the messages tell which."""
    queue = start(product)
    done = queue.command("get", "99")
    same((done.code, done.out, done.err[:17]), (1, "", "error: not-found:"))
    for wrong in ([], ["fly"], ["put", "q"], ["put", "q", "{oops"], ["list", "--color", "red"]):
        same((wrong, queue.command(*wrong).code), (wrong, 2))
    port = free_port()
    done = product.run([*COMMAND, "stats", "--port", str(port)])
    same((done.code, done.err.strip()), (3, f"error: cannot connect to 127.0.0.1:{port}"))


def check_commands_for_schedules(product: Product) -> None:
    """`cron add`, `list` and `remove` keep schedules by name."""
    queue = start(product)
    queue.prints("cron", "add", "b", "0 4 * * *", "clean", '{"deep": true}')
    queue.prints("cron", "add", "a", "0 0 1 jan *", "mail", "1")
    queue.prints("cron", "add", "a", "0 0 29 2 *", "mail", "2")
    lines = [line.split("\t") for line in queue.prints("cron", "list")]
    same([line[:3] for line in lines], [["a", "0 0 29 2 *", "mail"], ["b", "0 4 * * *", "clean"]])
    assert re.fullmatch(r"\d{4}-02-29T00:00:00Z", lines[0][3]), lines[0]
    queue.prints("cron", "remove", "a")
    same(len(queue.prints("cron", "list")), 1)
    same(queue.command("cron", "remove", "a").code, 1)


LIBRARY = """
import { connect } from "./lib/client.js";
const client = await connect({ port: Number(process.env.JOBQ_PORT) });
const put = await client.put("q", { n: 1 }, { priority: 2, max_attempts: 1 });
const { job, token } = await client.reserve(["q"], { lease_ms: 5000 });
const waiting = client.wait(put.id, 5000);
const answer = await client.request("ack", { job: job.id, token, result: "fine" });
const none = await client.reserve(["q"], {});
let code = "";
try { await client.get(99); } catch (error) { code = error instanceof Error && error.code; }
const found = await client.get(put.id);
console.log(JSON.stringify([put.priority, job.id === put.id, (await waiting).result,
  answer.ok, none.job, code, found.state]));
await client.close();
"""


def check_the_library(product: Product) -> None:
    """The client library puts, reserves, waits and asks, rejects with a code, and lets go."""
    queue = start(product)
    done = product.run(
        ["node", "--input-type=module", "--eval", LIBRARY],
        env={"JOBQ_PORT": str(queue.running.port)},
        timeout_s=8,
    )
    assert done.code == 0, done.err[-300:]
    same(json.loads(done.out), [2, True, "fine", True, None, "not-found", "done"])


def check_http_jobs(product: Product) -> None:
    """Jobs are put and read over HTTP as over the protocol."""
    queue = start(product)
    web = queue.web()
    made = web.post("/api/jobs", {"queue": "mail", "payload": "ä", "key": "k", "priority": 2})
    same((made.status, made.json()["priority"], made.json()["payload"]), (201, 2, "ä"))
    again = web.post("/api/jobs", {"queue": "mail", "payload": 2, "key": "k"})
    same((again.status, again.json()["id"]), (200, made.json()["id"]))
    same(web.get("/api/jobs/1").json(), queue.line().job(1))
    for n in range(4):
        web.post("/api/jobs", {"queue": "log", "payload": n})
    listed = web.get("/api/jobs?queue=log&state=ready&limit=2&offset=1").json()
    same((listed["total"], [item["id"] for item in listed["items"]]), (4, [3, 4]))


def check_http_refusals(product: Product) -> None:
    """What cannot be is answered by its status and code."""
    queue = start(product)
    web = queue.web()
    big = {"queue": "q", "payload": "x" * 1_200_000}
    for answer, status, code in (
        (web.send("POST", "/api/jobs", b"{oops"), 400, "bad-request"),
        (web.post("/api/jobs", {"queue": "Bad Name", "payload": 1}), 400, "bad-request"),
        (web.get("/api/jobs/99"), 404, "not-found"),
        (web.get("/nothing"), 404, "not-found"),
        (web.send("DELETE", "/api/jobs"), 405, "method-not-allowed"),
        (web.post("/api/jobs", big), 413, "too-large"),
    ):
        same((answer.status, answer.json()["error"]), (status, code))
        if status == 405:
            assert {"GET", "POST"} <= {m.strip() for m in answer.header("allow").split(",")}
    same(queue.line().get("list")["total"], 0)


def check_page_and_metrics_count_jobs(product: Product) -> None:
    """The page and /metrics count each state of each queue, and /healthz says ok."""
    queue = start(product)
    line, web = queue.line(), queue.web()
    line.put("mail"), line.put("mail"), line.put("log", delay_ms=60_000)
    same(web.get("/healthz").text.strip(), "ok")
    lines = web.get("/metrics").text.splitlines()
    for state in STATES:
        value = 2 if state == "ready" else 0
        assert f'jobq_jobs{{queue="mail",state="{state}"}} {value}' in lines, state
    answer = web.get("/")
    assert "html" in answer.header("content-type")
    found = {
        row.get("data-queue"): counts({s: int(row.one("td", data_state=s).text()) for s in STATES})
        for row in read_page(answer.text).one("table", id="queues").all("tr")
        if row.get("data-queue")
    }
    same(found, {"mail": {"ready": 2}, "log": {"delayed": 1}})


def check_the_page_retries_failed_jobs(product: Product) -> None:
    """Failed jobs are shown with their error as text, and retried, but not by other sites."""
    queue = start(product)
    line = queue.line()
    number = line.put()
    _, token = line.taken()
    error = '<img src=x onerror=alert(1)> & "co"'
    line.get("fail", job=number, token=token, error=error, retry=False)
    web = queue.web()
    page = read_page(web.get("/").text)
    assert not [e for e in page.all("img") if e.get("onerror")]
    [row] = [r for r in page.one("table", id="failed").all("tr") if r.get("data-job")]
    same((row.get("data-job"), error in row.text()), (str(number), True))
    target = row.one("form").get("action")
    evil = {"Origin": "http://evil.example"}
    same((web.send_form(target, {}, evil).status, line.state(number)), (403, "failed"))
    done = web.send_form(target, {})
    same((done.status in (302, 303), done.header("location")), (True, "/"))
    eventually(lambda: line.state(number) == "ready")


def check_readme_tests_and_no_packages(product: Product) -> None:
    """A README tells the commands, `node --test` passes, and nothing is installed or imported."""
    text = readme(product.root)
    for part in ("bin/jobq.js server", "worker", "cron"):
        assert part in text, part
    sources = [*product.root.rglob("*.js"), *product.root.rglob("*.mjs")]
    imported = re.compile(r"""\b(?:from|import|require)\s*\(?\s*["']([@\w][\w@/.:~-]*)["']""")
    names = {name for file in sources for name in imported.findall(file.read_text())}
    same({name for name in names if not name.startswith("node:")} - BUILT_IN, set())
    done = product.run(["node", "--test"], timeout_s=18)
    assert done.code == 0, done.out[-300:]
    assert re.search(r"tests [1-9]", done.out), done.out[-300:]


BUILT_IN = {
    *("assert", "assert/strict", "buffer", "child_process", "crypto", "events", "fs"),
    *("fs/promises", "http", "net", "os", "path", "process", "readline", "stream", "test"),
    *("timers", "timers/promises", "url", "util", "worker_threads"),
}
