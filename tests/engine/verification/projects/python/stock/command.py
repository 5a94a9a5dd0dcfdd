import sys

from stock.items import Item, render


def main() -> None:
    sys.stdout.write(render([Item("apples", 3)]))
