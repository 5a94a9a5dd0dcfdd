"""Drives the product of the request `job_queue`: protocol, commands, workers."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

from bench.outcome.product import Finished, Product, Running, free_port, wait_until_accepting
from bench.outcome.web import Client

COMMAND = ["node", "bin/jobq.js"]
STATES = ("ready", "reserved", "delayed", "waiting", "done", "failed", "cancelled")
Document = dict[str, Any]


@dataclass(slots=True)
class Line:
    """One connection that speaks the protocol."""

    connection: socket.socket
    ids: count[int] = field(default_factory=lambda: count(1))
    buffer: bytes = b""
    early: dict[object, Document] = field(default_factory=dict)

    def send(self, op: str, **fields: object) -> int:
        """Sends a request and gives its id, without waiting."""
        number = next(self.ids)
        self.write(json.dumps({"id": number, "op": op, **fields}).encode() + b"\n")
        return number

    def write(self, data: bytes) -> None:
        self.connection.sendall(data)

    def read(self, timeout_s: float = 5) -> Document:
        """The next answer; ConnectionError if the server has closed, TimeoutError if none comes."""
        self.connection.settimeout(timeout_s)
        while b"\n" not in self.buffer:
            data = self.connection.recv(65536)
            if not data:
                raise ConnectionResetError("the server has closed the connection")
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        answer: Document = json.loads(line)
        return answer

    def answer(self, number: int, timeout_s: float = 5) -> Document:
        """The answer to a request that was sent before."""
        while number not in self.early:
            answer = self.read(timeout_s)
            self.early[answer["id"]] = answer
        return self.early.pop(number)

    def ask(self, op: str, **fields: object) -> Document:
        return self.answer(self.send(op, **fields))

    def get(self, op: str, **fields: object) -> Document:
        """The answer to a request that must succeed."""
        answer = self.ask(op, **fields)
        assert answer["ok"] is True, f"{op} {fields}: {answer}"
        return answer

    def refused(self, op: str, **fields: object) -> str:
        """The code of a request that must fail."""
        answer = self.ask(op, **fields)
        assert answer["ok"] is False, f"{op} {fields}: {answer}"
        return str(answer["error"])

    def put(self, queue: str = "q", payload: object = None, **options: object) -> int:
        return int(self.get("put", queue=queue, payload=payload, **options)["job"]["id"])

    def job(self, number: int) -> Document:
        job: Document = self.get("get", job=number)["job"]
        return job

    def state(self, number: int) -> str:
        return str(self.job(number)["state"])

    def reserve(self, *queues: str, **options: object) -> tuple[Document | None, str]:
        answer = self.get("reserve", queues=list(queues) or ["q"], **options)
        return answer["job"], answer.get("token") or ""

    def taken(self, *queues: str, **options: object) -> tuple[int, str]:
        """The id and token of a job that must be there."""
        job, token = self.reserve(*queues, **options)
        assert job is not None, "no job is ready"
        return int(job["id"]), token

    def close(self) -> None:
        self.connection.close()


@dataclass(frozen=True, slots=True)
class Queue:
    """A server that runs, on the data in `data`."""

    product: Product
    running: Running
    http_port: int

    @property
    def data(self) -> Path:
        return self.product.work / "data"

    def line(self) -> Line:
        return Line(socket.create_connection(("127.0.0.1", self.running.port), 5))

    def command(self, *arguments: str) -> Finished:
        env = {"JOBQ_PORT": str(self.running.port)}
        return self.product.run([*COMMAND, *arguments], env=env)

    def prints(self, *arguments: str) -> list[str]:
        done = self.command(*arguments)
        assert done.code == 0, f"{arguments}: exit {done.code}: {done.err.strip()[-300:]}"
        return done.lines

    def web(self) -> Client:
        return Client(self.http_port, {"Origin": f"http://127.0.0.1:{self.http_port}"})

    def worker(self, handlers: str, *options: str) -> Running:
        """A worker with these handlers (the inside of the exported object)."""
        file = self.product.work / f"handlers-{time.monotonic_ns()}.mjs"
        file.write_text(PRELUDE + "export default {\n" + handlers + "\n};\n")
        port = str(self.running.port)
        return self.product.start(
            [*COMMAND, "worker", "--port", port, "--handlers", str(file), *options],
            port=self.running.port,
        )


PRELUDE = """
import { appendFileSync } from "node:fs";
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
"""


def start(product: Product, *options: str, port: int = 0) -> Queue:
    port, http_port = port or free_port(), free_port()
    command = [*COMMAND, "server", "--port", str(port), "--http-port", str(http_port)]
    running = product.start([*command, "--data", str(product.work / "data"), *options], port=port)
    wait_until_accepting(replace(running, port=http_port))
    return Queue(product, running, http_port)


def eventually(condition: Callable[[], object], timeout_s: float = 6) -> None:
    """AssertionError if the condition does not come true in time."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it does not come to that"
        time.sleep(0.05)


def counts(states: Mapping[str, object]) -> dict[str, object]:
    """The states that are not zero."""
    return {state: states[state] for state in STATES if states[state]}
