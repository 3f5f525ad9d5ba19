"""The table of the sanity checks: on the terminal, as Markdown, as CSV.

`result` is the content of `sanity/table.json`: `result["methods"][METHOD]` is as in
`faithfulness.sanity_table`, and has forward_passes, num_images and is_control.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

from sdd_jax.reports import text
from sdd_jax.reports.table import method_name
from sdd_jax.reports.text import figure

HEADINGS = (
    *("all layers", "SSIM, all layers", "mean of layers"),
    *("wrong class", "SSIM, wrong class", "flat", "images", "network", "class"),
)
NOTE = (
    "Spearman correlation, and SSIM, of maps of the intact network with those of the "
    "network whose layers are all spoilt; the mean over the cascade from the head on; "
    "with those of a random other class. 1: the maps are the same. flat: pairs of maps "
    "that say nothing, of all layers spoilt and of the wrong class. Intervals of 95 % "
    "over identities. *: does not look at the network, and must fail."
)


def summary(result: Mapping[str, Any]) -> Table:
    """Return the table for the terminal: no SSIM and no mean of layers."""
    shown = ("all layers", "wrong class", "flat", "network", "class")
    rows = [["", *shown]]
    for name, found in result["methods"].items():
        cells = dict(zip(HEADINGS, _cells(found, "\n"), strict=True))
        rows.append([_called(name, found), *(cells[heading] for heading in shown)])
    title, note = "Do maps depend on network and class?", _note(result)
    return text.terminal(title, rows, f"{note} All columns: table.md.", words=2)


def markdown(result: Mapping[str, Any]) -> str:
    """Return the table as Markdown."""
    rows = [["", *HEADINGS]]
    rows += [
        [_called(name, found).replace("*", "\\*"), *_cells(found, " ")]
        for name, found in result["methods"].items()
    ]
    return f"{text.markdown(rows)}\n\n{_note(result)}\n".replace("*:", "\\*:")


def csv(result: Mapping[str, Any]) -> str:
    """Return every figure as a row."""
    rows: list[Any] = [("method", "order", "layer", "metric", "value", "low", "high")]
    for name, found in result["methods"].items():
        for order, layer, measured in _measured(found):
            for metric, one in measured.items():
                values = (
                    (one["value"], one["low"], one["high"])
                    if isinstance(one, Mapping)
                    else (one, "", "")
                )
                rows.append((name, order, layer, metric, *values))
        for of, verdict in found["verdict"].items():
            rows.append((name, "verdict", of, verdict, "", "", ""))
    return text.csv(rows)


def all_layers(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the figure of the network whose layers are all spoilt."""
    return [one for layer, one in found["cascading"].items() if layer != "mean"][-1]


def _measured(found: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    for order in ("cascading", "independent"):
        for layer, measured in found.get(order, {}).items():
            yield order, layer, measured
    yield "wrong_class", "", found["wrong_class"]


def _note(result: Mapping[str, Any]) -> str:
    return f"{NOTE} Verdict: {result['protocol']['verdict']}."


def _called(name: str, found: Mapping[str, Any]) -> str:
    return method_name(name) + ("*" if found["is_control"] else "")


def _cells(found: Mapping[str, Any], between: str) -> list[str]:
    """Return a method's figures as text; a dash where there is none."""

    def cell(found: Mapping[str, Any], metric: str) -> str:
        return figure(found.get(metric), between, digits=2)

    spoilt, wrong = all_layers(found), found["wrong_class"]
    # Of one network, a mean over the cascade would say the same again.
    mean = found["cascading"]["mean"] if len(found["cascading"]) > 2 else {}
    return [
        *(cell(spoilt, metric) for metric in ("spearman", "ssim")),
        cell(mean, "spearman"),
        *(cell(wrong, metric) for metric in ("spearman", "ssim")),
        f"{spoilt['flat_maps']}, {wrong['flat_maps']}",
        str(found["num_images"]),
        *found["verdict"].values(),
    ]
