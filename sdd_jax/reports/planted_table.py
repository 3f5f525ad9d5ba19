"""The tables of planted marks: on the terminal, as Markdown, as CSV.

`result` is the content of `planted/table.json`, all figures in per cent:

    result["methods"][METHOD][MEASURE][KIND]               {"value", "low", "high"}
    result["methods"][METHOD]["flat_maps"]                 int
    result["reliance"]["versions"][VERSION][FIGURE][KIND]  {"value", "low", "high"}

KIND is unique, shared or all; one without images is missing.
"""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from sdd_jax.reports import text
from sdd_jax.reports.table import method_name
from sdd_jax.reports.text import figure

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


def ranked(result: Mapping[str, Any]) -> list[str]:
    """Return the methods, the largest rank of unique marks first, without any last."""

    def rank(name: str) -> float:
        kinds = result["methods"][name].get("relevance_rank", {})
        figure = kinds.get("unique") or kinds.get("all")
        return -figure["value"] if figure else float("inf")

    return sorted(result["methods"], key=rank)


def summary(result: Mapping[str, Any]) -> Table:
    """Return the methods' table for the terminal."""
    rows = _methods(result, "\n", ends=0)
    return text.terminal("Who finds the marks", rows, NOTE)


def reliance(result: Mapping[str, Any]) -> Table:
    """Return, for the terminal, what the network makes of the marks."""
    rows = _reliance(result, "\n", ends=0)
    return text.terminal("Does the network look at them?", rows, "Per cent.")


def markdown(result: Mapping[str, Any]) -> str:
    """Return both tables as Markdown."""
    tables = _reliance(result), _methods(result)
    return "\n\n".join([*map(text.markdown, tables), NOTE]) + "\n"


def csv(result: Mapping[str, Any]) -> str:
    """Return every figure as a row: of, measure, marks, value, low, high."""
    rows = [("of", "measure", "marks", "value", "low", "high")]
    methods = {name: result["methods"][name] for name in ranked(result)}
    for of, found in (result["reliance"]["versions"] | methods).items():
        for measure, kinds in found.items():
            if measure == "flat_maps":
                rows.append((of, measure, "all", kinds, "", ""))
                continue
            for kind, one in kinds.items():
                figures = one["value"], one["low"], one["high"]
                rows.append((of, measure, kind, *figures))
    return text.csv(rows)


def _methods(
    result: Mapping[str, Any], between: str = " ", ends: int = 1
) -> list[list[str]]:
    headings = [f"{word}, {kind}" for kind in KINDS for word in MEASURES.values()]
    rows = [["", *headings, "flat"]]
    for name in ranked(result):
        found = result["methods"][name]
        cells = [
            figure(found.get(measure, {}).get(kind), between, ends=ends)
            for kind in KINDS
            for measure in MEASURES
        ]
        rows.append([method_name(name), *cells, str(found["flat_maps"])])
    # The same for every method but for its flat maps: the first one has fewest.
    areas = result["methods"][ranked(result)[0]].get("random_value", {})
    cells = [
        figure(areas.get(kind), between, ends=ends) for kind in KINDS for _ in MEASURES
    ]
    return [*rows, ["the mark's area", *cells, ""]]


def _reliance(
    result: Mapping[str, Any], between: str = " ", ends: int = 1
) -> list[list[str]]:
    headings = [f"{word}, {kind}" for kind in KINDS for word in FIGURES.values()]
    rows = [["", *headings]]
    for version, found in result["reliance"]["versions"].items():
        cells = [
            figure(found.get(name, {}).get(kind), between, ends=ends)
            for kind in KINDS
            for name in FIGURES
        ]
        rows.append([VERSION_NAMES[version], *cells])
    return rows
