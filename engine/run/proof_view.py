"""What checks and repairs have come to: a part of the RunView."""

from dataclasses import dataclass, field

from core.events import CheckBegun, CheckEnded, EventData, RepairBegun, RepairEnded, Verified


@dataclass(slots=True)
class ProofView:
    """Of the last session, and of the project as it is delivered; what is said to be of all
    sessions is. Changed by the RunView alone, as it applies events."""

    checking: CheckBegun | None = None
    checks: list[CheckEnded] = field(default_factory=list)
    verified: Verified | None = None
    repairing: RepairBegun | None = None
    repairs: list[RepairEnded] = field(default_factory=list)
    checked_s: float = 0.0
    """Seconds that the checks of all sessions took together."""
    kept_rounds: list[int] = field(default_factory=list)
    """The rounds of all sessions whose repairs were kept."""
    _proven: tuple[list[CheckEnded], Verified | None] = field(default_factory=lambda: ([], None))
    """Checks, and their end, of what was delivered before the repair under way."""

    def begin_session(self) -> None:
        self.checks, self.repairs = [], []
        self.verified = self.checking = self.repairing = None

    def apply(self, data: EventData) -> None:
        match data:
            case CheckBegun():
                self.checking = data
            case CheckEnded():
                if self.verified is not None:  # of what is delivered, and this is a candidate
                    self.checks, self.verified = [], None
                self.checks.append(data)
                self.checked_s += data.seconds
            case Verified():
                self.verified, self.checking = data, None
            case RepairBegun():
                self._proven, self.repairing = (self.checks, self.verified), data
            case RepairEnded():
                self.repairs.append(data)
                self.repairing = None
                if data.rejected:
                    self.checks, self.verified = self._proven
                else:
                    self.kept_rounds.append(data.round)
