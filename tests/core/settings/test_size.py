"""Sizes that options may have."""

from __future__ import annotations

import pytest

from core.settings.size import check_size


@pytest.mark.parametrize("text", ["512m", "2g", "1.5G", "6291456", "700Mb", "0.5t", "9b"])
def test_a_size_is_taken_as_docker_takes_it(text: str) -> None:
    assert check_size(text) == text


@pytest.mark.parametrize(
    "text", ["", "0", "0g", "0.0mb", "-1m", "m", "1 g", "1gg", "1.g", "\u0663g", "9" * 400 + "t"]
)
def test_no_size_and_no_limit_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="such as 512m"):
        check_size(text)
