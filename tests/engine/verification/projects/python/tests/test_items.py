import pytest

from stock.items import Item, render


def test_items_are_written_as_toml():
    assert render([Item("apples", 3), Item("pears", 4)]) == "apples = 3\npears = 4\n"


def test_a_negative_count_is_refused():
    with pytest.raises(ValueError):
        Item("apples", -1)
