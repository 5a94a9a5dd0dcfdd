"""Black-box checks of the request `job_queue`: what survives, and what happens by the clock."""

from __future__ import annotations

import signal
import time

from bench.outcome.job_queue.queue import COMMAND, Queue, counts, eventually, start
from bench.outcome.product import Finished, Product
from bench.outcome.suite import same

START = "2026-02-27T23:58:30Z"


def killed(queue: Queue, *options: str) -> Queue:
    """The queue after SIGKILL and a new start, on the same port and data."""
    queue.running.stop(signal.SIGKILL)
    return start(queue.product, *options, port=queue.running.port)


def check_a_kill_loses_nothing(product: Product) -> None:
    """After SIGKILL all that was answered is there: jobs, results, keys, pauses, schedules."""
    queue = start(product)
    line = queue.line()
    done = line.put("a", {"text": "ä\n"}, priority=3, key="k")
    _, token = line.taken("a")
    line.get("ack", job=done, token=token, result=[1, "two"])
    ready = line.put("b", key="once")
    delayed = line.put("b", delay_ms=3_600_000)
    waiting = line.put("b", after=[ready])
    line.get("pause", queue="b")
    line.get("schedule", name="n", cron="0 4 * * *", queue="c", payload=5)
    before = [line.job(number) for number in (done, ready, delayed, waiting)]
    line = killed(queue).line()
    same([line.job(number) for number in (done, ready, delayed, waiting)], before)
    same(line.get("put", queue="b", payload=1, key="once")["created"], False)
    same(line.get("stats")["queues"]["b"]["paused"], True)
    [schedule] = line.get("schedules")["schedules"]
    same([schedule[k] for k in ("name", "cron", "payload")], ["n", "0 4 * * *", 5])
    same(line.put("z"), waiting + 1)


def check_clocks_go_on_after_a_restart(product: Product) -> None:
    """Leases and delays end in their time; what was begun before a restart is finished after it."""
    queue = start(product)
    line = queue.line()
    kept, lost, delayed = line.put("a"), line.put("b"), line.put("c", delay_ms=300)
    _, token = line.taken("a", lease_ms=60_000)
    line.taken("b", lease_ms=1500)
    queue.running.stop(signal.SIGKILL)
    time.sleep(0.4)
    line = start(product).line()
    same(line.taken("c", wait_ms=3000)[0], delayed)
    same((line.state(kept), line.get("ack", job=kept, token=token)["ok"]), ("reserved", True))
    job, _ = line.reserve("b", wait_ms=4500)
    assert job is not None, "the lease does not end"
    same((job["id"], job["attempts"], job["error"]), (lost, 2, "lease expired"))


def check_a_torn_line_is_dropped(product: Product) -> None:
    """Half a line at the end of the log costs nothing else, now and at the start after that."""
    queue = start(product)
    numbers = [queue.line().put("q", n) for n in range(3)]
    queue.running.stop(signal.SIGKILL)
    with (queue.data / "jobq.log").open("ab") as log:
        log.write(b'{"op": "put", "job": {"id": 4, "que')
    queue = start(product, port=queue.running.port)
    line = queue.line()
    same(line.get("list")["total"], 3)
    numbers.append(line.put("q", "after"))
    line = killed(queue).line()
    same([job["id"] for job in line.get("list")["jobs"]], numbers)


def check_the_log_does_not_grow_without_bound(product: Product) -> None:
    """Of jobs that are over the newest are kept, and the log holds little more than these."""
    queue = start(product, "--keep", "10")
    line = queue.line()
    for n in range(300):
        number = line.put("q", f"{n} " + "x" * 10_000)
        _, token = line.taken()
        line.get("ack", job=number, token=token)
    alive = line.put("q", "alive")
    line = killed(queue, "--keep", "10").line()
    listed = line.get("list", state="done")
    size = (queue.data / "jobq.log").stat().st_size
    assert size < 500_000, size
    same((listed["total"], listed["jobs"][-1]["id"], line.state(alive)), (10, 300, "ready"))
    same(line.refused("get", job=1), "not-found")
    same(line.put("q"), alive + 1)


