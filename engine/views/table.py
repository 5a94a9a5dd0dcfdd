"""Tables of text that fit the columns there are."""

import io
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Column(NamedTuple):
    """A `flexible` one takes the room that is left, and is cut; one that is not `shown` is left
    out."""

    name: str
    right: bool = False
    flexible: bool = False
    shown: bool = True


def render_table(columns: Sequence[Column], rows: Iterable[Sequence[str]], width: int) -> str:
    """Lines of at most `width` columns where the columns that are not flexible have room; the texts
    are clean."""
    from rich.console import Console  # rich, only where it is used
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), expand=True)
    for column in columns:
        if column.shown:
            table.add_column(
                column.name,
                justify="right" if column.right else "left",
                ratio=1 if column.flexible else None,
                no_wrap=True,
                overflow="ellipsis",
            )
    for row in rows:
        cells = zip(columns, row, strict=True)
        table.add_row(*(Text(cell) for column, cell in cells if column.shown))
    stream = io.StringIO()
    Console(file=stream, width=width, color_system=None, markup=False).print(table)
    return "".join(f"{line.rstrip()}\n" for line in stream.getvalue().splitlines())
