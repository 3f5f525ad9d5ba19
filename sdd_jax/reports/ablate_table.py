"""The table of SDD's choices: on the terminal, as Markdown, as CSV.

`result` is the content of `ablate/table.json`:

    result["methods"][ROW][METRIC][FILL]      {"value", "low", "high"}, and flat_maps
    result["differences"][ROW][METRIC][FILL]  the same and "p": ROW less the default
    result["groups"][PARAMETER][CHOICE]       the choice's ROW
"""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

from sdd_jax.reports import text
from sdd_jax.reports.text import figure

ALL = "all"
DEFAULT = "default"
SCHEMES = {"deletion": "", "retention": "retention_"}  # how their metrics begin
SHOWN = ("black", "mean")  # the fills of the terminal's narrow table
NOTE = (
    "srg: what deletion takes more than retention, per cent. specificity: srg less "
    "that of a wrong class's map. Of each fill: confidence drop / prediction change, "
    "per cent. Larger is better, of retention smaller. +-: less the default, paired. "
    "Intervals of 95 % over identities. flat: maps that say nothing, in no mean."
)


def summary(result: Mapping[str, Any]) -> Table:
    """Return the table for the terminal."""
    shown = [fill for fill in SHOWN if fill in _fills(result)]
    rows = [["", "srg", "+-", "specificity", *shown, "flat"]]
    for group, choices in result["groups"].items():
        rows.append([group])
        for label, row in choices.items():
            cells = [
                *_curves(result, row, "\n", ends=0),
                *_masked(result, row, "", shown),
            ]
            flat = str(result["methods"][row]["flat_maps"])
            rows.append([_called(label, row), *cells, flat])
    return text.terminal("SDD's choices, one at a time", rows, NOTE)


def markdown(result: Mapping[str, Any]) -> str:
    """Return tables as Markdown: the curves and deletion, then retention."""
    fills = _fills(result)
    headings = ["", "srg", "+-", "specificity", *fills, "edge", "flat"]
    first = [headings]
    second = [["", *fills]]
    for group, choices in result["groups"].items():
        first.append([f"**{group}**", *[""] * (len(headings) - 1)])
        second.append([f"**{group}**", *[""] * len(fills)])
        for label, row in choices.items():
            called = _called(label, row)
            found = result["methods"][row]
            edge = found.get("edge_length", {}).get(ALL)
            first.append(
                [
                    called,
                    *_curves(result, row, " "),
                    *_masked(result, row, SCHEMES["deletion"], fills),
                    f"{edge['value']:.0f}" if edge else "-",
                    str(found["flat_maps"]),
                ]
            )
            second.append([called, *_masked(result, row, SCHEMES["retention"], fills)])
    says = [*result["findings"], *result["left_out"], NOTE]
    return "\n\n".join(
        [
            f"Deletion, {result['num_images']} images",
            text.markdown(first),
            "Retention",
            text.markdown(second),
            *(f"- {line}" for line in says),
            "",
        ]
    )


def csv(result: Mapping[str, Any]) -> str:
    """Return every figure as a row, and beside it what it is less the default's."""
    ends = ("value", "low", "high")
    less = [f"difference_{end}" for end in (*ends, "p")]
    rows: list[Any] = [("parameter", "choice", "metric", "fill", *ends, *less)]
    for group, label, row in _rows(result):
        for metric, found in result["methods"][row].items():
            if metric == "flat_maps":
                rows.append((group, label, metric, ALL, found, *[""] * 6))
                continue
            others = result["differences"].get(row, {}).get(metric, {})
            for fill, one in found.items():
                other = others.get(fill, {})
                figures = [one[end] for end in ends]
                figures += [other.get(end, "") for end in (*ends, "p")]
                rows.append((group, label, metric, fill, *figures))
    return text.csv(rows)


def _rows(result: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for group, choices in result["groups"].items():
        for label, row in choices.items():
            yield group, label, row


def _fills(result: Mapping[str, Any]) -> list[str]:
    return list(result["methods"][DEFAULT]["confidence_drop"])


def _called(label: str, row: str) -> str:
    return f"{label} (default)" if row == DEFAULT != label else label


def _curves(
    result: Mapping[str, Any], row: str, between: str, ends: int = 1
) -> list[str]:
    """Return srg, what it is less the default's, and specificity; a dash for none."""
    found = result["methods"][row]
    other = result["differences"].get(row, {})
    return [
        figure(one.get(ALL), between, ends=ends, sign=sign)
        for one, sign in (
            (found.get("srg", {}), ""),
            (other.get("srg", {}), "+"),
            (found.get("specificity", {}), ""),
        )
    ]


def _masked(
    result: Mapping[str, Any], row: str, scheme: str, fills: list[str]
) -> list[str]:
    """Return confidence drop and prediction change under each fill."""
    found = result["methods"][row]
    cells = []
    for fill in fills:
        figures = [
            found.get(f"{scheme}{metric}", {}).get(fill)
            for metric in ("confidence_drop", "prediction_change")
        ]
        cells.append(
            " / ".join(f"{one['value']:.1f}" if one else "-" for one in figures)
        )
    return cells