def check_server_starts_and_stops(product: Product) -> None:
    """It says where it listens, refuses a port in use, and SIGTERM ends it with 0."""
    queue = start(product)
    port, http_port = queue.running.port, queue.http_port
    eventually(lambda: queue.running.output().strip())
    said = f"jobq listening on 127.0.0.1:{port}, http on 127.0.0.1:{http_port}"
    same(queue.running.output().splitlines()[0], said)
    other = ["--http-port", "0", "--data", str(product.work / "other")]
    done = product.run([*COMMAND, "server", "--port", str(port), *other], timeout_s=8)
    same((done.code, done.err.strip()), (1, f"error: port in use: {port}"))
    line = queue.line()
    line.send("reserve", queues=["q"], wait_ms=60_000)
    same(queue.running.stop(), 0)


def following(product: Product, expression: str, *options: str) -> Finished:
    return product.run([*COMMAND, "cron", "next", expression, "--from", START, *options])


def check_cron_times(product: Product) -> None:
    """`cron next` knows lists, ranges, steps, names, Sundays and the ends of months."""
    for expression, expected in {
        "*/15 * * * *": ["2026-02-28T00:00:00Z", "2026-02-28T00:15:00Z"],
        "59 23 * * *": ["2026-02-27T23:59:00Z", "2026-02-28T23:59:00Z"],
        "0 9-17/4 * * Mon-fri": ["2026-03-02T09:00:00Z", "2026-03-02T13:00:00Z"],
        "30 6 1,15 * *": ["2026-03-01T06:30:00Z", "2026-03-15T06:30:00Z"],
        "0 0 13 * 5": ["2026-03-06T00:00:00Z", "2026-03-13T00:00:00Z"],
        "0 12 * * 7": ["2026-03-01T12:00:00Z", "2026-03-08T12:00:00Z"],
        "0 0 31 * *": ["2026-03-31T00:00:00Z", "2026-05-31T00:00:00Z"],
        "0 0 29 feb *": ["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"],
        "*/20 59 23 * * *": ["2026-02-27T23:59:00Z", "2026-02-27T23:59:20Z"],
        "@weekly": ["2026-03-01T00:00:00Z", "2026-03-08T00:00:00Z"],
        "@monthly": ["2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z"],
    }.items():
        done = following(product, expression, "--count", "2")
        same((expression, done.code, done.lines), (expression, 0, expected))


def check_bad_cron_is_refused(product: Product) -> None:
    """What cannot be read or never happens is refused by command and protocol."""
    line = start(product).line()
    for expression in (
        "* * * *",
        "60 * * * *",
        "5-1 * * * *",
        "*/0 * * * *",
        "0 0 30 2 *",
        "@often",
    ):
        done = following(product, expression)
        same((expression, done.code, done.err[:16]), (expression, 1, "error: bad-cron:"))
        refused = line.refused("schedule", name="n", cron=expression, queue="q", payload=1)
        same((expression, refused), (expression, "bad-cron"))
    same(line.get("schedules")["schedules"], [])


def check_schedules_put_jobs(product: Product) -> None:
    """A schedule puts a job at each of its times, but no second one while that is not over."""
    queue = start(product)
    line = queue.line()
    answer = line.get("schedule", name="tick", cron="* * * * * *", queue="t", payload={"a": 1})
    assert 0 <= answer["next"] - time.time() * 1000 + 1000 <= 2100, answer
    time.sleep(2.5)
    same(line.get("list", queue="t")["total"], 1)
    for _ in range(2):
        job, token = line.reserve("t", wait_ms=4000)
        assert job is not None, "the schedule puts no job"
        same((job["key"], job["payload"]), ("cron:tick", {"a": 1}))
        line.get("ack", job=job["id"], token=token)
    line.get("unschedule", name="tick")
    total = line.get("list", queue="t")["total"]
    time.sleep(2.2)
    same(line.get("list", queue="t")["total"], total)
    same(line.refused("unschedule", name="tick"), "not-found")


