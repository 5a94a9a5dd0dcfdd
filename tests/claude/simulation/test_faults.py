from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude.simulation.faults import FAULTS, parse_faults
from core.errors import SettingsError


def test_the_example_of_the_documentation_can_be_read() -> None:
    spec = (
        "rate_limit=0.1,overloaded=0.05,server_error=0.05,disconnect=0.05,truncate=0.1,"
        "bad_plan=0.5,bad_tool=0.1,escape=0.2,wrong_files=0.2,refusal=0.05,snooping=0.1,"
        "mismatch=1,broken_code=1,missing_dependency=1,bad_contract=1,flaky_check=1,lying_check=1,"
        "cheat=1"
    )
    chances = parse_faults(spec)
    assert set(chances) == set(FAULTS)
    assert chances["bad_plan"] == 0.5


def test_nothing_asked_for_is_no_fault() -> None:
    assert parse_faults("") == parse_faults(" , ,") == {}


@given(st.dictionaries(st.sampled_from(sorted(FAULTS)), st.floats(0, 1)))
def test_what_is_written_is_read(chances: dict[str, float]) -> None:
    spec = " , ".join(f"{name} = {chance!r}" for name, chance in chances.items())
    assert parse_faults(spec) == chances


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("rate_limits=0.1", "Did you mean rate_limit?"),
        ("Refusal=0.1", "Did you mean refusal?"),
        ("zzzzzz=0.1", "There are: rate_limit"),
        ("=0.1", "There are: rate_limit"),
        ("escape", "from 0 to 1, as in escape=0.1"),
        ("escape=", "from 0 to 1"),
        ("escape=1.01", "from 0 to 1"),
        ("escape=-0.1", "from 0 to 1"),
        ("escape=nan", "from 0 to 1"),
        ("escape=often", "the chance 'often'"),
        ("escape=0.1=0.2", "from 0 to 1"),
        ("escape=0.1,escape=0.2", "names escape twice"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_can(spec: str, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_faults(spec)
    assert words in str(caught.value)


@given(st.text())
def test_any_other_text_is_refused_in_the_same_way(spec: str) -> None:
    with suppress(SettingsError):
        assert set(parse_faults(spec)) <= set(FAULTS)
