"""How rounds of repair read."""

import pytest

from core.events import (
    CONTRACTS,
    CheckEnded,
    Event,
    Proof,
    RepairBegun,
    RepairEnded,
    Suspect,
    Verified,
)
from engine.run.run_view import replay
from engine.views.format import repair_text, suspicion_text
from engine.views.summary import render_summary

FILES = (Suspect("a.py", "store"), Suspect("t.py", CONTRACTS), Suspect("c.py", "x"))


@pytest.mark.parametrize(
    ("repair", "text"),
    [
        (RepairEnded(1, 12, 12, FILES[:1]), "round 1: a.py (task store); 12 of 12 checks pass now"),
        (
            RepairEnded(2, 1, 9, FILES[:2]),
            "round 2: a.py (task store), t.py (a contract); 1 of 9 checks",
        ),
        (
            RepairEnded(2, 1, 9, (*FILES, *FILES)),
            "c.py (task x) and 3 more; 1 of 9 checks pass now",
        ),
        (RepairEnded(2, 1, 9, (), "a.py\nis worse"), "round 2 was not kept: a.py is worse"),
    ],
)
def test_what_became_of_a_round(repair: RepairEnded, text: str) -> None:
    assert text in repair_text(repair)


def test_what_a_round_is_about() -> None:
    text = suspicion_text(RepairBegun(1, ("x",), FILES[:2]))
    assert text == "repair 1: 1 check failed; suspects: a.py (task store), t.py (a contract)"


@pytest.mark.parametrize(
    ("rejected", "counts", "label"),
    [("", "1 of 1 passed", "repaired  round 1"), ("no", "0 of 1 passed", "repair    round 1")],
)
def test_the_checks_shown_are_those_of_what_is_delivered(
    rejected: str, counts: str, label: str
) -> None:
    failed = CheckEnded("check", "x", (), Proof.FAILED)
    passed = CheckEnded("check", "x", (), Proof.PASSED)
    events = [
        *(failed, Verified("a box"), RepairBegun(1, ("x",), ())),
        *(passed, Verified("a box"), RepairEnded(1, 1, 1, FILES[:1], rejected)),
    ]
    view = replay("r", [Event(data, float(at)) for at, data in enumerate(events)])
    summary = render_summary(view)
    assert counts in summary
    assert label in summary
