from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude.limits.rate_limits import (
    LONGEST_HOLD_S,
    LearnedPace,
    ReportedLimits,
    TokenBucket,
    cost_of,
    read_limits,
)
from core.job import Usage

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC).timestamp()


def headers(kind: str = "requests", **values: str) -> dict[str, str]:
    reported = {"limit": "40", "remaining": "10", "reset": "2026-03-01T12:00:45Z"} | values
    return {f"anthropic-ratelimit-{kind}-{name}": value for name, value in reported.items()}


def test_every_kind_of_limit_is_read() -> None:
    both = {**headers(), **headers("input-tokens", limit="30000", remaining="0")}
    assert read_limits(both, NOW) == {
        "requests": ReportedLimits(40, 10, 45),
        "input-tokens": ReportedLimits(30_000, 0, 45),
    }


def test_a_provider_without_headers_reports_nothing() -> None:
    assert read_limits({"x-amzn-requestid": "1"}, NOW) == {}


@pytest.mark.parametrize(
    "values",
    [
        {"limit": "many"},
        {"limit": "0", "remaining": "0"},
        {"limit": "nan"},
        {"limit": "inf"},
        {"remaining": "-1"},
        {"remaining": "41"},
        {"reset": "soon"},
        {"reset": ""},
    ],
)
def test_what_makes_no_sense_is_left_out(values: dict[str, str]) -> None:
    assert read_limits(headers(**values), NOW) == {}


def test_a_limit_that_is_full_again_already_is_no_debt() -> None:
    [reported] = read_limits(headers(reset="2026-03-01T11:00:00Z"), NOW).values()
    assert reported.reset_s == 0


def test_a_wrong_clock_here_is_made_good_by_the_servers_date() -> None:
    date = {"date": "Sun, 01 Mar 2026 12:00:00 GMT"}
    [wrong] = read_limits({**headers(), **date}, NOW - 3_600).values()
    assert wrong.reset_s == 45
    [right] = read_limits({**headers(), **date}, NOW + 0.5).values()
    assert right.reset_s == 44.5  # ours is finer than a header of whole seconds
    [unread] = read_limits({**headers(), "date": "today"}, NOW).values()
    assert unread.reset_s == 45


def test_what_the_cache_gave_costs_nothing() -> None:
    usage = Usage(
        "anthropic",
        "m",
        input_tokens=10,
        output_tokens=5,
        cache_read_tokens=999,
        cache_write_tokens=2,
    )
    kinds = ("requests", "tokens", "input-tokens", "output-tokens")
    assert [cost_of(kind, usage) for kind in kinds] == [1, 17, 12, 5]


def bucket(
    reported: ReportedLimits, *, later: int = 0, started_at: float = 0.0, now: float = 0.0
) -> TokenBucket:
    made = TokenBucket(reported)
    made.update(reported, 1.0, started_at, later, now)
    return made


def test_an_empty_limit_holds_back_until_one_request_is_refilled() -> None:
    empty = bucket(ReportedLimits(40, 0, 60))
    assert empty.wait_s(1.0, 0.0) == pytest.approx(1.5)
    assert empty.wait_s(1.0, 1.0) == pytest.approx(0.5)
    assert empty.wait_s(1.0, 1.6) == 0


def test_each_start_takes_from_what_is_left() -> None:
    two = bucket(ReportedLimits(40, 2, 57))
    two.take(1.0, 0.0)
    assert two.wait_s(1.0, 0.0) == 0
    two.take(1.0, 0.0)
    assert two.wait_s(1.0, 0.0) == pytest.approx(1.5)


def test_requests_sent_after_the_one_that_was_answered_are_taken_off() -> None:
    assert bucket(ReportedLimits(40, 3, 55.5), later=2).wait_s(1.0, 0.0) == 0
    assert bucket(ReportedLimits(40, 3, 55.5), later=3).wait_s(1.0, 0.0) == pytest.approx(1.5)


