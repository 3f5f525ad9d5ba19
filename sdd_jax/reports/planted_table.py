"""The tables of planted marks: on the terminal, as Markdown, as CSV.

`result` is the content of `planted/table.json`, all figures in per cent:

    result["methods"][METHOD][MEASURE][KIND]               {"value", "low", "high"}
    result["methods"][METHOD]["flat_maps"]                 int
    result["reliance"]["versions"][VERSION][FIGURE][KIND]  {"value", "low", "high"}

KIND is unique, shared or all; one without images is missing.
"""

import csv as csv_files
import io
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from sdd_jax.reports.table import method_name

KINDS = ("unique", "shared")
MEASURES = {
    "relevance_rank": "rank",
    "energy_inside": "energy",
    "pointing_game": "pointing",
}
FIGURES = {
    "names_own": "names its own",
    "names_twin": "names the twin",
    "confidence_own": "confidence, own",
    "confidence_twin": "confidence, twin",
}
VERSION_NAMES = {
    "marked": "as it is",
    "without": "mark removed",
    "swapped": "mark of the twin",
}
NOTE = (
    "Per cent. rank: share of the mark's number of most salient pixels that lie in the "
    "mark. energy: share of the positive saliency in it. pointing: the most salient "
    "pixel lies in it. A random map has its area, the last row. flat: maps that say "
    "nothing, in no mean. Intervals of 95 % over identities."
)
Rows = list[list[str]]


def ranked(result: Mapping[str, Any]) -> list[str]:
    """Return the methods, the largest rank of unique marks first, without any last."""

    def rank(name: str) -> float:
        kinds = result["methods"][name].get("relevance_rank", {})
        figure = kinds.get("unique") or kinds.get("all")
        return -figure["value"] if figure else float("inf")

    return sorted(result["methods"], key=rank)


def summary(result: Mapping[str, Any]) -> Table:
    """Return the methods' table for the terminal."""
    return _terminal("Who finds the marks", _methods(result, "\n"), NOTE)


def reliance(result: Mapping[str, Any]) -> Table:
    """Return, for the terminal, what the network makes of the marks."""
    return _terminal("Does the network look at them?", _reliance(result, "\n"), "")


def markdown(result: Mapping[str, Any]) -> str:
    """Return both tables as Markdown."""
    parts = [_markdown(_reliance(result, " ")), _markdown(_methods(result, " ")), NOTE]
    return "\n\n".join(parts) + "\n"


def csv(result: Mapping[str, Any]) -> str:
    """Return every figure as a row: of, measure, marks, value, low, high."""
    file = io.StringIO()
    writer = csv_files.writer(file, lineterminator="\n")
    writer.writerow(("of", "measure", "marks", "value", "low", "high"))
    methods = {name: result["methods"][name] for name in ranked(result)}
    for of, found in (result["reliance"]["versions"] | methods).items():
        for measure, kinds in found.items():
            if measure == "flat_maps":
                writer.writerow((of, measure, "all", kinds, "", ""))
                continue
            for kind, one in kinds.items():
                figures = one["value"], one["low"], one["high"]
                writer.writerow((of, measure, kind, *figures))
    return file.getvalue()


def _methods(result: Mapping[str, Any], between: str) -> Rows:
    headings = [f"{word}, {kind}" for kind in KINDS for word in MEASURES.values()]
    rows = [["", *headings, "flat"]]
    for name in ranked(result):
        found = result["methods"][name]
        cells = [
            _cell(found.get(measure, {}).get(kind), between)
            for kind in KINDS
            for measure in MEASURES
        ]
        rows.append([method_name(name), *cells, str(found["flat_maps"])])
    # The same for every method but for its flat maps: the first one has fewest.
    areas = result["methods"][ranked(result)[0]].get("random_value", {})
    cells = [_cell(areas.get(kind), between) for kind in KINDS for _ in MEASURES]
    return [*rows, ["the mark's area", *cells, ""]]


def _reliance(result: Mapping[str, Any], between: str) -> Rows:
    headings = [f"{word}, {kind}" for kind in KINDS for word in FIGURES.values()]
    rows = [["", *headings]]
    for version, found in result["reliance"]["versions"].items():
        cells = [
            _cell(found.get(figure, {}).get(kind), between)
            for kind in KINDS
            for figure in FIGURES
        ]
        rows.append([VERSION_NAMES[version], *cells])
    return rows


def _cell(one: Mapping[str, float] | None, between: str) -> str:
    """Return a figure as text; a dash where there is none."""
    if not one:
        return "-"
    return f"{one['value']:.1f}{between}[{one['low']:.1f}, {one['high']:.1f}]"


def _terminal(title: str, rows: Rows, note: str) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD)
    table.title_justify = table.caption_justify = "left"
    table.caption = Text(note, style="dim")
    for place, heading in enumerate(rows[0]):
        table.add_column(heading, justify="right" if place else "left")
    for name, *cells in rows[1:]:
        table.add_row(Text(name), *cells)
    return table


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)
