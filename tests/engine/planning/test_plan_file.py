"""Plan files: they come back; what cannot be read or written is refused with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given

from core.errors import OutputFailed, PlanInvalid, UsageError
from core.plan import Plan, render_plan
from engine.planning.plan_file import (
    check_prompt,
    check_writable,
    read_plan,
    render_plan_file,
    write_plan,
)
from tests.fakes.plan_parts import GOOD, any_plans
from tests.fakes.plans import fan

names = pytest.mark.parametrize("name", ["plan.json", "plan.toml", "PLAN.TOML", "plan"])


@names
def test_a_plan_comes_back_from_its_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(render_plan_file(GOOD, path), encoding="utf-8")
    assert read_plan(path) == GOOD


@given(any_plans())
def test_the_name_decides_the_format(made: Plan) -> None:
    assert render_plan_file(made, Path("plan.json")) == render_plan(made)
    assert render_plan_file(made, Path("plan.toml")).startswith("version = 2\n")


@names
def test_a_byte_order_mark_and_other_line_ends_change_nothing(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    text = render_plan_file(fan(2), path).replace("\n", "\r\n")
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_plan(path) == fan(2)


@names
def test_a_plan_file_that_cannot_be_read_or_run_is_a_usage_error(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with pytest.raises(UsageError, match=rf"{name} cannot be read"):
        read_plan(path)
    path.write_bytes(b"\xff")
    with pytest.raises(UsageError, match=rf"{name} cannot be read"):
        read_plan(path)
    path.write_text("{}" if "toml" not in name.lower() else "")
    with pytest.raises(PlanInvalid, match=rf"{name} is not a plan:\n  - tasks: Field required"):
        read_plan(path)


def test_a_file_of_the_other_format_says_which_was_expected(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(render_plan(GOOD))
    with pytest.raises(PlanInvalid, match="Invalid TOML") as caught:
        read_plan(path)
    assert "ends in .json" in caught.value.remedy
    path = tmp_path / "plan.json"
    path.write_text(render_plan_file(GOOD, Path("x.toml")))
    with pytest.raises(PlanInvalid, match="Invalid JSON"):
        read_plan(path)


def test_where_a_plan_cannot_be_written_is_told_before_it_is_made(tmp_path: Path) -> None:
    check_writable(tmp_path / "plan.toml")
    assert list(tmp_path.iterdir()) == []
    mine, link = tmp_path / "mine.json", tmp_path / "link.json"
    mine.write_text("mine")
    link.symlink_to("nowhere")
    for path in (tmp_path, tmp_path / "absent" / "plan.json", mine, link):
        with pytest.raises(UsageError, match="cannot be written") as caught:
            check_writable(path)
        assert "-o" in caught.value.remedy


@pytest.mark.parametrize("name", ["mine.json", "x" * 240 + ".json"], ids=["came up", "refused"])
def test_a_plan_that_cannot_be_written_after_all_is_kept_and_its_place_told(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.json").write_text("mine")
    spare = tmp_path / "runs" / "plan.json"
    with pytest.raises(OutputFailed, match="could not be written") as caught:
        write_plan(GOOD, tmp_path / name, spare)
    assert (tmp_path / "mine.json").read_text() == "mine"
    assert str(spare) in caught.value.remedy
    assert read_plan(spare) == GOOD
    with pytest.raises(OutputFailed) as caught:  # nowhere to keep it
        write_plan(GOOD, tmp_path / name, tmp_path / "mine.json" / "plan.json")
    assert render_plan(GOOD) in caught.value.remedy


@pytest.mark.parametrize(
    ("prompt", "fits"),
    [("", True), ("Build notes", True), ("Build notes \n", True), ("Build a spaceship", False)],
)
def test_a_plan_is_carried_out_for_no_other_prompt(prompt: str, fits: bool) -> None:
    check_prompt(GOOD.model_copy(update={"prompt": ""}), Path("plan.json"), prompt)
    made = GOOD.model_copy(update={"prompt": "Build notes"})
    if fits:
        check_prompt(made, Path("plan.json"), prompt)
    else:
        with pytest.raises(UsageError, match="another prompt: 'Build notes'"):
            check_prompt(made, Path("plan.json"), prompt)
