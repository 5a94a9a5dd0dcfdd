"""Black-box checks of the request `job_queue`: the protocol and what the queue does."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

from bench.outcome.job_queue.queue import Line, Queue, counts, eventually, start
from bench.outcome.product import Product
from bench.outcome.suite import same


def check_a_job_has_its_fields(product: Product) -> None:
    """A job that was put is answered with all fields and their defaults, and so is `get`."""
    line = start(product).line()
    answer = line.get("put", queue="mail", payload={"to": "ä", "n": [1, None]})
    job = answer["job"]
    assert abs(job.pop("created_at") - time.time() * 1000) < 60_000
    expected = {
        "id": 1, "queue": "mail", "state": "ready", "payload": {"to": "ä", "n": [1, None]},
        "priority": 0, "attempts": 0, "max_attempts": 3, "backoff_ms": 1000, "key": None,
        "after": [], "run_at": None, "lease_until": None, "result": None, "error": None,
    }  # fmt: skip
    same((job, answer["created"]), (expected, True))
    found = line.job(1)
    found.pop("created_at")
    same(found, expected)
    same(line.put("mail"), 2)


def check_a_waiting_request_holds_up_no_other(product: Product) -> None:
    """On one connection others are answered, with their ids, while a reserve waits."""
    line = start(product).line()
    waiting = line.send("reserve", queues=["q"], wait_ms=5000)
    line.write(b'{"id": ["any", {"x": 1}], "op": "stats"}\n')
    same(line.read()["id"], ["any", {"x": 1}])
    number = line.put("q", "work")
    same(line.answer(waiting)["job"]["id"], number)


def check_bad_requests_are_refused(product: Product) -> None:
    """What cannot be read or lacks a field is refused by its code, and the connection lives."""
    line = start(product).line()
    for text in (b"{oops", b"[1]", b'"put"'):
        line.write(text + b"\n")
        answer = line.read()
        same((answer["id"], answer["ok"], answer["error"]), (None, False, "bad-request"))
        assert isinstance(answer["message"], str)
    same(line.refused("fly"), "unknown-op")
    for fields in (
        {}, {"queue": "q"}, {"queue": "Bad Name", "payload": 1}, {"queue": "", "payload": 1},
        {"queue": "q", "payload": 1, "priority": "high"}, {"queue": 3, "payload": 1},
        {"queue": "q", "payload": 1, "max_attempts": 0}, {"queue": "q", "payload": 1, "after": 1},
    ):  # fmt: skip
        same((fields, line.refused("put", **fields)), (fields, "bad-request"))
    same(line.refused("get", job="one"), "bad-request")
    same(line.refused("reserve", queues="q"), "bad-request")
    same(line.refused("get", job=99), "not-found")
    same(line.get("list")["total"], 0)


def check_long_lines_are_refused(product: Product) -> None:
    """A line above 1 MiB is refused and the connection closed; a shorter one is taken."""
    queue = start(product)
    line = queue.line()
    fine = json.dumps({"id": 1, "op": "put", "queue": "q", "payload": "x" * 900_000}).encode()
    line.write(fine[:500_000])
    time.sleep(0.2)
    line.write(fine[500_000:] + b'\n{"id": 2, "op": "stats"}\n')
    same(sorted((line.read()["id"], line.read()["id"])), [1, 2])
    same(too_large(line), "too-large")
    same(queue.line().get("list")["total"], 1)


def too_large(line: Line) -> str:
    """The code for a line of 1.2 MB, after which the connection must be closed."""
    code = ""
    try:
        line.write(
            b'{"id": 3, "op": "put", "queue": "q", "payload": "' + b"x" * 1_200_000 + b'"}\n'
        )
        code = str(line.read()["error"])
        line.send("stats")
        answer = line.read()
    except ConnectionError:
        return code or "too-large"
    raise AssertionError(f"still open: {answer}")


def check_priority_then_age(product: Product) -> None:
    """The highest priority comes first, then the lowest id, over all queues that are named."""
    line = start(product).line()
    line.put("a"), line.put("b", priority=5), line.put("a", priority=5), line.put("c", priority=9)
    line.put("a", priority=-1)
    same([line.taken("a", "b")[0] for _ in range(4)], [2, 3, 1, 5])
    same(line.reserve("a", "b")[0], None)


def check_reserve_waits(product: Product) -> None:
    """A reserve waits for a job, is answered at once when one comes, and with null in the end."""
    queue = start(product)
    worker, client = queue.line(), queue.line()
    began = time.monotonic()
    same(worker.reserve("q", wait_ms=600)[0], None)
    assert 0.5 < time.monotonic() - began < 4
    waiting = worker.send("reserve", queues=["q"], wait_ms=8000, lease_ms=5000)
    client.put("other")
    number = client.put("q", "work")
    answer = worker.answer(waiting, 3)
    same((answer["job"]["id"], answer["job"]["state"]), (number, "reserved"))
    same(answer["job"]["attempts"], 1)
    ahead = answer["job"]["lease_until"] - time.time() * 1000
    assert 0 < ahead <= 5000, ahead


def check_waiters_are_served_in_order(product: Product) -> None:
    """Those who wait get jobs in the order in which they came."""
    queue = start(product)
    lines = [queue.line() for _ in range(4)]
    asked = []
    for line in lines:
        asked.append(line.send("reserve", queues=["q"], wait_ms=8000))
        line.get("stats")
    client = queue.line()
    numbers = [client.put("q") for _ in lines]
    got = [line.answer(number)["job"]["id"] for line, number in zip(lines, asked, strict=True)]
    same(got, numbers)


def check_who_leaves_waits_no_more(product: Product) -> None:
    """A job is not given to a connection that was closed while it waited."""
    queue = start(product)
    gone = queue.line()
    gone.send("reserve", queues=["q"], wait_ms=10_000)
    gone.get("stats")
    gone.close()
    time.sleep(0.3)
    line = queue.line()
    number = line.put("q")
    same(line.state(number), "ready")
    same(line.taken("q")[0], number)


def check_ack_makes_it_done(product: Product) -> None:
    """`ack` stores the result, once, and only with the token of the lease."""
    queue = start(product)
    line = queue.line()
    number = line.put()
    _, token = line.taken()
    assert len(token) >= 8
    same(line.refused("ack", job=number, token="wrong"), "conflict")
    done = queue.line().get("ack", job=number, token=token, result={"sent": True})["job"]
    same((done["state"], done["result"], done["lease_until"]), ("done", {"sent": True}, None))
    same(line.refused("ack", job=number, token=token), "conflict")
    same(line.refused("ack", job=77, token=token), "not-found")


def check_failures_are_tried_again(product: Product) -> None:
    """After a failure a job is delayed twice as long each time, until its attempts are used up."""
    line = start(product).line()
    number = line.put(backoff_ms=400, max_attempts=3)
    for attempt, delay in ((1, 400), (2, 800)):
        _, token = line.taken("q", wait_ms=4000)
        job = line.get("fail", job=number, token=token, error=f"no {attempt}")["job"]
        same((job["state"], job["error"], job["attempts"]), ("delayed", f"no {attempt}", attempt))
        ahead = job["run_at"] - time.time() * 1000
        assert delay - 350 < ahead <= delay, ahead
        same(line.reserve()[0], None)
    _, token = line.taken("q", wait_ms=4000)
    job = line.get("fail", job=number, token=token, error="no 3")["job"]
    same((job["state"], job["attempts"], job["run_at"]), ("failed", 3, None))
    other = line.put()
    _, token = line.taken()
    same(line.get("fail", job=other, token=token, error="x", retry=False)["job"]["state"], "failed")


def check_a_lease_that_ends_gives_the_job_back(product: Product) -> None:
    """Without news for the lease another gets the job; the old token is worth nothing."""
    line = start(product).line()
    number = line.put(max_attempts=2)
    _, old = line.taken("q", lease_ms=300)
    job, _ = line.reserve("q", wait_ms=4000, lease_ms=300)
    assert job is not None, "the job does not come back"
    same((job["id"], job["attempts"], job["error"]), (number, 2, "lease expired"))
    same(line.refused("ack", job=number, token=old), "conflict")
    eventually(lambda: line.state(number) == "failed")
    same(line.job(number)["error"], "lease expired")


def check_extend_keeps_the_lease(product: Product) -> None:
    """A lease that is extended lives on."""
    line = start(product).line()
    number = line.put()
    _, token = line.taken("q", lease_ms=700)
    for _ in range(3):
        time.sleep(0.35)
        line.get("extend", job=number, token=token, lease_ms=700)
    same(line.state(number), "reserved")
    same(line.refused("extend", job=number, token="other", lease_ms=700), "conflict")
    same(line.get("ack", job=number, token=token)["job"]["attempts"], 1)


def check_delayed_jobs_wait(product: Product) -> None:
    """A job with a delay is not given before its time."""
    line = start(product).line()
    number = line.put(delay_ms=900)
    job = line.job(number)
    same((job["state"], line.reserve()[0]), ("delayed", None))
    assert 0 < job["run_at"] - time.time() * 1000 <= 900
    began = time.monotonic()
    same(line.taken("q", wait_ms=5000)[0], number)
    assert time.monotonic() - began > 0.3
    same(line.job(number)["run_at"], None)


def check_keys_are_unique_while_alive(product: Product) -> None:
    """A second job of a key is the first one, until that is over; other queues are apart."""
    line = start(product).line()
    number = line.put(key="daily")
    again = line.get("put", queue="q", payload=2, key="daily")
    same((again["job"]["id"], again["created"]), (number, False))
    assert line.put("other", key="daily") != number
    _, token = line.taken()
    same(line.get("put", queue="q", payload=2, key="daily")["created"], False)
    line.get("ack", job=number, token=token)
    same(line.get("put", queue="q", payload=2, key="daily")["created"], True)


def check_jobs_wait_for_others(product: Product) -> None:
    """A job after others is ready when all are done."""
    line = start(product).line()
    first, second = line.put("a"), line.put("b")
    third = line.put("c", after=[first, second])
    same((line.state(third), line.job(third)["after"]), ("waiting", [first, second]))
    for queue in ("a", "b"):
        same(line.state(third), "waiting")
        number, token = line.taken(queue)
        line.get("ack", job=number, token=token)
    same(line.state(third), "ready")
    same(line.state(line.put("c", after=[first])), "ready")
    same(line.refused("put", queue="c", payload=1, after=[99]), "not-found")


def check_what_waits_for_a_failure_is_cancelled(product: Product) -> None:
    """When a job fails or is cancelled, so are those after it, and those after these."""
    line = start(product).line()
    first = line.put("a")
    second = line.put("b", after=[first])
    third = line.put("b", after=[second])
    number, token = line.taken("a")
    line.get("fail", job=number, token=token, error="x", retry=False)
    job = line.job(second)
    same((job["state"], job["error"]), ("cancelled", f"job {first} failed"))
    job = line.job(third)
    same((job["state"], job["error"]), ("cancelled", f"job {second} cancelled"))


def check_cancel_and_retry(product: Product) -> None:
    """What is not over can be cancelled, what has failed or was cancelled can be retried."""
    line = start(product).line()
    number = line.put()
    _, token = line.taken()
    same(line.get("cancel", job=number)["job"]["state"], "cancelled")
    same(line.refused("ack", job=number, token=token), "conflict")
    same(line.refused("cancel", job=number), "conflict")
    job = line.get("retry", job=number)["job"]
    same((job["state"], job["attempts"], job["error"]), ("ready", 0, None))
    same(line.refused("retry", job=number), "conflict")
    same(line.refused("cancel", job=99), "not-found")
    delayed = line.put(delay_ms=60_000)
    same(line.get("cancel", job=delayed)["job"]["state"], "cancelled")


def check_wait_answers_when_it_is_over(product: Product) -> None:
    """`wait` answers once the job is over, or as it is when the time is up."""
    queue = start(product)
    line, worker = queue.line(), queue.line()
    number = line.put()
    same(line.get("wait", job=number, wait_ms=200)["job"]["state"], "ready")
    waiting = line.send("wait", job=number, wait_ms=8000)
    _, token = worker.taken()
    worker.get("ack", job=number, token=token, result=7)
    job = line.answer(waiting, 3)["job"]
    same((job["state"], job["result"]), ("done", 7))


def check_paused_queues_give_nothing(product: Product) -> None:
    """From a paused queue nothing is reserved until it is resumed, then at once."""
    queue = start(product)
    line = queue.line()
    line.get("pause", queue="q")
    number, other = line.put("q"), line.put("other")
    same(line.taken("q", "other")[0], other)
    same(line.get("stats")["queues"]["q"]["paused"], True)
    waiting = line.send("reserve", queues=["q"], wait_ms=8000)
    line.get("resume", queue="q")
    same(line.answer(waiting, 3)["job"]["id"], number)


def check_list_and_stats(product: Product) -> None:
    """`list` filters and pages, `stats` counts each state of each queue."""
    line = start(product).line()
    for _ in range(5):
        line.put("a")
    line.put("b", delay_ms=60_000)
    line.taken("a")
    listed = line.get("list", queue="a", state="ready", limit=2, offset=1)
    same(([job["id"] for job in listed["jobs"]], listed["total"]), ([3, 4], 4))
    same(len(line.get("list")["jobs"]), 6)
    queues = line.get("stats")["queues"]
    same(counts(queues["a"]), {"ready": 4, "reserved": 1})
    same((counts(queues["b"]), queues["b"]["paused"]), ({"delayed": 1}, False))


def check_each_job_is_given_once(product: Product) -> None:
    """Eight who take 200 jobs at once get each of them exactly once."""
    queue = start(product)
    line = queue.line()
    numbers = [line.put("q", n) for n in range(200)]
    with ThreadPoolExecutor(8) as threads:
        taken = list(threads.map(lambda _: take_all(queue), range(8)))
    same(sorted(number for numbers_of in taken for number in numbers_of), numbers)
    same(counts(line.get("stats")["queues"]["q"]), {"done": 200})


def take_all(queue: Queue) -> list[int]:
    line, numbers = queue.line(), []
    while (reserved := line.reserve("q"))[0] is not None:
        number = int(reserved[0]["id"])
        line.get("ack", job=number, token=reserved[1])
        numbers.append(number)
    return numbers
