from __future__ import annotations

import pytest

from core.errors import BackendError
from engine.scheduling.backend_health import BackendHealth
from tests.fakes.seams import FakeClock


class Overdue:
    """Calls of which only the overdue ones matter."""

    def __init__(self) -> None:
        self.ages: dict[str, float] = {}

    def overdue(self, deadline_s: float) -> dict[str, float]:
        return {name: age for name, age in self.ages.items() if age >= deadline_s}

    def start(self, method: str, call: object, then: object) -> None: ...

    def busy(self, method: str) -> bool:
        return method in self.ages

    def wait(self, timeout_s: float | None) -> None: ...

    def wake(self) -> None: ...

    def close(self) -> None: ...


class Desk:
    """A BackendHealth with what it told and the clock and calls it looks at."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.calls = Overdue()
        self.told: list[str] = []
        self.reach = BackendHealth(
            "slurm", self.calls, self.clock, self.told.append, notice_s=60, give_up_s=900
        )


DOWN = BackendError("The controller is down.", "Wait.")


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_an_answer_is_no_failure(desk: Desk) -> None:
    assert desk.reach.failed("poll", {}) is False
    assert desk.reach.failed("cancel", None) is False
    assert desk.told == []


def test_a_failure_is_told_once_until_the_method_works_again(desk: Desk) -> None:
    for _ in range(3):
        assert desk.reach.failed("poll", DOWN) is True
    assert desk.told == ["slurm poll: The controller is down. Wait. Trying again."]
    desk.reach.failed("poll", {})
    assert desk.reach.failed("poll", DOWN) is True
    assert len(desk.told) == 2


def test_an_outage_that_several_methods_meet_is_told_once(desk: Desk) -> None:
    desk.reach.failed("poll", DOWN)
    desk.reach.failed("submit", DOWN)
    assert len(desk.told) == 1


def test_a_trouble_that_outlasts_another_methods_is_told_then(desk: Desk) -> None:
    desk.reach.failed("poll", DOWN)
    desk.reach.failed("submit", DOWN)
    desk.reach.failed("poll", {})
    desk.reach.failed("submit", DOWN)
    assert len(desk.told) == 2
    assert desk.told[1].startswith("slurm submit: ")


def test_patience_ends_after_failing_all_along(desk: Desk) -> None:
    desk.reach.failed("poll", DOWN)
    desk.clock.now += 899
    assert desk.reach.failed("poll", DOWN) is True
    desk.clock.now += 1
    with pytest.raises(BackendError) as caught:
        desk.reach.failed("poll", DOWN)
    assert caught.value is DOWN


def test_one_success_renews_patience(desk: Desk) -> None:
    desk.reach.failed("poll", DOWN)
    desk.clock.now += 899
    desk.reach.failed("poll", {})
    desk.clock.now += 899
    assert desk.reach.failed("poll", DOWN) is True


def test_a_trouble_that_was_forgotten_does_not_count_for_the_next(desk: Desk) -> None:
    desk.reach.failed("cancel", DOWN)
    desk.reach.forget("cancel")
    desk.reach.forget("never-called")
    desk.clock.now += 5000
    assert desk.reach.failed("cancel", DOWN) is True
    assert len(desk.told) == 2


def test_what_is_no_backend_error_is_raised_at_once(desk: Desk) -> None:
    with pytest.raises(KeyError):
        desk.reach.failed("poll", KeyError("bug"))


def test_a_hang_is_told_once_and_ends_patience(desk: Desk) -> None:
    desk.calls.ages = {"poll": 59}
    desk.reach.check_hanging()
    assert desk.told == []
    for age in (60, 61, 899):
        desk.calls.ages = {"poll": age}
        desk.reach.check_hanging()
    assert desk.told == ["slurm has not answered poll for 60 s; waiting."]
    desk.calls.ages = {"poll": 900}
    with pytest.raises(BackendError, match="not answered poll for 900 s") as caught:
        desk.reach.check_hanging()
    assert "resume the run" in caught.value.remedy


def test_hanging_logs_never_end_patience(desk: Desk) -> None:
    desk.calls.ages = {"logs": 1e6}
    desk.reach.check_hanging()
    desk.reach.check_hanging()
    assert len(desk.told) == 1


class Moving(Desk):
    """A call that has been under way for long, and tells how far it has come."""

    def __init__(self) -> None:
        super().__init__()
        self.doing = {"submit": "1.0 of 9.0 MB sent"}
        self.reach = BackendHealth(
            "slurm",
            self.calls,
            self.clock,
            self.told.append,
            notice_s=60,
            give_up_s=900,
            under_way=lambda method: self.doing.get(method, ""),
        )


def test_a_call_that_gets_on_is_told_now_and_again_and_never_given_up() -> None:
    desk = Moving()
    for megabytes in range(1, 9):
        desk.calls.ages = {"submit": 600.0 * megabytes}
        desk.doing["submit"] = f"{megabytes}.0 of 9.0 MB sent"
        desk.reach.check_hanging()
        desk.clock.now += 30
    assert desk.told == [f"slurm submit: {n}.0 of 9.0 MB sent." for n in (1, 3, 5, 7)]


def test_a_call_that_no_longer_gets_on_is_given_up_in_the_end() -> None:
    desk = Moving()
    desk.calls.ages = {"submit": 2000.0, "poll": 60.0}
    desk.reach.check_hanging()
    desk.clock.now += 899
    desk.reach.check_hanging()
    desk.clock.now += 1
    with pytest.raises(BackendError, match="has not answered submit"):
        desk.reach.check_hanging()
    assert desk.told[1] == "slurm has not answered poll for 60 s; waiting."
