"""A small HTTP client with cookies, which shows every answer as it came (redirects too)."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import quote, urlencode, urljoin, urlsplit

TIMEOUT_S = 8.0
REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; `headers` are (lower-case name, value) in their order."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    path: str

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", errors="replace")

    def json(self) -> Any:
        """AssertionError if the body is no JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise AssertionError(
                f"{self.path}: {self.status}, no JSON: {self.text[:200]}"
            ) from None

    def header(self, name: str) -> str:
        """All values of this name, joined by a comma; empty if there is none."""
        return ", ".join(value for key, value in self.headers if key == name.lower())

    def cookies(self) -> SimpleCookie:
        jar = SimpleCookie()
        for key, value in self.headers:
            if key == "set-cookie":
                jar.load(value)
        return jar


@dataclass(slots=True)
class Client:
    """One user of a server on loopback; keeps cookies, and sends `always` with each request."""

    port: int
    always: dict[str, str] = field(default_factory=dict)
    cookies: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        return self.send("GET", path, headers=headers)

    def post(self, path: str, document: object, headers: Mapping[str, str] | None = None) -> Answer:
        return self.send_json("POST", path, document, headers)

    def send_json(
        self, method: str, path: str, document: object, headers: Mapping[str, str] | None = None
    ) -> Answer:
        typed = {"Content-Type": "application/json", **(headers or {})}
        return self.send(method, path, json.dumps(document).encode(), typed)

    def send_form(
        self,
        path: str,
        fields: Mapping[str, str],
        headers: Mapping[str, str] | None = None,
        method: str = "POST",
    ) -> Answer:
        """Sends a form as a browser does, of the same origin unless `headers` say otherwise."""
        origin = {"Origin": f"http://127.0.0.1:{self.port}", "Sec-Fetch-Site": "same-origin"}
        typed = {"Content-Type": "application/x-www-form-urlencoded", **origin, **(headers or {})}
        if method == "GET":
            return self.get(f"{path.partition('?')[0]}?{urlencode(fields)}")
        return self.send(method, path, urlencode(fields).encode(), typed)

    def follow(self, answer: Answer) -> Answer:
        """Where redirects lead, at most five."""
        for _ in range(5):
            if answer.status not in REDIRECTS:
                break
            target = urlsplit(urljoin(answer.path, answer.header("location")))
            answer = self.get(target.path + (f"?{target.query}" if target.query else ""))
        return answer

    def send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request on a connection of its own."""
        sent = {**self.always, **(headers or {})}
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        connection = HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        try:
            connection.request(method, quote(path, safe="/?&=%:+,;@~-._"), body, sent)
            response = connection.getresponse()
            pairs = tuple((name.lower(), value) for name, value in response.getheaders())
            answer = Answer(response.status, pairs, response.read(), path)
        finally:
            connection.close()
        self.keep(answer)
        return answer

    def keep(self, answer: Answer) -> None:
        for name, morsel in answer.cookies().items():
            if morsel["max-age"] == "0" or not morsel.value:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = morsel.value


def exchange(port: int, sent: bytes, timeout_s: float) -> bytes | None:
    """The beginning of the answer to raw bytes: empty if closed, None if nothing comes in time."""
    with socket.create_connection(("127.0.0.1", port), timeout_s) as connection:
        connection.sendall(sent)
        try:
            return connection.recv(65536)
        except TimeoutError:
            return None
        except ConnectionError:
            return b""
