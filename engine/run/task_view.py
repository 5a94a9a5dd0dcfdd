"""One task as a person sees it: a part of the RunView."""

from dataclasses import dataclass, field
from enum import StrEnum

from engine.money.usage import Spend


class TaskPhase(StrEnum):
    """Where a task stands for a person; a TaskState says what the scheduler may do."""

    WAITING = "waiting"
    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "done"
    FAILED = "failed"
    BLOCKED = "blocked"
    CANCELLED = "cancelled"

    @property
    def active(self) -> bool:
        """Whether it holds an executor slot."""
        return self in (TaskPhase.QUEUED, TaskPhase.RUNNING)

    @property
    def final(self) -> bool:
        return self in _FINAL


_FINAL = {TaskPhase.SUCCEEDED, TaskPhase.FAILED, TaskPhase.BLOCKED, TaskPhase.CANCELLED}


@dataclass(frozen=True, slots=True)
class Pending:
    """What a queued job waits for, in the queue's words; a `stuck` one will wait for ever as things
    stand."""

    why: str
    stuck: bool = False


@dataclass(slots=True)
class TaskView:
    """One task, or with an empty id the planning. Times are Unix seconds, None before they are."""

    id: str
    title: str = ""
    depends_on: tuple[str, ...] = ()
    estimate: int = 0
    phase: TaskPhase = TaskPhase.WAITING
    attempt: int = 0
    slot: int | None = None
    started_at: float | None = None
    """Of the attempt under way."""
    busy_s: float = 0.0
    """Of all ended attempts together."""
    files: int = 0
    is_writing: bool = False
    """Whether Claude is in the middle of an answer."""
    written: int = 0
    """Tokens of that answer so far."""
    path: str = ""
    """The file that it writes, where that is known."""
    silent_since: float | None = None
    """Since when Claude, who was asked, has sent nothing; None while that is not known."""
    moved_at: float | None = None
    """When anything was last heard of it, or when it came to its phase."""
    retry_at: float | None = None
    """While it is retrying: when its next attempt is due."""
    activity: str = ""
    pending: Pending | None = None
    """Only while it is queued, and only if the queue gives a reason."""
    message: str = ""
    settled: dict[int, Spend] = field(default_factory=dict)
    """Spend of ended attempts, by number."""
    under_way: Spend = field(default_factory=Spend)

    def ask_anew(self) -> None:
        """What was known of an answer holds no longer."""
        self.is_writing, self.written, self.path, self.silent_since = False, 0, "", None

    @property
    def spend(self) -> Spend:
        return sum(self.settled.values(), self.under_way)

    @property
    def weight(self) -> int:
        """Its share of the run: the estimate in tokens, at least 1."""
        return max(1, self.estimate)

    def elapsed_s(self, now: float) -> float:
        """Seconds worked on it so far, all attempts together."""
        running = max(0.0, now - self.started_at) if self.started_at is not None else 0.0
        return self.busy_s + running
