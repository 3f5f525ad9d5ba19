"""Figures with their intervals as text, and rows of them as tables.

A table on the screen says the least, so that a narrow terminal shows it whole; the
files beside it, in Markdown and CSV, say all.
"""

import csv as csv_files
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

Rows = Sequence[Sequence[str]]
_MANY = 10  # columns: one space between them, not two


def number(value: float, digits: int = 1, *, sign: str = "") -> str:
    """Return a number with so many digits, no minus before what rounds to nothing."""
    return f"{round(value, digits) + 0.0:{sign}.{digits}f}"


def figure(
    one: Mapping[str, float] | None,
    between: str = " ",
    *,
    digits: int = 1,
    ends: int | None = None,
    sign: str = "",
) -> str:
    """Return `value[low, high]`, with text between; a dash where there is none.

    Args:
        one: value, low and high.
        between: a space, or the end of a line.
        digits: of all three, after the point.
        ends: of low and high, where they have others.
        sign: "+" where what is above 0 has its sign, too.
    """
    if not one:
        return "-"
    ends = digits if ends is None else ends
    value = number(one["value"], digits, sign=sign)
    low, high = (number(one[end], ends, sign=sign) for end in ("low", "high"))
    return f"{value}{between}[{low}, {high}]"


def markdown(rows: Rows) -> str:
    """Return a table of Markdown; the first row are its headings."""
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    # F = |S| has a column's own sign.
    escaped = ([cell.replace("|", "\\|") for cell in row] for row in lines)
    return "\n".join(f"| {' | '.join(row)} |" for row in escaped)


def csv(rows: Iterable[Sequence[Any]]) -> str:
    """Return a table of comma-separated values; the first row are its headings."""
    file = io.StringIO()
    csv_files.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()


def terminal(title: str, rows: Rows, note: str, *, words: int = 0) -> Table:
    """Return a table for a terminal of 80 columns or more.

    Args:
        title: what stands above it.
        rows: the first are its headings. One of a single cell begins a group.
        note: what stands below it.
        words: so many columns at the end are text. They and the first may go over
            several lines; a number never does: half of one is none.
    """
    headings, *body = rows
    found = Table(title=title, box=box.SIMPLE_HEAD)
    found.padding = (0, int(len(headings) < _MANY), 0, 0)
    found.title_justify = found.caption_justify = "left"
    found.caption = Text(note, style="dim")
    for place, heading in enumerate(headings):
        is_text = place == 0 or place >= len(headings) - words
        found.add_column(
            heading.replace(", ", ",\n"),
            justify="left" if is_text else "right",
            no_wrap=not is_text,
            overflow="fold",
        )
    for row in body:
        style = "bold cyan" if len(row) == 1 else ""
        found.add_row(*(Text(cell) for cell in row), style=style)
    return found
