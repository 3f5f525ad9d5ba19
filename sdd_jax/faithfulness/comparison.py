"""What every method gave for every image -> one table of methods, with intervals.

The table is

    ["methods"][METHOD][METRIC][FILL]      {"value", "low", "high"}
    ["differences"][METHOD][METRIC][FILL]  the same and "p": METHOD less the reference

FILL is `all` where a metric has none, and for the mean over the fills of the curves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from sdd_jax.errors import InputError
from sdd_jax.faithfulness.average_drop import average_drop, average_gain, increase
from sdd_jax.faithfulness.curves import CURVE_METRICS, curve_grid, measured_fills
from sdd_jax.faithfulness.infidelity import infidelity
from sdd_jax.faithfulness.metrics import measured
from sdd_jax.faithfulness.perturbations import ORDERS, Outcome, Perturbation, grid
from sdd_jax.faithfulness.specificity import specificity
from sdd_jax.faithfulness.statistics import (
    bootstrap_identity_means,
    estimate,
    holm,
    identity_means,
    wilcoxon,
)

Column = tuple[str, str]  # a metric and a fill
ALL = "all"
MASKED_METRICS = ("confidence_drop", "prediction_change")  # the paper's Table 1
Wanted = tuple[Perturbation, ...]


@dataclass(frozen=True)
class Measured:
    """A method's numbers, one an image, and which of them say something."""

    values: dict[Column, Float[np.ndarray, " images"]]
    counted: dict[Column, Bool[np.ndarray, " images"]]

    def first(self, number: int) -> "Measured":
        """Return those of the first images alone."""
        return Measured(
            {column: values[:number] for column, values in self.values.items()},
            {column: counted[:number] for column, counted in self.counted.items()},
        )


def perturbations(
    curves: Sequence[str], fills: Sequence[str], fraction: float
) -> Wanted:
    """Return those of whole curves, and of Table 1's metrics under every fill.

    Args:
        curves: fills of the curves.
        fills: of the metrics.
        fraction: of the pixels, of the metrics.
    """
    return tuple(dict.fromkeys(curve_grid(curves) + grid(fills, (fraction,))))


def method_columns(
    intact: Outcome,
    own: Outcome,
    other: Outcome,
    wanted: Wanted,
    *,
    curves: Sequence[str],
    fills: Sequence[str],
    fraction: float,
    more: Mapping[Column, Float[np.ndarray, " images"]],
    is_flat: Bool[np.ndarray, " images"],
    other_is_flat: Bool[np.ndarray, " images"],
) -> Measured:
    """Return all numbers of a method: of curves, of a wrong class, of Table 1, more.

    Flat maps are not counted; of specificity, nor are those of the wrong class, for
    which nothing may speak.

    Args:
        intact: of the images as they are, [images].
        own: by the method's maps, [perturbations, images].
        other: by its maps of a wrong class, scored on the target as well.
        wanted: from `perturbations`, with the same curves, fills and fraction.
        curves: fills of the curves.
        fills: of Table 1's metrics.
        fraction: of the pixels, of Table 1's metrics.
        more: other columns.
        is_flat: the method's maps that say nothing.
        other_is_flat: those of the wrong class.
    """
    specific = specificity_columns(intact, own, other, wanted, fills=curves)
    values = curve_columns(intact, own, wanted, fills=curves) | specific
    values |= masked_columns(intact, own, wanted, fills=fills, fraction=fraction)
    values |= more
    counted = dict.fromkeys(values, ~is_flat)
    counted |= dict.fromkeys(specific, ~is_flat & ~other_is_flat)
    return Measured(values, counted)


def masked_columns(
    intact: Outcome,
    perturbed: Outcome,
    wanted: Wanted,
    *,
    fills: Sequence[str],
    fraction: float,
) -> dict[Column, Float[np.ndarray, " images"]]:
    """Return Table 1's metrics of a method, under every fill.

    Those of retention are called `retention_METRIC`.

    Args:
        intact: of the images as they are, [images].
        perturbed: the method's, [perturbations, images].
        wanted: the perturbations.
        fills: names in FILLS.
        fraction: of the pixels that are removed or kept.
    """
    found = {}
    for order in ORDERS:
        for metric in MASKED_METRICS:
            name = metric if order == "deletion" else f"{order}_{metric}"
            for fill in fills:
                cell = Perturbation(order, fill, fraction)
                found[name, fill] = measured(metric, cell, intact, perturbed, wanted)
    return found


def curve_columns(
    intact: Outcome, perturbed: Outcome, wanted: Wanted, *, fills: Sequence[str]
) -> dict[Column, Float[np.ndarray, " images"]]:
    """Return the curves' areas of a method, under every fill and their mean."""
    found = {}
    for name in CURVE_METRICS:
        values = measured_fills(name, fills, intact, perturbed, wanted)
        found |= {(name, fill): row for fill, row in zip(fills, values, strict=True)}
        found[name, ALL] = values.mean(0)
    return found