def test_what_was_refilled_while_the_answer_was_on_its_way_counts() -> None:
    assert bucket(ReportedLimits(40, 0, 60), started_at=-3.0).wait_s(1.0, 0.0) == 0


def test_a_rate_is_not_reckoned_from_the_use_of_little() -> None:
    rounded = bucket(
        ReportedLimits(40, 39, 2.0)
    )  # one request, refilled after 1.5 s, reported in whole seconds
    for _ in range(40):
        rounded.take(1.0, 0.0)
    assert rounded.wait_s(1.0, 0.0) == pytest.approx(3.0)  # 2 short, at 40 a minute


def test_a_faster_limit_than_a_minutes_is_learned_from_its_reset() -> None:
    assert bucket(ReportedLimits(40, 0, 3.0)).wait_s(1.0, 0.0) == pytest.approx(0.075)


def test_a_request_larger_than_the_limit_waits_for_all_of_it_only() -> None:
    assert bucket(ReportedLimits(100, 100, 0)).wait_s(5_000.0, 0.0) == 0


@given(
    st.floats(1, 1e6),
    st.floats(0, 1),
    st.floats(0, 1e9),
    st.integers(0, 1000),
    st.floats(0, 1e6),
)
def test_no_header_holds_anybody_back_for_long(
    limit: float, share: float, reset_s: float, later: int, cost: float
) -> None:
    reported = ReportedLimits(limit, share * limit, reset_s)
    made = TokenBucket(reported)
    made.update(reported, cost, 0.0, later, 0.0)
    assert 0 <= made.wait_s(cost, 0.0) <= LONGEST_HOLD_S
    assert made.wait_s(cost, LONGEST_HOLD_S) == 0


def drive(pace: LearnedPace, per_s: float, seconds: float, start: float = 0.0) -> tuple[int, int]:
    """Start requests as the pace allows against a bucket that refills; accepted and refused."""
    now, left, accepted, refused = start, 3.0, 0, 0
    while now < start + seconds:
        if pace.wait_s(now) > 0:
            step = pace.wait_s(now)
        else:
            pace.started(now)
            if left >= 1:
                left, accepted, step = left - 1, accepted + 1, 0.01
                pace.accepted()
            else:
                refused, step = refused + 1, 1 / per_s  # the pause
                pace.refused(now)
        now, left = now + step, min(3.0, left + step * per_s)
    return accepted, refused


def test_without_a_refusal_no_request_is_paced() -> None:
    pace = LearnedPace()
    for _ in range(100):
        pace.started(5.0)
        pace.accepted()
    assert pace.wait_s(5.0) == 0


@pytest.mark.parametrize("per_s", [0.3, 2 / 3, 5.0])
def test_a_rate_is_found_from_the_refusals_it_causes(per_s: float) -> None:
    pace = LearnedPace()
    drive(pace, per_s, 30 / per_s)
    accepted, refused = drive(pace, per_s, 100 / per_s, start=30 / per_s)
    assert accepted >= 95
    assert refused <= 35


def test_a_rate_is_forgotten_when_nothing_is_refused_any_more() -> None:
    pace = LearnedPace()
    drive(pace, 1.0, 60.0)
    pace.started(60.0)
    assert pace.wait_s(60.0) > 0.5
    later = 60.0 + 4 * LearnedPace.HALF_LIFE_S
    pace.started(later)
    assert pace.wait_s(later) < 0.1


def test_a_long_storm_leaves_no_endless_interval() -> None:
    pace = LearnedPace()
    pace.refused(0.0)
    for _ in range(LearnedPace.FEWEST):
        pace.accepted()
    pace.refused(10_000.0)
    pace.started(10_000.0)
    assert pace.wait_s(10_000.0) == LearnedPace.LONGEST_INTERVAL_S


def test_too_few_requests_tell_no_rate() -> None:
    pace = LearnedPace()
    pace.refused(0.0)
    pace.accepted()
    pace.refused(500.0)
    pace.started(500.0)
    assert pace.wait_s(500.0) == 0
