"""The table of a comparison: on the terminal, as Markdown, as CSV.

`result` is the content of `compare/table.json`:

    result["methods"][METHOD][METRIC][FILL]   {"value", "low", "high"}
    result["methods"][METHOD]                 and forward_passes, images_per_second,
                                              flat_maps, num_images
"""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from sdd_jax.reports import text
from sdd_jax.reports.table import method_name
from sdd_jax.reports.text import figure

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
    """Return the table for the terminal: no edges, speeds and numbers of images."""
    shown = [column for column in COLUMNS if column[0] != "edge"]
    rows = [["", *(heading for heading, *_ in shown), "passes", "flat"]]
    for name in ranked(result):
        found = result["methods"][name]
        cells = [
            figure(found.get(metric, {}).get(fill), "\n", ends=0)
            for _, metric, fill in shown
        ]
        costs = f"{found['forward_passes']:.2f}", str(found["flat_maps"])
        rows.append([method_name(name), *cells, *costs])
    note = f"{NOTE} All columns: table.md."
    return text.terminal("Methods, the largest srg first", rows, note)


def markdown(result: Mapping[str, Any]) -> str:
    """Return the table as Markdown."""
    headings = [heading for heading, *_ in COLUMNS]
    rows = [["", *headings, "passes", "maps/s", "flat", "images"]]
    for name in ranked(result):
        found = result["methods"][name]
        cells = [figure(found.get(metric, {}).get(fill)) for _, metric, fill in COLUMNS]
        costs = [
            f"{found['forward_passes']:.2f}",
            f"{found['images_per_second']:.1f}",
            str(found["flat_maps"]),
            str(found["num_images"]),
        ]
        rows.append([method_name(name), *cells, *costs])
    return f"{text.markdown(rows)}\n\n{NOTE}\n"


def csv(result: Mapping[str, Any]) -> str:
    """Return every figure as a row: method, metric, fill, value, low, high."""
    rows = [("method", "metric", "fill", "value", "low", "high")]
    for name in ranked(result):
        for metric, found in result["methods"][name].items():
            if metric in COSTS:
                rows.append((name, metric, ALL, found, "", ""))
                continue
            for fill, one in found.items():
                figures = (one["value"], one["low"], one["high"])
                rows.append((name, metric, fill, *figures))
    return text.csv(rows)
