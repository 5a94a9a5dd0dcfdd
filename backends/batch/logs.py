"""The log streams of jobs in CloudWatch Logs: the lines since a cursor, and the tail.

A cursor is a stream and the service's own token in it. A job that was moved to another host goes on
in another stream. A page may be empty though more follow: a stream ends where the service gives
back the token that it was asked with.

https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_GetLogEvents.html
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from backends.base import LogChunk
from core.aws.calls import AwsCalls
from core.errors import AwsRefused

DEFAULT_GROUP = "/aws/batch/job"
MOST_EVENTS = 10_000
TAIL_EVENTS = 100
TAIL_CHARS = 600
MOST_PAGES = 1000
"""Of one stream that are read in one go; each has up to 1 MiB."""
TAIL_PAGES = 10


class LogStreams:
    """May be used from many threads."""

    def __init__(self, clients: Callable[[str], Any], calls: AwsCalls) -> None:
        self._clients = clients
        self._calls = calls

    def read(self, group: str, stream: str, cursor: str) -> LogChunk:
        """Nothing new where there is no such stream yet."""
        before, _, token = cursor.rpartition(" ")
        asked = {"nextToken": token} if token and before == stream else {}
        answer = self._events(group, stream, startFromHead=True, limit=MOST_EVENTS, **asked)
        if answer is None:
            return LogChunk((), cursor)
        lines = tuple(line for event in answer["events"] for line in event["message"].split("\n"))
        return LogChunk(lines, f"{stream} {answer['nextForwardToken']}")

    def lines(self, group: str, stream: str) -> list[str]:
        """All that the stream holds, or the first MOST_PAGES pages of it."""
        found: list[str] = []
        chunk, before = self.read(group, stream, ""), ""
        for _ in range(MOST_PAGES):
            found += chunk.lines
            if chunk.cursor == before:
                break
            before = chunk.cursor
            chunk = self.read(group, stream, before)
        return found

    def tail(self, group: str, stream: str) -> str:
        """The last words that are no progress; empty where there are none."""
        asked: dict[str, str] = {}
        for _ in range(TAIL_PAGES):
            answer = self._events(group, stream, startFromHead=False, limit=TAIL_EVENTS, **asked)
            if answer is None:
                break
            said = [event["message"] for event in answer["events"]]
            if said:
                words = " ".join(line.strip() for line in said if not is_progress(line))
                return words.strip()[-TAIL_CHARS:]
            if answer["nextBackwardToken"] == asked.get("nextToken"):
                break
            asked = {"nextToken": answer["nextBackwardToken"]}
        return ""

    def group_exists(self, group: str) -> bool:
        answer = self._calls(
            f"DescribeLogGroups of {group}",
            lambda: self._clients("logs").describe_log_groups(logGroupNamePrefix=group, limit=50),
        )
        return any(found["logGroupName"] == group for found in answer["logGroups"])

    def _events(self, group: str, stream: str, **asked: Any) -> dict[str, Any] | None:
        named = {"logGroupName": group or DEFAULT_GROUP, "logStreamName": stream}
        try:
            answer: dict[str, Any] = self._calls(
                f"GetLogEvents of {named['logGroupName']}, {stream}",
                lambda: self._clients("logs").get_log_events(**named, **asked),
            )
        except AwsRefused as exc:
            if exc.code == "ResourceNotFoundException":
                return None
            raise
        return answer


def is_progress(line: str) -> bool:
    """Whether a line is one of a worker's own events (core.events)."""
    if not line.startswith("{"):
        return False
    try:
        return "kind" in json.loads(line)
    except ValueError:
        return False
