"""Events for tests, made from and looked at as their JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from core.events import Event, Kind, decode_event, encode_event
from core.wire import plain


def event_of(
    kind: Kind, at: float, task: str = "", attempt: int = 0, data: Mapping[str, Any] | None = None
) -> Event:
    """`data` as in JSON; raises BundleError where it does not fit. Texts may be half surrogates,
    which a running program has and JSON has not."""
    record = {"kind": kind, "at": at, "task": task, "attempt": attempt, "data": data or {}}
    text = json.dumps(record, default=plain, ensure_ascii=False).encode("utf-8", "replace")
    event = decode_event(text, "event")
    texts = {name: text for name, text in (data or {}).items() if type(text) is str}
    raw = {name: text for name, text in texts.items() if type(getattr(event.data, name, 0)) is str}
    return replace(event, data=replace(event.data, **raw))


def data_of(event: Event) -> dict[str, Any]:
    """The data of an event as JSON has it."""
    data: dict[str, Any] = json.loads(encode_event(event))["data"]
    return data
