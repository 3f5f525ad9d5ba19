"""The tables of blended look-alikes: on the terminal, as Markdown, as CSV.

`result` is the content of `lookalikes/table.json`:

    result["ratios"]                            of the second face, 0 to 1
    result["network"]["first"][RATIO]           {"value", "low", "high"}, per cent
    result["methods"][METHOD][MEASURE][RATIO]   the same; MEASURE is spearman, flat
                                                or collapsed (per cent)

RATIO is a ratio as text; one whose maps are all flat has no spearman.
"""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from sdd_jax.reports import text
from sdd_jax.reports.table import method_name
from sdd_jax.reports.text import figure

NOTE = (
    "The network's rows: probability of the two, per cent. The methods' rows: "
    "Spearman's correlation of the map for the first and the map for the second; 1 "
    "where they are the same. Intervals of 95 % over pairs of identities."
)


def in_words(result: Mapping[str, Any]) -> list[str]:
    """Return a sentence a method: when its maps say next to nothing."""
    lines = []
    for name, found in result["methods"].items():
        shares = {
            ratio: found["collapsed"][str(ratio)]["value"] for ratio in result["ratios"]
        }
        worst = max(shares, key=lambda ratio: shares[ratio])
        flat = sum(found["flat"][str(ratio)]["value"] for ratio in shares)
        flat /= len(shares)
        often = [f"{ratio:g}" for ratio, share in shares.items() if share >= 50]
        if often:
            said = f"collapses (half of its maps or more) at ratios {', '.join(often)}"
        elif shares[worst]:
            said = f"collapses most at ratio {worst:g}, {shares[worst]:.0f} % of maps"
        else:
            said = "collapses at no ratio"
        lines.append(f"{method_name(name)} {said}; {flat:.1f} % of its maps are flat.")
    return lines


def summary(result: Mapping[str, Any]) -> Table:
    """Return the table for the terminal, without intervals."""
    rows = [
        [name, *(cell.split()[0] for cell in cells)] for name, *cells in _rows(result)
    ]
    note = f"{NOTE} These: table.md."
    return text.terminal("Look-alikes blended", rows, note)


def markdown(result: Mapping[str, Any]) -> str:
    """Return the table and what stands in it in words, as Markdown."""
    words = "\n".join(f"- {line}" for line in in_words(result))
    return f"{text.markdown(_rows(result))}\n\n{NOTE}\n\n{words}\n"


def csv(result: Mapping[str, Any]) -> str:
    """Return every figure as a row: of, measure, ratio, value, low, high."""
    rows = [("of", "measure", "ratio", "value", "low", "high")]
    for of, found in ({"network": result["network"]} | result["methods"]).items():
        for measure, ratios in found.items():
            for ratio, one in ratios.items():
                figures = one["value"], one["low"], one["high"]
                rows.append((of, measure, ratio, *figures))
    return text.csv(rows)


def _rows(result: Mapping[str, Any]) -> list[list[str]]:
    ratios = result["ratios"]
    rows = [["ratio of the second", *(f"{ratio:g}" for ratio in ratios)]]
    lines = [
        (f"probability, {which}", result["network"][which], 1)
        for which in ("first", "second")
    ]
    lines += [
        (method_name(name), found.get("spearman", {}), 2)
        for name, found in result["methods"].items()
    ]
    for heading, found, digits in lines:
        cells = [figure(found.get(str(ratio)), digits=digits) for ratio in ratios]
        rows.append([heading, *cells])
    return rows
