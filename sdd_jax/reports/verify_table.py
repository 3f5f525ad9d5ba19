"""The tables of verification: on the terminal, as Markdown, as CSV.

`result` is the content of `verify/metrics.json`; a figure is {"value", "low", "high"},
all three None where it has none, and then "unsupported" says why:

    result["accuracy"], ["auc"], ["eer"], ["fmr"], ["fnmr"]      per cent
    result["tar"][FAR]                                           per cent
    result["cllr"], ["cllr_isotonic"], ["cllr_min"]              bits
    result["groups"][GROUP]["fmr"], ["fnmr"]                     per cent
    result["num_genuine"], ["num_impostor"], ["num_people"], ["num_images"]
"""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

from sdd_jax.reports import text
from sdd_jax.reports.text import figure

NOTE = (
    "Per cent, but for Cllr (0 is perfect, 1 says nothing). In brackets 95 % over "
    "people. Accuracy, FMR, FNMR and Cllr judge every pair by what was chosen on other "
    "people."
)


def figures(result: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], int]]:
    """Yield every figure: its name, itself, and its digits after the point."""
    yield "accuracy", result["accuracy"], 2
    yield "AUC", result["auc"], 3
    yield "EER", result["eer"], 2
    for far, one in result["tar"].items():
        yield f"TAR at FAR {far}", one, 2
    far = f"{result['protocol']['far']:g}"
    yield f"FMR at the threshold of FAR {far}", result["fmr"], 3
    yield f"FNMR at the threshold of FAR {far}", result["fnmr"], 2
    yield "Cllr, logistic", result["cllr"], 3
    yield "Cllr, isotonic", result["cllr_isotonic"], 3
    yield "Cllr, the least", result["cllr_min"], 3
    for name, group in result["groups"].items():
        yield f"FMR of {name}", group["fmr"], 3
        yield f"FNMR of {name}", group["fnmr"], 2


def rows(result: Mapping[str, Any]) -> list[list[str]]:
    """Return the table's cells: figure, value, interval or why there is none."""
    found = [["figure", "value", "95 %"]]
    for name, one, digits in figures(result):
        if one["value"] is None:
            found.append([name, "-", one["unsupported"]])
            continue
        value, _, interval = figure(one, digits=digits).partition(" ")
        found.append([name, value, interval])
    return found


def in_words(result: Mapping[str, Any]) -> list[str]:
    """Return what the figures are of, and what they do not say."""
    skipped = result["num_skipped"]
    left_out = f"; {skipped:,} pairs were left out" if skipped else ""
    lines = [
        f"{result['num_genuine']:,} genuine and {result['num_impostor']:,} impostor "
        f"pairs of {result['num_images']:,} images of {result['num_people']:,} people"
        f"{left_out}."
    ]
    if not result["groups"]:
        lines.append(
            "Groups unknown: nothing is said of whether some people are mixed up more "
            "often than others; data.groups names a file of labels."
        )
    return lines


def summary(result: Mapping[str, Any]) -> Table:
    """Return the table for the terminal."""
    return text.terminal("Verification", rows(result), NOTE, words=1)


def markdown(result: Mapping[str, Any]) -> str:
    """Return the table and what it is of, as Markdown."""
    words = "\n".join(f"- {line}" for line in in_words(result))
    return f"{text.markdown(rows(result))}\n\n{NOTE}\n\n{words}\n"


def csv(result: Mapping[str, Any]) -> str:
    """Return every figure as a row: figure, value, low, high."""
    found: list[tuple[Any, ...]] = [("figure", "value", "low", "high")]
    for name, one, _ in figures(result):
        found.append((name, one["value"], one["low"], one["high"]))
    return text.csv(found)
