from __future__ import annotations

import pytest

from core.errors import BackendError
from engine.scheduling.backend_health import BackendHealth
from tests.fakes.scripted_claude import FakeClock


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


class Watched:
    """A BackendHealth with its notices and the clock and calls it looks at."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.calls = Overdue()
        self.notices: list[str] = []
        self.reach = BackendHealth(
            "slurm", self.calls, self.clock, self.notices.append, notice_s=60, give_up_s=900
        )


DOWN = BackendError("The controller is down.", "Wait.")


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_an_answer_is_no_failure(watched: Watched) -> None:
    assert watched.reach.failed("poll", {}) is False
    assert watched.reach.failed("cancel", None) is False
    assert watched.notices == []


def test_a_failure_is_notified_once_until_the_method_works_again(watched: Watched) -> None:
    for _ in range(3):
        assert watched.reach.failed("poll", DOWN) is True
    assert watched.notices == ["slurm poll: The controller is down. Wait. Trying again."]
    watched.reach.failed("poll", {})
    assert watched.reach.failed("poll", DOWN) is True
    assert len(watched.notices) == 2


def test_an_outage_that_several_methods_meet_is_notified_once(watched: Watched) -> None:
    watched.reach.failed("poll", DOWN)
    watched.reach.failed("submit", DOWN)
    assert len(watched.notices) == 1


def test_a_trouble_that_outlasts_another_methods_is_notified_then(watched: Watched) -> None:
    watched.reach.failed("poll", DOWN)
    watched.reach.failed("submit", DOWN)
    watched.reach.failed("poll", {})
    watched.reach.failed("submit", DOWN)
    assert len(watched.notices) == 2
    assert watched.notices[1].startswith("slurm submit: ")


def test_patience_ends_after_failing_all_along(watched: Watched) -> None:
    watched.reach.failed("poll", DOWN)
    watched.clock.now += 899
    assert watched.reach.failed("poll", DOWN) is True
    watched.clock.now += 1
    with pytest.raises(BackendError) as caught:
        watched.reach.failed("poll", DOWN)
    assert caught.value is DOWN


def test_one_success_renews_patience(watched: Watched) -> None:
    watched.reach.failed("poll", DOWN)
    watched.clock.now += 899
    watched.reach.failed("poll", {})
    watched.clock.now += 899
    assert watched.reach.failed("poll", DOWN) is True


def test_a_trouble_that_was_forgotten_does_not_count_for_the_next(watched: Watched) -> None:
    watched.reach.failed("cancel", DOWN)
    watched.reach.forget("cancel")
    watched.reach.forget("never-called")
    watched.clock.now += 5000
    assert watched.reach.failed("cancel", DOWN) is True
    assert len(watched.notices) == 2


def test_what_is_no_backend_error_is_raised_at_once(watched: Watched) -> None:
    with pytest.raises(KeyError):
        watched.reach.failed("poll", KeyError("bug"))


def test_a_hang_is_notified_once_and_ends_patience(watched: Watched) -> None:
    watched.calls.ages = {"poll": 59}
    watched.reach.check_hanging()
    assert watched.notices == []
    for age in (60, 61, 899):
        watched.calls.ages = {"poll": age}
        watched.reach.check_hanging()
    assert watched.notices == ["slurm has not answered poll for 60 s; waiting."]
    watched.calls.ages = {"poll": 900}
    with pytest.raises(BackendError, match="not answered poll for 900 s") as caught:
        watched.reach.check_hanging()
    assert "resume the run" in caught.value.remedy


def test_hanging_logs_never_end_patience(watched: Watched) -> None:
    watched.calls.ages = {"logs": 1e6}
    watched.reach.check_hanging()
    watched.reach.check_hanging()
    assert len(watched.notices) == 1


class Moving(Watched):
    """A call that has been under way for long, and tells how far it has come."""

    def __init__(self) -> None:
        super().__init__()
        self.doing = {"submit": "1.0 of 9.0 MB sent"}
        self.reach = BackendHealth(
            "slurm",
            self.calls,
            self.clock,
            self.notices.append,
            notice_s=60,
            give_up_s=900,
            under_way=lambda method: self.doing.get(method, ""),
        )


def test_a_call_that_gets_on_is_told_now_and_again_and_never_given_up() -> None:
    watched = Moving()
    for megabytes in range(1, 9):
        watched.calls.ages = {"submit": 600.0 * megabytes}
        watched.doing["submit"] = f"{megabytes}.0 of 9.0 MB sent"
        watched.reach.check_hanging()
        watched.clock.now += 30
    assert watched.notices == [f"slurm submit: {n}.0 of 9.0 MB sent." for n in (1, 3, 5, 7)]


def test_a_call_that_no_longer_gets_on_is_given_up_in_the_end() -> None:
    watched = Moving()
    watched.calls.ages = {"submit": 2000.0, "poll": 60.0}
    watched.reach.check_hanging()
    watched.clock.now += 899
    watched.reach.check_hanging()
    watched.clock.now += 1
    with pytest.raises(BackendError, match="has not answered submit"):
        watched.reach.check_hanging()
    assert watched.notices[1] == "slurm has not answered poll for 60 s; waiting."
