"""Taking up what an earlier session left, by the backend's answer: which job is whose. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from core.job import JobHandle, JobKey


@dataclass(slots=True)
class Reattached:
    """`adopted` jobs go on, `unknown` ones are intended without a trace of them and go out again
    under the same key, `abandoned` ones are needed no more and are to be cancelled."""

    adopted: list[JobHandle] = field(default_factory=list)
    unknown: list[JobKey] = field(default_factory=list)
    abandoned: list[JobHandle] = field(default_factory=list)


def sort_open_jobs(
    open_jobs: Mapping[JobKey, JobHandle | None],
    answer: Iterable[JobHandle],
    backend: str,
    is_wanted: Callable[[JobKey], bool],
) -> Reattached:
    """`open_jobs` are those whose end the journal does not know, `answer` is what the backend
    reattached."""
    known, found = {handle.key: handle for handle in answer}, Reattached()
    for key, journaled in open_jobs.items():
        # what another backend had was stopped there before this one was asked
        ours = journaled if journaled and journaled.backend == backend else None
        handle = known.get(key, ours)
        if not is_wanted(key):
            found.abandoned += [handle] if handle else []
        elif handle is not None:
            found.adopted.append(handle)
        else:
            found.unknown.append(key)
    return found
