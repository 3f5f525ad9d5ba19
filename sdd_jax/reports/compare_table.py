"""The table of a comparison: on the terminal, as Markdown, as CSV.

`result` is the content of `compare/table.json`:

    result["methods"][METHOD][METRIC][FILL]   {"value", "low", "high"}
    result["methods"][METHOD]                 and forward_passes, images_per_second,
                                              flat_maps, num_images
"""

import csv as csv_files
import io
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from sdd_jax.reports.table import method_name

ALL = "all"
# What the table shows of each method: heading, metric, fill.
COLUMNS = (
    ("srg", "srg", ALL),
    ("specificity", "specificity", ALL),
    ("drop, black", "confidence_drop", "black"),
    ("drop, mean", "confidence_drop", "mean"),
    ("edge", "edge_length", ALL),
)
COSTS = ("forward_passes", "images_per_second", "flat_maps", "num_images")
NOTE = (
    "srg: what deletion takes more than retention, per cent; 0 for a random map. "
    "specificity: srg less that of a wrong class's map. drop: of confidence when the "
    "most salient pixels are removed, per cent. edge: border pixels of that mask. "
    "passes: cost of a map in forward passes. flat: maps that say nothing, in no mean. "
    "Intervals of 95 % over identities."
)


def ranked(result: Mapping[str, Any]) -> list[str]:
    """Return the methods, the largest srg first; those without any come last."""

    def srg(name: str) -> float:
        figure = result["methods"][name].get("srg", {}).get(ALL)
        return -figure["value"] if figure else float("inf")

    return sorted(result["methods"], key=srg)


def summary(result: Mapping[str, Any]) -> Table:
    """Return the table for a terminal of 80 columns: no edges, speeds and numbers."""
    table = Table(title="Methods, the largest srg first", box=box.SIMPLE_HEAD)
    table.title_justify = "left"
    table.caption = Text(f"{NOTE} All columns: table.md.", style="dim")
    table.caption_justify = "left"
    table.padding = (0, 1, 0, 0)
    table.add_column("", overflow="fold")
    shown = [column for column in COLUMNS if column[0] != "edge"]
    for heading in (*(heading for heading, *_ in shown), "passes", "flat"):
        # Only the names may go over several lines: half a number is none.
        lines = heading.replace(", ", ",\n")
        table.add_column(lines, justify="right", no_wrap=True)
    for name in ranked(result):
        found = result["methods"][name]
        cells = [
            _cell(found, metric, fill, "\n", digits=0) for _, metric, fill in shown
        ]
        costs = f"{found['forward_passes']:.2f}", str(found["flat_maps"])
        table.add_row(Text(method_name(name)), *cells, *costs)
    return table


def markdown(result: Mapping[str, Any]) -> str:
    """Return the table as Markdown."""
    headings = [heading for heading, *_ in COLUMNS]
    rows = [["", *headings, "passes", "maps/s", "flat", "images"]]
    rows += [["---"] * len(rows[0])]
    for name in ranked(result):
        found = result["methods"][name]
        cells = [
            _cell(found, metric, fill, " ", digits=1) for _, metric, fill in COLUMNS
        ]
        costs = [
            f"{found['forward_passes']:.2f}",
            f"{found['images_per_second']:.1f}",
            str(found["flat_maps"]),
            str(found["num_images"]),
        ]
        rows.append([method_name(name), *cells, *costs])
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines) + f"\n\n{NOTE}\n"


def csv(result: Mapping[str, Any]) -> str:
    """Return every figure as a row: method, metric, fill, value, low, high."""
    file = io.StringIO()
    writer = csv_files.writer(file, lineterminator="\n")
    writer.writerow(("method", "metric", "fill", "value", "low", "high"))
    for name in ranked(result):
        for metric, found in result["methods"][name].items():
            if metric in COSTS:
                writer.writerow((name, metric, ALL, found, "", ""))
                continue
            for fill, one in found.items():
                figures = (one["value"], one["low"], one["high"])
                writer.writerow((name, metric, fill, *figures))
    return file.getvalue()


def _cell(
    found: Mapping[str, Any], metric: str, fill: str, between: str, *, digits: int
) -> str:
    """Return a figure and its interval as text; a dash where there is none."""
    one = found.get(metric, {}).get(fill)
    if not one:
        return "-"
    low, high = (f"{one[end]:.{digits}f}" for end in ("low", "high"))
    return f"{one['value']:.1f}{between}[{low}, {high}]"
