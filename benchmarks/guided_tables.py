"""The tables of `benchmarks.guided`: figures with intervals over people, and shown."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.table import Table

from sdd_jax.faithfulness import comparison
from sdd_jax.faithfulness.calibration import calibration_error
from sdd_jax.faithfulness.comparison import Measured
from sdd_jax.images.sources import shortcut
from sdd_jax.reports.text import figure, number
from sdd_jax.runs.reliance import METHODS, Rows


def shortcut_table(
    each: Mapping[str, Sequence[Rows]], weights: Mapping[str, float]
) -> dict[str, Any]:
    """Return every variant's figures on test images with and without marks.

    Args:
        each: by variant, the rows of each seed.
        weights: of the variants.
    """

    def measured(of_seeds: Sequence[Rows]) -> tuple[Measured, np.ndarray]:
        pieces: dict[Any, list[tuple[np.ndarray, np.ndarray]]] = {}
        labels = []
        for rows in of_seeds:
            numbers = {x: len(rows[f"test/{x}/labels"]) for x in shortcut.VERSIONS}
            own, others = numbers["marked"], numbers["on_others"]
            labels += [rows["test/marked/labels"], rows["test/on_others/labels"]]
            for version in shortcut.VERSIONS:
                widths = (own, 0) if version == "on_others" else (0, others)
                is_there = np.pad(np.ones(numbers[version], bool), widths)
                for column, row in _columns(rows, f"test/{version}").items():
                    padded = 100 * np.pad(row.astype(np.float64), widths)
                    pieces.setdefault((column, version), []).append((padded, is_there))
        values = {k: np.concatenate([x for x, _ in v]) for k, v in pieces.items()}
        counted = {k: np.concatenate([x for _, x in v]) for k, v in pieces.items()}
        return Measured(values, counted), np.concatenate(labels)

    found = {name: measured(of_seeds) for name, of_seeds in each.items()}
    table = comparison.table(
        {name: one for name, (one, _) in found.items()},
        found["plain"][1],
        reference="plain",
        seed=0,
        num_resamples=2000,
    )
    for name in found:
        table["methods"][name]["weight"] = weights[name]
    return table


def _columns(rows: Rows, version: str) -> dict[str, np.ndarray]:
    """Return what is told of a version's images, one a column."""
    of = {
        name.removeprefix(f"{version}/"): row
        for name, row in rows.items()
        if name.startswith(f"{version}/")
    }
    return {
        "accuracy": of["prediction"] == of["labels"],
        "names_bearer": of["prediction"] == of["bearers"],
        **{f"energy_{x}": of[f"energy_{x}"] for x in METHODS},
        "mark": of["mark"],
    }


def faces_table(each: Mapping[str, Sequence[Rows]]) -> dict[str, Any]:
    """Return figures of faces as they are, from each variant's rows of each seed."""
    table = comparison.table(
        {name: _faces_measured(of_seeds) for name, of_seeds in each.items()},
        np.concatenate([rows["labels"] for rows in each["plain"]]),
        reference="plain",
        seed=0,
        num_resamples=2000,
    )
    for name, of_seeds in each.items():
        errors = [
            calibration_error(
                rows["intact/confidence"].astype(np.float64),
                rows["intact/prediction"] == rows["labels"],
            )
            for rows in of_seeds
        ]
        table["methods"][name]["calibration_error"] = {
            "value": float(np.mean(errors)),
            "seeds": errors,
        }
    return table


def _faces_measured(each: Sequence[Rows]) -> Measured:
    values: dict[Any, list[np.ndarray]] = {}
    counted: dict[Any, list[np.ndarray]] = {}
    for rows in each:
        of_test, few = len(rows["labels"]), len(rows["explained/labels"])
        # The images that are explained are some of the test's: rows of their own
        # people, whose order the bootstrap does not look at.
        places = _places(rows["labels"], rows["explained/labels"])
        columns = {
            ("accuracy", name): 100.0
            * (rows[f"{name}/prediction"] == rows["labels"]).astype(np.float64)
            for name in ("intact", "occluded")
        }
        for column, row in columns.items():
            values.setdefault(column, []).append(row)
            counted.setdefault(column, []).append(np.ones(of_test, bool))
        for method in METHODS:
            row, is_there = np.zeros(of_test), np.zeros(of_test, bool)
            row[places], is_there[places] = rows[f"srg/{method}"], True
            if is_there.sum() != few:
                raise AssertionError("each explained image has a place of its own")
            values.setdefault(("srg", method), []).append(row)
            counted.setdefault(("srg", method), []).append(is_there)
    return Measured(
        {column: np.concatenate(parts) for column, parts in values.items()},
        {column: np.concatenate(parts) for column, parts in counted.items()},
    )


def _places(labels: np.ndarray, some: np.ndarray) -> np.ndarray:
    """Return for each of some images a place of its person, no place twice."""
    free = {int(label): np.flatnonzero(labels == label).tolist() for label in set(some)}
    return np.array([free[int(label)].pop(0) for label in some])


def shown_shortcut(table: Mapping[str, Any]) -> Table:
    """Return the table of the shortcut, for a screen."""
    headings = ["", "weight", "with mark", "without", "another's", "on others"]
    headings += ["bearer named", *(f"{x} on mark" for x in METHODS)]
    title = "A mark goes with the person in 90 % of the training images, %"
    shown = _empty(title, headings)
    for name, row in table["methods"].items():
        shown.add_row(
            name,
            f"{row['weight']:g}",
            *(
                figure(row["accuracy"][version], digits=0)
                for version in shortcut.VERSIONS
            ),
            figure(row["names_bearer"]["on_others"], digits=0),
            *(figure(row[f"energy_{x}"]["marked"]) for x in METHODS),
        )
    return shown


def shown_faces(tables: Mapping[str, Any]) -> Table:
    """Return the table of faces as they are, for a screen."""
    headings = ["images", "", "accuracy", "occluded", "calibration error"]
    headings += [f"srg of {x}" for x in METHODS]
    shown = _empty("Faces as they are, by training images a person, %", headings)
    for images, table in tables.items():
        for name, row in table["methods"].items():
            shown.add_row(
                images,
                name,
                *(figure(row["accuracy"][x]) for x in ("intact", "occluded")),
                number(row["calibration_error"]["value"]),
                *(figure(row["srg"][x]) for x in METHODS),
            )
    return shown


def _empty(title: str, headings: Sequence[str]) -> Table:
    """Return a table without rows: text on the left, figures on the right."""
    empty = Table(title=title)
    for heading in headings:
        empty.add_column(
            heading, justify="right" if heading else "left", overflow="fold"
        )
    return empty