def check_workers_run_handlers(product: Product) -> None:
    """A worker acks with what a handler returns, and fails with what it throws."""
    queue = start(product)
    line = queue.line()
    queue.worker(
        "double: async (payload, job) => ({ n: payload.n * 2, id: job.id, on: job.queue }),"
        'boom: async (payload, job) => { throw new Error("boom " + job.attempts); },',
        *("--queue", "double", "--queue", "boom"),
    )
    number, bad = line.put("double", {"n": 21}), line.put("boom", backoff_ms=50, max_attempts=2)
    job = line.get("wait", job=number, wait_ms=6000)["job"]
    same((job["state"], job["result"]), ("done", {"n": 42, "id": number, "on": "double"}))
    job = line.get("wait", job=bad, wait_ms=6000)["job"]
    same((job["state"], job["error"], job["attempts"]), ("failed", "boom 2", 2))


def check_workers_extend_leases(product: Product) -> None:
    """A handler that takes longer than the lease runs once, several of them at the same time."""
    queue = start(product)
    line = queue.line()
    handler = 'slow: async (payload, job) => { await sleep(2500); return "slept"; },'
    queue.worker(handler, "--queue", "slow", "--lease-ms", "900", "--concurrency", "3")
    numbers = [line.put("slow") for _ in range(3)]
    eventually(lambda: all(line.state(number) == "reserved" for number in numbers))
    jobs = [line.get("wait", job=number, wait_ms=4500)["job"] for number in numbers]
    same([(job["state"], job["attempts"]) for job in jobs], [("done", 1)] * 3)


def check_workers_finish_before_they_stop(product: Product) -> None:
    """At SIGTERM a worker finishes its job, takes no other, and ends with 0."""
    queue = start(product)
    line = queue.line()
    worker = queue.worker("slow: async () => { await sleep(1200); return 1; },", "--queue", "slow")
    first, second = line.put("slow"), line.put("slow")
    eventually(lambda: line.state(first) == "reserved")
    same(worker.stop(), 0)
    same((line.state(first), line.state(second)), ("done", "ready"))


def check_workers_come_back(product: Product) -> None:
    """When the server was away, a worker connects again and goes on."""
    queue = start(product)
    queue.worker("echo: async (payload) => payload,", "--queue", "echo")
    number = queue.line().put("echo", 1)
    line = queue.line()
    same(line.get("wait", job=number, wait_ms=5000)["job"]["state"], "done")
    queue.running.stop(signal.SIGKILL)
    time.sleep(1)
    line = start(product, port=queue.running.port).line()
    number = line.put("echo", 2)
    job = line.get("wait", job=number, wait_ms=4500)["job"]
    if job["state"] != "done":
        job = line.get("wait", job=number, wait_ms=4500)["job"]
    same((job["state"], job["result"]), ("done", 2))


def check_handlers_are_told_of_a_lost_lease(product: Product) -> None:
    """When its job is cancelled, a handler's signal is aborted."""
    queue = start(product)
    line = queue.line()
    file = product.work / "aborted.txt"
    handler = (
        "long: async (payload, job) => { await new Promise((resolve) =>"
        ' job.signal.addEventListener("abort", resolve));'
        f' appendFileSync({str(file)!r}, "aborted"); }},'
    )
    queue.worker(handler, "--queue", "long", "--lease-ms", "900")
    number = line.put("long")
    eventually(lambda: line.state(number) == "reserved")
    line.get("cancel", job=number)
    eventually(file.exists)
    same(counts(line.get("stats")["queues"]["long"]), {"cancelled": 1})
