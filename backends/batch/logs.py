"""The log streams of jobs in CloudWatch Logs: the lines since a cursor, and the tail.

A cursor is a stream and the service's own token in it. A job that was moved to another host goes on
in another stream. A page may be empty though more follow: a stream ends where the service returns
the token of the request.

https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_GetLogEvents.html
"""

import json
from contextlib import suppress
from typing import Any

from backends.base import LogChunk
from core.aws.calls import AwsService
from core.errors import AwsRefused

DEFAULT_GROUP = "/aws/batch/job"
MOST_EVENTS = 10_000
TAIL_EVENTS = 100
MOST_PAGES = 1000
"""Of one stream, each of up to 1 MiB, read by one call of `lines`."""
TAIL_PAGES = 10


class LogStreams:
    """May be used from many threads."""

    def __init__(self, logs: AwsService) -> None:
        self._logs = logs

    def read(self, group: str, stream: str, cursor: str) -> LogChunk:
        """Empty where there is no such stream yet."""
        before, _, token = cursor.rpartition(" ")
        position = {"nextToken": token} if token and before == stream else {}
        answer = self._events(group, stream, startFromHead=True, limit=MOST_EVENTS, **position)
        if answer is None:
            return LogChunk((), cursor)
        lines = tuple(line for event in answer["events"] for line in event["message"].split("\n"))
        return LogChunk(lines, f"{stream} {answer['nextForwardToken']}")

    def lines(self, group: str, stream: str) -> list[str]:
        """All of the stream, or the first MOST_PAGES pages of it."""
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
        """The end of the text that is not progress; empty where there is none."""
        position: dict[str, str] = {}
        for _ in range(TAIL_PAGES):
            answer = self._events(group, stream, startFromHead=False, limit=TAIL_EVENTS, **position)
            if answer is None:
                break
            if lines := [event["message"] for event in answer["events"]]:
                return "\n".join(line for line in lines if not is_progress(line))
            if answer["nextBackwardToken"] == position.get("nextToken"):
                break
            position = {"nextToken": answer["nextBackwardToken"]}
        return ""

    def group_exists(self, group: str) -> bool:
        answer = self._logs("describe_log_groups", group, logGroupNamePrefix=group, limit=50)
        return any(found["logGroupName"] == group for found in answer["logGroups"])

    def _events(self, group: str, stream: str, **parameters: Any) -> dict[str, Any] | None:
        group = group or DEFAULT_GROUP
        request = {"logGroupName": group, "logStreamName": stream, **parameters}
        try:
            answer: dict[str, Any] = self._logs("get_log_events", f"{group}, {stream}", **request)
        except AwsRefused as exc:
            if exc.code == "ResourceNotFoundException":
                return None
            raise
        return answer


def is_progress(line: str) -> bool:
    """Whether a line is one of a worker's own events (core.events)."""
    with suppress(ValueError):
        return line.startswith("{") and "kind" in json.loads(line)
    return False