def specificity_columns(
    intact: Outcome,
    perturbed: Outcome,
    other: Outcome,
    wanted: Wanted,
    *,
    fills: Sequence[str],
) -> dict[Column, Float[np.ndarray, " images"]]:
    """Return the specificity of a method, under every fill and its mean.

    Args:
        intact: of the images as they are, [images].
        perturbed: by the method's maps, [perturbations, images].
        other: by its maps of a wrong class, scored on the target as well.
        wanted: the perturbations.
        fills: of the curves.
    """
    values = [specificity(fill, intact, perturbed, other, wanted) for fill in fills]
    found = {
        ("specificity", fill): row for fill, row in zip(fills, values, strict=True)
    }
    return found | {("specificity", ALL): np.mean(values, axis=0)}


def map_columns(
    intact: Outcome,
    details: Mapping[str, np.ndarray],
    differences: Float[np.ndarray, "images squares"],
) -> dict[Column, Float[np.ndarray, " images"]]:
    """Return the measures that need no curve.

    Args:
        intact: of the images as they are, [images].
        details: one row an image: `explained_confidence`, of the image times the map;
            `foretold`, [images, squares]; edge_length, gini, half_mass_area, and
            max_sensitivity where it was measured.
        differences: what filling each square does to the log-probability.
    """
    explained = details["explained_confidence"]
    found = {
        "average_drop": average_drop(intact.confidence, explained),
        "increase": increase(intact.confidence, explained),
        "average_gain": average_gain(intact.confidence, explained),
        "infidelity": infidelity(details["foretold"].T, differences.T),
    }
    for name in ("max_sensitivity", "edge_length", "gini", "half_mass_area"):
        if name in details:
            found[name] = np.asarray(details[name], np.float64)
    return {(name, ALL): values for name, values in found.items()}


def table(
    methods: Mapping[str, Measured],
    labels: Int[np.ndarray, " images"],
    *,
    reference: str,
    seed: int,
    num_resamples: int,
) -> dict[str, Any]:
    """Return the figures of every method, and how it differs from a reference.

    Intervals are of 95 %, by a bootstrap over identities; differences are paired, on
    the images that both have; p is Wilcoxon's, on the identities' means, adjusted by
    Holm for the methods of the table. What is not counted is in no mean.

    Args:
        methods: each one's numbers, of the first images or of all.
        labels: whose images they are.
        reference: the method that the others are compared with.
        seed: of the bootstrap.
        num_resamples: of the bootstrap.

    Raises:
        InputError: the reference is not among the methods.
    """
    if reference not in methods:
        raise InputError(
            f"the reference is {reference!r}: expected one of {', '.join(methods)}"
        )

    def figures(one: Measured) -> dict[Column, dict[str, float]]:
        values = np.stack(list(one.values.values()), axis=1)
        counted = np.stack([one.counted[column] for column in one.values], axis=1)
        drawn = bootstrap_identity_means(
            values,
            labels[: len(values)],
            seed=seed,
            num_resamples=num_resamples,
            counted=counted,
        )
        means = np.where(counted, values, 0).sum(0) / np.maximum(counted.sum(0), 1)
        return {
            column: estimate(means[i], drawn[:, i][np.isfinite(drawn[:, i])])
            for i, column in enumerate(one.values)
            if counted[:, i].any()
        }

    pairs = {
        name: _less(one, methods[reference])
        for name, one in methods.items()
        if name != reference
    }
    p_values = _p_values(pairs, labels)
    differences = {
        name: {
            column: figure | {"p": p_values[name, column]}
            for column, figure in figures(one).items()
        }
        for name, one in pairs.items()
    }
    return {
        "methods": {name: _nested(figures(one)) for name, one in methods.items()},
        "reference": reference,
        "differences": {name: _nested(found) for name, found in differences.items()},
    }


def _less(one: Measured, other: Measured) -> Measured:
    """Return the differences on the columns and images that both have."""
    number = min(len(next(iter(each.values.values()))) for each in (one, other))
    one, other = one.first(number), other.first(number)
    columns = [column for column in one.values if column in other.values]
    return Measured(
        {column: one.values[column] - other.values[column] for column in columns},
        {column: one.counted[column] & other.counted[column] for column in columns},
    )


def _p_values(
    pairs: Mapping[str, Measured], labels: np.ndarray
) -> dict[tuple[str, Column], float]:
    """Return Holm's p-values, over the methods that have a column."""
    found = {}
    for column in dict.fromkeys(c for one in pairs.values() for c in one.values):
        names = [name for name, one in pairs.items() if column in one.values]
        raw = []
        for name in names:
            values, counted = (
                part[column][:, None]
                for part in (pairs[name].values, pairs[name].counted)
            )
            means = identity_means(values, labels[: len(values)], counted)
            raw.append(wilcoxon(means[:, 0]))
        adjusted = holm(np.array(raw))
        found |= {
            (name, column): float(p) for name, p in zip(names, adjusted, strict=True)
        }
    return found


def _nested(figures: Mapping[Column, Any]) -> dict[str, dict[str, Any]]:
    result: dict[str, dict[str, Any]] = {}
    for (metric, fill), figure in figures.items():
        result.setdefault(metric, {})[fill] = figure
    return result
