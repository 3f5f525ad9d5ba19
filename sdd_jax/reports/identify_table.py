"""The tables of identification: on the terminal, as Markdown, as CSV.

`result` is the content of `identify/results.json`. Of each probe it has `file`,
`decision` (a name, or None for nobody), `is_enrolled` (its file is one of the
gallery's), `norm`, `threshold` and `nearest`, the nearest references first, each with
`name`, `cosine` and `bias`; with a calibration also `log_likelihood_ratio` and
`is_at_bound`.
"""

import math
from collections.abc import Mapping
from typing import Any

from rich.table import Table

from sdd_jax.reports import text

NOBODY = "NOBODY"
NOTE = (
    "Cosines; the decision is the nearest person where the cosine reaches the "
    "threshold, else nobody."
)
_NEAREST, _PROBES = 3, 40  # on the terminal


def odds(nearest: Mapping[str, Any]) -> str:
    """Return a likelihood ratio as people say it: 781 : 1, or 1 : 41."""
    ratio = nearest["log_likelihood_ratio"]
    number = f"{math.exp(abs(ratio)):.3g}"
    said = f"{number} : 1" if ratio >= 0 else f"1 : {number}"
    return f"{said}, the bound" if nearest["is_at_bound"] else said


def rows(result: Mapping[str, Any], most: int | None = None) -> list[list[str]]:
    """Return the cells: probe, who is decided for, ratio, norm, who is nearest."""
    is_calibrated = result["protocol"]["calibration"] is not None
    found = [["probe", "norm", "decision", *["ratio"] * is_calibrated, "nearest"]]
    for probe in result["probes"]:
        near = (f"{one['name']} {one['cosine']:.3f}" for one in probe["nearest"][:most])
        decision = NOBODY if probe["decision"] is None else probe["decision"]
        ratio = [odds(probe)] if is_calibrated else []
        norm = f"{probe['norm']:.2f}"
        found.append([probe["file"], norm, decision, *ratio, ", ".join(near)])
    return found


def in_words(result: Mapping[str, Any]) -> list[str]:
    """Return what was decided, and what the figures do not say."""
    probes, protocol = result["probes"], result["protocol"]
    num_known = sum(probe["decision"] is not None for probe in probes)
    lines = [
        f"{len(probes):,} images compared with {protocol['num_people']:,} people: "
        f"{num_known:,} recognised, {len(probes) - num_known:,} nobody of these, at a "
        f"threshold of {protocol['threshold']:.3f}, from {protocol['threshold_from']}.",
        f"The threshold is of one pair. Who is not enrolled is compared "
        f"{protocol['num_people']:,} times, so passes up to as many times more often.",
    ]
    copies = [probe["file"] for probe in probes if probe["is_enrolled"]]
    if copies:
        lines.append(
            f"Enrolled themselves, so their own reference is made of them: "
            f"{len(copies)} images ({copies[0]}); that says nothing."
        )
    if protocol["calibration"] is not None:
        lines.append(
            f"A ratio is of one pair of single images. Of the nearest of "
            f"{protocol['num_people']:,} people, by means of several images, it says "
            f"more than was measured, and nothing of people whom the gallery lacks."
        )
    else:
        lines.append(
            "Without a calibration no cosine has a likelihood ratio: --mode=verify "
            "measures one."
        )
    if result["skipped"]:
        reasons = [row["reason"] for row in result["skipped"]]
        lines.append(f"images left out: {len(reasons)}; the first: {reasons[0]}")
    return lines


def summary(result: Mapping[str, Any]) -> Table:
    """Return the table for the terminal."""
    num_probes, shown = len(result["probes"]), result["probes"][:_PROBES]
    cells = rows({**result, "probes": shown}, _NEAREST)
    more = f" {_PROBES} of {num_probes:,} are shown, results.md has all."
    note = NOTE + more * (num_probes > _PROBES)
    return text.terminal("Identification", cells, note, words=len(cells[0]) - 2)


def markdown(result: Mapping[str, Any]) -> str:
    """Return the table and what it is of, as Markdown."""
    words = "\n".join(f"- {line}" for line in in_words(result))
    return f"{text.markdown(rows(result))}\n\n{NOTE}\n\n{words}\n"


def csv(result: Mapping[str, Any]) -> str:
    """Return a row for each probe and each of its nearest."""
    found: list[tuple[Any, ...]] = [
        ("file", "decision", "threshold", "norm", "rank", "name", "cosine", "bias")
        + ("log_likelihood_ratio",)
    ]
    for probe in result["probes"]:
        decision = NOBODY if probe["decision"] is None else probe["decision"]
        for rank, one in enumerate(probe["nearest"], 1):
            found.append(
                (probe["file"], decision, probe["threshold"], probe["norm"], rank)
                + (one["name"], one["cosine"], one["bias"])
                + (one.get("log_likelihood_ratio", ""),)
            )
    return text.csv(found)
